#pragma once

#if defined(__x86_64__) && defined(__linux__)

#include <signal.h>
#include <ucontext.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "rdquant/core/cpu.hpp"

/// Instructions of AMX, carried out as Intel's manual defines them (Software Developer's Manual, volume 2) where the processor
/// refuses them: kernels of tiles are tested on every processor, as the assembler encodes them.
namespace amx {

struct Tile {
  int rows = 0, bytes = 0;
  std::uint8_t data[16][64] = {};
};

struct State {
  std::uint8_t shapes[64] = {};
  Tile tiles[8];
};

inline State& state() {
  thread_local State all;
  return all;
}

/// One instruction with a VEX prefix of three bytes, of the map 0F38.
struct Instruction {
  int prefix = 0, opcode = 0, mod = 0, reg = 0, rm = 0, vector = 0;
  const std::uint8_t* next = nullptr;
  std::uint8_t* address = nullptr;  ///< without the index
  std::int64_t stride = 0;          ///< the index, scaled
};

inline std::int64_t general_register(const ucontext_t& context, int number) {
  constexpr std::array<int, 16> kOrder = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                          REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                          REG_R12, REG_R13, REG_R14, REG_R15};
  return context.uc_mcontext.gregs[kOrder[static_cast<std::size_t>(number)]];
}

template <class T>
T read(const std::uint8_t*& from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  from += sizeof value;
  return value;
}

inline void decode_address(const ucontext_t& context, int high_index, int high_base, Instruction& found) {
  std::int64_t address = 0;
  bool has_base = true;
  int base = found.rm;
  if (found.rm == 4) {
    const int sib = *found.next++;
    const int index = (sib >> 3 & 7) | high_index;
    if (index != 4) found.stride = general_register(context, index) << (sib >> 6);
    base = sib & 7;
    has_base = found.mod != 0 || base != 5;
  } else if (found.mod == 0 && found.rm == 5) {  // relative to the next instruction
    const auto distance = read<std::int32_t>(found.next);
    found.address = const_cast<std::uint8_t*>(found.next) + distance;
    return;
  }
  if (has_base) address = general_register(context, base | high_base);
  if (found.mod == 1) address += read<std::int8_t>(found.next);
  if (found.mod == 2 || !has_base) address += read<std::int32_t>(found.next);
  found.address = reinterpret_cast<std::uint8_t*>(address);
}

inline bool decode(const ucontext_t& context, Instruction& found) {
  const auto* at = reinterpret_cast<const std::uint8_t*>(context.uc_mcontext.gregs[REG_RIP]);
  if (at[0] != 0xc4 || (at[1] & 0x1f) != 2) return false;
  const int high_index = (at[1] & 0x40) != 0 ? 0 : 8;
  const int high_base = (at[1] & 0x20) != 0 ? 0 : 8;
  found.prefix = at[2] & 3;
  found.vector = ~at[2] >> 3 & 15;
  found.opcode = at[3];
  found.mod = at[4] >> 6;
  found.reg = at[4] >> 3 & 7;
  found.rm = at[4] & 7;
  found.next = at + 5;
  if (found.mod != 3) decode_address(context, high_index, high_base, found);
  return true;
}

inline void configure(const std::uint8_t* shapes) {
  State& all = state();
  all = {};
  std::memcpy(all.shapes, shapes, sizeof all.shapes);
  for (int i = 0; i < 8; ++i) {
    std::uint16_t bytes;
    std::memcpy(&bytes, shapes + 16 + 2 * i, sizeof bytes);
    all.tiles[i].bytes = bytes;
    all.tiles[i].rows = shapes[48 + i];
  }
}

inline std::int32_t four_products(const std::uint8_t* x, const std::uint8_t* w, bool is_signed) {
  std::int32_t sum = 0;
  for (int i = 0; i < 4; ++i) {
    sum += (is_signed ? static_cast<std::int8_t>(x[i]) : x[i]) * static_cast<std::int8_t>(w[i]);
  }
  return sum;
}

/// Whether the shapes go together, as the processor demands.
inline bool multiply(Tile& sums, const Tile& x, const Tile& w, bool is_signed) {
  if (sums.rows != x.rows || sums.bytes != w.bytes || x.bytes != 4 * w.rows || sums.rows == 0) return false;
  for (int m = 0; m < sums.rows; ++m) {
    for (int n = 0; n < sums.bytes / 4; ++n) {
      std::uint32_t sum;
      std::memcpy(&sum, sums.data[m] + 4 * n, sizeof sum);
      for (int k = 0; k < w.rows; ++k)
        sum += static_cast<std::uint32_t>(four_products(x.data[m] + 4 * k, w.data[k] + 4 * n, is_signed));
      std::memcpy(sums.data[m] + 4 * n, &sum, sizeof sum);
    }
  }
  return true;
}

/// False for what is no instruction of these, or not allowed.
inline bool execute(const Instruction& found) {
  enum Prefix { none, x66, xf3, xf2 };
  Tile& tile = state().tiles[found.reg];
  switch (found.opcode) {
    case 0x49:
      if (found.mod != 3) {
        if (found.prefix != none || found.address[0] != 1) return false;
        configure(found.address);
      } else if (found.prefix == none) {
        state() = {};  // TILERELEASE
      } else {
        std::memset(tile.data, 0, sizeof tile.data);  // TILEZERO
      }
      return true;
    case 0x4b:
      if (found.mod == 3 || tile.rows == 0) return false;
      for (int row = 0; row < tile.rows; ++row) {
        std::uint8_t* const memory = found.address + row * found.stride;
        if (found.prefix == xf3) {
          std::memcpy(memory, tile.data[row], static_cast<std::size_t>(tile.bytes));
        } else {
          std::memcpy(tile.data[row], memory, static_cast<std::size_t>(tile.bytes));
        }
      }
      return true;
    case 0x5e:
      if (found.mod != 3 || (found.prefix != xf2 && found.prefix != x66)) return false;
      return multiply(tile, state().tiles[found.rm], state().tiles[found.vector], found.prefix == xf2);
    default:
      return false;
  }
}

inline void handle(int /*signal*/, siginfo_t* /*info*/, void* opaque) {
  auto& context = *static_cast<ucontext_t*>(opaque);
  Instruction found;
  if (!decode(context, found) || !execute(found)) {
    signal(SIGILL, SIG_DFL);  // and once more, for the end
    return;
  }
  context.uc_mcontext.gregs[REG_RIP] = reinterpret_cast<greg_t>(found.next);
}

/// Whether kernels of tiles can be tested: the processor has the vectors for what follows the sums. To be called in each test
/// case, for doctest takes signals for its own at their begin.
inline bool available() {
  const rdquant::core::Cpu& cpu = rdquant::core::available_cpu();
  if (!cpu.has(rdquant::core::Feature::vnni)) return false;
  if (rdquant::core::request_amx()) return true;
  struct sigaction action = {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  return sigaction(SIGILL, &action, nullptr) == 0;
}

}  // namespace amx

#endif
