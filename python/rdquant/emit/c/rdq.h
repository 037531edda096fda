/* Kernels for quantized networks: int8 activations, channels last, int32 sums. C99, no malloc, no libm, no recursion.
 *
 * All levels are int8; those of an unsigned grid have been moved by 128. One layer is one constant struct in flash and
 * one call. Kernels read `x`, write `y`, and use `scratch` where they have one; which of them may overlap is planned when
 * the model is emitted. The byte order is little-endian.
 */
#ifndef RDQ_H
#define RDQ_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define RDQ_ALIGNED __attribute__((aligned(4)))
#else
#define RDQ_ALIGNED
#endif

/* A window of taps moved over an image. A tap outside the image reads x_zero. */
typedef struct {
  uint16_t in_h, in_w, in_c, out_h, out_w, out_c;
  uint16_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
  int16_t pad_top, pad_left, x_zero;
  uint16_t step; /* rdq_grouped: groups; rdq_conv, rdq_depthwise: elements from pixel to pixel of y */
} rdq_window;

/* From sums to levels: v = (float)sum * multiplier[channel], + offset[channel] where there are any;
 * q = clamp(nearest(v) + zero, low, high), then table[(uint8_t)q] where there is one, then, where there is a residual r,
 * clamp(nearest((q - a_zero) * a_scale + (r - b_zero) * b_scale) + sum_zero, sum_low, sum_high). Every product and sum is
 * rounded to float32 by itself; nearest rounds ties to even. */
typedef struct {
  const int32_t *bias;       /* the sums start with it; the zero point of x is in it */
  const float *multiplier;
  const float *offset;       /* or NULL */
  const int8_t *table;       /* or NULL */
  int16_t zero, low, high;
  int16_t a_zero, b_zero, sum_zero, sum_low, sum_high;
  float a_scale, b_scale;
} rdq_epilogue;

/* A layer of weights. How `weights` are ordered stands at each kernel. */
typedef struct {
  rdq_window window;
  rdq_epilogue epilogue;
  const int8_t *weights;
} rdq_layer;

/* Dense convolution, groups 1. Weights: filter after filter, each filled up with zeros to a multiple of four taps, which run
 * over rows, columns, channels. scratch: 2 * 4 * taps bytes, and where taps do not lie side by side in fours, those of one pixel
 * or row. y may overlap x where the plan says so. */
void rdq_conv(const rdq_layer *layer, const int8_t *x, const int8_t *residual, int8_t *y, int16_t *scratch);
/* Two of them, row by row: of what the first gives, `between` keeps only as many rows as the second's kernel has. The
 * second's dilation is 1. scratch: the larger of both. */
void rdq_conv_pair(const rdq_layer *before, const rdq_layer *after, const int8_t *x, const int8_t *residual, int8_t *y,
                   int8_t *between, int16_t *scratch);
/* Dense convolution of one pixel, whose in_c is a multiple of four; x must not overlap y. Weights: for every two filters, four
 * taps of the first, four of the second by turns; the last of an odd number alone. */
void rdq_dense(const rdq_layer *layer, const int8_t *x, const int8_t *residual, int8_t *y);
/* Weights in flash as a stream, in the order in which their kernel wants them. A table of 64 bins says where to begin to
 * look for the symbol of a slot, edges[symbol + 1] is its last slot, least + symbol its level. */
typedef struct {
  const uint16_t *words, *end;
  const uint16_t *edges;
  const uint8_t *bins;
  uint32_t state;
  int32_t least;
} rdq_code;
/* rdq_conv with coded weights: four filters at a time are decoded and run over the whole image, so that y must not overlap x.
 * scratch: 4 * taps bytes more. */
void rdq_coded_conv(const rdq_layer *layer, const rdq_code *code, const int8_t *x, const int8_t *residual, int8_t *y,
                    int16_t *scratch);
/* rdq_dense with weights decoded as they are used. */
void rdq_coded_dense(const rdq_layer *layer, const rdq_code *code, const int8_t *x, const int8_t *residual, int8_t *y);
/* One filter for each channel. Weights: for every four channels, and for those left over, taps by channels.
 * scratch: one pixel. */
void rdq_depthwise(const rdq_layer *layer, const int8_t *x, const int8_t *residual, int8_t *y, int8_t *scratch);
/* Convolution with any groups, by definition. Weights: filters by taps by channels of the group. */
void rdq_grouped(const rdq_layer *layer, const int8_t *x, const int8_t *residual, int8_t *y);
/* The same into floats: v, and max(v, 0) where `relu`. */
void rdq_grouped_f32(const rdq_layer *layer, int relu, const int8_t *x, float *y);

/* Sums and products of two arrays of up to four axes; strides in elements, 0 where one is repeated. y is dense. */
typedef struct {
  uint16_t size[4];
  int32_t a_stride[4], b_stride[4];
  int16_t a_zero, b_zero, zero, low, high;
  float a_scale, b_scale;
} rdq_pair;
void rdq_add(const rdq_pair *pair, const int8_t *a, const int8_t *b, int8_t *y);
void rdq_mul(const rdq_pair *pair, const int8_t *a, const int8_t *b, int8_t *y);

/* y[i] = table[(uint8_t)x[i]]; y may be x. */
void rdq_lookup(const int8_t *table, const int8_t *x, int8_t *y, uint32_t count);

void rdq_max_pool(const rdq_window *window, const int8_t *x, int8_t *y);
/* Means: sums times multiplier[0], or multiplier[n - 1] where `by_count` and n taps are inside the image. */
typedef struct {
  rdq_window window;
  const float *multiplier;
  int16_t zero, low, high, by_count;
} rdq_mean;
void rdq_mean_pool(const rdq_mean *mean, const int8_t *x, int8_t *y);
void rdq_mean_pool_f32(const rdq_mean *mean, const int8_t *x, float *y);

/* Copies elements of `width` bytes (1 or 4) between arrays of four axes; strides in elements. */
typedef struct {
  uint16_t size[4];
  int32_t from_stride[4], to_stride[4];
} rdq_path;
void rdq_move(const rdq_path *path, uint32_t width, const void *x, void *y);
void rdq_fill(int8_t value, int8_t *y, uint32_t count);
/* Pixel (i, j) of y is pixel (rows[i], columns[j]) of x. */
typedef struct {
  uint16_t in_w, out_h, out_w, channels;
  const uint16_t *rows, *columns;
} rdq_picks;
void rdq_pick(const rdq_picks *picks, const int8_t *x, int8_t *y);

/* Floats at the edges of a network. Only what a program calls is linked. */
typedef struct {
  float scale;
  int32_t zero;
} rdq_grid;
/* q = clamp(nearest(x / scale) + zero); `path` gives the order of the elements. */
void rdq_quantize(const rdq_grid *grid, const rdq_path *path, const float *x, int8_t *q);
void rdq_dequantize(const rdq_grid *grid, const rdq_path *path, const int8_t *q, float *x);
/* Rows of `count` numbers; exponentials[(uint8_t)q] = exp of what level q stands for less the largest. */
void rdq_softmax(const double *exponentials, uint32_t rows, uint32_t count, const int8_t *x, float *y);
/* The sum of two arrays of levels in floats, and max(·, 0) of it where `relu`. */
void rdq_add_f32(const rdq_grid *a_grid, const rdq_grid *b_grid, int relu, uint32_t count, const int8_t *a,
                 const int8_t *b, float *y);
/* The mean over all pixels of what rdq_add_f32 would give, channel by channel. */
void rdq_add_mean_f32(const rdq_grid *a_grid, const rdq_grid *b_grid, int relu, uint32_t pixels, uint32_t channels,
                      const int8_t *a, const int8_t *b, float *y);
/* The mean of each channel. */
void rdq_mean_f32(uint32_t pixels, uint32_t channels, const float *x, float *y);
/* Bytes moved by 128 (`flip` 0x80) or not (0), in the order that `path` gives. */
void rdq_bytes(const rdq_path *path, uint8_t flip, const void *x, void *y);

#endif
