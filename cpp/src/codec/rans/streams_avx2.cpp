#include <immintrin.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "codec/rans/loads.inl"
#include "rdquant/core/cpu.hpp"

namespace rdquant::codec {
namespace {

/// For every set of lanes, which of the next words each of them takes.
constexpr std::array<std::array<std::uint8_t, 8>, 256> make_order() {
  std::array<std::array<std::uint8_t, 8>, 256> order{};
  for (unsigned set = 0; set < 256; ++set) {
    std::uint8_t next = 0;
    for (unsigned lane = 0; lane < 8; ++lane) {
      order[set][lane] = next;
      if ((set >> lane) & 1) ++next;
    }
  }
  return order;
}
constexpr auto kOrder = make_order();

struct Lanes {
  using Vector = __m256i;
  using Floats = __m256;
  using Mask = __m256i;
  static constexpr std::size_t kWidth = 8;

  static Vector set(std::int32_t a) { return _mm256_set1_epi32(a); }
  static Floats set_floats(float a) { return _mm256_set1_ps(a); }
  static Vector load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static Vector load_halves(const std::int16_t* p) {
    return _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static void store(void* p, Vector a) { _mm256_storeu_si256(static_cast<__m256i*>(p), a); }
  /// Elements of a table, by one instruction or by a load each, which is faster on some processors.
  class Gather {
   public:
    explicit Gather(std::size_t lanes) : all_(only(lanes)), in_vectors_(core::gathers_in_vectors()) {}
    [[gnu::always_inline]] Vector operator()(const void* from, Vector at) const {
      const auto* const p = static_cast<const int*>(from);
      if (in_vectors_) return _mm256_mask_i32gather_epi32(_mm256_setzero_si256(), p, at, all_, 4);
      return _mm256_set_m128i(four(p, at[2], at[3]), four(p, at[0], at[1]));
    }

   private:
    // All lanes. The compiler must not know: a gather whose mask it knows to be full keeps the old value of
    // its register as an input, which makes one vector of lanes wait for the other.
    Mask all_;
    bool in_vectors_;
  };
  static Vector lookup(Vector table, Vector at) { return _mm256_permutevar8x32_epi32(table, at); }
  static Vector strided(const std::int32_t* p, std::int32_t stride) {
    if (stride == 1) return load(p);
    return _mm256_i32gather_epi32(p, mul(_mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0), set(stride)), 4);
  }
  static Vector add(Vector a, Vector b) { return _mm256_add_epi32(a, b); }
  static Vector add_where(Mask m, Vector a, Vector b) { return add(a, bits_and(m, b)); }
  static Vector sub(Vector a, Vector b) { return _mm256_sub_epi32(a, b); }
  static Vector mul(Vector a, Vector b) { return _mm256_mullo_epi32(a, b); }
  static Vector pairs(Vector a, Vector b) { return _mm256_madd_epi16(a, b); }
  static Vector mul_halves(Vector a, Vector b) {
    return _mm256_or_si256(_mm256_mullo_epi16(a, b), shift_left(_mm256_mulhi_epu16(a, b), 16));
  }
  static Vector shift_left(Vector a, int n) { return _mm256_slli_epi32(a, n); }
  static Vector shift_left_by(Vector a, Vector n) { return _mm256_sllv_epi32(a, n); }
  static Vector shift_right(Vector a, int n) { return _mm256_srli_epi32(a, n); }
  static Vector shift_right_signed(Vector a, int n) { return _mm256_srai_epi32(a, n); }
  static Vector bits_and(Vector a, Vector b) { return _mm256_and_si256(a, b); }
  static Vector bits_or(Vector a, Vector b) { return _mm256_or_si256(a, b); }
  static Vector min(Vector a, Vector b) { return _mm256_min_epi32(a, b); }
  static Vector max(Vector a, Vector b) { return _mm256_max_epi32(a, b); }
  static Floats to_floats(Vector a) { return _mm256_cvtepi32_ps(a); }
  static Floats floats(Vector a) { return _mm256_castsi256_ps(a); }
  static Vector to_ints(Floats a) { return _mm256_cvttps_epi32(a); }
  static Floats times(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats minus(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
  static Floats times_minus(Floats a, Floats b, Floats c) { return _mm256_fmsub_ps(a, b, c); }
  static Floats times_plus(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  static Floats reciprocal(Floats a) { return _mm256_rcp_ps(a); }
  static Mask less(Vector a, Vector b) { return _mm256_cmpgt_epi32(b, a); }
  static Mask reaches(Vector a, Vector b) { return _mm256_cmpeq_epi32(_mm256_min_epu32(a, b), b); }
  static Mask both(Mask a, Mask b) { return _mm256_and_si256(a, b); }
  static Vector choose(Mask m, Vector yes, Vector no) { return _mm256_blendv_epi8(no, yes, m); }
  static std::uint32_t bits(Mask m) {
    return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(m)));
  }
  static Mask only(std::size_t n) {
    return less(_mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0), set(static_cast<std::int32_t>(n)));
  }
  static Vector refill(Vector x, Mask on, const std::uint8_t*& words) {
    const Mask low = both(on, _mm256_cmpeq_epi32(shift_right(x, 16), _mm256_setzero_si256()));
    const std::uint32_t lanes = bits(low);
    const Vector next = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words)));
    const Vector order =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(kOrder[lanes].data())));
    words += 2 * static_cast<unsigned>(__builtin_popcount(lanes));
    const Vector filled = _mm256_or_si256(shift_left(x, 16), _mm256_permutevar8x32_epi32(next, order));
    return choose(low, filled, x);
  }
};

}  // namespace
}  // namespace rdquant::codec

#include "codec/rans/streams.inl"

namespace rdquant::codec {

bool decode_streams_avx2(StreamTask& task) { return decode_any(task); }
void decode_single_avx2(const StreamTask& task, StreamDecoder& stream) { decode_alone(task, stream); }

}  // namespace rdquant::codec
