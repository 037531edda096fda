#pragma once

#include <cstddef>
#include <string_view>

namespace rdquant::core {

/// Instruction sets that kernels come in, from the one that every machine has upwards.
/// `baseline` is x86-64-v2 or ARMv8.0; `avx2` needs AVX2 and FMA; `avx512` needs AVX-512 F, BW, DQ and VL.
enum class Isa { baseline, avx2, avx512 };

/// The best set that this processor and operating system offer.
[[nodiscard]] Isa available_isa() noexcept;

/// The set that kernels use: the best available one, or the one named by the environment variable RDQUANT_ISA
/// (baseline, avx2, avx512; read once).
///
/// @throws InvalidArgument  RDQUANT_ISA names no set, or one that this processor lacks.
[[nodiscard]] Isa selected_isa();

/// Whether kernels may also use AVX-512 VPOPCNTDQ (Ice Lake, Zen 4 and later): avx512 is selected and the
/// processor has it.
[[nodiscard]] bool has_vector_popcount();

/// Whether elements of a table are gathered by one instruction, not by a load each: what is faster on this
/// processor (Intel's gather in less time), or what the environment variable RDQUANT_GATHER (vector, scalar;
/// read once) says.
///
/// @throws InvalidArgument  RDQUANT_GATHER is something else.
[[nodiscard]] bool gathers_in_vectors();

[[nodiscard]] std::string_view isa_name(Isa isa) noexcept;

/// Bytes of memory that this machine has; the largest number where the system does not say.
[[nodiscard]] std::size_t physical_memory() noexcept;

}  // namespace rdquant::core
