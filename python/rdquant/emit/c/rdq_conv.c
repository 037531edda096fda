/* Dense convolutions: two pixels by two filters at a time. The taps under both pixels are first widened to 16 bits, so
 * that y may be written over what of x is no longer needed. */
#include "rdq_code.h"
#include "rdq_round.h"

/* Some of a layer's filters, with their weights. */
typedef struct {
  const rdq_layer *layer;
  const int8_t *weights;
  uint32_t first, last;
} rdq_filters_of;

/* The scratch holds, for every four taps, four of the first pixel and four of the second. */

#if RDQ_DSP && defined(__OPTIMIZE__) && defined(__arm__)
/* Four taps of two filters under two pixels: 16 products in 15 instructions, which compilers do not find. */
#define RDQ_BLOCK                  \
  "ldm %[p]!, {r4, r5, r6, r8}\n"  \
  "ldr %[b], [%[w]], #4\n"         \
  "sxtb16 %[a], %[b]\n"            \
  "sxtb16 %[b], %[b], ror #8\n"    \
  "smlad %[s0], %[a], r4, %[s0]\n" \
  "smlad %[s2], %[a], r6, %[s2]\n" \
  "smlad %[s0], %[b], r5, %[s0]\n" \
  "smlad %[s2], %[b], r8, %[s2]\n"
#define RDQ_SECOND                 \
  "ldr %[b], [%[w]], #4\n"         \
  "sxtb16 %[a], %[b]\n"            \
  "sxtb16 %[b], %[b], ror #8\n"    \
  "smlad %[s1], %[a], r4, %[s1]\n" \
  "smlad %[s3], %[a], r6, %[s3]\n" \
  "smlad %[s1], %[b], r5, %[s1]\n" \
  "smlad %[s3], %[b], r8, %[s3]\n"

/* Sixteen taps a round. What is left over comes first, by a jump into the round. */
static inline const int8_t *rdq_two_by_two(const int8_t *w, const int16_t *p, uint32_t taps, int32_t sums[4]) {
  const int8_t *end = w + 2 * taps;
  int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3], a = (int32_t)(taps / 4 % 4), b;
  __asm volatile("cmp %[a], #2\n"
                 "beq 3f\n"
                 "bhi 2f\n"
                 "cmp %[a], #1\n"
                 "beq 4f\n"
                 "1:\n" RDQ_BLOCK RDQ_SECOND "2:\n" RDQ_BLOCK RDQ_SECOND "3:\n" RDQ_BLOCK RDQ_SECOND
                 "4:\n" RDQ_BLOCK RDQ_SECOND
                 "ldr %[a], %[end]\n" /* there is no register left for it */
                 "cmp %[w], %[a]\n"
                 "bne 1b\n"
                 : [p] "+r"(p), [w] "+r"(w), [a] "+r"(a), [b] "=&r"(b), [s0] "+r"(s0), [s1] "+r"(s1), [s2] "+r"(s2),
                   [s3] "+r"(s3)
                 : [end] "m"(end)
                 : "r4", "r5", "r6", "r8", "memory", "cc");
  sums[0] = s0;
  sums[1] = s1;
  sums[2] = s2;
  sums[3] = s3;
  return w;
}
#else
#define RDQ_TAP(j)                                                          \
  {                                                                         \
    const int32_t a = w[RDQ_PLACE(j)], b = w[RDQ_PLACE(j) + 4], v = p[j];   \
    const int32_t u = p[(j) + 4];                                           \
    s0 += a * v;                                                            \
    s1 += b * v;                                                            \
    s2 += a * u;                                                            \
    s3 += b * u;                                                            \
  }

/* Sums of two filters, in fours by turns, under two pixels. Returns where the next two filters begin. */
static inline const int8_t *rdq_two_by_two(const int8_t *w, const int16_t *p, uint32_t taps, int32_t sums[4]) {
  int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
  const int16_t *end = p + 2 * taps;
  do {
    RDQ_TAP(0)
    RDQ_TAP(1)
    RDQ_TAP(2)
    RDQ_TAP(3)
    w += 8;
    p += 8;
  } while (p != end);
  sums[0] = s0;
  sums[1] = s1;
  sums[2] = s2;
  sums[3] = s3;
  return w;
}
#endif

/* The same for the last filter of an odd number. */
static inline void rdq_one_by_two(const int8_t *w, const int16_t *p, uint32_t taps, int32_t sums[4]) {
  for (uint32_t i = 0; i < taps; i++) {
    const int16_t *v = p + i / 4 * 8 + RDQ_PLACE(i % 4);
    sums[0] += w[i] * v[0];
    sums[2] += w[i] * v[4];
  }
}

/* `count` levels, four or a multiple of it, as 16 bits; in pairs as rdq_even and rdq_odd give them where there is SIMD. */
static int16_t *rdq_widen(const int8_t *from, uint32_t count, int16_t *to) {
  const int8_t *end = from + count;
  do {
#if RDQ_DSP
    const rdq_word v = rdq_load(from);
    const int32_t even = rdq_even(v), odd = rdq_odd(v);
    memcpy(to, &even, sizeof even);
    memcpy(to + 2, &odd, sizeof odd);
#else
    to[0] = from[0];
    to[1] = from[1];
    to[2] = from[2];
    to[3] = from[3];
#endif
    from += 4;
    to += 8;
  } while (from != end);
  return to;
}

static int16_t *rdq_spread(int16_t level, uint32_t count, int16_t *to) {
  for (; count != 0; count -= 4, to += 8) to[0] = to[1] = to[2] = to[3] = level;
  return to;
}

/* Taps of one row under a pixel into `to`, whose channels are a multiple of four. */
static int16_t *rdq_row(const rdq_window *m, const int8_t *row, int32_t column, int16_t *to) {
  const uint32_t c = m->in_c, all = m->kernel_w * c;
  if (m->dilation_w == 1 && column >= 0 && column + m->kernel_w <= m->in_w)
    return rdq_widen(row + (uint32_t)column * c, all, to);
  for (uint32_t j = 0; j < m->kernel_w; j++, column += m->dilation_w) {
    const int inside = column >= 0 && column < m->in_w;
    to = inside ? rdq_widen(row + (uint32_t)column * c, c, to) : rdq_spread(m->x_zero, c, to);
  }
  return to;
}

/* Where an image's row lies of which `ring` rows are kept, one over the other. */
static const int8_t *rdq_line(const rdq_window *m, const int8_t *x, uint32_t ring, uint32_t row) {
  return x + (row < ring ? row : row % ring) * ((uint32_t)m->in_w * m->in_c);
}

/* Tap by tap, where channels are no multiple of four. */
static void rdq_gather(const rdq_window *m, const int8_t *x, uint32_t ring, int32_t row, int32_t column, uint32_t taps,
                       int16_t *to) {
  uint32_t tap = 0;
  for (uint32_t i = 0; i < m->kernel_h; i++, row += m->dilation_h) {
    const int exists = row >= 0 && row < m->in_h;
    const int8_t *line = rdq_line(m, x, ring, exists ? (uint32_t)row : 0);
    int32_t at = column;
    for (uint32_t j = 0; j < m->kernel_w; j++, at += m->dilation_w) {
      const int inside = exists && at >= 0 && at < m->in_w;
      const int8_t *from = line + (inside ? (uint32_t)at * m->in_c : 0);
      for (uint32_t c = 0; c < m->in_c; c++, tap++)
        to[tap / 4 * 8 + RDQ_PLACE(tap % 4)] = inside ? from[c] : m->x_zero;
    }
  }
  for (; tap != taps; tap++) to[tap / 4 * 8 + RDQ_PLACE(tap % 4)] = 0;
}

/* The taps under one pixel, widened. */
static void rdq_patch(const rdq_window *m, const int8_t *x, uint32_t ring, int32_t row, int32_t column, uint32_t taps,
                      int16_t *to) {
  if (m->in_c % 4 != 0) {
    rdq_gather(m, x, ring, row, column, taps, to);
    return;
  }
  for (uint32_t i = 0; i < m->kernel_h; i++, row += m->dilation_h) {
    const int inside = row >= 0 && row < m->in_h;
    to = inside ? rdq_row(m, rdq_line(m, x, ring, (uint32_t)row), column, to)
                : rdq_spread(m->x_zero, (uint32_t)m->kernel_w * m->in_c, to);
  }
}

/* Levels of one pixel for `count` filters, 1 or 2, from filter k on. */
static void rdq_levels(const rdq_epilogue *e, const int32_t *sums, uint32_t k, uint32_t count, const int8_t *residual,
                       int8_t *y) {
  for (uint32_t i = 0; i < count; i++)
    y[k + i] = rdq_finish(e, sums[i], k + i, residual == NULL ? NULL : residual + k + i);
}

/* Filters under two pixels; `together` 1: the second is none. */
static void rdq_under(const rdq_filters_of *part, const int16_t *scratch, uint32_t taps, uint32_t together,
                      const int8_t *residual, int8_t *y) {
  const rdq_epilogue *e = &part->layer->epilogue;
  const uint32_t filters = part->layer->window.out_c, last = part->last;
  const int8_t *w = part->weights, *next = residual == NULL ? NULL : residual + filters;
  const rdq_limits limits = rdq_limits_of(e);
  const int plain = together == 2 && rdq_is_plain(e, residual);
  uint32_t k = part->first;
  for (; k + 2 <= last; k += 2) {
    const int32_t *bias = e->bias + k;
    int32_t sums[4] = {bias[0], bias[1], bias[0], bias[1]};
    w = rdq_two_by_two(w, scratch, taps, sums);
    if (plain) {
      const float m0 = e->multiplier[k], m1 = e->multiplier[k + 1];
      rdq_two_levels(sums[0], sums[1], m0, m1, &limits, y + k);
      rdq_two_levels(sums[2], sums[3], m0, m1, &limits, y + filters + k);
      continue;
    }
    const int32_t first[2] = {sums[0], sums[1]}, second[2] = {sums[2], sums[3]};
    rdq_levels(e, first, k, 2, residual, y);
    if (together == 2) rdq_levels(e, second, k, 2, next, y + filters);
  }
  if (k == last) return;
  int32_t sums[4] = {e->bias[k], 0, e->bias[k], 0};
  rdq_one_by_two(w, scratch, taps, sums);
  rdq_levels(e, sums, k, 1, residual, y);
  if (together == 2) rdq_levels(e, sums + 2, k, 1, next, y + filters);
}

static uint32_t rdq_taps_of(const rdq_window *m) { return ((uint32_t)m->kernel_h * m->kernel_w * m->in_c + 3) / 4 * 4; }

/* Rows `first` up to `last` of the output, which begin at y; x keeps `ring` rows. */
static void rdq_rows(const rdq_filters_of *part, const int8_t *x, uint32_t ring, const int8_t *residual, int8_t *y,
                     uint32_t first, uint32_t last, int16_t *scratch) {
  const rdq_window *m = &part->layer->window;
  const uint32_t taps = rdq_taps_of(m);
  const uint32_t pixels = (last - first) * m->out_w, step = 2 * (uint32_t)m->out_c;
  int32_t row = (int32_t)first * m->stride_h - m->pad_top, column = -m->pad_left;
  uint32_t left = m->out_w;
  memset(scratch, 0, 4 * taps); /* of a last pixel alone, the second is computed, too */
  for (uint32_t pixel = 0; pixel < pixels; pixel += 2) {
    const uint32_t together = pixels - pixel < 2 ? 1 : 2;
    for (uint32_t i = 0; i < together; i++) {
      rdq_patch(m, x, ring, row, column, taps, scratch + 4 * i);
      column += m->stride_w;
      if (--left == 0) {
        left = m->out_w;
        column = -m->pad_left;
        row += m->stride_h;
      }
    }
    rdq_under(part, scratch, taps, together, residual, y);
    y += step;
    if (residual != NULL) residual += step;
  }
}

static rdq_filters_of rdq_all_filters(const rdq_layer *layer) {
  const rdq_filters_of part = {layer, layer->weights, 0, layer->window.out_c};
  return part;
}

void rdq_conv(const rdq_layer *layer, const int8_t *x, const int8_t *residual, int8_t *y, int16_t *scratch) {
  const rdq_filters_of part = rdq_all_filters(layer);
  rdq_rows(&part, x, layer->window.in_h, residual, y, 0, layer->window.out_h, scratch);
}

void rdq_coded_conv(const rdq_layer *layer, const rdq_code *code, const int8_t *x, const int8_t *residual, int8_t *y,
                    int16_t *scratch) {
  const rdq_window *m = &layer->window;
  const uint32_t taps = rdq_taps_of(m);
  int8_t *weights = (int8_t *)(scratch + 2 * taps);
  rdq_stream stream = rdq_begin(code);
  for (uint32_t k = 0; k < m->out_c; k += 2) {
    const uint32_t pair = m->out_c - k < 2 ? 1 : 2;
    const rdq_filters_of part = {layer, weights, k, k + pair};
    for (uint32_t i = 0; i < pair * taps; i++) weights[i] = rdq_take(&stream);
    rdq_rows(&part, x, m->in_h, residual, y, 0, m->out_h, scratch);
  }
}

void rdq_conv_pair(const rdq_layer *before, const rdq_layer *after, const int8_t *x, const int8_t *residual, int8_t *y,
                   int8_t *between, int16_t *scratch) {
  const rdq_window *m = &after->window;
  const rdq_filters_of one = rdq_all_filters(before), other = rdq_all_filters(after);
  const uint32_t line = (uint32_t)m->in_w * m->in_c, step = (uint32_t)m->out_w * m->out_c, ring = m->kernel_h;
  uint32_t done = 0;
  for (uint32_t row = 0; row < m->out_h; row++) {
    const int32_t wanted = (int32_t)(row * m->stride_h + ring) - m->pad_top;
    for (; (int32_t)done < wanted && done < m->in_h; done++)
      rdq_rows(&one, x, before->window.in_h, NULL, between + done % ring * line, done, done + 1, scratch);
    rdq_rows(&other, between, ring, residual, y, row, row + 1, scratch);
    y += step;
    if (residual != NULL) residual += step;
  }
}
