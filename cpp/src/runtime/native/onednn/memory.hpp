#pragma once

#include <new>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "rdquant/core/error.hpp"
#include "runtime/native/builder.hpp"

/// oneDNN's objects, as the engine uses them.
namespace rdquant::runtime::native::onednn {

/// The processor. When first called, oneDNN is capped at the instruction set that RDQUANT_ISA says.
[[nodiscard]] const dnnl::engine& engine();

/// float32 memory of `shape`; plain for shapes of other than four axes.
[[nodiscard]] dnnl::memory::desc describe(std::span<const std::int64_t> shape, Layout layout);
/// Row-major with the given sizes.
[[nodiscard]] dnnl::memory::desc describe_plain(std::span<const std::int64_t> shape);

/// `shape` with ones before it, as NumPy aligns it to `axes`.
[[nodiscard]] core::Shape aligned(const core::Shape& shape, std::size_t axes);

/// Attributes with a scratchpad in the arena.
[[nodiscard]] dnnl::primitive_attr attributes();

struct Operand {
  int index;
  dnnl::memory::desc desc;
  Place place;
};
/// Adds the operation of a primitive. Operand order is that of `operands`; a scratchpad is added.
void emit(Builder& builder, const dnnl::primitive_desc_base& desc, const dnnl::primitive& primitive,
          const std::vector<Operand>& operands, Layout made);
/// A constant in the layout of a primitive.
[[nodiscard]] Place pack(Builder& builder, program::ValueId id, const dnnl::memory::desc& from,
                         const dnnl::memory::desc& to);

/// `f()`, with oneDNN's errors as ours.
template <typename F>
auto guarded(F f) {
  try {
    return f();
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory) throw std::bad_alloc();
    throw core::Error(std::string("oneDNN: ") + error.what());
  }
}

/// Runs `make`; nullopt where oneDNN has no implementation.
template <typename Make>
auto try_make(Make make) -> std::optional<decltype(make())> {
  try {
    return make();
  } catch (const dnnl::error&) {
    return std::nullopt;
  }
}

/// Appends `activation` to a chain of post-operations; false where oneDNN has no such function, or one that
/// makes a number of NaN.
bool append_activation(dnnl::post_ops& chain, const program::Activation& activation);

}  // namespace rdquant::runtime::native::onednn
