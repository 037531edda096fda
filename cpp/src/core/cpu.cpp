#include "rdquant/core/cpu.hpp"

#if __has_include(<unistd.h>)
#include <unistd.h>
#endif

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "rdquant/core/error.hpp"

namespace rdquant::core {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"baseline", "avx2", "avx512"};

Isa choose() {
  const char* const asked = std::getenv("RDQUANT_ISA");
  const Isa best = available_isa();
  if (asked == nullptr || *asked == '\0') return best;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] != asked) continue;
    if (static_cast<Isa>(i) <= best) return static_cast<Isa>(i);
    throw InvalidArgument("RDQUANT_ISA=" + std::string(asked) + ": this processor offers at most " +
                          std::string(isa_name(best)));
  }
  throw InvalidArgument("RDQUANT_ISA=" + std::string(asked) + ": allowed are baseline, avx2, avx512");
}

bool choose_gathers() {
  const char* const asked = std::getenv("RDQUANT_GATHER");
  const std::string_view name = asked == nullptr ? "" : asked;
  if (name == "vector" || name == "scalar") return name == "vector";
  if (!name.empty()) {
    throw InvalidArgument("RDQUANT_GATHER=" + std::string(name) + ": allowed are vector, scalar");
  }
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_is("intel") != 0;
#else
  return false;
#endif
}

}  // namespace

Isa available_isa() noexcept {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return Isa::avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
  return Isa::baseline;
}

Isa selected_isa() {
  static const Isa isa = choose();
  return isa;
}

bool has_vector_popcount() {
#if defined(__x86_64__)
  static const bool has = selected_isa() == Isa::avx512 && __builtin_cpu_supports("avx512vpopcntdq");
  return has;
#else
  return false;
#endif
}

bool gathers_in_vectors() {
  static const bool in_vectors = choose_gathers();
  return in_vectors;
}

std::string_view isa_name(Isa isa) noexcept { return kNames[static_cast<std::size_t>(isa)]; }

std::size_t physical_memory() noexcept {
#if defined(_SC_PHYS_PAGES)
  const long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
  if (pages > 0 && bytes > 0) return static_cast<std::size_t>(pages) * static_cast<std::size_t>(bytes);
#endif
  return SIZE_MAX;
}

}  // namespace rdquant::core
