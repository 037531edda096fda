#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace rdquant::core {

/// Instruction sets that kernels come in, from the one that every machine has upwards.
/// `baseline` is x86-64-v2 or ARMv8.0 with NEON; `avx2` needs AVX2 and FMA; `avx512` needs AVX-512 F, BW, DQ
/// and VL.
enum class Isa { baseline, avx2, avx512 };

/// Further instructions, which some processors add to a set.
enum class Feature : unsigned {
  pclmul,     ///< carry-less products; with avx2 and above
  vnni,       ///< AVX-512 VNNI: products of 8-bit integers (Cascade Lake, Zen 4 and later)
  vbmi,       ///< AVX-512 VBMI: permutations of bytes (Ice Lake, Zen 4 and later)
  vpopcntdq,  ///< AVX-512 VPOPCNTDQ: counts of bits (Ice Lake, Zen 4 and later)
  amx_int8,   ///< AMX: tiles of 8-bit integers (Sapphire Rapids and later)
  dotprod,    ///< ARMv8.2: products of 8-bit integers (Cortex-A76: Raspberry Pi 5)
  i8mm,       ///< ARMv8.6: products of 8-bit matrices; no kernel uses it yet
};

/// An instruction set and the features beside it.
class Cpu {
 public:
  constexpr explicit Cpu(Isa isa) : isa_(isa) {}
  constexpr void add(Feature feature) { features_ |= bit(feature); }
  [[nodiscard]] constexpr Isa isa() const noexcept { return isa_; }
  [[nodiscard]] constexpr bool has(Feature feature) const noexcept { return (features_ & bit(feature)) != 0; }
  friend constexpr bool operator==(const Cpu&, const Cpu&) = default;

 private:
  static constexpr unsigned bit(Feature feature) { return 1U << static_cast<unsigned>(feature); }

  Isa isa_;
  unsigned features_ = 0;
};

/// What this processor and operating system offer.
[[nodiscard]] const Cpu& available_cpu() noexcept;
[[nodiscard]] Isa available_isa() noexcept;

/// What kernels use: all that is available, or what the environment variable RDQUANT_ISA (read once) says.
///
/// RDQUANT_ISA is a set, `baseline`, `avx2` or `avx512`, without any feature of the list above but pclmul, which
/// comes with avx2; or a set and features by name, such as `avx512+vnni+vbmi`; or `avx512vnni`, which is avx512
/// with every feature that is available, vnni among them.
///
/// @throws InvalidArgument  RDQUANT_ISA names something else, or what this processor lacks.
[[nodiscard]] const Cpu& selected_cpu();
[[nodiscard]] Isa selected_isa();
[[nodiscard]] bool has(Feature feature);

/// Asks the operating system, once, to let this process use AMX, whose tiles make threads' state larger by 8 KB. False
/// where it refuses, or there is no such thing.
[[nodiscard]] bool request_amx() noexcept;

/// What RDQUANT_ISA=`name` means on a processor that offers `available`.
///
/// @throws InvalidArgument  as selected_cpu.
[[nodiscard]] Cpu parse_cpu(std::string_view name, const Cpu& available);

/// The names that RDQUANT_ISA may have for the sets of a processor that offers `available`: those of Isa up to its
/// own, and `avx512vnni` where it has that.
[[nodiscard]] std::vector<std::string> cpu_names(const Cpu& available);

/// Whether elements of a table are gathered by one instruction, not by a load each: what is faster on this
/// processor (Intel's gather in less time), or what the environment variable RDQUANT_GATHER (vector, scalar;
/// read once) says.
///
/// @throws InvalidArgument  RDQUANT_GATHER is something else.
[[nodiscard]] bool gathers_in_vectors();

[[nodiscard]] std::string_view isa_name(Isa isa) noexcept;
/// The name that RDQUANT_ISA gives it: the set and its features but pclmul.
[[nodiscard]] std::string cpu_name(const Cpu& cpu);

/// Bytes of memory that this machine has; the largest number where the system does not say.
[[nodiscard]] std::size_t physical_memory() noexcept;

}  // namespace rdquant::core
