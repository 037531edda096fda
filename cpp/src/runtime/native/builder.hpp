#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/native/kernel.hpp"
#include "runtime/native/placement.hpp"
#include "runtime/native/suppliers.hpp"

namespace rdquant::runtime::native {

inline constexpr std::size_t kMinMaxFloats = 32;  ///< floats: two lines, so that no two threads write to one

/// What a rule of lowering writes with: it asks where values lie and adds operations.
class Builder {
 public:
  Builder(const program::Program& program, const Options& options);

  [[nodiscard]] PhysicalPlan build();

  [[nodiscard]] const program::Value& value(program::ValueId id) const {
    return program_.values[static_cast<std::size_t>(id)];
  }
  [[nodiscard]] const program::Program& program() const { return program_; }
  [[nodiscard]] const Placement& placement() const { return placement_; }
  [[nodiscard]] int threads() const { return threads_; }
  [[nodiscard]] const SupplierChoice& suppliers() const { return suppliers_; }
  /// Bytes from one pixel to the next of levels channels last.
  [[nodiscard]] std::int64_t pixel(program::ValueId id) const { return placement_.pixel(program_, id); }
  /// The layout in which a value is made.
  [[nodiscard]] Layout layout(program::ValueId id) const {
    return placement_.layout[static_cast<std::size_t>(id)];
  }

  /// The only step that reads the value, once; null where there are others or none, or the value is an output.
  [[nodiscard]] const program::Step* only_reader(program::ValueId id) const;

  /// A value to read, in `layout`: where it lies so already, else a copy, made once.
  [[nodiscard]] Place read(program::ValueId id, Layout layout);
  /// A value to read under another shape of as many elements; `layout` applies to that shape.
  [[nodiscard]] Place read_as(program::ValueId id, const core::Shape& shape, Layout layout);
  /// Where a kernel that writes `layout` puts a value; what other layout it should have is made of it after
  /// the next `emit`.
  [[nodiscard]] Place write(program::ValueId id, Layout layout);
  /// The same of a value under another shape of as many elements, which `layout` applies to.
  [[nodiscard]] Place write_as(program::ValueId id, const core::Shape& shape, Layout layout);
  /// Memory for one operation only, at least a byte.
  [[nodiscard]] Place scratch(std::size_t bytes);
  /// Where the operation that makes `id` leaves the least and the greatest of its floats for steps that
  /// quantize it (kMinMaxFloats floats for each thread: least of each lane, then greatest); none where no
  /// step needs them.
  [[nodiscard]] Place make_min_max(program::ValueId id);
  /// The same where they are made; nullopt where not.
  [[nodiscard]] std::optional<Place> min_max(program::ValueId id) const;
  /// A constant in a kernel's own layout.
  [[nodiscard]] Place pack(program::ValueId id, std::size_t bytes, std::shared_ptr<const Packer> packer);

  /// A value in a kernel's own layout: a constant once, when prepared; another in every run.
  [[nodiscard]] Place packed(program::ValueId id, std::size_t bytes, std::shared_ptr<const Packer> packer);

  /// Adds an operation that stands for the current step.
  void emit(std::shared_ptr<const Kernel> kernel, std::vector<Place> operands, Layout made);
  /// Adds an operation that prepares operands of the current step.
  void prepare(std::shared_ptr<const Kernel> kernel, std::vector<Place> operands);
  /// Says that the current step costs nothing: its outputs lie where they should.
  void note_view(Layout made, std::string kernel = "alias");
  /// Says that the operation emitted next also does what `step`, a later one, does.
  void absorb(const program::Step& step);

 private:
  [[nodiscard]] std::int32_t add_buffer(Home home, std::size_t bytes, std::int32_t index = -1);
  [[nodiscard]] Place home(program::ValueId id);
  void lower(std::int32_t step);
  void add_row(std::string operation, std::string kernel, Layout made, bool costs,
               Supplier supplier = Supplier::native);
  void add_reorder(const core::Shape& shape, Place from, Place to, Layout made);
  void add_conversion(program::ValueId id, Place from, Layout from_layout, Place to, Layout to_layout);
  [[nodiscard]] Place copy_once(program::ValueId id, Layout wanted);
  void flush();
  void claim_outputs();
  void copy_outputs();
  void plan_arena();

  const program::Program& program_;
  int threads_;
  SupplierChoice suppliers_;
  Placement placement_;
  PhysicalPlan plan_;
  std::int32_t step_ = -1;
  std::vector<std::int32_t> buffer_of_;  ///< of roots
  std::map<std::string, Place> copies_;  ///< by value, shape and layout
  struct Pending {
    program::ValueId id;
    Place from;
    Layout layout;
    core::Shape shape;
  };
  std::vector<Pending> pending_;
  std::map<program::ValueId, Place> min_max_;
  std::vector<const program::Step*> absorbed_;
};

}  // namespace rdquant::runtime::native
