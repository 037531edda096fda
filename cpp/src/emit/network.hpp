#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rdquant/emit/emit.hpp"

/// A program as calls of C kernels on views of buffers: what is placed in the arena and then written as text.
namespace rdquant::emit {

/// Bytes alive from call `first` to call `last`, both included.
struct Buffer {
  std::string name;  ///< of the value, for comments
  std::int64_t bytes = 0;
  std::int32_t first = INT32_MAX, last = -1;
  std::string outside;      ///< C expression of its address where the caller owns it
  std::int64_t offset = 0;  ///< in the arena
};

/// Elements of a buffer, strided: logical axes are the program's.
struct View {
  int buffer = -1;
  std::int64_t offset = 0;  ///< elements
  core::Shape shape, strides;
  bool levels = true;  ///< int8, not float32
  bool moved = false;  ///< int8 in place of the program's uint8
  /// The image whose elements, channels last, this is a vector of; the program's order is channels first.
  std::shared_ptr<const View> flattened;

  [[nodiscard]] std::int64_t element() const { return levels ? 1 : 4; }
};

/// How a call's output may lie over an input that it reads for the last time: the input begins `distance` bytes after the
/// output at least, or, where `same`, at the same place.
struct Overlap {
  int input = -1;
  std::int64_t distance = 0;
  bool same = false;
};

/// One argument in C: text, or the address of a view.
struct Argument {
  std::string text;
  int buffer = -1;
  std::int64_t offset = 0;  ///< bytes
  std::string type;         ///< "int8_t"
  bool written = false;
};

/// What merging two convolutions needs to know of each.
struct Windowed {
  program::Window window;
  core::Shape x, y;   ///< [1, c, h, w]
  std::string layer;  ///< its struct
  Argument from, residual, to;
};

struct Call {
  std::string node, function;
  std::vector<Argument> arguments;
  std::vector<Overlap> overlaps;  ///< of its only output
  int output = -1, scratch = -1;
  std::shared_ptr<const Windowed> windowed;  ///< of rdq_conv
  std::int64_t macs = 0, outputs = 0, constants = 0, decoded = 0;
  std::int64_t working = 0;  ///< bytes of images and scratch, where weights are coded
};

struct Network {
  std::vector<Buffer> buffers;
  std::vector<Call> calls;
  std::vector<Port> inputs, outputs;
  std::vector<View> input_views, output_views;
  std::vector<std::string> input_helpers,
      output_helpers;      ///< C: the call between the model's order and ours, of X and Y
  std::string constants;   ///< C text
  std::int64_t bytes = 0;  ///< of them
  std::int64_t taps = 0;
};

/// `room`: weights stay coded where their layer's input, output and scratch take no more bytes. @throws Unsupported  as `emit`
[[nodiscard]] Network read(const program::Program& program, const Options& options, std::int64_t room = 0);

/// Gives every buffer its place, so that what lives at once does not overlap but where calls allow it. Returns the arena's bytes.
[[nodiscard]] std::int64_t place(Network& network);

/// The same, with pairs of convolutions run row by row, so that only a few rows lie between them, where the arena gets smaller.
[[nodiscard]] std::int64_t place_in_rows(Network& network);

/// Text of NAME.c and NAME.h.
void write(const Network& network, const Options& options, Firmware& firmware);

[[nodiscard]] core::Shape dense_strides(const core::Shape& shape);
/// Of an image [n, c, h, w] stored as [n, h, w, c].
[[nodiscard]] core::Shape channels_last(const core::Shape& shape);
/// Whether the view's strides are these, axes of one element aside.
[[nodiscard]] bool has_strides(const View& view, const core::Shape& strides);

/// One axis of a copy.
struct Axis {
  std::int64_t size, from, to;
};
/// The axes of a copy, those of one element left out and neighbours merged, outermost of `to` first.
[[nodiscard]] std::vector<Axis> merged(const core::Shape& shape, const core::Shape& from,
                                       const core::Shape& to);
/// Those axes, four or fewer, as text of an rdq_path.
[[nodiscard]] std::string path_text(const std::vector<Axis>& axes);

}  // namespace rdquant::emit
