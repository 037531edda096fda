#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/native/builder.hpp"

/// Channels of blocked images in another order, or from several of them: lanes change places, pixels do not.
namespace rdquant::runtime::native {

/// Where a channel comes from: one of the operands, or the destination, which holds it already.
struct Origin {
  std::int64_t operand = 0, channel = 0;
  static constexpr std::int64_t kThere = -1;
};

/// Images of `area` pixels and one channel per origin, from operands of `channels` each. Operands: these, then the
/// destination.
[[nodiscard]] std::shared_ptr<const Kernel> make_channels(const std::string& name, std::int64_t images,
                                                          std::int64_t area,
                                                          const std::vector<std::int64_t>& channels,
                                                          const std::vector<Origin>& origins, int threads);

/// Pixels [n, h, w, c] into blocked images [n, c, h, w], padding zero, and back. Operands: from, to.
[[nodiscard]] std::shared_ptr<const Kernel> make_blocks_of_pixels(const core::Shape& image, int threads);
[[nodiscard]] std::shared_ptr<const Kernel> make_pixels_of_blocks(const core::Shape& image, int threads);

/// Rules of concatenations and splits along channels, in blocks which the parts do not fill.
bool concat_channels(Builder& builder, const program::Step& step);
bool split_channels(Builder& builder, const program::Step& step);

}  // namespace rdquant::runtime::native
