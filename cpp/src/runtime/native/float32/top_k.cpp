// The first numbers of lines in order, and where they stood: TopK and sorting.
#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>

#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using program::kNone;
using program::Step;

/// A number and its place as one integer: those that come first are less. All differ.
using Key = std::uint64_t;

/// The number's part of a key for increasing order: NaN, of whatever bits, after all others, both zeros the same.
std::uint32_t rank_of(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x + 0.0F);
  const std::uint32_t sign = bits >> 31;
  const std::uint32_t rank = bits ^ ((0U - sign) | 0x80000000U);
  return x != x ? 0xffffffffU : rank;
}

/// Sorts keys by their bytes from `first` on, the lowest being 0; `spare` has room for as many.
void sort_by_bytes(std::span<Key> keys, std::span<Key> spare, int first) {
  constexpr int kBytes = sizeof(Key);
  std::array<std::array<std::uint32_t, 256>, kBytes> counts{};
  Key differing = 0;
  for (const Key key : keys) {
    differing |= key ^ keys[0];
    for (int b = first; b < kBytes; ++b) ++counts[static_cast<std::size_t>(b)][key >> (8 * b) & 0xff];
  }
  Key *from = keys.data(), *to = spare.data();
  for (int b = first; b < kBytes; ++b) {
    if ((differing >> (8 * b) & 0xff) == 0) continue;
    std::uint32_t place = 0;
    auto& starts = counts[static_cast<std::size_t>(b)];
    for (std::uint32_t& start : starts) place += std::exchange(start, place);
    for (std::size_t i = 0; i < keys.size(); ++i) to[starts[from[i] >> (8 * b) & 0xff]++] = from[i];
    std::swap(from, to);
  }
  if (from != keys.data()) std::copy_n(from, keys.size(), keys.data());
}

/// Moves the k least keys to the front, in any order: what does not pass the k-th of those before is left out.
void select(std::span<Key> keys, std::size_t k) {
  const std::size_t room = std::min(keys.size(), std::max(2 * k, k + 48));
  const auto cut = [&](std::size_t count) {
    const auto begin = keys.begin();
    std::nth_element(begin, begin + static_cast<std::ptrdiff_t>(k) - 1,
                     begin + static_cast<std::ptrdiff_t>(count));
    return keys[k - 1];
  };
  Key bound = cut(room);
  std::size_t count = k;
  for (std::size_t i = room; i < keys.size(); ++i) {
    const Key key = keys[i];
    keys[count] = key;
    count += key < bound ? 1 : 0;
    if (count == room) {
      bound = cut(count);
      count = k;
    }
  }
  if (count > k) cut(count);
}

/// Puts the k least keys at the front, in order. The keys come in the order of their places.
void order(std::span<Key> keys, std::span<Key> spare, std::size_t k) {
  constexpr std::size_t kFew = 128;  // fewer are sorted faster by comparisons
  const bool selects = k < keys.size() / 2;
  if (selects) {
    select(keys, k);
    keys = keys.first(k);
  }
  if (keys.size() < kFew) {
    std::ranges::sort(keys);
  } else {
    sort_by_bytes(keys, spare, selects ? 0 : sizeof(std::uint32_t));
  }
}

/// Operands: from, keys of every thread, then values and places, where they are wanted.
struct TopKWork {
  std::int64_t outer, size, inner, k;
  bool largest, values, places;
  int threads;

  [[nodiscard]] std::size_t scratch() const {
    return static_cast<std::size_t>(2 * size * threads) * sizeof(Key);
  }

  void operator()(void* const* operand) const {
    auto* const keys = static_cast<Key*>(operand[1]);
    auto* const value = values ? static_cast<float*>(operand[2]) : nullptr;
    auto* const place = places ? static_cast<std::int64_t*>(operand[values ? 3 : 2]) : nullptr;
    share_ranked(outer * inner, std::max<std::int64_t>(1, 4096 / size), threads,
                 [&](std::int64_t begin, std::int64_t end, int part) {
                   for (std::int64_t line = begin; line < end; ++line)
                     run(line, static_cast<const float*>(operand[0]), keys + 2 * size * part, value, place);
                 });
  }

 private:
  void run(std::int64_t line, const float* from, Key* keys, float* value, std::int64_t* place) const {
    const std::int64_t slice = line / inner, column = line % inner;
    const auto count = static_cast<std::size_t>(size);
    from += slice * size * inner + column;
    const std::uint32_t flip = largest ? 0xffffffffU : 0;
    for (std::int64_t i = 0; i < size; ++i)
      keys[i] = Key{rank_of(from[i * inner]) ^ flip} << 32 | static_cast<Key>(i);
    order({keys, count}, {keys + count, count}, static_cast<std::size_t>(k));
    const std::int64_t to = slice * k * inner + column;
    for (std::int64_t i = 0; i < k; ++i) {
      const auto at = static_cast<std::int64_t>(keys[i] & 0xffffffffU);
      if (value != nullptr) value[to + i * inner] = from[at * inner];
      if (place != nullptr) place[to + i * inner] = at;
    }
  }
};

}  // namespace

bool build_top_k(Builder& builder, const Step& step) {
  const auto* top = std::get_if<program::TopK>(&step.operation);
  if (top == nullptr || builder.value(step.inputs[0]).dtype != core::DType::f32) return false;
  const bool values = step.outputs[0] != kNone, places = step.outputs.size() > 1 && step.outputs[1] != kNone;
  const auto axis = static_cast<std::size_t>(top->axis);
  const Shape &x = builder.value(step.inputs[0]).shape,
              &y = builder.value(step.outputs[values ? 0 : 1]).shape;
  if (core::element_count(y) == 0 || x[axis] > std::numeric_limits<std::int32_t>::max()) return false;
  TopKWork work{1, x[axis], 1, y[axis], top->largest, values, places, builder.threads()};
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (i != axis) (i < axis ? work.outer : work.inner) *= x[i];
  }
  std::vector<Place> operands{builder.read(step.inputs[0], Layout::plain), builder.scratch(work.scratch())};
  if (values) operands.push_back(builder.write(step.outputs[0], Layout::plain));
  if (places) operands.push_back(builder.write(step.outputs[1], Layout::plain));
  const std::size_t count = operands.size();
  builder.emit(make_native("keys", count, work), std::move(operands), Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
