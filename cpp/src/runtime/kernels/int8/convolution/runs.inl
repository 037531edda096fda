// Tiles of 4 pixels × 16 filters and of 8 or 7 × 8 with ARM's dot products: 16 registers of sums, 8 of the image, 4 of weights.
// In assembler, for compilers move and spill registers of such a loop. Executed instructions of its body for 16
// multiply-accumulates of each sum: 4 × 16, 32 channels: 4 loads of pairs, 8 of four registers of weights, 128 products;
// 8 × 8, 16 channels: 8 loads, 2 of weights, 64 products.
#pragma once

#include "runtime/kernels/int8/convolution/windows.inl"

namespace rdquant::runtime::kernels {
namespace {

template <int P, int N>
constexpr bool kAssembled = (P == 4 && N == 2) || ((P == 8 || P == 7) && N == 1);
constexpr int kSums = 64;  // int32 that a tile stores: those of seven pixels, and more

// What a tile sums: `runs` runs of `quads` times four channels that lie side by side, at `offsets` from the first pixel.
struct DotRuns {
  const std::uint8_t* src;
  Index step;  // bytes from a pixel to the next
  const std::int32_t* offsets;
  Index runs, quads;
  const std::int8_t* weights;
};

// clang-format off: it comes to no end with lines of macros
#define RDQ_DOT(sum, w, x, lane) "sdot v" #sum ".4s, v" #w ".16b, v" #x ".4b[" #lane "]\n\t"
#define RDQ_LOAD(x, p) "ldr q" #x ", [%[p" #p "]], #16\n\t"
#define RDQ_PAIR(x, y, p) "ldp q" #x ", q" #y ", [%[p" #p "]], #32\n\t"
#define RDQ_WEIGHTS "ld1 {v8.16b-v11.16b}, [%[w]], #64\n\t"

// Four pixels, whose bytes are in a b c d.
#define RDQ_QUAD4(a, b, c, d, lane)                                                                   \
  RDQ_WEIGHTS                                                                                         \
  RDQ_DOT(16, 8, a, lane)                                                                             \
  RDQ_DOT(20, 8, b, lane)                                                                             \
  RDQ_DOT(24, 8, c, lane)                                                                             \
  RDQ_DOT(28, 8, d, lane)                                                                             \
  RDQ_DOT(17, 9, a, lane)                                                                             \
  RDQ_DOT(21, 9, b, lane)                                                                             \
  RDQ_DOT(25, 9, c, lane)                                                                             \
  RDQ_DOT(29, 9, d, lane)                                                                             \
  RDQ_DOT(18, 10, a, lane)                                                                            \
  RDQ_DOT(22, 10, b, lane) RDQ_DOT(26, 10, c, lane) RDQ_DOT(30, 10, d, lane) RDQ_DOT(19, 11, a, lane) \
      RDQ_DOT(23, 11, b, lane) RDQ_DOT(27, 11, c, lane) RDQ_DOT(31, 11, d, lane)
#define RDQ_SIXTEEN4(a, b, c, d) \
  RDQ_QUAD4(a, b, c, d, 0) RDQ_QUAD4(a, b, c, d, 1) RDQ_QUAD4(a, b, c, d, 2) RDQ_QUAD4(a, b, c, d, 3)
#define RDQ_PIXELS4 RDQ_LOAD(0, 0) RDQ_LOAD(2, 1) RDQ_LOAD(4, 2) RDQ_LOAD(6, 3)

#define RDQ_TILE4 \
  "ld1 {v16.4s-v19.4s}, [%[start]]\n\t"                                                      \
  "ld1 {v20.4s-v23.4s}, [%[start]]\n\t"                                                      \
  "ld1 {v24.4s-v27.4s}, [%[start]]\n\t"                                                      \
  "ld1 {v28.4s-v31.4s}, [%[start]]\n"                                                        \
  "1:\n\t"                                                                                   \
  "ldrsw %[p0], [%[offsets]], #4\n\t"                                                        \
  "subs %[left], %[quads], #8\n\t"                                                           \
  "add %[p0], %[p0], %[src]\n\t"                                                             \
  "add %[p1], %[p0], %[step]\n\t"                                                            \
  "add %[p2], %[p0], %[step], lsl #1\n\t"                                                    \
  "add %[p3], %[p1], %[step], lsl #1\n\t"                                                    \
  "b.lt 3f\n"                                                                                \
  "2:\n\t" RDQ_PAIR(0, 1, 0) RDQ_PAIR(2, 3, 1) RDQ_PAIR(4, 5, 2) RDQ_PAIR(6, 7, 3)           \
      RDQ_SIXTEEN4(0, 2, 4, 6) RDQ_SIXTEEN4(1, 3, 5, 7)             \
  "subs %[left], %[left], #8\n\t"                                                            \
  "b.ge 2b\n"                                                                                \
  "3:\n\t"                                                                                   \
  "tbz %[left], #2, 4f\n\t" RDQ_PIXELS4 RDQ_SIXTEEN4(0, 2, 4, 6)    \
  "4:\n\t"                                                                                   \
  "ands %[left], %[left], #3\n\t"                                                            \
  "b.eq 5f\n\t" RDQ_PIXELS4 RDQ_QUAD4(0, 2, 4, 6, 0)                \
  "cmp %[left], #2\n\t"                                                                      \
  "b.lt 5f\n\t" RDQ_QUAD4(0, 2, 4, 6, 1)                                                     \
  "b.eq 5f\n\t" RDQ_QUAD4(0, 2, 4, 6, 2)                                                     \
  "5:\n\t"                                                                                   \
  "subs %[runs], %[runs], #1\n\t"                                                            \
  "b.ne 1b\n\t"

// Eight pixels in v0 to v7, or seven, without what `eighth` leaves out; weights of one quad in v8 and v9, or of two in
// v8 to v11.
#define RDQ_WITH(text) text
#define RDQ_WITHOUT(text)
#define RDQ_QUAD8(eighth, low, high, lane)                                                               \
  RDQ_DOT(16, low, 0, lane) RDQ_DOT(18, low, 1, lane) RDQ_DOT(20, low, 2, lane) RDQ_DOT(22, low, 3, lane) \
  RDQ_DOT(24, low, 4, lane) RDQ_DOT(26, low, 5, lane) RDQ_DOT(28, low, 6, lane)                          \
  eighth(RDQ_DOT(30, low, 7, lane))                                                                      \
  RDQ_DOT(17, high, 0, lane) RDQ_DOT(19, high, 1, lane) RDQ_DOT(21, high, 2, lane)                       \
  RDQ_DOT(23, high, 3, lane) RDQ_DOT(25, high, 4, lane) RDQ_DOT(27, high, 5, lane)                       \
  RDQ_DOT(29, high, 6, lane) eighth(RDQ_DOT(31, high, 7, lane))
#define RDQ_ONE8(eighth, lane) "ldp q8, q9, [%[w]], #32\n\t" RDQ_QUAD8(eighth, 8, 9, lane)
// Loads of pixels between their first products: loads one after the other would hold up the vector units.
#define RDQ_FIRST8(x, low, high) RDQ_LOAD(x, x) RDQ_DOT(low, 8, x, 0) RDQ_DOT(high, 9, x, 0)
#define RDQ_PIXELS8(eighth)                                                                \
  RDQ_FIRST8(0, 16, 17) RDQ_FIRST8(1, 18, 19) RDQ_FIRST8(2, 20, 21) RDQ_FIRST8(3, 22, 23)  \
  RDQ_FIRST8(4, 24, 25) RDQ_FIRST8(5, 26, 27) RDQ_FIRST8(6, 28, 29) eighth(RDQ_FIRST8(7, 30, 31))

#define RDQ_BOTH8(x, low, high) RDQ_FIRST8(x, low, high) RDQ_DOT(low, 10, x, 1) RDQ_DOT(high, 11, x, 1)
#define RDQ_PAIRS8(eighth)                                                             \
  RDQ_BOTH8(0, 16, 17) RDQ_BOTH8(1, 18, 19) RDQ_BOTH8(2, 20, 21) RDQ_BOTH8(3, 22, 23)  \
  RDQ_BOTH8(4, 24, 25) RDQ_BOTH8(5, 26, 27) RDQ_BOTH8(6, 28, 29) eighth(RDQ_BOTH8(7, 30, 31))

#define RDQ_TILE8(eighth)                                                                \
  "ldp q16, q17, [%[start]]\n\tldp q18, q19, [%[start]]\n\tldp q20, q21, [%[start]]\n\t" \
  "ldp q22, q23, [%[start]]\n\tldp q24, q25, [%[start]]\n\tldp q26, q27, [%[start]]\n\t" \
  "ldp q28, q29, [%[start]]\n\tldp q30, q31, [%[start]]\n"                               \
  "1:\n\t"                                                                               \
  "ldrsw %[p0], [%[offsets]], #4\n\t"                                                    \
  "subs %[left], %[quads], #4\n\t"                                                       \
  "add %[p0], %[p0], %[src]\n\tadd %[p1], %[p0], %[step]\n\t"                            \
  "add %[p2], %[p0], %[step], lsl #1\n\tadd %[p3], %[p1], %[step], lsl #1\n\t"           \
  "add %[p4], %[p2], %[step], lsl #1\n\tadd %[p5], %[p3], %[step], lsl #1\n\t"           \
  "add %[p6], %[p4], %[step], lsl #1\n\t" eighth("add %[p7], %[p5], %[step], lsl #1\n\t") \
  "b.lt 3f\n"                                                                            \
  "2:\n\t" RDQ_WEIGHTS RDQ_PAIRS8(eighth)                  \
  RDQ_WEIGHTS RDQ_QUAD8(eighth, 8, 9, 2) RDQ_QUAD8(eighth, 10, 11, 3)                    \
  "subs %[left], %[left], #4\n\t"                                                        \
  "b.ge 2b\n"                                                                            \
  "3:\n\t"                                                                               \
  "ands %[left], %[left], #3\n\t"                                                        \
  "b.eq 5f\n\tldp q8, q9, [%[w]], #32\n\t" RDQ_PIXELS8(eighth)                           \
  "cmp %[left], #2\n\t"                                                                  \
  "b.lt 5f\n\t" RDQ_ONE8(eighth, 1)                                                      \
  "b.eq 5f\n\t" RDQ_ONE8(eighth, 2)                                                      \
  "5:\n\t"                                                                               \
  "subs %[runs], %[runs], #1\n\t"                                                        \
  "b.ne 1b\n\t"

#define RDQ_STORE                                                                  \
  "st1 {v16.4s-v19.4s}, [%[sums]], #64\n\tst1 {v20.4s-v23.4s}, [%[sums]], #64\n\t" \
  "st1 {v24.4s-v27.4s}, [%[sums]], #64\n\tst1 {v28.4s-v31.4s}, [%[sums]]\n"
#define RDQ_VECTORS                                                                                       \
  "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v16", \
      "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30",   \
      "v31"

// clang-format on

// Sums [P][N][8] of all runs, each from its block's `start` on. Up to 12 bytes behind the last channels are read.
inline void dot_runs_of_blocks(DotRuns r, const std::int32_t* start, std::int32_t* to) {
  Index left;
  const std::uint8_t *p0, *p1, *p2, *p3;
#define RDQ_RUN(text)                                                                                  \
  asm volatile(text RDQ_STORE                                                                          \
               : [w] "+r"(r.weights), [offsets] "+r"(r.offsets), [runs] "+r"(r.runs), [sums] "+r"(to), \
                 [left] "=&r"(left), [p0] "=&r"(p0), [p1] "=&r"(p1), [p2] "=&r"(p2), [p3] "=&r"(p3)    \
               : [src] "r"(r.src), [step] "r"(r.step), [quads] "r"(r.quads), [start] "r"(start)        \
               : RDQ_VECTORS)
  RDQ_RUN(RDQ_TILE4);
#undef RDQ_RUN
}

template <bool Eight>
inline void dot_runs_of_block(DotRuns r, const std::int32_t* start, std::int32_t* to) {
  Index left;
  const std::uint8_t *p0, *p1, *p2, *p3, *p4, *p5, *p6, *p7;
#define RDQ_RUN(text)                                                                                  \
  asm volatile(text RDQ_STORE                                                                          \
               : [w] "+r"(r.weights), [offsets] "+r"(r.offsets), [runs] "+r"(r.runs), [sums] "+r"(to), \
                 [left] "=&r"(left), [p0] "=&r"(p0), [p1] "=&r"(p1), [p2] "=&r"(p2), [p3] "=&r"(p3),   \
                 [p4] "=&r"(p4), [p5] "=&r"(p5), [p6] "=&r"(p6), [p7] "=&r"(p7)                        \
               : [src] "r"(r.src), [step] "r"(r.step), [quads] "r"(r.quads), [start] "r"(start)        \
               : RDQ_VECTORS)
  if constexpr (Eight) {
    RDQ_RUN(RDQ_TILE8(RDQ_WITH));
  } else {
    RDQ_RUN(RDQ_TILE8(RDQ_WITHOUT));
  }
#undef RDQ_RUN
}

template <int P, int N>
inline void dot_runs(const DotRuns& runs, const std::int32_t* start, std::int32_t (&sums)[kSums]) {
  static_assert(kAssembled<P, N>);
  if constexpr (N == 2) {
    dot_runs_of_blocks(runs, start, sums);
  } else {
    dot_runs_of_block<P == 8>(runs, start, sums);
  }
}

#undef RDQ_DOT
#undef RDQ_LOAD
#undef RDQ_PAIR
#undef RDQ_WEIGHTS
#undef RDQ_QUAD4
#undef RDQ_SIXTEEN4
#undef RDQ_PIXELS4
#undef RDQ_TILE4
#undef RDQ_WITH
#undef RDQ_WITHOUT
#undef RDQ_QUAD8
#undef RDQ_ONE8
#undef RDQ_FIRST8
#undef RDQ_BOTH8
#undef RDQ_PAIRS8
#undef RDQ_PIXELS8
#undef RDQ_TILE8
#undef RDQ_STORE
#undef RDQ_VECTORS

}  // namespace
}  // namespace rdquant::runtime::kernels
