// The loops behind sparse_kernels.hpp. Included by one file per instruction set, which sets RDQUANT_KERNELS_ISA.
#include "codec/sparse/sparse_kernels.hpp"
#include "simd/floats.inl"
#include "simd/order.inl"

namespace rdquant::codec {
namespace {

using simd::I32;
constexpr std::size_t kWidth = simd::kLanes;

// Where signs are like noise, a branch would be guessed wrong as often as not.
std::int16_t* write_scales_of_row(const std::int32_t* signs, const std::int16_t* of_row, std::size_t size,
                                  std::int16_t row, std::int16_t* out) {
  const auto write = [&](I32 sign, std::size_t i) {
    const simd::Mask there = not_zero(sign);
    store_as(out, together(simd::load_shorts(of_row + i) + row, there));
    out += __builtin_popcount(bits(there));
  };
  std::size_t i = 0;
  for (; i + kWidth <= size; i += kWidth) write(simd::load(signs + i), i);
  if (i < size) write(simd::load_some(signs + i, static_cast<std::ptrdiff_t>(size - i)), i);
  return out;
}

std::size_t place_levels(const std::int32_t* distances, bool same, std::int32_t common, std::int32_t least,
                         std::int32_t* levels, std::size_t size, std::size_t& taken) {
  std::size_t i = 0;
  for (; i + kWidth <= size; i += kWidth) {
    const I32 sign = simd::load(levels + i);
    const simd::Mask there = not_zero(sign);
    const I32 distance = same ? simd::splat(distances[0]) : spread(distances + taken, there);
    simd::store(levels + i, common + sign * (least + distance));
    if (!same) taken += static_cast<std::size_t>(__builtin_popcount(bits(there)));
  }
  return i;
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const SparseKernels sparse_kernels = {.scales_of_row = write_scales_of_row, .place = place_levels};
}
}  // namespace rdquant::codec
