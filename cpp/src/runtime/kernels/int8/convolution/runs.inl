// Tiles of 4 pixels × 16 filters and 8 × 8 with ARM's dot products: 16 registers of sums, 8 of the image, 4 of weights.
// In assembler, for compilers move and spill registers of such a loop. Executed instructions of its body for 16
// multiply-accumulates of each sum: 4 × 16, 32 channels: 4 loads of pairs, 8 of four registers of weights, 128 products;
// 8 × 8, 16 channels: 8 loads, 2 of weights, 64 products.
#pragma once

#include "runtime/kernels/int8/convolution/windows.inl"

namespace rdquant::runtime::kernels {
namespace {

template <int P, int N>
constexpr bool kAssembled = (P == 4 && N == 2) || (P == 8 && N == 1);

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
#define RDQ_FLIP(x) "eor v" #x ".16b, v" #x ".16b, v15.16b\n\t"
#define RDQ_SIGNED(text)
#define RDQ_UNSIGNED(text) text
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
#define RDQ_FLIP4 RDQ_FLIP(0) RDQ_FLIP(2) RDQ_FLIP(4) RDQ_FLIP(6)
#define RDQ_FLIP8 \
  RDQ_FLIP(0) RDQ_FLIP(1) RDQ_FLIP(2) RDQ_FLIP(3) RDQ_FLIP(4) RDQ_FLIP(5) RDQ_FLIP(6) RDQ_FLIP(7)

#define RDQ_TILE4(when_unsigned) \
  "movi v15.16b, #128\n\t"                                                                   \
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
      when_unsigned(RDQ_FLIP8) RDQ_SIXTEEN4(0, 2, 4, 6) RDQ_SIXTEEN4(1, 3, 5, 7)             \
  "subs %[left], %[left], #8\n\t"                                                            \
  "b.ge 2b\n"                                                                                \
  "3:\n\t"                                                                                   \
  "tbz %[left], #2, 4f\n\t" RDQ_PIXELS4 when_unsigned(RDQ_FLIP4) RDQ_SIXTEEN4(0, 2, 4, 6)    \
  "4:\n\t"                                                                                   \
  "ands %[left], %[left], #3\n\t"                                                            \
  "b.eq 5f\n\t" RDQ_PIXELS4 when_unsigned(RDQ_FLIP4) RDQ_QUAD4(0, 2, 4, 6, 0)                \
  "cmp %[left], #2\n\t"                                                                      \
  "b.lt 5f\n\t" RDQ_QUAD4(0, 2, 4, 6, 1)                                                     \
  "b.eq 5f\n\t" RDQ_QUAD4(0, 2, 4, 6, 2)                                                     \
  "5:\n\t"                                                                                   \
  "subs %[runs], %[runs], #1\n\t"                                                            \
  "b.ne 1b\n\t"

// Eight pixels in v0 to v7; weights of one quad in v8 and v9, or of two in v8 to v11.
#define RDQ_QUAD8(low, high, lane)                                                     \
  RDQ_DOT(16, low, 0, lane)                                                            \
  RDQ_DOT(18, low, 1, lane)                                                            \
  RDQ_DOT(20, low, 2, lane)                                                            \
  RDQ_DOT(22, low, 3, lane)                                                            \
  RDQ_DOT(24, low, 4, lane)                                                            \
  RDQ_DOT(26, low, 5, lane)                                                            \
  RDQ_DOT(28, low, 6, lane)                                                            \
  RDQ_DOT(30, low, 7, lane)                                                            \
  RDQ_DOT(17, high, 0, lane)                                                           \
  RDQ_DOT(19, high, 1, lane) RDQ_DOT(21, high, 2, lane) RDQ_DOT(23, high, 3, lane)     \
      RDQ_DOT(25, high, 4, lane) RDQ_DOT(27, high, 5, lane) RDQ_DOT(29, high, 6, lane) \
          RDQ_DOT(31, high, 7, lane)
#define RDQ_ONE8(lane) "ldp q8, q9, [%[w]], #32\n\t" RDQ_QUAD8(8, 9, lane)
#define RDQ_PIXELS8 \
  RDQ_LOAD(0, 0)    \
  RDQ_LOAD(1, 1) RDQ_LOAD(2, 2) RDQ_LOAD(3, 3) RDQ_LOAD(4, 4) RDQ_LOAD(5, 5) RDQ_LOAD(6, 6) RDQ_LOAD(7, 7)

#define RDQ_TILE8(when_unsigned)                                                         \
  "movi v15.16b, #128\n\t"                                                               \
  "ldp q16, q17, [%[start]]\n\tldp q18, q19, [%[start]]\n\tldp q20, q21, [%[start]]\n\t" \
  "ldp q22, q23, [%[start]]\n\tldp q24, q25, [%[start]]\n\tldp q26, q27, [%[start]]\n\t" \
  "ldp q28, q29, [%[start]]\n\tldp q30, q31, [%[start]]\n"                               \
  "1:\n\t"                                                                               \
  "ldrsw %[p0], [%[offsets]], #4\n\t"                                                    \
  "subs %[left], %[quads], #4\n\t"                                                       \
  "add %[p0], %[p0], %[src]\n\tadd %[p1], %[p0], %[step]\n\t"                            \
  "add %[p2], %[p0], %[step], lsl #1\n\tadd %[p3], %[p1], %[step], lsl #1\n\t"           \
  "add %[p4], %[p2], %[step], lsl #1\n\tadd %[p5], %[p3], %[step], lsl #1\n\t"           \
  "add %[p6], %[p4], %[step], lsl #1\n\tadd %[p7], %[p5], %[step], lsl #1\n\t"           \
  "b.lt 3f\n"                                                                            \
  "2:\n\t" RDQ_PIXELS8                                                                   \
  when_unsigned(RDQ_FLIP8)                                                               \
  RDQ_WEIGHTS RDQ_QUAD8(8, 9, 0) RDQ_QUAD8(10, 11, 1)        \
      RDQ_WEIGHTS RDQ_QUAD8(8, 9, 2) RDQ_QUAD8(10, 11, 3)                                                  \
  "subs %[left], %[left], #4\n\t"                                                                          \
  "b.ge 2b\n"                                                                                              \
  "3:\n\t"                                                                                                 \
  "ands %[left], %[left], #3\n\t"                                                                          \
  "b.eq 5f\n\t" RDQ_PIXELS8 when_unsigned(RDQ_FLIP8) RDQ_ONE8(0)                                           \
  "cmp %[left], #2\n\t"                                                                                    \
  "b.lt 5f\n\t" RDQ_ONE8(1)                                                                                \
  "b.eq 5f\n\t" RDQ_ONE8(2)                                                                                \
  "5:\n\t"                                                                                                 \
  "subs %[runs], %[runs], #1\n\t"                                                                          \
  "b.ne 1b\n\t"

#define RDQ_STORE                                                                  \
  "st1 {v16.4s-v19.4s}, [%[sums]], #64\n\tst1 {v20.4s-v23.4s}, [%[sums]], #64\n\t" \
  "st1 {v24.4s-v27.4s}, [%[sums]], #64\n\tst1 {v28.4s-v31.4s}, [%[sums]]\n"
#define RDQ_VECTORS                                                                                       \
  "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v15", "v16", \
      "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30",   \
      "v31"

// clang-format on

// Sums [P][N][8] of all runs, each from its block's `start` on. Up to 12 bytes behind the last channels are read.
template <bool Signed>
inline void dot_runs(DotRuns r, const std::int32_t (&start)[16], std::int32_t (&sums)[64]) {
  std::int32_t* to = sums;
  Index left;
  const std::uint8_t *p0, *p1, *p2, *p3;
#define RDQ_RUN(text)                                                                                  \
  asm volatile(text RDQ_STORE                                                                          \
               : [w] "+r"(r.weights), [offsets] "+r"(r.offsets), [runs] "+r"(r.runs), [sums] "+r"(to), \
                 [left] "=&r"(left), [p0] "=&r"(p0), [p1] "=&r"(p1), [p2] "=&r"(p2), [p3] "=&r"(p3)    \
               : [src] "r"(r.src), [step] "r"(r.step), [quads] "r"(r.quads), [start] "r"(&start[0])    \
               : RDQ_VECTORS)
  if constexpr (Signed) {
    RDQ_RUN(RDQ_TILE4(RDQ_SIGNED));
  } else {
    RDQ_RUN(RDQ_TILE4(RDQ_UNSIGNED));
  }
#undef RDQ_RUN
}

template <bool Signed>
inline void dot_runs(DotRuns r, const std::int32_t (&start)[8], std::int32_t (&sums)[64]) {
  std::int32_t* to = sums;
  Index left;
  const std::uint8_t *p0, *p1, *p2, *p3, *p4, *p5, *p6, *p7;
#define RDQ_RUN(text)                                                                                  \
  asm volatile(text RDQ_STORE                                                                          \
               : [w] "+r"(r.weights), [offsets] "+r"(r.offsets), [runs] "+r"(r.runs), [sums] "+r"(to), \
                 [left] "=&r"(left), [p0] "=&r"(p0), [p1] "=&r"(p1), [p2] "=&r"(p2), [p3] "=&r"(p3),   \
                 [p4] "=&r"(p4), [p5] "=&r"(p5), [p6] "=&r"(p6), [p7] "=&r"(p7)                        \
               : [src] "r"(r.src), [step] "r"(r.step), [quads] "r"(r.quads), [start] "r"(&start[0])    \
               : RDQ_VECTORS)
  if constexpr (Signed) {
    RDQ_RUN(RDQ_TILE8(RDQ_SIGNED));
  } else {
    RDQ_RUN(RDQ_TILE8(RDQ_UNSIGNED));
  }
#undef RDQ_RUN
}

#undef RDQ_DOT
#undef RDQ_LOAD
#undef RDQ_PAIR
#undef RDQ_FLIP
#undef RDQ_SIGNED
#undef RDQ_UNSIGNED
#undef RDQ_WEIGHTS
#undef RDQ_QUAD4
#undef RDQ_SIXTEEN4
#undef RDQ_PIXELS4
#undef RDQ_FLIP4
#undef RDQ_FLIP8
#undef RDQ_TILE4
#undef RDQ_QUAD8
#undef RDQ_ONE8
#undef RDQ_PIXELS8
#undef RDQ_TILE8
#undef RDQ_STORE
#undef RDQ_VECTORS

}  // namespace
}  // namespace rdquant::runtime::kernels
