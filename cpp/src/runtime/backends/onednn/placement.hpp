#pragma once

#include <vector>

#include "memory.hpp"
#include "rdquant/program/program.hpp"

namespace rdquant::runtime::onednn {

/// In which layout every value is made, and which values share memory: reshapes and splits are views, the
/// parts of a concatenation are made where it lies, additions and activations overwrite what dies there.
struct Placement {
  std::vector<Layout> layout;
  std::vector<program::ValueId> parent;  ///< whose memory holds the value; itself where it has its own
  std::vector<std::size_t> offset;       ///< in the parent's memory, bytes

  struct Spot {
    program::ValueId root;
    std::size_t offset;
  };
  [[nodiscard]] Spot find(program::ValueId id) const;
  [[nodiscard]] bool same_spot(program::ValueId a, program::ValueId b) const;
  /// Bytes from one pixel to the next of levels channels last: more than its channels for a part of others.
  [[nodiscard]] std::int64_t pixel(const program::Program& program, program::ValueId id) const;
};

[[nodiscard]] Placement place(const program::Program& program);

/// Bytes of a value in a layout, padding included.
[[nodiscard]] std::size_t bytes_in(const program::Value& value, Layout layout);
/// True where both layouts are the same bytes: one pixel and whole blocks, or not four axes.
[[nodiscard]] bool layouts_coincide(const program::Value& value);

/// True for levels of 8 bits.
[[nodiscard]] bool is_level(const program::Value& value);
/// True for a Pad with one number that crops nothing.
[[nodiscard]] bool is_frame(const program::Pad& pad);
/// True for a Resize of levels that repeats every pixel as often.
[[nodiscard]] bool is_level_resize(const program::Program& program, const program::Step& step);

/// True for a window of average or maximum on four axes of float32 that oneDNN computes as we define it.
[[nodiscard]] bool is_plain_pool(const program::Program& program, const program::Step& step);
/// True where a Resize repeats pixels of the last two axes.
[[nodiscard]] bool is_nearest_image_resize(const program::Program& program, const program::Step& step);
/// True for float32 arithmetic whose second operand oneDNN broadcasts to the first.
[[nodiscard]] bool is_plain_binary(const program::Program& program, const program::Step& step);
/// True for a float32 function that oneDNN has.
[[nodiscard]] bool is_plain_unary(const program::Program& program, const program::Step& step);

}  // namespace rdquant::runtime::onednn
