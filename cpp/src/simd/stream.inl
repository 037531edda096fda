// Stores that go around the caches, where the instruction set has them.
#pragma once

#include "simd/vector.inl"

namespace rdquant::simd {
namespace {

/// To an address that is a multiple of a register's size.
template <class T, int N>
[[gnu::always_inline]] inline void stream_as(T* p, Vector<T, N> x) {
  if constexpr (kFits<T, N>) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)x.v);
#elif defined(__AVX2__)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)x.v);
#elif defined(__SSE4_1__)
    _mm_stream_si128(reinterpret_cast<__m128i*>(p), (__m128i)x.v);
#else
    store_as(p, x);
#endif
  } else {
    stream_as(p, x.low);
    stream_as(p + N / 2, x.high);
  }
}

/// Must follow these stores before another thread reads what they wrote.
inline void stream_end() {
#if defined(__SSE4_1__)
  _mm_sfence();
#endif
}

}  // namespace
}  // namespace rdquant::simd
