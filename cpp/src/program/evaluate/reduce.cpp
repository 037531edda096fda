#include <algorithm>
#include <array>
#include <numeric>

#include "program/evaluate/steps.hpp"
#include "program/evaluate/walk.hpp"

namespace rdquant::program::plain {
namespace {

/// `count` elements, `step` apart from `begin` on, as numbers of a type that holds them all.
template <typename Wide>
void widen(const TensorView& from, std::int64_t begin, std::int64_t step, std::int64_t count, Wide* to) {
  with_type(from.dtype, [&]<typename T>(Type<T>) {
    const T* values = from.as<T>() + begin;
    for (std::int64_t i = 0; i < count; ++i) to[i] = convert<Wide>(values[i * step]);
  });
}

/// Writes one of them back.
template <typename Wide>
void narrow(Wide value, const MutableTensorView& to, std::int64_t place) {
  with_type(to.dtype, [&]<typename T>(Type<T>) { to.as<T>()[place] = convert<T>(value); });
}

/// The axes of `shape` that are kept, then those that are reduced.
struct Reduction {
  core::Shape kept, reduced;
  Strides kept_strides, reduced_strides;
  int threads;

  Reduction(Sizes shape, Sizes axes, int most) : threads(most) {
    const Strides dense = dense_strides(shape);
    for (std::size_t i = 0; i < shape.size(); ++i) {
      const bool gone = std::ranges::find(axes, static_cast<std::int64_t>(i)) != axes.end();
      (gone ? reduced : kept).push_back(shape[i]);
      (gone ? reduced_strides : kept_strides).push_back(dense[i]);
    }
  }

  /// Calls slice(number, elements) for every slice, on the threads; elements(add) calls add(value) for each of its
  /// elements, in order.
  template <typename Wide, typename Slice>
  void each(const TensorView& x, Slice slice) const {
    const Walk<1> inner(reduced, {reduced_strides});
    std::vector<std::int64_t> bases;
    Walk<1>(kept, {kept_strides}).elements(1, [&](const auto& offset) { bases.push_back(offset[0]); });
    const auto count = static_cast<std::int64_t>(bases.size());
    share_lines(count, size_of(reduced), threads, [&](std::int64_t begin, std::int64_t end) {
      std::array<Wide, kChunk> values;
      for (std::int64_t number = begin; number < end; ++number) {
        const std::int64_t base = bases[static_cast<std::size_t>(number)];
        slice(number, [&](auto add) {
          inner.rows(1, [&](std::int64_t length, const auto& offset, const auto& step) {
            for (std::int64_t done = 0; done < length; done += kChunk) {
              const std::int64_t some = std::min(kChunk, length - done);
              widen(x, base + offset[0] + done * step[0], step[0], some, values.data());
              for (std::int64_t i = 0; i < some; ++i) add(values[static_cast<std::size_t>(i)]);
            }
          });
        });
      }
    });
  }
};

/// Reduces in `Sum`: start value, how to add, what becomes of the result.
template <typename Wide, typename Sum, typename Add, typename Finish>
void fold(const Reduction& r, const TensorView& x, const MutableTensorView& y, Sum first, Add add,
          Finish finish) {
  r.each<Wide>(x, [&](std::int64_t slice, auto elements) {
    Sum sum = first;
    elements([&](Wide v) { sum = add(sum, v); });
    narrow(finish(sum), y, slice);
  });
}

/// log Σ exp(x), without overflow: the largest exponent is taken out.
template <typename Wide>
void log_sum_exp(const Reduction& r, const TensorView& x, const MutableTensorView& y) {
  r.each<Wide>(x, [&](std::int64_t slice, auto elements) {
    std::vector<double> values;
    elements([&](Wide v) { values.push_back(convert<double>(v)); });
    const double most = values.empty() ? -INFINITY : *std::ranges::max_element(values);
    double sum = 0;
    for (const double v : values) sum += std::isinf(most) ? std::exp(v) : std::exp(v - most);
    narrow(std::isinf(most) ? std::log(sum) : most + std::log(sum), y, slice);
  });
}

/// Least or greatest value of a type, infinite for floats.
template <typename Wide>
Wide extreme(DType dtype, bool greatest) {
  Wide value{};
  with_type(dtype, [&]<typename T>(Type<T>) {
    if constexpr (kIsFloat<T>) {
      value = static_cast<Wide>(greatest ? INFINITY : -INFINITY);
    } else if constexpr (kIsBoolean<T>) {
      value = static_cast<Wide>(greatest);
    } else {
      value = static_cast<Wide>(greatest ? std::numeric_limits<T>::max() : std::numeric_limits<T>::min());
    }
  });
  return value;
}

template <typename Wide>
bool is_nan(Wide value) {
  return value != value;
}

template <typename Wide>
void reduce_to_extreme(bool greatest, const Reduction& r, const TensorView& x, const MutableTensorView& y) {
  fold<Wide>(
      r, x, y, extreme<Wide>(x.dtype, !greatest),
      [&](Wide s, Wide v) { return is_nan(s) || (greatest ? s > v : s < v) ? s : v; },
      [](Wide v) { return v; });
}

template <typename Wide>
void reduce(ReduceFunction function, const Reduction& r, const TensorView& x, const MutableTensorView& y) {
  constexpr bool kReal = std::is_same_v<Wide, double>;
  const auto count = static_cast<Wide>(size_of(r.reduced));
  const auto same = [](auto v) { return v; };
  // integers wrap around modulo 2^64
  const auto plus = [](Wide a, Wide b) {
    if constexpr (kReal)
      return a + b;
    else
      return static_cast<Wide>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
  };
  const auto times = [](Wide a, Wide b) {
    if constexpr (kReal)
      return a * b;
    else
      return static_cast<Wide>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
  };
  const auto real = [](Wide v) { return convert<double>(v); };
  switch (function) {
    case ReduceFunction::sum:
      return fold<Wide>(r, x, y, Wide{0}, plus, same);
    case ReduceFunction::mean:
      return fold<Wide>(r, x, y, Wide{0}, plus, [&](Wide s) { return kReal || count != 0 ? s / count : s; });
    case ReduceFunction::prod:
      return fold<Wide>(r, x, y, Wide{1}, times, same);
    case ReduceFunction::sum_square:
      return fold<Wide>(r, x, y, Wide{0}, [&](Wide s, Wide v) { return plus(s, times(v, v)); }, same);
    case ReduceFunction::l1:
      return fold<Wide>(
          r, x, y, Wide{0},
          [&](Wide s, Wide v) { return plus(s, v < Wide{} ? times(v, static_cast<Wide>(-1)) : v); }, same);
    case ReduceFunction::l2:
      return fold<Wide>(
          r, x, y, 0.0, [&](double s, Wide v) { return s + real(v) * real(v); },
          [](double s) { return std::sqrt(s); });
    case ReduceFunction::log_sum:
      return fold<Wide>(
          r, x, y, 0.0, [&](double s, Wide v) { return s + real(v); }, [](double s) { return std::log(s); });
    case ReduceFunction::log_sum_exp:
      return log_sum_exp<Wide>(r, x, y);
    default:
      refuse(function_name(function), x.dtype);
  }
}

}  // namespace

void compute(const Reduce& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  const Reduction r(x.shape, step.axes, threads);
  const bool picks = step.function == ReduceFunction::max || step.function == ReduceFunction::min;
  if (!picks && x.dtype == DType::boolean) refuse(function_name(step.function), x.dtype);
  with_wide_type(x.dtype, [&]<typename Wide>(Type<Wide>) {
    if (picks) return reduce_to_extreme<Wide>(step.function == ReduceFunction::max, r, x, outputs[0]);
    reduce<Wide>(step.function, r, x, outputs[0]);
  });
}

void compute(const ArgExtreme& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  const Reduction r(x.shape, std::span(&step.axis, 1), threads);
  with_wide_type(x.dtype, [&]<typename Wide>(Type<Wide>) {
    r.each<Wide>(x, [&](std::int64_t slice, auto elements) {
      std::int64_t place = 0, best_place = 0;
      Wide best{};
      elements([&](Wide v) {
        // NaN is more extreme than any number, as in NumPy
        const bool beyond = is_nan(v) ? !is_nan(best) : !is_nan(best) && (step.largest ? v > best : v < best);
        const bool equal = v == best || (is_nan(v) && is_nan(best));
        if (place == 0 || beyond || (step.last && equal)) {
          best = v;
          best_place = place;
        }
        ++place;
      });
      outputs[0].as<std::int64_t>()[slice] = best_place;
    });
  });
}

void compute(const TopK& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  const MutableTensorView values = at(outputs, 0), indices = at(outputs, 1);
  const MutableTensorView& shaped = present(values) ? values : indices;
  const Around around(x.shape, step.axis);
  const std::int64_t k = shaped.shape[static_cast<std::size_t>(step.axis)];
  const auto lines = [&]<typename Wide>(Type<Wide>, std::int64_t begin, std::int64_t end) {
    std::vector<std::int64_t> order(static_cast<std::size_t>(around.size));
    std::vector<Wide> line(order.size());
    for (std::int64_t s = begin; s < end; ++s) {
      const std::int64_t outer = s / around.inner, inner = s % around.inner;
      widen(x, outer * around.size * around.inner + inner, around.inner, around.size, line.data());
      // NaN counts as larger than all; equal values keep their order
      const auto before = [&](std::int64_t i, std::int64_t j) {
        const Wide a = line[static_cast<std::size_t>(i)], b = line[static_cast<std::size_t>(j)];
        const bool less = is_nan(b) ? !is_nan(a) : a < b, greater = is_nan(a) ? !is_nan(b) : a > b;
        if (less || greater) return step.largest ? greater : less;
        return i < j;
      };
      std::iota(order.begin(), order.end(), std::int64_t{0});
      std::partial_sort(order.begin(), order.begin() + k, order.end(), before);
      for (std::int64_t i = 0; i < k; ++i) {
        const std::int64_t to = (outer * k + i) * around.inner + inner,
                           place = order[static_cast<std::size_t>(i)];
        if (present(values)) narrow(line[static_cast<std::size_t>(place)], values, to);
        if (present(indices)) indices.as<std::int64_t>()[to] = place;
      }
    }
  };
  with_wide_type(x.dtype, [&]<typename Wide>(Type<Wide> type) {
    share_lines(around.outer * around.inner, around.size, threads,
                [&](std::int64_t begin, std::int64_t end) { lines(type, begin, end); });
  });
}

void compute(const CumulativeSum& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  const Around around(x.shape, step.axis);
  with_type(x.dtype, [&]<typename T>(Type<T>) {
    using Sum = std::conditional_t<kIsFloat<T>, double, std::uint64_t>;
    if constexpr (kIsBoolean<T>) refuse("cumulative sum", x.dtype);
    share_lines(around.outer * around.inner, around.size, threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t s = begin; s < end; ++s) {
        const std::int64_t base = s / around.inner * around.size * around.inner + s % around.inner;
        Sum sum = step.product ? Sum{1} : Sum{0};
        for (std::int64_t i = 0; i < around.size; ++i) {
          const std::int64_t place = base + (step.reverse ? around.size - 1 - i : i) * around.inner;
          const auto value = convert<Sum>(x.as<T>()[place]);
          const Sum next = step.product ? sum * value : sum + value;
          outputs[0].as<T>()[place] = convert<T>(step.exclusive ? sum : next);
          sum = next;
        }
      }
    });
  });
}

}  // namespace rdquant::program::plain
