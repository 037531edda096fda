#pragma once

#include <string>
#include <vector>

#include "rdquant/program/program.hpp"

namespace rdquant::program {

/// Bounds, so that no arithmetic on sizes overflows: of one axis, of all elements, and of a window's numbers.
inline constexpr std::int64_t kMostSize = std::int64_t{1} << 31U, kMostElements = std::int64_t{1} << 40U,
                              kMostWindow = std::int64_t{1} << 30U;

/// Bytes of a value. @throws InvalidArgument  a negative size, or one beyond the bounds
[[nodiscard]] std::int64_t checked_bytes(core::DType dtype, const core::Shape& shape);

/// Refuses a constant that is about to be made from `source` bytes of others and would grow beyond 1 GiB and
/// four times those. @throws InvalidArgument
void check_constant(core::DType dtype, const core::Shape& shape, std::int64_t source);

/// Adds values and steps to a Program, and folds: a step whose inputs are all constants is computed at once.
/// Where one of them derives from a weight, or from levels, or the outcome is large, the step goes into the prologue
/// instead: its constants are computed when somebody asks for their data, those that are left in the end by
/// `make_constants`.
class Builder {
 public:
  explicit Builder(Program& program);

  [[nodiscard]] Program& program() noexcept { return program_; }
  [[nodiscard]] const Value& value(ValueId id) const { return program_.values[static_cast<std::size_t>(id)]; }
  [[nodiscard]] bool is_constant(ValueId id) const { return id != kNone && value(id).role == Role::constant; }
  /// True for a weight and what derives from one: such a constant may change.
  [[nodiscard]] bool is_variable(ValueId id) const { return variable_[static_cast<std::size_t>(id)]; }

  [[nodiscard]] ValueId add_input(std::string name, core::DType dtype, core::Shape shape);
  /// An initializer; floating-point ones are weights, which set_weights may replace.
  [[nodiscard]] ValueId add_initializer(const std::string& name, const core::Tensor& tensor);
  [[nodiscard]] ValueId add_constant(core::Tensor data);
  [[nodiscard]] ValueId add_scalar(core::DType dtype, double number);
  [[nodiscard]] ValueId add_integers(const std::vector<std::int64_t>& numbers);

  /// Adds a step with one output, or folds it; gives its value.
  ValueId emit(Operation operation, std::vector<ValueId> inputs, core::DType dtype, core::Shape shape,
               const std::string& node);
  /// The same with several outputs; an entry without name in `wanted` (false) becomes kNone.
  struct Output {
    core::DType dtype;
    core::Shape shape;
    bool wanted = true;
  };
  std::vector<ValueId> emit(Operation operation, std::vector<ValueId> inputs,
                            const std::vector<Output>& outputs, const std::string& node);

  /// Data of a constant, computed where they have not been.
  [[nodiscard]] const core::Tensor& data(ValueId id) const;
  /// Drops the data of a constant and of what the prologue makes it from, until somebody asks again.
  void drop(ValueId id) const;

  /// Data of a constant that a step is about to hold as a parameter. Weights that it derives from are noted
  /// in Program::baked.
  [[nodiscard]] const core::Tensor& bake(ValueId id);

 private:
  ValueId add(Value value, bool variable);
  void compute(const Step& step) const;

  Program& program_;
  std::vector<bool> variable_;
};

/// Runs a step whose inputs are constants, into new data of its output values.
void run_on_constants(Program& program, const Step& step);

/// Runs the prologue: makes the constants that steps or outputs read, and drops those that only the prologue reads.
void make_constants(Program& program);

/// Makes the data of one constant and of what it is made from, where they are missing.
void make_constant(Program& program, ValueId id);

/// Index of `id` in tables over values.
[[nodiscard]] inline std::size_t index(ValueId id) noexcept { return static_cast<std::size_t>(id); }

}  // namespace rdquant::program
