// Columns of depthwise int8 convolutions: bytes of four rows of the image, interleaved.
#pragma once

#include "runtime/kernels/int8/convolution/depthwise/unit.inl"
#include "runtime/kernels/int8/convolution/tile_int8.inl"

namespace rdquant::runtime::kernels {
namespace {

#if defined(__AVX2__)

// What rows of the output read with K rows of the kernel. Those in the padding, and those that there are not, read one
// pixel of zeros again and again.
template <int K, int R>
struct DepthwiseLine {
  const std::uint8_t* rows[K][R];
  Index masks[K][R];  // of the distance from the first column; 0 in the padding
};

// The kernel's rows from `first` on.
template <int K, int R>
void start_line(const ConvShape& s, const Int8ConvArgs& args, const DepthwiseUnit& unit, Index y, Index first,
                DepthwiseLine<K, R>& line) {
  for (Index r = 0; r < R; ++r) {
    for (Index i = 0; i < K; ++i) {
      const Index row = (y + r) * s.sh - s.top + (first + i) * s.dh;
      const bool inside = first + i < s.kh && row >= 0 && row < s.h;
      line.rows[i][r] = inside ? unit.src + row * s.w * args.src_pixel : unit.zeros;
      line.masks[i][r] = inside ? -1 : 0;
    }
  }
}

// Rows of the kernel from `First` on, of the column `distance` bytes from the first, or of the padding where
// that is negative.
template <int First, int K, int R>
[[gnu::always_inline]] inline void depthwise_column(const DepthwiseLine<K, R>& line, Index distance,
                                                    bool is_signed, const DepthwiseUnit& unit,
                                                    Quads (&out)[4]) {
  if (distance < 0) {
    const Quads zero = quads(simd::bits_as<U32>(simd::splat_as<Packed>(unit.zero)));
    for_each<4>([&](auto i) __attribute__((always_inline)) { out[i] = zero; });
    return;
  }
  Packed rows[4];
  for_each<4>([&](auto i) __attribute__((always_inline)) {
    constexpr int kRow = First + decltype(i)::value;
    if constexpr (kRow < K) {
      const std::uint8_t* from[R];
      for_each<R>([&](auto r) __attribute__((always_inline)) {
        from[r] = line.rows[kRow][r] + (distance & line.masks[kRow][r]);
      });
      rows[i] = simd::load_pieces(from);
    } else {
      rows[i] = Packed{};
    }
  });
  if (is_signed) {
    for_each<4>([&](auto i)
                    __attribute__((always_inline)) { rows[i] = rows[i] ^ simd::splat_as<Packed>(128); });
  }
  U32 words[4];
  interleave(rows[0], rows[1], rows[2], rows[3], words);
  for_each<4>([&](auto i) __attribute__((always_inline)) { out[i] = quads(words[i]); });
}

#endif

}  // namespace
}  // namespace rdquant::runtime::kernels
