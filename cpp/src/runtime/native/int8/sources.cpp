#include "runtime/native/int8/sources.hpp"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "rdquant/core/memory.hpp"
#include "runtime/native/loops.hpp"

namespace rdquant::runtime::native {
namespace {

using kernels::ConvShape;
using kernels::Index;
using program::kNone;
using program::ValueId;

constexpr Index kWord = 4;  // channels that one instruction multiplies and adds

/// Products of words that are spared must be so many for each word that is made.
constexpr Index kSpared = 4;
/// And so many for each row of them.
constexpr Index kSparedRow = 32;

Index blocks_of(Index filters) { return (filters + 15) / 16; }

/// Whether it pays to let taps of a row fill the words that one or two channels leave mostly empty.
bool taps_pay(const ConvShape& s, const Ready& to) {
  const Index spared = s.kh * (s.kw - to.shape.kw) * blocks_of(s.k) * s.oh() * s.ow();
  return spared >= (kSpared * to.shape.w + kSparedRow) * s.h;
}

/// Several taps as channels: tap f·u + j of a row reads at word u what lies j columns further on.
Ready with_taps(const ConvShape& s) {
  Ready to{s, s, 1, kWord / s.c, 1};
  if (s.dw == 1 && s.sw % to.taps == 0) to.step = to.taps;
  to.shape.c = kWord;
  to.shape.kw = kernels::divide(s.kw, to.taps);
  to.shape.dw = to.taps * s.dw / to.step;
  to.shape.sw = s.sw / to.step;
  to.shape.left = to.shape.right = 0;  // which the words have in them
  to.shape.w = (s.ow() - 1) * to.shape.sw + (to.shape.kw - 1) * to.shape.dw + 1;
  return to;
}

/// Words of neighbouring columns. Operands: levels, words, the level that stands for 0.
struct Taps {
  Ready source;
  Index from_pixel;
  std::int32_t zero;  ///< where there is no third operand
  bool zero_given;
  int threads;

  void operator()(void* const* operand) const {
    const auto* const from = static_cast<const std::uint8_t*>(operand[0]);
    auto* const to = static_cast<std::uint8_t*>(operand[1]);
    const auto outside =
        zero_given ? *static_cast<const std::uint8_t*>(operand[2]) : static_cast<std::uint8_t>(zero);
    const ConvShape &s = source.given, &made = source.shape;
    share(s.n * s.h, std::max<Index>(1, kGrain / (kWord * made.w)), threads, [&](Index begin, Index end) {
      const Index columns = (made.w - 1) * source.step + (source.taps - 1) * s.dw + 1;
      std::vector<std::uint8_t> row(static_cast<std::size_t>(columns * s.c + kBeyond), outside);
      for (Index r = begin; r < end; ++r) {
        fill(from + r * s.w * from_pixel, columns, row.data());
        write(row.data(), to + r * made.w * kWord);
      }
    });
  }

 private:
  static constexpr Index kBeyond = 64;  // bytes that the kernel may read

  /// The levels of a row without gaps between pixels, behind `left` columns outside.
  void fill(const std::uint8_t* from, Index columns, std::uint8_t* row) const {
    const ConvShape& s = source.given;
    const Index count = std::min(s.w, columns - s.left);
    row += s.left * s.c;
    if (from_pixel == kWord) return int8_kernels().compact(from, row, s.c, std::max<Index>(0, count));
    for (Index x = 0; x < count; ++x)
      std::memcpy(row + x * s.c, from + x * from_pixel, static_cast<std::size_t>(s.c));
  }

  void write(const std::uint8_t* row, std::uint8_t* to) const {
    const ConvShape& s = source.given;
    if (source.step == source.taps) {  // words lie one after the other
      std::memcpy(to, row, static_cast<std::size_t>(source.shape.w * kWord));
    } else {
      int8_kernels().taps(row, s.dw, s.c, to, source.shape.w);
    }
  }
};

/// Weights [k, c, kh, kw] as [k, 4, kh, kw / taps], zeros for taps beyond the last.
std::vector<std::int8_t> gathered(const std::int8_t* from, const Ready& source) {
  const ConvShape &s = source.given, &to = source.shape;
  std::vector<std::int8_t> made(static_cast<std::size_t>(s.k * kWord * s.kh * to.kw), 0);
  for (Index k = 0; k < s.k; ++k) {
    for (Index c = 0; c < s.c; ++c) {
      for (Index i = 0; i < s.kh; ++i) {
        for (Index t = 0; t < s.kw; ++t) {
          const Index channel = t % source.taps * s.c + c;
          made[static_cast<std::size_t>(((k * kWord + channel) * s.kh + i) * to.kw + t / source.taps)] =
              from[((k * s.c + c) * s.kh + i) * s.kw + t];
        }
      }
    }
  }
  return made;
}

/// Weights of levels in the kernel's own layout.
class Int8Packer final : public Packer {
 public:
  Int8Packer(const kernels::Int8Kernels& kernels, const kernels::Int8Plan& plan, const Ready& source)
      : kernels_(kernels), plan_(plan), source_(source) {}
  void pack(const void* from, void* to) const override {
    const auto* weights = static_cast<const std::int8_t*>(from);
    std::vector<std::int8_t> made;
    if (source_.taps > 1) {
      made = gathered(weights, source_);
      weights = made.data();
    }
    kernels_.pack(plan_, weights, static_cast<std::byte*>(to), 0, plan_.pack_items);
  }

 private:
  const kernels::Int8Kernels& kernels_;
  kernels::Int8Plan plan_;
  Ready source_;
};

Place repeated(Builder& builder, Place from, Place to, const Ready& source, Index from_pixel,
               Index to_pixel) {
  const ConvShape& s = source.given;
  const Index pixels = s.n * s.h * s.w;
  builder.prepare(make_native("repeat", 2,
                              [&kernels = int8_kernels(), pixels, from_pixel, to_pixel, channels = s.c,
                               times = source.times, threads = builder.threads()](void* const* operand) {
                                share(pixels, std::max<Index>(1, kGrain / to_pixel), threads,
                                      [&](Index begin, Index end) {
                                        kernels.repeat(static_cast<const std::uint8_t*>(operand[0]),
                                                       from_pixel, static_cast<std::uint8_t*>(operand[1]),
                                                       to_pixel, channels, times, begin, end);
                                      });
                              }),
                  {from, to});
  return to;
}

}  // namespace

Ready ready(const ConvShape& given) {
  Ready same{given, given};
  if (given.groups == 1 && given.kw > 2 && (given.c == 1 || given.c == 2) && given.left >= 0 &&
      given.oh() > 0 && given.ow() > 0) {
    const Ready taps = with_taps(given);
    return taps_pay(given, taps) ? taps : same;
  }
  if (given.groups < 2 || given.groups != given.c || given.k % given.c != 0) return same;
  const Index times = given.k / given.c;
  if (times != 2 && times != 4) return same;
  same.times = times;
  same.shape.c = same.shape.groups = given.k;
  return same;
}

Place make_ready(Builder& builder, const program::Step& step, const Ready& source,
                 kernels::Int8ConvArgs& args) {
  const Place from = builder.read(step.inputs[0], Layout::channels_last);
  if (source.times == 1 && source.taps == 1) return from;
  const ConvShape& s = source.shape;
  const Index from_pixel = std::exchange(args.src_pixel, (s.c + kChannels - 1) / kChannels * kChannels);
  args.src_image = args.src_pixel * s.h * s.w;
  const Place to = builder.scratch(static_cast<std::size_t>(s.n * args.src_image) + core::kAlignment);
  if (source.times > 1) return repeated(builder, from, to, source, from_pixel, args.src_pixel);
  const ValueId zero = program::input(step, 6);
  std::vector<Place> operands{from, to};
  if (zero != kNone) operands.push_back(builder.read(zero, Layout::plain));
  const std::size_t count = operands.size();
  builder.prepare(
      make_native("taps", count, Taps{source, from_pixel, args.src_zero, zero != kNone, builder.threads()}),
      std::move(operands));
  return to;
}

std::shared_ptr<const Packer> make_packer(const kernels::Int8Kernels& kernels, const kernels::Int8Plan& plan,
                                          const Ready& source) {
  return std::make_shared<Int8Packer>(kernels, plan, source);
}

}  // namespace rdquant::runtime::native
