#pragma once

#include <string>
#include <vector>

#include "emit/constants.hpp"
#include "emit/network.hpp"

namespace rdquant::emit {

/// Reads a program step by step into a Network.
class Reader {
 public:
  Reader(const program::Program& program, const Options& options, std::int64_t room);

  [[nodiscard]] Network run();

  /// @throws Unsupported  with the node's name: "layer 'conv1': …"
  [[noreturn]] static void refuse(const program::Step& step, const std::string& why);

  [[nodiscard]] const program::Value& value(program::ValueId id) const;
  [[nodiscard]] bool is_constant(program::ValueId id) const;
  /// The view that holds a value. @throws Unsupported  floats, or none
  [[nodiscard]] const View& view(const program::Step& step, program::ValueId id) const;
  /// The view of levels that may be constant: those are stored, in the order of a new buffer. @throws Unsupported  as `view`
  View levels(const program::Step& step, program::ValueId id);
  /// Elements of a constant. @throws Unsupported  not a constant
  [[nodiscard]] const core::Tensor& constant(const program::Step& step, program::ValueId id) const;

  /// The view in these strides of a buffer that begins with it; copied where it has others.
  View in_strides(const program::Step& step, const View& from, const core::Shape& strides);
  View image(const program::Step& step, const View& from);   ///< channels last
  View vector(const program::Step& step, const View& from);  ///< dense, in the program's order

  /// A new buffer for the value: channels last where it has four axes, else dense.
  View make(program::ValueId id);
  /// The same, but where only a concatenation of images along their channels reads the value, its part of that one's buffer.
  View make_part(program::ValueId id);
  /// Whether the value has a view.
  [[nodiscard]] bool is_made(program::ValueId id) const;
  /// The value is this view from now on.
  void set(program::ValueId id, View view);
  int scratch(std::int64_t bytes);
  void move(const program::Step& step, const View& from, const View& to);

  Call& call(const program::Step& step, const std::string& function);
  void read(Call& call, const View& view, const std::string& type = "int8_t");
  void write(Call& call, const View& view, const std::string& type = "int8_t");
  void work(Call& call, int buffer, const std::string& type);
  static void pass(Call& call, std::string text) {
    call.arguments.push_back({std::move(text), -1, 0, {}, false});
  }
  /// The only step that reads a value, or the one that makes it; null where there is none.
  [[nodiscard]] const program::Step* only_reader(program::ValueId id) const;
  [[nodiscard]] const program::Step* maker(program::ValueId id) const;
  void skip(const program::Step& step);
  [[nodiscard]] bool is_output(program::ValueId id) const;

  [[nodiscard]] const std::vector<program::Step>& steps() const { return program_.steps; }

  /// Bytes that a layer with coded weights may work in; 0 where none are coded.
  [[nodiscard]] std::int64_t room() const { return room_; }

  Constants constants;
  Network network;

 private:
  void bind_inputs();
  void bind_input(program::ValueId id);
  void bind_outputs();
  void write_helpers();
  View alone(const program::Step& step, const View& from);
  [[nodiscard]] std::string why_numbers(const program::Step& step) const;
  void move_in_parts(const program::Step& step, View from, View to, std::vector<Axis> axes);
  void translate(const program::Step& step);
  int buffer(const std::string& name, std::int64_t bytes);
  [[nodiscard]] core::Shape port_strides(program::ValueId id) const;

  const program::Program& program_;
  const Options& options_;
  std::int64_t room_;
  std::vector<View> views_;
  std::vector<char> done_;
};

[[nodiscard]] inline std::size_t at(program::ValueId id) { return static_cast<std::size_t>(id); }
[[nodiscard]] inline bool has_levels(core::DType dtype) {
  return dtype == core::DType::i8 || dtype == core::DType::u8;
}

/// The bytes of an unsigned level stand for level − 128 in C.
[[nodiscard]] inline std::int32_t shift_of(const View& view) { return view.moved ? 128 : 0; }

/// Each takes the step and returns true, or returns false.
bool read_convolution(Reader& reader, const program::Step& step);
bool read_elementwise(Reader& reader, const program::Step& step);
bool read_pool(Reader& reader, const program::Step& step);
bool read_movement(Reader& reader, const program::Step& step);
bool read_edge(Reader& reader, const program::Step& step);

/// Whether a step is the mean of each channel of one image.
[[nodiscard]] bool is_whole_mean(const Reader& reader, const program::Step& step);

/// Whether |number| < `most`. @throws Unsupported  with the number and the range; `what` it is: "the scale of its sums"
void check_range(const program::Step& step, const std::string& what, float number, float most);

/// Text and offsets of a window in C. @throws Unsupported  sizes beyond 16 bits
[[nodiscard]] std::string window_text(const program::Step& step, const program::Window& window, const View& x,
                                      const View& y, std::int64_t groups, std::int32_t x_zero);

/// When a kernel reads what an output depends on.
enum class Reads : std::uint8_t {
  ahead,       ///< all that pixels computed together need, before one of them is written
  by_channel,  ///< for each channel, before that channel is written
  between      ///< between the writing of channels
};

/// How far after its output an image must begin so that pixels, `together` of them at a time, are not written over what
/// is still to be read. Bytes.
[[nodiscard]] std::int64_t window_distance(const program::Window& window, const core::Shape& x,
                                           const core::Shape& y, std::int64_t together, Reads reads);

inline constexpr std::int64_t kWindowBytes = 32, kEpilogueBytes = 40,
                              kLayerBytes = kWindowBytes + kEpilogueBytes + 4;

}  // namespace rdquant::emit
