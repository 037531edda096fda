// Sums and products of levels of images with levels of one pixel each, as of a squeeze and excitation, or with one
// level for each pixel, as of attention to places; those of lines with the levels of one line, as with a bias.
#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/int8/int8.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {

namespace {

using kernels::Index;
using program::Step;
using program::ValueId;

/// How the levels of an operand lie.
struct Operand {
  Index image, pixel;  ///< bytes from one to the next
  bool single;         ///< one level for all channels
};

/// Levels of an operand for each channel of some pixels, one pixel after the other.
class Strip {
 public:
  Strip(const Operand& from, Index channels) : from_(from), channels_(channels) {}

  const std::uint8_t* at(const std::uint8_t* levels, Index image, Index pixel, Index count) {
    const std::uint8_t* const first = levels + image * from_.image + pixel * from_.pixel;
    if (!from_.single && (count == 1 || from_.pixel == channels_)) return first;
    if (from_.pixel == 0 && image == image_ && count <= filled_) return spread_.data();
    spread_.resize(static_cast<std::size_t>(count * channels_ + kWide));
    for (Index p = 0; p < count; ++p) {
      const std::uint8_t* const one = first + p * from_.pixel;
      std::uint8_t* const to = spread_.data() + p * channels_;
      if (!from_.single) {
        std::memcpy(to, one, static_cast<std::size_t>(channels_));
      } else if (channels_ <= kWide) {
        std::memset(to, *one, kWide);  // a length known beforehand, beyond the pixel: the next one follows
      } else {
        std::memset(to, *one, static_cast<std::size_t>(channels_));
      }
    }
    image_ = image;
    filled_ = count;
    return spread_.data();
  }

 private:
  static constexpr Index kWide = 16;
  Operand from_;
  Index channels_;
  std::vector<std::uint8_t> spread_;
  Index image_ = -1, filled_ = 0;
};

struct GateWork {
  decltype(kernels::Int8Kernels::add) kernel;
  kernels::Int8Sum sum;
  Int8Layout to;
  std::array<Operand, 2> from;
  Index strip;  ///< pixels at once
  int threads;

  void operator()(void* const* operand) const {
    const auto *a = static_cast<const std::uint8_t*>(operand[0]),
               *b = static_cast<const std::uint8_t*>(operand[1]);
    auto* const made = static_cast<std::uint8_t*>(operand[2]);
    share(to.images * to.area, kGrain / to.channels + 1, threads, [&](Index begin, Index end) {
      Strip first(from[0], to.channels), second(from[1], to.channels);
      for (Index at = begin, count = 0; at < end; at += count) {
        const Index image = at / to.area, pixel = at % to.area;
        count = std::min({strip, end - at, to.area - pixel});
        kernel(sum, first.at(a, image, pixel, count), second.at(b, image, pixel, count), made + at * to.pixel,
               0, count * to.channels);
      }
    });
  }
};

/// How many levels of shape `shape` are repeated to fill `whole`, as a bias is; 0 where they do not simply repeat.
Index repeated(const core::Shape& shape, const core::Shape& whole) {
  core::Shape own(std::ranges::find_if(shape, [](Index n) { return n != 1; }), shape.end());
  if (own.size() > whole.size() || !std::equal(own.rbegin(), own.rend(), whole.rbegin())) return 0;
  return core::element_count(own);
}

/// One operand in lines, to each of which the whole of the other is added, or with which it is multiplied.
bool build_int8_lines(Builder& builder, const Step& step) {
  const ValueId a = step.inputs[0], b = step.inputs[1], y = step.outputs[0];
  const core::Shape& whole = builder.value(y).shape;
  const Index first = repeated(builder.value(a).shape, whole),
              second = repeated(builder.value(b).shape, whole);
  const Index count = core::element_count(whole), line = std::min(first, second);
  if (builder.layout(y) != Layout::plain || line < 2 || std::max(first, second) != count) return false;
  const auto& op = std::get<program::Int8Binary>(step.operation);
  const bool adds = op.function == program::BinaryFunction::add;
  const std::array<Index, 2> moves{first == count ? line : 0, second == count ? line : 0};
  auto work = [kernel = adds ? int8_kernels().add : int8_kernels().multiply, lines = count / line, line,
               moves, sum = int8_sum(op, builder.value(a), builder.value(b)),
               threads = builder.threads()](void* const* operand) {
    const auto *from = static_cast<const std::uint8_t*>(operand[0]),
               *other = static_cast<const std::uint8_t*>(operand[1]);
    auto* const to = static_cast<std::uint8_t*>(operand[2]);
    share(lines, kGrain / line + 1, threads, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i)
        kernel(sum, from + i * moves[0], other + i * moves[1], to + i * line, 0, line);
    });
  };
  builder.emit(
      make_native(std::string(adds ? "add " : "multiply ") + int8_kernels().name, 3, std::move(work)),
      {builder.read(a, Layout::plain), builder.read(b, Layout::plain), builder.write(y, Layout::plain)},
      Layout::plain);
  return true;
}

}  // namespace

bool build_int8_gate(Builder& builder, const Step& step) {
  constexpr Index kStrip = 2048;  // bytes that stay in the first cache
  const ValueId a = step.inputs[0], b = step.inputs[1], y = step.outputs[0];
  if (builder.layout(y) != Layout::channels_last || !is_image_binary(builder.program(), step))
    return build_int8_lines(builder, step);
  const Int8Layout to = int8_layout_of(builder, y);
  const auto& op = std::get<program::Int8Binary>(step.operation);
  const bool adds = op.function == program::BinaryFunction::add;
  const auto operand_of = [&](ValueId id) {
    const core::Shape& shape = builder.value(id).shape;
    const Index area = area_of(shape), bytes = builder.pixel(id);
    const bool one = area == 1 && to.area != 1;
    return Operand{shape[0] == 1 ? 0 : area * bytes, one ? 0 : bytes, shape[1] == 1 && to.channels != 1};
  };
  const Index strip = to.pixel == to.channels ? std::max<Index>(1, kStrip / to.channels) : 1;
  GateWork work{adds ? int8_kernels().add : int8_kernels().multiply,
                int8_sum(op, builder.value(a), builder.value(b)),
                to,
                {operand_of(a), operand_of(b)},
                strip,
                builder.threads()};
  builder.emit(
      make_native(std::string(adds ? "add " : "multiply ") + int8_kernels().name, 3, std::move(work)),
      {builder.read(a, Layout::channels_last), builder.read(b, Layout::channels_last),
       builder.write(y, Layout::channels_last)},
      Layout::channels_last);
  return true;
}

}  // namespace rdquant::runtime::native
