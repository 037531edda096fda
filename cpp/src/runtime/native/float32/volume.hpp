#pragma once

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "runtime/native/float32/packing.hpp"
#include "runtime/native/loops.hpp"

/// What convolutions over three axes share.
namespace rdquant::runtime::native {

/// Bytes of blocks that are made from plain volumes, convolved and made plain again at once: what the cache of a thread
/// holds beside weights.
inline constexpr kernels::Index kCachedBytes = 512 * 1024;

/// Planes of a volume [n][c][depth][area] as images in blocks [n·depth][⌈c/B⌉][area][B].
struct Planes {
  kernels::Index images, channels, depth, area;
  int threads;

  [[nodiscard]] kernels::Index blocks() const { return kernels::divide(channels, block_size()); }
  [[nodiscard]] kernels::Index plane() const { return blocks() * area * block_size(); }
  [[nodiscard]] kernels::Index floats() const { return images * depth * plane(); }

  void to_blocks(const float* volume, float* planes) const { to_blocks(volume, 0, images * depth, planes); }
  /// Planes [first, first + count) of all, which alone lie at `planes`.
  void to_blocks(const float* volume, kernels::Index first, kernels::Index count, float* planes) const {
    visit(first, count, [&](kernels::Index plain, kernels::Index blocked, kernels::Index lanes) {
      if (lanes < block_size()) std::fill_n(planes + blocked, area * block_size(), 0.0F);
      float_kernels().transpose(volume + plain, depth * area, planes + blocked, block_size(), lanes, area);
    });
  }
  void to_plain(const float* planes, float* volume) const { to_plain(planes, 0, images * depth, volume); }
  void to_plain(const float* planes, kernels::Index first, kernels::Index count, float* volume) const {
    visit(first, count, [&](kernels::Index plain, kernels::Index blocked, kernels::Index lanes) {
      float_kernels().transpose(planes + blocked, block_size(), volume + plain, depth * area, area, lanes);
    });
  }

 private:
  /// Calls body(offset in the volume, offset in the planes, channels) for every block of `count` planes.
  template <typename Body>
  void visit(kernels::Index first, kernels::Index count, const Body& body) const {
    const kernels::Index block = block_size();
    share(count * blocks(), 1, threads, [&](kernels::Index begin, kernels::Index end) {
      for (kernels::Index item = begin; item < end; ++item) {
        const kernels::Index channel = item % blocks() * block, plane = first + item / blocks();
        body((plane / depth * channels * depth + channel * depth + plane % depth) * area, item * area * block,
             std::min(block, channels - channel));
      }
    });
  }
};

/// Weights [k][channels][depth][taps] as [k][depth][channels][taps], then in the order of a kernel.
class CoveredPacker final : public Packer {
 public:
  CoveredPacker(std::shared_ptr<const Packer> next, const core::Shape& weights)
      : next_(std::move(next)),
        k_(weights[0]),
        c_(weights[1]),
        depth_(weights[2]),
        area_(weights[3] * weights[4]) {}
  void pack(const void* from, void* to) const override {
    const auto* const w = static_cast<const float*>(from);
    std::vector<float> turned(static_cast<std::size_t>(k_ * c_ * depth_ * area_));
    for (kernels::Index k = 0; k < k_; ++k) {
      for (kernels::Index z = 0; z < depth_; ++z) {
        for (kernels::Index c = 0; c < c_; ++c)
          std::copy_n(w + ((k * c_ + c) * depth_ + z) * area_, area_,
                      turned.data() + ((k * depth_ + z) * c_ + c) * area_);
      }
    }
    next_->pack(turned.data(), to);
  }

 private:
  std::shared_ptr<const Packer> next_;
  kernels::Index k_, c_, depth_, area_;
};

/// Lowers a convolution over three axes of very few channels, those of all taps along the depth together; false, and
/// nothing added, for others.
bool build_few_channels_volume(Builder& builder, const ConvolutionParts& parts,
                               const kernels::Activation& activation);

/// Lowers a convolution over three axes whose kernel extends along the depth alone; false, and nothing added, for
/// others.
bool build_columns_volume(Builder& builder, const ConvolutionParts& parts,
                          const kernels::Activation& activation);

}  // namespace rdquant::runtime::native
