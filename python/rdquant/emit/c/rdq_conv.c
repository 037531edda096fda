/* Dense convolutions, four pixels at a time. The taps under all four are first copied, so that y may be written over what of x
 * is no longer needed. */
#include "rdq_code.h"
#include "rdq_sums.h"

/* Some of a layer's filters, with their weights. */
typedef struct {
  const rdq_layer *layer;
  const int8_t *weights;
  uint32_t first, last;
} rdq_filters_of;

/* `count` levels, four or a multiple of it, as rdq_quads wants them: the taps of a pixel. */
static rdq_tap *rdq_widen(const int8_t *from, uint32_t count, rdq_tap *to) {
#if RDQ_MVE
  for (int32_t left = (int32_t)count; left > 0; left -= 16, from += 16, to += 16) {
    const mve_pred16_t some = vctp8q((uint32_t)left);
    vstrbq_p_s8(to, vldrbq_z_s8(from, some), some);
  }
  return to - (-count & 15);
#else
  const int8_t *end = from + count;
  do {
#if RDQ_ASSEMBLY
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
    to += 16;
  } while (from != end);
  return to;
#endif
}

/* Whether taps of a row lie side by side inside the image. */
static int rdq_is_inside(const rdq_window *m, const int8_t *line, int32_t column) {
  return line != NULL && m->dilation_w == 1 && column >= 0 && column + m->kernel_w <= m->in_w;
}

/* The taps of one row, as they are; `line` NULL: a row outside the image. */
static int8_t *rdq_gather(const rdq_window *m, const int8_t *line, int32_t column, int8_t *to) {
  const int whole = rdq_is_inside(m, line, column);
  const uint32_t length = whole ? (uint32_t)m->kernel_w * m->in_c : m->in_c;
  const int8_t outside = (int8_t)m->x_zero;
  for (uint32_t j = whole ? m->kernel_w : 1; j <= m->kernel_w; j++, column += m->dilation_w) {
    const int inside = line != NULL && column >= 0 && column < m->in_w;
    const int8_t *from = inside ? line + (uint32_t)column * m->in_c : &outside, *end = to + length;
    for (; to != end; from += inside) *to++ = *from;
  }
  return to;
}

/* The taps under one pixel of an image of which `ring` rows are kept, one over the other. `row`: bytes for what lies not side
 * by side, or whose rows are no multiple of four. */
static void rdq_patch(const rdq_window *m, const int8_t *x, uint32_t ring, int32_t row, int32_t column, uint32_t taps,
                      int8_t *gathered, rdq_tap *to) {
  const uint32_t width = (uint32_t)m->kernel_w * m->in_c, line_bytes = (uint32_t)m->in_w * m->in_c;
  const int fours = width % 4 == 0;
  int8_t *next = gathered;
  for (uint32_t i = m->kernel_h; i != 0; i--, row += m->dilation_h) {
    const int8_t *line = NULL;
    if (row >= 0 && row < m->in_h) line = x + ((uint32_t)row < ring ? (uint32_t)row : (uint32_t)row % ring) * line_bytes;
    if (fours && rdq_is_inside(m, line, column)) {
      to = rdq_widen(line + (uint32_t)column * m->in_c, width, to);
      continue;
    }
    next = rdq_gather(m, line, column, next);
    if (fours) {
      to = rdq_widen(gathered, width, to);
      next = gathered;
    }
  }
  if (fours) return;
  for (const int8_t *end = gathered + taps; next != end;) *(volatile int8_t *)next++ = 0; /* not by memset */
  rdq_widen(gathered, taps, to);
}

/* All filters of a part under `count` pixels, of four whose patches there are. */
static void rdq_under(const rdq_filters_of *part, const rdq_tap *patches, uint32_t taps, uint32_t count,
                      const int8_t *residual, int8_t *y) {
  const rdq_epilogue *e = &part->layer->epilogue;
  const uint32_t filters = part->layer->window.out_c, step = part->layer->window.step, k = part->first;
  rdq_quad q; /* sums stay as they are */
  q.weights = part->weights;
  q.patches = patches;
  q.taps = taps;
  q.entry = taps / 4 % 4;
  q.bias = e->bias + k;
  q.multiplier = e->multiplier + k;
  q.y = y + k;
  q.step = step;
  q.last = NULL;
  q.zero = e->zero;
  q.epilogue = e;
  if (count == 4 && rdq_is_plain(e, residual) && RDQ_TAKES(e)) {
    q.last = y + part->last;
    rdq_quads(&q);
    return;
  }
  for (uint32_t f = k; f != part->last; f++) {
    rdq_quads(&q);
    for (uint32_t i = 0; i < count; i++)
      y[i * step + f] = rdq_finish(e, q.sums[i], f, residual == NULL ? NULL : residual + i * filters + f);
  }
}

static uint32_t rdq_taps_of(const rdq_window *m) { return ((uint32_t)m->kernel_h * m->kernel_w * m->in_c + 3) / 4 * 4; }

/* Rows `first` up to `last` of the output, which begin at y; x keeps `ring` rows. */
static void rdq_rows(const rdq_filters_of *part, const int8_t *x, uint32_t ring, const int8_t *residual, int8_t *y,
                     uint32_t first, uint32_t last, int16_t *scratch, int8_t *gathered) {
  const rdq_window *m = &part->layer->window;
  const uint32_t taps = rdq_taps_of(m);
  const uint32_t pixels = (last - first) * m->out_w, step = 4 * (uint32_t)m->step;
  rdq_tap *patches = (rdq_tap *)(void *)scratch;
  int32_t row = (int32_t)first * m->stride_h - m->pad_top, column = -m->pad_left;
  uint32_t left = m->out_w;
  for (uint32_t pixel = 0; pixel < pixels; pixel += 4) {
    const uint32_t count = pixels - pixel < 4 ? pixels - pixel : 4;
    for (uint32_t i = 0; i < 4; i++) {
      rdq_patch(m, x, ring, row, column, taps, gathered, patches + i * (RDQ_MVE ? taps : 4));
      if (count < 4 && i + 1 >= count) continue; /* those that are missing are the last one again */
      column += m->stride_w;
      if (--left == 0) {
        left = m->out_w;
        column = -m->pad_left;
        row += m->stride_h;
      }
    }
    rdq_under(part, patches, taps, count, residual, y);
    y += step;
    if (residual != NULL) residual += 4 * m->out_c;
  }
}

static rdq_filters_of rdq_all_filters(const rdq_layer *layer) {
  const rdq_filters_of part = {layer, layer->weights, 0, layer->window.out_c};
  return part;
}

void rdq_conv(const rdq_layer *layer, const int8_t *x, const int8_t *residual, int8_t *y, int16_t *scratch) {
  const rdq_filters_of part = rdq_all_filters(layer);
  rdq_rows(&part, x, layer->window.in_h, residual, y, 0, layer->window.out_h, scratch,
           (int8_t *)(scratch + 4 * rdq_taps_of(&layer->window)));
}

void rdq_coded_conv(const rdq_layer *layer, const rdq_code *code, const int8_t *x, const int8_t *residual, int8_t *y,
                    int16_t *scratch) {
  const rdq_window *m = &layer->window;
  const uint32_t taps = rdq_taps_of(m);
  int8_t *weights = (int8_t *)(scratch + 4 * taps);
  rdq_stream stream = rdq_begin(code);
  for (uint32_t k = 0; k < m->out_c; k += 4) {
    const uint32_t count = m->out_c - k < 4 ? m->out_c - k : 4;
    const rdq_filters_of part = {layer, weights, k, k + count};
    for (uint32_t i = 0; i < count * taps; i++) weights[i] = rdq_take(&stream);
    rdq_rows(&part, x, m->in_h, residual, y, 0, m->out_h, scratch, weights + 4 * taps);
  }
}

void rdq_conv_pair(const rdq_layer *before, const rdq_layer *after, const int8_t *x, const int8_t *residual, int8_t *y,
                   int8_t *between, int16_t *scratch) {
  const rdq_window *m = &after->window;
  const rdq_filters_of one = rdq_all_filters(before), other = rdq_all_filters(after);
  const uint32_t line = (uint32_t)m->in_w * m->in_c, step = (uint32_t)m->out_w * m->out_c, ring = m->kernel_h;
  int8_t *one_gathered = (int8_t *)(scratch + 4 * rdq_taps_of(&before->window)),
         *other_gathered = (int8_t *)(scratch + 4 * rdq_taps_of(m));
  uint32_t done = 0;
  for (uint32_t row = 0; row < m->out_h; row++) {
    const int32_t wanted = (int32_t)(row * m->stride_h + ring) - m->pad_top;
    for (; (int32_t)done < wanted && done < m->in_h; done++)
      rdq_rows(&one, x, before->window.in_h, NULL, between + done % ring * line, done, done + 1, scratch,
               one_gathered);
    rdq_rows(&other, between, ring, residual, y, row, row + 1, scratch, other_gathered);
    y += step;
    if (residual != NULL) residual += step;
  }
}
