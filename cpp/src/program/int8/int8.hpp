#pragma once

#include <array>
#include <optional>
#include <unordered_map>
#include <vector>

#include "program/lower/builder.hpp"

namespace rdquant::program {

/// Levels of 8 bits that stand for the numbers scale · (q − zero).
struct Grid {
  float scale = 1;
  std::int32_t zero = 0;
  core::DType dtype = core::DType::u8;
  bool operator==(const Grid&) const = default;
  [[nodiscard]] std::int32_t low() const { return dtype == core::DType::u8 ? 0 : -128; }
  [[nodiscard]] std::int32_t high() const { return dtype == core::DType::u8 ? 255 : 127; }
};

/// Weights as levels (int8, whose 0 stands for 0) and their scales, one or one for each filter.
struct Int8Weights {
  ValueId levels = kNone;
  std::vector<float> scales;
};

/// A Program being written anew, step by step, with levels in place of numbers wherever that gives the same.
class Int8Writer {
 public:
  explicit Int8Writer(Program& program);
  void run();

  [[nodiscard]] Builder& builder() { return builder_; }
  [[nodiscard]] const Value& value(ValueId id) const { return builder_.value(id); }
  /// True for one element.
  [[nodiscard]] bool is_scalar(ValueId id) const { return core::element_count(value(id).shape) == 1; }

  /// Levels of which a number of the old program was made.
  struct Source {
    ValueId levels = kNone;
    Grid grid;
    ValueId scale = kNone, zero = kNone;  ///< as values
  };
  [[nodiscard]] const Source* source(ValueId id) const;
  /// The same for a number that was made of constant levels before the first run.
  [[nodiscard]] std::optional<Source> constant_source(ValueId id) const;
  /// Notes that steps now hold the scale and zero point of a source.
  void bake(const Source& source);
  /// The step that makes levels of `id`, and is all that reads it.
  struct Target {
    std::size_t step = 0;
    ValueId levels = kNone;
    Grid grid;
  };
  [[nodiscard]] std::optional<Target> target(ValueId id) const;
  /// Makes levels of numbers as `target` makes them of the same, moved.
  [[nodiscard]] Source quantize_early(ValueId id, const Target& target);

  /// Weights made of int8 levels before the first run; `axis` is that of the filters.
  [[nodiscard]] std::optional<Int8Weights> weights(ValueId id, std::int64_t axis);
  /// `id` as the number that it was in the old program.
  [[nodiscard]] ValueId number(ValueId id);
  /// `id` where it is no number made of levels.
  [[nodiscard]] ValueId renamed(ValueId id) const;

  /// The old step that made `id`, or null.
  [[nodiscard]] const Step* maker(ValueId id) const;
  /// The old step that is all that reads `id`, or null.
  [[nodiscard]] const Step* reader(ValueId id) const;
  /// Says that an old step is done.
  void skip(const Step& step);

  void write(Step step);
  /// Writes a step whose output is `output`, a value of the old program.
  void write(Operation operation, std::vector<ValueId> inputs, ValueId output, const std::string& node);
  /// The same with a new output.
  [[nodiscard]] ValueId write(Operation operation, std::vector<ValueId> inputs, core::DType dtype,
                              core::Shape shape, const std::string& node);
  /// Says that the step of `target` is done.
  void reach(const Target& target);
  /// Says that `id` are numbers made of levels like `like`, which now lie in `levels`.
  void set_source(ValueId id, ValueId levels, const Source& like);

  /// Levels `to` of the levels `from`: a table is written.
  void look_up(ValueId from, core::Tensor table, ValueId to, const std::string& node);
  /// The levels from which `levels` were looked up, by which table; itself where it was not.
  struct Root {
    ValueId levels = kNone;
    core::Tensor table;  ///< empty: none
  };
  [[nodiscard]] Root root(ValueId levels) const;

 private:
  void translate(std::size_t i);
  [[nodiscard]] std::optional<Grid> grid(const Step& step, ValueId levels) const;
  bool dequantize(const Step& step);
  bool quantize(const Step& step);

  Program& program_;
  std::vector<Step> old_;
  Builder builder_;
  std::unordered_map<ValueId, Source> sources_;
  std::unordered_map<ValueId, Root> roots_;
  std::vector<ValueId> now_;       ///< by value of the old program
  std::vector<std::size_t> made_;  ///< by value: the number exists
  std::vector<std::vector<std::size_t>> readers_;
  std::vector<std::size_t> makers_;  ///< by value, past the end where no old step makes it
  std::vector<bool> done_;           ///< by old step
};

/// Rules: each writes what stands for `step`, or returns false and writes nothing.
bool write_int8_convolution(Int8Writer& writer, const Step& step);
bool write_int8_product(Int8Writer& writer, const Step& step);
bool write_dynamic_layer(Int8Writer& writer, const Step& step);
bool write_dynamic_product(Int8Writer& writer, const Step& step);
bool write_int8_function(Int8Writer& writer, const Step& step);
bool write_int8_binary(Int8Writer& writer, const Step& step);
bool write_int8_pool(Int8Writer& writer, const Step& step);
bool write_int8_reduction(Int8Writer& writer, const Step& step);
bool write_int8_concat(Int8Writer& writer, const Step& step);
bool write_int8_movement(Int8Writer& writer, const Step& step);
bool write_int8_recurrence(Int8Writer& writer, const Step& step);

/// The byte on grid `to` nearest to what each byte on grid `from` stands for (u8 [256]).
[[nodiscard]] core::Tensor table_between(const Grid& from, const Grid& to);
/// A scale for each of `filters` (f32 [filters]).
[[nodiscard]] core::Tensor scales_of(const Int8Weights& weights, std::int64_t filters);
/// One number for each of `filters`, from as many or from one for all (f32 [filters]).
[[nodiscard]] core::Tensor spread(const core::Tensor& numbers, std::int64_t filters);
/// Rows of a matrix (i8 [depth, filters]) as filters of one pixel (i8 [filters, depth, 1, 1]).
[[nodiscard]] core::Tensor transposed(const core::Tensor& matrix);
/// Clamps that `activation` means on `grid`; nullopt where it is no clamp.
[[nodiscard]] std::optional<Requantize> clamped(const Activation& activation, const Grid& grid);

}  // namespace rdquant::program
