#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "rdquant/runtime/backend.hpp"

namespace rdquant::runtime::native {

/// A kernel with memory of its own for one context: what a run calls, one after the other.
class Bound {
 public:
  virtual ~Bound() = default;
  /// Says where operand `i` lies from now on.
  virtual void set(std::size_t i, void* address) = 0;
  virtual void run() = 0;
};

/// Whose code runs an operation.
enum class Supplier : std::uint8_t {
  native,    ///< kernels of our own
  onednn,    ///< oneDNN's primitives
  reference  ///< the definition, program::evaluate
};
[[nodiscard]] std::string_view supplier_name(Supplier supplier) noexcept;

/// One physical operation, prepared; shared by all contexts and by equal layers.
class Kernel {
 public:
  virtual ~Kernel() = default;
  [[nodiscard]] virtual std::unique_ptr<Bound> bind() const = 0;
  /// As plans name it: "jit:avx512_core", "reference", …
  [[nodiscard]] virtual std::string name() const = 0;
  [[nodiscard]] virtual Supplier supplier() const { return Supplier::native; }
};

/// Where the memory of a buffer comes from.
enum class Home : std::uint8_t {
  arena,     ///< of the context
  packed,    ///< weights in a kernel's own layout, shared by all contexts
  constant,  ///< of the Program, where it lies: `index` is its value
  input,     ///< of the caller: `index` counts the Program's inputs
  output     ///< likewise
};

struct Buffer {
  Home home = Home::arena;
  std::size_t bytes = 0;
  std::int32_t index = -1;
  std::size_t offset = 0;  ///< in arena or packed memory, once planned
};

/// Where an operand lies.
struct Place {
  std::int32_t buffer = -1;
  std::size_t offset = 0;
};

struct Op {
  std::shared_ptr<const Kernel> kernel;
  std::vector<Place> operands;
  std::size_t row = 0;  ///< of PhysicalPlan::rows
};

/// Weights brought into a kernel's own layout, when prepared and whenever the constant changes.
class Packer {
 public:
  virtual ~Packer() = default;
  virtual void pack(const void* from, void* to) const = 0;
};

struct Packing {
  program::ValueId source = program::kNone;
  std::int32_t buffer = -1;
  std::shared_ptr<const Packer> packer;
};

/// A Program lowered for this backend: what an Executable runs.
struct PhysicalPlan {
  std::vector<Buffer> buffers;
  std::vector<PlannedStep> rows;  ///< ops, and steps that need none
  std::vector<Op> ops;
  std::vector<Packing> packings;
  std::size_t arena_bytes = 0, packed_bytes = 0;
};

}  // namespace rdquant::runtime::native
