#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "codec/rans/loads.inl"
#include "rdquant/core/cpu.hpp"

namespace rdquant::codec {
namespace {

struct Lanes {
  using Vector = __m512i;
  using Floats = __m512;
  using Mask = __mmask16;
  static constexpr std::size_t kWidth = 16;

  static Vector set(std::int32_t a) { return _mm512_set1_epi32(a); }
  static Floats set_floats(float a) { return _mm512_set1_ps(a); }
  static Vector load(const void* p) { return _mm512_loadu_si512(p); }
  static Vector load_halves(const std::int16_t* p) {
    return _mm512_maskz_cvtepi16_epi32(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void store(void* p, Vector a) { _mm512_storeu_si512(p, a); }
  /// Elements of a table, by one instruction or by a load each, which is faster on some processors.
  class Gather {
   public:
    explicit Gather(std::size_t lanes) : all_(only(lanes)), in_vectors_(core::gathers_in_vectors()) {}
    [[gnu::always_inline]] Vector operator()(const void* from, Vector at) const {
      const auto* const p = static_cast<const int*>(from);
      if (in_vectors_) return _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), all_, at, p, 4);
      const __m256i first = _mm256_set_m128i(four(p, at[2], at[3]), four(p, at[0], at[1]));
      const __m256i last = _mm256_set_m128i(four(p, at[6], at[7]), four(p, at[4], at[5]));
      return _mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(first), last, 1);
    }

   private:
    // All lanes. The compiler must not know: a gather whose mask it knows to be full keeps the old value of
    // its register as an input, which makes one vector of lanes wait for the other.
    Mask all_;
    bool in_vectors_;
  };
  static Vector lookup(Vector table, Vector at) { return _mm512_maskz_permutexvar_epi32(0xffff, at, table); }
  static Vector strided(const std::int32_t* p, std::int32_t stride) {
    if (stride == 1) return load(p);
    const Vector lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    return _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), 0xffff, mul(lane, set(stride)), p, 4);
  }
  static Vector add(Vector a, Vector b) { return _mm512_add_epi32(a, b); }
  static Vector add_where(Mask m, Vector a, Vector b) { return _mm512_mask_add_epi32(a, m, a, b); }
  static Vector sub(Vector a, Vector b) { return _mm512_sub_epi32(a, b); }
  static Vector mul(Vector a, Vector b) { return _mm512_mullo_epi32(a, b); }
  static Vector pairs(Vector a, Vector b) { return _mm512_madd_epi16(a, b); }
  static Vector mul_halves(Vector a, Vector b) {
    return _mm512_or_si512(_mm512_mullo_epi16(a, b), shift_left(_mm512_mulhi_epu16(a, b), 16));
  }
  static Vector shift_left(Vector a, unsigned n) { return _mm512_maskz_slli_epi32(0xffff, a, n); }
  static Vector shift_left_by(Vector a, Vector n) { return _mm512_maskz_sllv_epi32(0xffff, a, n); }
  static Vector shift_right(Vector a, unsigned n) { return _mm512_maskz_srli_epi32(0xffff, a, n); }
  static Vector shift_right_signed(Vector a, unsigned n) { return _mm512_maskz_srai_epi32(0xffff, a, n); }
  static Vector bits_and(Vector a, Vector b) { return _mm512_and_si512(a, b); }
  static Vector bits_or(Vector a, Vector b) { return _mm512_or_si512(a, b); }
  static Vector min(Vector a, Vector b) { return _mm512_maskz_min_epi32(0xffff, a, b); }
  static Vector max(Vector a, Vector b) { return _mm512_maskz_max_epi32(0xffff, a, b); }
  static Floats to_floats(Vector a) { return _mm512_maskz_cvtepi32_ps(0xffff, a); }
  static Floats floats(Vector a) { return _mm512_castsi512_ps(a); }
  static Vector to_ints(Floats a) { return _mm512_maskz_cvttps_epi32(0xffff, a); }
  static Floats times(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats minus(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  static Floats times_minus(Floats a, Floats b, Floats c) { return _mm512_fmsub_ps(a, b, c); }
  static Floats times_plus(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static Floats reciprocal(Floats a) { return _mm512_maskz_rcp14_ps(0xffff, a); }
  static Mask less(Vector a, Vector b) { return _mm512_cmplt_epi32_mask(a, b); }
  static Mask reaches(Vector a, Vector b) { return _mm512_cmpge_epu32_mask(a, b); }
  static Mask both(Mask a, Mask b) { return static_cast<Mask>(a & b); }
  static Vector choose(Mask m, Vector yes, Vector no) { return _mm512_mask_blend_epi32(m, no, yes); }
  static std::uint32_t bits(Mask m) { return m; }
  static Mask only(std::size_t n) { return static_cast<Mask>(n >= kWidth ? 0xffff : (1U << n) - 1); }
  static Vector refill(Vector x, Mask on, const std::uint8_t*& words) {
    const Mask low = both(on, _mm512_cmplt_epu32_mask(x, set(65536)));
    const __m256i next = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
    const Vector some = _mm512_maskz_expand_epi32(low, _mm512_maskz_cvtepu16_epi32(0xffff, next));
    words += 2 * static_cast<unsigned>(__builtin_popcount(low));
    return _mm512_mask_or_epi32(x, low, shift_left(x, 16), some);
  }
};

}  // namespace
}  // namespace rdquant::codec

#include "codec/rans/streams.inl"

namespace rdquant::codec {

bool decode_streams_avx512(StreamTask& task) { return decode_any(task); }
void decode_single_avx512(const StreamTask& task, StreamDecoder& stream) { decode_alone(task, stream); }

}  // namespace rdquant::codec
