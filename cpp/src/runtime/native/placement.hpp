#pragma once

#include <vector>

#include "rdquant/program/program.hpp"
#include "runtime/native/layout.hpp"
#include "runtime/native/predicates.hpp"

namespace rdquant::runtime::native {

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
/// True where both layouts are the same bytes: one pixel and whole blocks, or not those of images (of levels: nor volumes).
[[nodiscard]] bool layouts_coincide(const program::Value& value);

}  // namespace rdquant::runtime::native
