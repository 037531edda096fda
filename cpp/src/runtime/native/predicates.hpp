#pragma once

#include "rdquant/program/program.hpp"

/// What this backend asks of values and steps before it chooses layouts and kernels.
namespace rdquant::runtime::native {

[[nodiscard]] const program::Value& value_of(const program::Program& program, program::ValueId id);
/// True where every input and output that is there is float32.
[[nodiscard]] bool all_float(const program::Program& program, const program::Step& step);

/// True for levels of 8 bits.
[[nodiscard]] bool is_int8(const program::Value& value);
/// True for a Pad with one number that crops nothing.
[[nodiscard]] bool is_frame(const program::Pad& pad);
/// True for a Pad of the pixels of float32 images that can be done in blocks of channels.
[[nodiscard]] bool is_image_pad(const program::Program& program, const program::Step& step);
/// True for a ScatterND without arithmetic to places that are known beforehand, of numbers of four bytes.
[[nodiscard]] bool is_constant_scatter(const program::Program& program, const program::Step& step);
/// True for a Resize of images of levels that takes the nearest pixels.
[[nodiscard]] bool is_int8_resize(const program::Program& program, const program::Step& step);
/// True for such a Resize whose result has every pixel of its input.
[[nodiscard]] bool keeps_every_pixel(const program::Program& program, const program::Step& step);

/// True for a sum or product of levels of images or volumes of one shape, or where one has one pixel for each image or for all.
[[nodiscard]] bool is_image_binary(const program::Program& program, const program::Step& step);

/// True for a window of average or maximum on three or four axes of float32, without indices.
[[nodiscard]] bool is_plain_pool(const program::Program& program, const program::Step& step);
/// True where a Resize repeats pixels of the last two axes.
[[nodiscard]] bool is_nearest_image_resize(const program::Program& program, const program::Step& step);
/// True where a Resize makes pixels of the last two axes as weighted sums.
[[nodiscard]] bool is_resampled_image(const program::Program& program, const program::Step& step);
/// True for a GridSample of float32 of one to three axes.
[[nodiscard]] bool is_sampled_image(const program::Program& program, const program::Step& step);
/// True for float32 arithmetic of two operands that kernels have.
[[nodiscard]] bool is_plain_binary(const program::Program& program, const program::Step& step);
/// True for a float32 function that kernels have.
[[nodiscard]] bool is_plain_unary(const program::Program& program, const program::Step& step);

/// Whether batch normalizations read the image, or levels are made of it, at once or behind at most `steps` that keep it in
/// blocks.
[[nodiscard]] bool is_kept_in_blocks(const program::Program& program, program::ValueId id, int steps = 3);
/// True where the channels of all values but the last fill whole blocks.
[[nodiscard]] bool whole_blocks(const program::Program& program, const std::vector<program::ValueId>& parts);
/// True where all that is done with a value is to reshape it, as products do with their rows, or to exchange axes
/// other than an image's: it is no image.
[[nodiscard]] bool is_reshaped(const program::Program& program, program::ValueId id);
/// Whether the step makes an image of rows of channels.
[[nodiscard]] bool brings_channels_last(const program::Program& program, const program::Step& step);
/// True where a layer that works in blocks reads the value, at once or behind at most `steps` that keep them.
[[nodiscard]] bool is_read_in_blocks(const program::Program& program, program::ValueId id, int steps = 3);

}  // namespace rdquant::runtime::native
