// Transposed convolutions over three axes: planes of the output whose depths leave the same rest are transposed
// convolutions over two axes, whose channels are those of all planes of the input that meet them.
#include <algorithm>
#include <utility>

#include "runtime/native/float32/transposed.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using kernels::ConvShape;
using kernels::Index;
using program::kNone;
using program::Step;
using program::ValueId;

/// Planes of the output with the same taps along the depth.
struct DepthPhase {
  AxisPhase depth;
  Phases planes;  ///< nothing where there are no taps
  Index weights = 0;
};

/// Sizes of volumes and of the kernel's depth.
struct TransposedVolume {
  Index images, channels, depth, area, groups, taps;
  Index out_channels, out_depth, out_area, stride;
  std::vector<DepthPhase> phases;

  [[nodiscard]] Index stacked(const DepthPhase& phase) const {
    return static_cast<Index>(phase.depth.taps.size()) * channels;
  }
  [[nodiscard]] static Index image(Index count, Index pixels) {
    return kernels::divide(count, block_size()) * block_size() * pixels;
  }
};

/// Weights [c][k / groups][depth][taps] of all phases.
class TransposedVolumePacker final : public Packer {
 public:
  TransposedVolumePacker(TransposedVolume volume, int threads)
      : volume_(std::move(volume)), threads_(threads) {}
  void pack(const void* from, void* to) const override {
    for (const DepthPhase& phase : volume_.phases) {
      if (phase.depth.taps.empty()) continue;
      const std::vector<float> planes = turned(phase, static_cast<const float*>(from));
      phase.planes.pack(planes.data(), static_cast<float*>(to) + phase.weights, threads_);
    }
  }

 private:
  /// As [group][tap along the depth][channel of the group][k / groups][taps].
  [[nodiscard]] std::vector<float> turned(const DepthPhase& phase, const float* w) const {
    const ConvShape& whole = phase.planes.whole;
    const Index each = volume_.channels / volume_.groups, k = whole.k / volume_.groups,
                area = whole.kh * whole.kw;
    std::vector<float> planes(static_cast<std::size_t>(volume_.stacked(phase) * k * area));
    auto to = planes.begin();
    for (Index group = 0; group < volume_.groups; ++group) {
      for (const Index tap : phase.depth.taps) {
        for (Index row = group * each * k; row < (group + 1) * each * k; ++row)
          to = std::copy_n(w + (row * volume_.taps + tap) * area, area, to);
      }
    }
    return planes;
  }

  TransposedVolume volume_;
  int threads_;
};

/// Operands: x and y, plain; packed weights, images of stacked planes, planes of y, scratch, bias where given.
struct TransposedVolumeWork {
  TransposedVolume volume;
  kernels::Activation activation;
  bool bias;
  int threads;

  void operator()(void* const* operand) const {
    const auto* const x = static_cast<const float*>(operand[0]);
    auto* const y = static_cast<float*>(operand[1]);
    auto* const stacked = static_cast<float*>(operand[3]);
    auto* const planes = static_cast<float*>(operand[4]);
    auto* const scratch = static_cast<float*>(operand[5]);
    const auto* const added = bias ? static_cast<const float*>(operand[6]) : nullptr;
    for (const DepthPhase& phase : volume.phases) {
      if (phase.depth.taps.empty()) {
        fill_untouched(added, activation, volume.out_channels, scratch);
        fill(phase.depth, scratch, y);
        continue;
      }
      stack(phase, x, stacked);
      phase.planes.run(stacked, static_cast<const float*>(operand[2]) + phase.weights, added, activation,
                       planes, scratch, threads);
      spread(phase.depth, planes, y);
    }
  }

 private:
  /// The planes that meet each plane of the phase, one after the other as channels of one image, within each group.
  void stack(const DepthPhase& phase, const float* x, float* to) const {
    const AxisPhase& depth = phase.depth;
    const Index image = TransposedVolume::image(volume.stacked(phase), volume.area);
    const Index taps = static_cast<Index>(depth.taps.size()), each = volume.channels / volume.groups;
    share(volume.images * depth.count, 1, threads, [&](Index begin, Index end) {
      for (Index item = begin; item < end; ++item) {
        const float* const from = x + item / depth.count * volume.channels * volume.depth * volume.area;
        float* const into = to + item * image;
        std::fill_n(into, image, 0.0F);
        for (Index tap = 0; tap < taps; ++tap) {
          const Index z = item % depth.count + depth.skip - depth.before + tap * depth.dilation;
          if (z < 0 || z >= volume.depth) continue;
          for (Index group = 0; group < volume.groups; ++group)
            copy_channels(from + z * volume.area, group * each, each, into, (group * taps + tap) * each);
        }
      }
    });
  }

  /// Channels of a plane to others of an image in blocks.
  void copy_channels(const float* plane, Index first, Index count, float* image, Index into) const {
    const Index block = block_size(), row = volume.depth * volume.area;
    for (Index c = 0; c < count;) {
      const Index lane = (into + c) % block, lanes = std::min(block - lane, count - c);
      float_kernels().transpose(plane + (first + c) * row, row,
                                image + (into + c) / block * volume.area * block + lane, block, lanes,
                                volume.area);
      c += lanes;
    }
  }

  /// body(first channel, channels, offset in y) for each block of each plane of the phase.
  template <typename Body>
  void visit(const AxisPhase& depth, const Body& body) const {
    const Index block = block_size(), blocks = kernels::divide(volume.out_channels, block);
    share(volume.images * depth.count * blocks, 1, threads, [&](Index begin, Index end) {
      for (Index item = begin; item < end; ++item) {
        const Index first = item % blocks * block, plane = item / blocks;
        const Index z = depth.first + plane % depth.count * volume.stride;
        const Index at = (plane / depth.count * volume.out_channels + first) * volume.out_depth + z;
        body(item, first, std::min(block, volume.out_channels - first), at * volume.out_area);
      }
    });
  }

  void spread(const AxisPhase& depth, const float* planes, float* y) const {
    visit(depth, [&](Index item, Index, Index channels, Index at) {
      float_kernels().transpose(planes + item * volume.out_area * block_size(), block_size(), y + at,
                                volume.out_depth * volume.out_area, volume.out_area, channels);
    });
  }

  void fill(const AxisPhase& depth, const float* values, float* y) const {
    visit(depth, [&](Index, Index first, Index channels, Index at) {
      for (Index c = 0; c < channels; ++c)
        std::fill_n(y + at + c * volume.out_depth * volume.out_area, volume.out_area, values[first + c]);
    });
  }
};

/// The phases along the depth, and how each is run; nullopt where our kernels lack one of the convolutions.
std::optional<TransposedVolume> decompose_volume(const ConvShape& plane, const Shape& x, const Shape& y,
                                                 const program::Window& window) {
  TransposedVolume volume{x[0],
                          x[1],
                          x[2],
                          x[3] * x[4],
                          plane.groups,
                          window.kernel[0],
                          y[1],
                          y[2],
                          y[3] * y[4],
                          window.strides[0],
                          {}};
  Index weights = 0;
  for (AxisPhase& depth : phases_of(
           {x[2], y[2], window.kernel[0], window.strides[0], window.dilations[0], window.pads_begin[0]})) {
    volume.phases.push_back({std::move(depth), {}, weights});
    DepthPhase& phase = volume.phases.back();
    if (phase.depth.taps.empty()) continue;
    ConvShape whole = plane;
    whole.n = x[0] * phase.depth.count;
    whole.c = volume.stacked(phase);
    whole.k = y[1];
    auto planes = decompose(whole, y[3], y[4]);
    if (!planes) return std::nullopt;
    weights += planes->weights;
    phase.planes = std::move(*planes);
  }
  return volume;
}

}  // namespace

bool build_transposed_volume(Builder& builder, const Step& step) {
  const auto* op = std::get_if<program::TransposedConvolution>(&step.operation);
  if (op == nullptr || !all_float(builder.program(), step)) return false;
  const ValueId x = step.inputs[0], w = step.inputs[1], bias = program::input(step, 2);
  const Shape &from = builder.value(x).shape, &to = builder.value(step.outputs[0]).shape;
  const auto activation = kernel_activation(op->activation);
  if (!activation || op->activation.function == program::Function::prelu || from.size() != 5 ||
      core::element_count(to) == 0) {
    return false;
  }
  const auto volume =
      decompose_volume(conv_shape_of(builder, x, w, op->window, op->groups), from, to, op->window);
  if (!volume) return false;
  Index weights = 1, stacked = 1, planes = 1, scratch = TransposedVolume::image(to[1], 1);
  for (const DepthPhase& phase : volume->phases) {
    if (phase.depth.taps.empty()) continue;
    const Index count = from[0] * phase.depth.count;
    weights = phase.weights + phase.planes.weights;
    stacked = std::max(stacked, count * TransposedVolume::image(volume->stacked(phase), volume->area));
    planes = std::max(planes, count * TransposedVolume::image(to[1], volume->out_area));
    scratch = std::max(scratch, phase.planes.scratch());
  }
  const int threads = builder.threads();
  std::vector<Place> operands{
      builder.read(x, Layout::plain),
      {},
      builder.packed(w, bytes_of(weights), std::make_shared<TransposedVolumePacker>(*volume, threads)),
      builder.scratch(bytes_of(stacked)),
      builder.scratch(bytes_of(planes)),
      builder.scratch(bytes_of(scratch))};
  if (bias != kNone) operands.push_back(pack_vector(builder, bias, to[1]));
  operands[1] = builder.write(step.outputs[0], Layout::plain);
  const std::size_t count = operands.size();
  builder.emit(make_native(with_isa("phases volume"), count,
                           TransposedVolumeWork{*volume, *activation, bias != kNone, threads}),
               std::move(operands), Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
