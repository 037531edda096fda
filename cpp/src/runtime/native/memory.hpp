#pragma once

#include <oneapi/dnnl/dnnl.hpp>
#include <span>
#include <utility>
#include <vector>

#include "runtime/native/kernel.hpp"

/// oneDNN's objects, as this backend uses them.
namespace rdquant::runtime::native {

/// How a 4-D activation lies in memory. Other values are always plain.
enum class Layout : std::uint8_t {
  plain,         ///< row-major
  blocked,       ///< nChw16c with AVX-512, nChw8c without: channels in blocks, the last padded with zeros
  channels_last  ///< of levels of 8 bits: the channels of a pixel together, up to a multiple of kChannels
};
inline constexpr std::int64_t kChannels = 4;

/// Caps oneDNN at RDQUANT_ISA and tells the channels per block of what remains. Asked once.
[[nodiscard]] std::int64_t block_size();

[[nodiscard]] const dnnl::engine& engine();

/// float32 memory of `shape`; plain for shapes of other than four axes.
[[nodiscard]] dnnl::memory::desc describe(std::span<const std::int64_t> shape, Layout layout);
/// Row-major with the given sizes.
[[nodiscard]] dnnl::memory::desc describe_plain(std::span<const std::int64_t> shape);

/// A primitive and its arguments (DNNL_ARG_…) in the order of the operands.
struct Argument {
  int index = 0;
  dnnl::memory::desc desc;
};
[[nodiscard]] std::shared_ptr<const Kernel> make_kernel(const dnnl::primitive& primitive,
                                                        std::vector<Argument> arguments, std::string name);

/// Copies between two layouts of one array.
[[nodiscard]] std::shared_ptr<const Kernel> make_reorder(const dnnl::memory::desc& from,
                                                         const dnnl::memory::desc& to);
[[nodiscard]] std::shared_ptr<const Packer> make_packer(const dnnl::memory::desc& from,
                                                        const dnnl::memory::desc& to);

/// Runs `make`; nullopt where oneDNN has no implementation.
template <typename Make>
auto try_make(Make make) -> std::optional<decltype(make())> {
  try {
    return make();
  } catch (const dnnl::error&) {
    return std::nullopt;
  }
}

/// Appends `activation` to a chain of post-operations; false where oneDNN has no such function.
bool append_activation(dnnl::post_ops& chain, const program::Activation& activation);

}  // namespace rdquant::runtime::native
