// Elements of tables, in memory or in vectors.
#pragma once

#include "simd/int32.inl"

namespace rdquant::simd {
namespace {
namespace native {

#if defined(__SSE4_1__)
/// The elements at the two places in each of `low` and `high`.
[[gnu::always_inline]] inline __m128i four(const int* p, long long low, long long high) {
  __m128i some = _mm_cvtsi32_si128(p[low & 0xffffffff]);
  some = _mm_insert_epi32(some, p[static_cast<std::uint64_t>(low) >> 32], 1);
  some = _mm_insert_epi32(some, p[high & 0xffffffff], 2);
  return _mm_insert_epi32(some, p[static_cast<std::uint64_t>(high) >> 32], 3);
}
[[gnu::always_inline]] inline I4 load_each(const int* p, I4 at) {
  const auto places = (__m128i)at;
  return (I4)four(p, places[0], places[1]);
}
#else
[[gnu::always_inline]] inline I4 load_each(const int* p, I4 at) {
  return I4{p[at[0]], p[at[1]], p[at[2]], p[at[3]]};
}
#endif

#if defined(__AVX2__)
[[gnu::always_inline]] inline I8 load_each(const int* p, I8 places) {
  const auto at = (__m256i)places;
  return (I8)_mm256_set_m128i(four(p, at[2], at[3]), four(p, at[0], at[1]));
}
#endif
#if defined(__AVX512F__)
[[gnu::always_inline]] inline I16 load_each(const int* p, I16 places) {
  const auto at = (__m512i)places;
  const __m256i first = _mm256_set_m128i(four(p, at[2], at[3]), four(p, at[0], at[1]));
  const __m256i last = _mm256_set_m128i(four(p, at[6], at[7]), four(p, at[4], at[5]));
  return (I16)_mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(first), last, 1);
}
#endif

}  // namespace native

/// Elements of a table of 32 bits each, by one instruction or by a load each: which is faster depends on the
/// processor (core::gathers_in_vectors). Places are not below 0.
class Gather {
 public:
#if defined(__AVX2__)
  /// `lanes` ≥ kLanes, which the compiler must not know: a gather whose mask it knows to be full keeps the old value
  /// of its register as an input, which makes one vector wait for the other.
  Gather(bool in_vectors, std::size_t lanes) : all_(mask_of_first(lanes)), in_vectors_(in_vectors) {}
#else
  Gather(bool /*in_vectors*/, std::size_t /*lanes*/) {}
#endif
  template <int N>
  [[nodiscard, gnu::always_inline]] Vector<std::int32_t, N> operator()(const void* table,
                                                                       Vector<std::int32_t, N> at) const {
    if constexpr (N > kLanes) {
      return {(*this)(table, at.low), (*this)(table, at.high)};
    } else {
      return of_lanes(static_cast<const int*>(table), at);
    }
  }

 private:
  [[nodiscard, gnu::always_inline]] I32 of_lanes(const int* p, I32 at) const {
#if defined(__AVX512F__)
    if (in_vectors_) {
      return {
          (native::I16)_mm512_mask_i32gather_epi32(_mm512_setzero_si512(), all_.bits, (__m512i)at.v, p, 4)};
    }
#elif defined(__AVX2__)
    if (in_vectors_) {
      return {(native::I8)_mm256_mask_i32gather_epi32(_mm256_setzero_si256(), p, (__m256i)at.v,
                                                      (__m256i)all_.all.v, 4)};
    }
#endif
    return each(at, [p](auto x) __attribute__((always_inline)) { return native::load_each(p, x); });
  }

#if defined(__AVX2__)
  Mask all_;
  bool in_vectors_;
#endif
};

/// Elements of a table, by one instruction where there is one.
template <int N>
[[gnu::always_inline]] inline Vector<std::int32_t, N> gather(const void* table, Vector<std::int32_t, N> at) {
  if constexpr (N > kLanes) {
    return {gather(table, at.low), gather(table, at.high)};
  } else {
    const auto* const p = static_cast<const int*>(table);
#if defined(__AVX512F__)
    return {
        (native::I16)_mm512_mask_i32gather_epi32(_mm512_setzero_si512(), native::kAll, (__m512i)at.v, p, 4)};
#elif defined(__AVX2__)
    return {(native::I8)_mm256_i32gather_epi32(p, (__m256i)at.v, 4)};
#else
    return each(at, [p](auto x) __attribute__((always_inline)) { return native::load_each(p, x); });
#endif
  }
}

/// Elements 0, stride, 2·stride, … of p.
[[gnu::always_inline]] inline I32 load_strided(const std::int32_t* p, std::int32_t stride) {
  if (stride == 1) return load(p);
#if defined(__AVX2__)
  constexpr std::int32_t kCount[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const I32 at = load(kCount) * stride;
#if defined(__AVX512F__)
  return {
      (native::I16)_mm512_mask_i32gather_epi32(_mm512_setzero_si512(), native::kAll, (__m512i)at.v, p, 4)};
#else
  return {(native::I8)_mm256_i32gather_epi32(p, (__m256i)at.v, 4)};
#endif
#else
  std::int32_t some[kLanes];
  for (std::ptrdiff_t i = 0; i < kLanes; ++i) some[i] = p[i * stride];
  return load(some);
#endif
}

/// Elements of 32 bits of two vectors, b's behind those of a.
template <class T>
[[gnu::always_inline]] inline Vector<T, 16> lookup(Vector<T, 16> a, Vector<T, 16> b,
                                                   Vector<std::int32_t, 16> at) {
#if defined(__AVX512F__)
  return {(Register<T, 16>)_mm512_permutex2var_epi32((__m512i)a.v, (__m512i)at.v, (__m512i)b.v)};
#elif defined(__AVX2__)
  // From each eight elements by the low three bits, and of these by the bits above.
  const auto half = [&](auto by) __attribute__((always_inline)) {
    const auto i = (__m256i)by;
    const auto eight = [i](auto x) __attribute__((always_inline)) {
      return (__m256)_mm256_permutevar8x32_epi32((__m256i)x, i);
    };
    const auto odd = (__m256)_mm256_slli_epi32(i, 28), second = (__m256)_mm256_slli_epi32(i, 27);
    const __m256 low = _mm256_blendv_ps(eight(a.low.v), eight(a.high.v), odd);
    const __m256 high = _mm256_blendv_ps(eight(b.low.v), eight(b.high.v), odd);
    return Vector<T, 8>{(Register<T, 8>)_mm256_blendv_ps(low, high, second)};
  };
  return {half(at.low.v), half(at.high.v)};
#elif defined(__ARM_NEON)
  // Bytes of 64 at a time; places beyond give 0 from the first, and leave what is there from the second.
  const auto in_bytes = [](auto x) { return bits_as<uint8x16x4_t>(x); };
  const uint8x16x4_t first = in_bytes(a), second = in_bytes(b);
  return bits_as<Vector<T, 16>>(each(at, [&](auto x) __attribute__((always_inline)) {
    const auto bytes = vreinterpretq_u8_s32(vaddq_s32(vmulq_n_s32(x, 0x04040404), vdupq_n_s32(0x03020100)));
    const auto found = vqtbx4q_u8(vqtbl4q_u8(first, bytes), second, vsubq_u8(bytes, vdupq_n_u8(64)));
    return vreinterpretq_s32_u8(found);
  }));
#else
  T from[32], to[16];
  std::int32_t places[16];
  store_as(from, a);
  store_as(from + 16, b);
  store_as(places, at);
  for (int i = 0; i < 16; ++i) to[i] = from[places[i]];
  return load_as<Vector<T, 16>>(to);
#endif
}

/// Elements of two vectors of kLanes, b's behind those of a.
[[gnu::always_inline]] inline F32 lookup_lanes(F32 a, F32 b, I32 at) {
#if defined(__AVX512F__)
  return lookup(a, b, at);
#else
  const Vector<float, 16> both{a, b};
  return lookup(both, both, Vector<std::int32_t, 16>{at, at}).low;
#endif
}

/// Elements of a table of kLanes, by places below eight.
[[gnu::always_inline]] inline I32 lookup_eight(const std::int32_t* table, I32 at) {
#if defined(__AVX512F__)
  return {
      (native::I16)_mm512_maskz_permutexvar_epi32(native::kAll, (__m512i)at.v, _mm512_loadu_si512(table))};
#elif defined(__AVX2__)
  const __m256i eight = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(table));
  return {(native::I8)_mm256_permutevar8x32_epi32(eight, (__m256i)at.v)};
#else
  return each(at, [table](auto x) __attribute__((always_inline)) { return native::load_each(table, x); });
#endif
}

}  // namespace
}  // namespace rdquant::simd
