// Convolutions over three axes. Where kernels extend along the depth alone, see volume_columns.cpp; else without groups
// one convolution over two axes makes each plane of the output: its channels are those of all planes that the window
// covers. With groups it is a sum of one convolution for every tap along the depth.
#include "runtime/native/float32/volume.hpp"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/native/few_filters/few_filters.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using kernels::ConvPlan;
using kernels::Index;
using program::kNone;
using program::Step;
using program::ValueId;

/// Weights [k][channels][depth][taps] as `depth` sets of filters.
class VolumePacker final : public Packer {
 public:
  VolumePacker(ConvPlan plan, Index channels, Index depth, int threads)
      : plan_(plan), channels_(channels), depth_(depth), threads_(threads) {}
  void pack(const void* from, void* to) const override {
    const auto* const w = static_cast<const float*>(from);
    const Index taps = plan_.shape.kh * plan_.shape.kw, filters = plan_.shape.k * channels_;
    std::vector<float> one(static_cast<std::size_t>(filters * taps));
    for (Index z = 0; z < depth_; ++z) {
      for (Index i = 0; i < filters; ++i)
        std::copy_n(w + (i * depth_ + z) * taps, taps, one.data() + i * taps);
      FilterPacker(float_kernels(), plan_, channels_, threads_)
          .pack(one.data(), static_cast<float*>(to) + z * plan_.weights);
    }
  }

 private:
  ConvPlan plan_;
  Index channels_, depth_;
  int threads_;
};

/// Operands: x and y, plain; packed weights, planes of x and one of zeros, planes of y; then bias, slopes and
/// residual where given.
struct VolumeWork {
  ConvPlan plan;
  Planes from, to;
  Index taps, stride, dilation, front;
  kernels::Activation activation;
  bool bias, slopes, residual, residual_last;
  int threads;

  void operator()(void* const* operand) const {
    auto* const source = static_cast<float*>(operand[3]);
    auto* const target = static_cast<float*>(operand[4]);
    from.to_blocks(static_cast<const float*>(operand[0]), source);
    std::fill_n(source + from.floats(), from.plane(), 0.0F);
    void* const* next = operand + 5;
    kernels::ConvArgs args;
    args.weights = static_cast<const float*>(operand[2]);
    if (bias) args.bias = static_cast<const float*>(*next++);
    kernels::Activation last = residual ? kernels::Activation{} : activation;
    if (slopes) last.slopes = static_cast<const float*>(*next++);
    share(to.images * to.depth, 1, threads, [&](Index begin, Index end) {
      for (Index item = begin; item < end; ++item)
        convolve_plane(args, last, source, target + item * to.plane(), item / to.depth, item % to.depth);
    });
    auto* const y = static_cast<float*>(operand[1]);
    to.to_plain(target, y);
    if (residual) add_residual(static_cast<const float*>(*next), y);
  }

 private:
  /// Plane `z` of the result of image `image`.
  void convolve_plane(kernels::ConvArgs args, const kernels::Activation& last, const float* source,
                      float* target, Index image, Index z) const {
    const float* const weights = args.weights;
    std::vector<Index> inside;
    for (Index tap = 0; tap < taps; ++tap) {
      const Index at = z * stride - front + tap * dilation;
      if (at >= 0 && at < from.depth) inside.push_back(tap);
    }
    const bool outside = inside.empty();
    if (outside) inside.push_back(0);
    args.dst = target;
    for (const Index tap : inside) {
      const Index at = z * stride - front + tap * dilation;
      args.src = source + (outside ? from.images * from.depth : image * from.depth + at) * from.plane();
      args.weights = weights + tap * plan.weights;
      if (tap != inside.front()) {
        args.bias = nullptr;
        args.residual = target;
      }
      if (tap == inside.back()) args.activation = last;
      float_kernels().convolve(plan, args, 0, plan.items);
    }
  }

  void add_residual(const float* r, float* y) const {
    constexpr Index kAddedFloats = 4096;
    const Index n = to.images * to.channels * to.depth * to.area;
    const auto add = [&](Index at, Index count) {
      float_kernels().binary(kernels::Binary::add, y + at, 1, r + at, 1, y + at, 0, count);
    };
    share(kernels::divide(n, kAddedFloats), 2, threads, [&](Index begin, Index end) {
      for (Index at = begin * kAddedFloats; at < std::min(n, end * kAddedFloats); at += kAddedFloats) {
        const Index count = std::min(kAddedFloats, n - at);
        if (!residual_last) add(at, count);
        float_kernels().unary(activation, y + at, y + at, 0, count);
        if (residual_last) add(at, count);
      }
    });
  }
};

/// The window's positions along the depth.
struct Depth {
  Index taps, stride, dilation, front;
};

/// For each plane of the output the planes that its window covers, one after the other as channels of one image:
/// views of consecutive planes where channels fill whole blocks, otherwise copies.
struct Covered {
  Planes from;
  Index out;  ///< planes of the output
  Depth window;

  [[nodiscard]] bool views() const { return from.channels % block_size() == 0 && window.dilation == 1; }
  [[nodiscard]] Index channels() const { return window.taps * from.channels; }
  [[nodiscard]] Index image() const { return from.channels * from.depth * from.area; }  ///< floats of x
  /// Planes per image with those of zeros around it; only of views.
  [[nodiscard]] Index padded() const {
    return std::max(window.front + from.depth, (out - 1) * window.stride + window.taps);
  }
  [[nodiscard]] Index plane() const {  ///< floats of all that one plane of the output reads
    return kernels::divide(channels(), block_size()) * from.area * block_size();
  }
  [[nodiscard]] Index step() const { return views() ? window.stride * from.plane() : plane(); }
  /// Whether planes that one window covers are read again by the next.
  [[nodiscard]] bool overlaps() const { return views() && window.taps > window.stride; }
  /// Floats of what `together` planes of the output, one after the other, are made of.
  [[nodiscard]] Index floats(Index together) const {
    if (overlaps()) return padded() * from.plane();
    return (together - 1) * step() + plane();
  }

  /// Brings together what planes [z, z + together) of the output read, and returns where it begins. `filled`: planes
  /// with those of zeros around them that are there already.
  const float* fill(const float* image, Index z, Index together, Index& filled, float* to) const {
    if (!views()) {
      share(together, 1, from.threads, [&](Index begin, Index end) {
        for (Index item = begin; item < end; ++item) cover(image, z + item, to + item * plane());
      });
      return to;
    }
    const Index first = overlaps() ? filled : z * window.stride;
    const Index last = (z + together - 1) * window.stride + window.taps;
    float* const at = overlaps() ? to + first * from.plane() : to;
    share(last - first, 1, from.threads, [&](Index begin, Index end) {
      for (Index item = begin; item < end; ++item)
        copy_plane(image, first + item - window.front, 0, at + item * from.plane());
    });
    filled = last;
    return overlaps() ? to + z * step() : to;
  }

 private:
  /// All planes under the window of plane `z` of the output.
  void cover(const float* image, Index z, float* to) const {
    std::fill_n(to, plane(), 0.0F);
    for (Index tap = 0; tap < window.taps; ++tap)
      copy_plane(image, z * window.stride - window.front + tap * window.dilation, tap * from.channels, to);
  }

  /// Plane `z` of a volume as channels `first` and following of an image in blocks; zeros where there is none.
  void copy_plane(const float* image, Index z, Index first, float* to) const {
    const Index block = block_size();
    if (z < 0 || z >= from.depth) {
      if (views()) std::fill_n(to, from.plane(), 0.0F);
      return;
    }
    for (Index c = 0; c < from.channels;) {
      const Index lane = (first + c) % block, lanes = std::min(block - lane, from.channels - c);
      float_kernels().transpose(image + (c * from.depth + z) * from.area, from.depth * from.area,
                                to + (first + c) / block * from.area * block + lane, block, lanes, from.area);
      c += lanes;
    }
  }
};

/// How many planes of the output are made at once: a divisor of all of them.
Index planes_together(const Covered& from, const Planes& to) {
  const Index plane = (from.step() + to.plane()) * static_cast<Index>(sizeof(float));
  Index together = to.depth;
  while (to.depth % together != 0 || (together > 1 && together * plane > kCachedBytes * to.threads))
    --together;
  return together;
}

/// Operands: x and y, plain; packed weights; what planes of y made together read, those planes, planes of the residual,
/// the kernel's scratch; then bias, slopes and residual where given.
struct CoveredWork {
  Covered from;
  Planes to;
  Index together;
  std::function<void(const kernels::ConvArgs&, float* scratch)> convolve;
  kernels::ConvArgs fixed;
  bool bias, slopes, residual;

  void operator()(void* const* operand) const {
    auto* const target = static_cast<float*>(operand[4]);
    auto* const added = static_cast<float*>(operand[5]);
    kernels::ConvArgs args = fixed;
    args.weights = static_cast<const float*>(operand[2]);
    void* const* next = operand + 7;
    if (bias) args.bias = static_cast<const float*>(*next++);
    if (slopes) args.activation.slopes = static_cast<const float*>(*next++);
    args.dst = target;
    args.residual = residual ? added : nullptr;
    Index filled = 0;
    for (Index first = 0; first < to.images * to.depth; first += together) {
      const Index image = first / to.depth, z = first % to.depth;
      if (z == 0) filled = 0;
      args.src = from.fill(static_cast<const float*>(operand[0]) + image * from.image(), z, together, filled,
                           static_cast<float*>(operand[3]));
      // before these planes of y are written, which may lie where the residual does
      if (residual) to.to_blocks(static_cast<const float*>(*next), first, together, added);
      convolve(args, static_cast<float*>(operand[6]));
      to.to_plain(target, first, together, static_cast<float*>(operand[1]));
    }
  }
};

/// A kernel for one image whose planes are convolved together.
struct PlaneKernel {
  std::string name;
  std::shared_ptr<const Packer> packer;
  Index weights, scratch;
  std::function<void(const kernels::ConvArgs&, float* scratch)> run;
};

std::optional<PlaneKernel> winograd_kernel(const kernels::ConvShape& shape, int threads) {
  const Index tile = kernels::winograd_pays(shape);
  if (tile == 0) return std::nullopt;
  const core::Isa isa = float_kernels().isa;
  const kernels::Winograd& own = kernels::winograd(isa);
  const kernels::WinogradPlan plan = kernels::plan_winograd(shape, tile, isa, threads);
  const Index scratch = kernels::divide(plan.scratch, kLine) * kLine;
  return PlaneKernel{"winograd " + std::to_string(tile) + "x" + std::to_string(tile) + " volume ",
                     std::make_shared<WinogradPacker>(own, plan, threads), plan.weights, scratch * threads,
                     [&own, plan, threads, scratch](const kernels::ConvArgs& args, float* memory) {
                       share_ranked(plan.items, 1, threads, [&](Index begin, Index end, int rank) {
                         own.run(plan, args, memory + rank * scratch, begin, end);
                       });
                     }};
}

std::optional<PlaneKernel> dense_kernel(kernels::ConvShape shape, int threads) {
  const kernels::Kernels& own = float_kernels();
  const Index channels = shape.c;
  shape.c = kernels::divide(shape.c, own.block) * own.block;
  const auto plan = plan_of(shape, kernels::ConvMethod::dense);
  if (!plan) return std::nullopt;
  return PlaneKernel{"dense volume ", std::make_shared<FilterPacker>(own, *plan, channels, threads),
                     plan->weights, 0, [&own, plan = *plan, threads](const kernels::ConvArgs& args, float*) {
                       share(plan.items, 1, threads,
                             [&](Index begin, Index end) { own.convolve(plan, args, begin, end); });
                     }};
}

/// One convolution for all taps along the depth; false, and nothing added, with groups.
bool build_covered(Builder& builder, const ConvolutionParts& parts, const kernels::Activation& activation) {
  const program::Convolution& op = parts.convolution;
  if (op.groups != 1) return false;
  const Shape &x = builder.value(parts.x).shape, &w = builder.value(parts.w).shape,
              &y = builder.value(parts.y).shape;
  const int threads = builder.threads();
  const Covered from{{x[0], x[1], x[2], x[3] * x[4], threads},
                     y[2],
                     {w[2], op.window.strides[0], op.window.dilations[0], op.window.pads_begin[0]}};
  const Planes to{y[0], y[1], y[2], y[3] * y[4], threads};
  kernels::ConvShape shape = conv_shape_of(builder, parts.x, parts.w, op.window, 1);
  const Index together = planes_together(from, to);
  shape.n = together;
  shape.c = from.channels();
  const bool constant = builder.value(parts.w).role == program::Role::constant;
  auto kernel = constant ? winograd_kernel(shape, threads) : std::nullopt;
  if (!kernel) kernel = dense_kernel(shape, threads);
  if (!kernel) return false;
  kernels::ConvArgs fixed;
  fixed.src_image = from.step();
  fixed.dst_image = fixed.residual_image = to.plane();
  fixed.residual_last = op.residual_last;
  fixed.activation = activation;
  const bool bias = parts.bias != kNone, slopes = parts.slopes != kNone, residual = parts.residual != kNone;
  std::vector<Place> operands{
      builder.read(parts.x, Layout::plain),
      {},
      builder.packed(parts.w, bytes_of(kernel->weights), std::make_shared<CoveredPacker>(kernel->packer, w)),
      builder.scratch(bytes_of(from.floats(together))),
      builder.scratch(bytes_of(together * to.plane())),
      builder.scratch(residual ? bytes_of(together * to.plane()) : 0),
      builder.scratch(bytes_of(kernel->scratch))};
  if (bias) operands.push_back(pack_vector(builder, parts.bias, w[0]));
  if (slopes) operands.push_back(pack_vector(builder, parts.slopes, w[0]));
  if (residual) operands.push_back(builder.read(parts.residual, Layout::plain));
  operands[1] = builder.write(parts.y, Layout::plain);
  const std::size_t count = operands.size();
  builder.emit(make_native(kernel->name + std::string(core::isa_name(float_kernels().isa)), count,
                           CoveredWork{from, to, together, kernel->run, fixed, bias, slopes, residual}),
               std::move(operands), Layout::plain);
  return true;
}

}  // namespace

bool build_volume_convolution(Builder& builder, const Step& step) {
  const auto* op = std::get_if<program::Convolution>(&step.operation);
  if (op == nullptr || builder.value(step.inputs[0]).shape.size() != 5 || !all_float(builder.program(), step))
    return false;
  const ConvolutionParts parts = take_apart(builder, step);
  const Shape &x = builder.value(parts.x).shape, &w = builder.value(parts.w).shape,
              &y = builder.value(parts.y).shape;
  const auto activation = kernel_activation(op->activation);
  const bool slopes = parts.slopes != kNone, residual = parts.residual != kNone;
  if (!activation || core::element_count(y) == 0) return false;
  if (build_few_channels_volume(builder, parts, *activation)) return true;
  if (build_few_filters(builder, parts)) return true;
  if (build_columns_volume(builder, parts, *activation)) return true;
  if (build_covered(builder, parts, *activation)) return true;
  if (slopes && residual) return false;
  const bool depthwise = op->groups == x[1] && w[0] == x[1] && x[1] > 1;
  kernels::ConvShape plane = conv_shape_of(builder, parts.x, parts.w, op->window, op->groups);
  plane.n = 1;
  const auto plan = plan_of(plane, depthwise ? kernels::ConvMethod::depthwise : kernels::ConvMethod::dense);
  if (!plan) return false;
  const int threads = builder.threads();
  const Planes from{x[0], x[1], x[2], x[3] * x[4], threads}, to{y[0], y[1], y[2], y[3] * y[4], threads};
  std::vector<Place> operands{builder.read(parts.x, Layout::plain),
                              {},
                              builder.packed(parts.w, bytes_of(w[2] * plan->weights),
                                             std::make_shared<VolumePacker>(*plan, w[1], w[2], threads)),
                              builder.scratch(bytes_of(from.floats() + from.plane())),
                              builder.scratch(bytes_of(to.floats()))};
  if (parts.bias != kNone) operands.push_back(pack_vector(builder, parts.bias, w[0]));
  if (slopes) operands.push_back(pack_vector(builder, parts.slopes, w[0]));
  if (residual) operands.push_back(builder.read(parts.residual, Layout::plain));
  operands[1] = builder.write(parts.y, Layout::plain);
  const std::size_t count = operands.size();
  builder.emit(make_native("volume " + std::string(core::isa_name(float_kernels().isa)), count,
                           VolumeWork{*plan, from, to, w[2], op->window.strides[0], op->window.dilations[0],
                                      op->window.pads_begin[0], *activation, parts.bias != kNone, slopes,
                                      residual, op->residual_last, threads}),
               std::move(operands), Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
