#include "runtime/native/movement/channels.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/loops.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using kernels::Index;
using program::Step;
using program::ValueId;

constexpr std::size_t kMostLanes = 16;

/// A block of one operand.
struct Source {
  Index operand, block;
  bool operator==(const Source&) const = default;
};

/// One walk over the pixels of a block of the destination.
struct Walk {
  Source a, b;
  std::array<std::int32_t, kMostLanes> places{};
};

/// The walks that make block `block`: the first takes of two sources, each other adds one to what is there.
std::vector<Walk> walks_of(const std::vector<Origin>& origins, Index block, Index destination, Index lanes) {
  const auto source_of = [&](Index lane) {
    const Origin& origin = origins[static_cast<std::size_t>(block * lanes + lane)];
    if (origin.operand == Origin::kThere) return Source{destination, block};
    return Source{origin.operand, origin.channel / lanes};
  };
  const Index real = std::min(lanes, static_cast<Index>(origins.size()) - block * lanes);
  std::vector<Source> sources;
  for (Index lane = 0; lane < real; ++lane) {
    if (std::ranges::find(sources, source_of(lane)) == sources.end()) sources.push_back(source_of(lane));
  }
  // what is there is read before it is written
  std::ranges::stable_partition(sources, [&](const Source& source) { return source.operand == destination; });
  std::vector<Walk> walks;
  if (sources == std::vector<Source>{{destination, block}}) return walks;
  for (std::size_t next = 0; next < sources.size(); ++next) {
    const bool first = walks.empty();
    Walk walk{first ? sources[0] : Source{destination, block}, sources[next], {}};
    if (first && sources.size() > 1) walk.b = sources[++next];
    walk.places.fill(-1);
    for (Index lane = 0; lane < real; ++lane) {
      const Source source = source_of(lane);
      const Origin& origin = origins[static_cast<std::size_t>(block * lanes + lane)];
      const Index from = origin.operand == Origin::kThere ? lane : origin.channel % lanes;
      const auto made = std::ranges::find(sources, source) - sources.begin();
      auto& place = walk.places[static_cast<std::size_t>(lane)];
      if (source == walk.b) place = static_cast<std::int32_t>(from + lanes);
      if (first && source == walk.a) place = static_cast<std::int32_t>(from);
      if (!first && made < static_cast<std::ptrdiff_t>(next)) place = static_cast<std::int32_t>(lane);
    }
    walks.push_back(walk);
  }
  return walks;
}

struct ChannelsWork {
  std::vector<std::vector<Walk>> blocks;
  std::vector<Index> image_of;  ///< floats between the images of each operand
  Index images, area;
  int threads;

  void operator()(void* const* operand) const {
    const kernels::Kernels& own = float_kernels();
    const auto count = static_cast<Index>(blocks.size());
    const Index block_floats = area * own.block;
    const auto at = [&](const Source& source, Index image) {
      const auto i = static_cast<std::size_t>(source.operand);
      return static_cast<float*>(operand[i]) + image * image_of[i] + source.block * block_floats;
    };
    share(images * count, 1, threads, [&](Index begin, Index end) {
      for (Index item = begin; item < end; ++item) {
        const Index image = item / count, block = item % count;
        float* const to = at({static_cast<Index>(image_of.size()) - 1, block}, image);
        for (const Walk& walk : blocks[static_cast<std::size_t>(block)])
          own.pick_lanes(at(walk.a, image), at(walk.b, image), walk.places.data(), to, area);
      }
    });
  }
};

constexpr Index kStrip = 64;  ///< pixels whose channels are copied together

/// `real` floats of a pixel in a block of B.
template <Index B, bool ToBlocks>
void copy_block(const float* from, float* to, Index pixels, Index channels, Index real) {
  for (Index i = 0; i < pixels; ++i) {
    const float* const source = from + i * (ToBlocks ? channels : B);
    float* const target = to + i * (ToBlocks ? B : channels);
    if (real == B) {
      std::memcpy(target, source, B * sizeof(float));
    } else {
      for (Index lane = 0; lane < real; ++lane) target[lane] = source[lane];
      for (Index lane = real; ToBlocks && lane < B; ++lane) target[lane] = 0;
    }
  }
}

/// Copies between pixels and blocks.
template <Index B, bool ToBlocks>
struct PixelsWork {
  Index images, channels, area;
  int threads;

  void operator()(void* const* operand) const {
    const Index strips = kernels::divide(area, kStrip), blocks = kernels::divide(channels, B);
    const auto* const from = static_cast<const float*>(operand[0]);
    auto* const to = static_cast<float*>(operand[1]);
    share(images * strips, 1, threads, [&](Index begin, Index end) {
      for (Index item = begin; item < end; ++item) {
        const Index image = item / strips, first = item % strips * kStrip;
        for (Index block = 0; block < blocks; ++block) {
          const Index pixels = (image * area + first) * channels + block * B,
                      blocked = ((image * blocks + block) * area + first) * B;
          copy_block<B, ToBlocks>(from + (ToBlocks ? pixels : blocked), to + (ToBlocks ? blocked : pixels),
                                  std::min(kStrip, area - first), channels,
                                  std::min(B, channels - block * B));
        }
      }
    });
  }
};

template <bool ToBlocks>
std::shared_ptr<const Kernel> make_pixels(const std::string& name, const Shape& image, int threads) {
  const Index area = image[2] * image[3];
  if (block_size() == 16)
    return make_native(name, 2, PixelsWork<16, ToBlocks>{image[0], image[1], area, threads});
  return make_native(name, 2, PixelsWork<8, ToBlocks>{image[0], image[1], area, threads});
}

/// `count` channels of an operand from `start` on.
void append(std::vector<Origin>& origins, std::int64_t operand, std::int64_t start, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) origins.push_back({operand, start + i});
}

}  // namespace

std::shared_ptr<const Kernel> make_channels(const std::string& name, std::int64_t images, std::int64_t area,
                                            const std::vector<std::int64_t>& channels,
                                            const std::vector<Origin>& origins, int threads) {
  const Index lanes = block_size();
  ChannelsWork work{{}, {}, images, area, threads};
  for (const std::int64_t c : channels) work.image_of.push_back(kernels::divide(c, lanes) * lanes * area);
  const Index blocks = kernels::divide(static_cast<Index>(origins.size()), lanes);
  work.image_of.push_back(blocks * lanes * area);
  for (Index block = 0; block < blocks; ++block)
    work.blocks.push_back(walks_of(origins, block, static_cast<Index>(channels.size()), lanes));
  return make_native(name + " " + std::string(core::isa_name(float_kernels().isa)), channels.size() + 1,
                     std::move(work));
}

std::shared_ptr<const Kernel> make_blocks_of_pixels(const Shape& image, int threads) {
  return make_pixels<true>("blocks of pixels", image, threads);
}

std::shared_ptr<const Kernel> make_pixels_of_blocks(const Shape& image, int threads) {
  return make_pixels<false>("pixels of blocks", image, threads);
}

bool concat_channels(Builder& builder, const Step& step) {
  const ValueId whole = step.outputs[0];
  const Shape& shape = builder.value(whole).shape;
  const std::int64_t area = shape[2] * shape[3];
  const Place to = builder.write(whole, Layout::blocked);
  std::vector<Place> operands;
  std::vector<std::int64_t> channels;
  std::vector<Origin> origins;
  for (const ValueId part : step.inputs) {
    const std::int64_t count = builder.value(part).shape[1], start = std::ssize(origins);
    const Place from = builder.read(part, Layout::blocked);
    const bool there = from.buffer == to.buffer && start % block_size() == 0 &&
                       from.offset == to.offset + static_cast<std::size_t>(start * area) * sizeof(float);
    append(origins, there ? Origin::kThere : std::ssize(operands), 0, count);
    if (there) continue;
    operands.push_back(from);
    channels.push_back(count);
  }
  operands.push_back(to);
  builder.emit(make_channels("channels", shape[0], area, channels, origins, builder.threads()),
               std::move(operands), Layout::blocked);
  return true;
}

bool split_channels(Builder& builder, const Step& step) {
  const ValueId whole = step.inputs[0];
  const Shape shape = builder.value(whole).shape;
  const Place from = builder.read(whole, Layout::blocked);
  std::int64_t start = 0;
  for (const ValueId part : step.outputs) {
    const std::int64_t count = builder.value(part).shape[1];
    std::vector<Origin> origins;
    append(origins, 0, start, count);
    start += count;
    if (count == 0) continue;
    builder.emit(
        make_channels("channels", shape[0], shape[2] * shape[3], {shape[1]}, origins, builder.threads()),
        {from, builder.write(part, Layout::blocked)}, Layout::blocked);
  }
  return true;
}

}  // namespace rdquant::runtime::native
