#include <algorithm>
#include <numeric>

#include "program/evaluate/steps.hpp"
#include "program/evaluate/walk.hpp"

namespace rdquant::program::plain {
namespace {

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
  template <typename T, typename Slice>
  void each(const T* x, Slice slice) const {
    const Walk<1> inner(reduced, {reduced_strides});
    std::vector<std::int64_t> bases;
    Walk<1>(kept, {kept_strides}).elements(1, [&](const auto& offset) { bases.push_back(offset[0]); });
    const auto count = static_cast<std::int64_t>(bases.size());
    share_lines(count, size_of(reduced), threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t number = begin; number < end; ++number) {
        const T* const base = x + bases[static_cast<std::size_t>(number)];
        slice(number, [&](auto add) {
          inner.rows(1, [&](std::int64_t length, const auto& offset, const auto& step) {
            for (std::int64_t i = 0; i < length; ++i) add(base[offset[0] + i * step[0]]);
          });
        });
      }
    });
  }
};

/// Reduces in `Sum`: start value, how to add, what becomes of the result.
template <typename T, typename Sum, typename Add, typename Finish>
void fold(const Reduction& r, const TensorView& x, const MutableTensorView& y, Sum first, Add add,
          Finish finish) {
  r.each(x.as<T>(), [&](std::int64_t slice, auto elements) {
    Sum sum = first;
    elements([&](T v) { sum = add(sum, v); });
    y.as<T>()[slice] = convert<T>(finish(sum));
  });
}

/// log Σ exp(x), without overflow: the largest exponent is taken out.
template <typename T>
void log_sum_exp(const Reduction& r, const TensorView& x, const MutableTensorView& y) {
  r.each(x.as<T>(), [&](std::int64_t slice, auto elements) {
    std::vector<double> values;
    elements([&](T v) { values.push_back(convert<double>(v)); });
    const double most = values.empty() ? -INFINITY : *std::ranges::max_element(values);
    double sum = 0;
    for (const double v : values) sum += std::isinf(most) ? std::exp(v) : std::exp(v - most);
    y.as<T>()[slice] = convert<T>(std::isinf(most) ? std::log(sum) : most + std::log(sum));
  });
}

/// Least and greatest value of a type, infinite for floats.
template <typename T>
T extreme(bool greatest) {
  if constexpr (kIsFloat<T>) {
    return convert<T>(greatest ? INFINITY : -INFINITY);
  } else if constexpr (kIsBoolean<T>) {
    return Boolean(greatest);
  } else {
    return greatest ? std::numeric_limits<T>::max() : std::numeric_limits<T>::min();
  }
}

template <typename T>
bool is_nan(T value) {
  return value != value;
}

template <typename T>
void reduce(ReduceFunction function, const Reduction& r, const TensorView& x, const MutableTensorView& y) {
  using Sum = std::conditional_t<kIsFloat<T>, double,
                                 std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t>>;
  const auto count = static_cast<Sum>(size_of(r.reduced));
  const auto same = [](auto v) { return v; };
  // integers wrap around modulo 2^64
  const auto plus = [](Sum a, Sum b) {
    if constexpr (kIsFloat<T>)
      return a + b;
    else
      return static_cast<Sum>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
  };
  const auto times = [](Sum a, Sum b) {
    if constexpr (kIsFloat<T>)
      return a * b;
    else
      return static_cast<Sum>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
  };
  const auto real = [](T v) { return convert<double>(v); };
  switch (function) {
    case ReduceFunction::sum:
      return fold<T>(r, x, y, Sum{0}, [&](Sum s, T v) { return plus(s, convert<Sum>(v)); }, same);
    case ReduceFunction::mean:
      return fold<T>(
          r, x, y, Sum{0}, [&](Sum s, T v) { return plus(s, convert<Sum>(v)); },
          [&](Sum s) { return kIsFloat<T> || count != 0 ? s / count : s; });
    case ReduceFunction::prod:
      return fold<T>(r, x, y, Sum{1}, [&](Sum s, T v) { return times(s, convert<Sum>(v)); }, same);
    case ReduceFunction::sum_square:
      return fold<T>(
          r, x, y, Sum{0}, [&](Sum s, T v) { return plus(s, times(convert<Sum>(v), convert<Sum>(v))); },
          same);
    case ReduceFunction::l1:
      return fold<T>(
          r, x, y, Sum{0},
          [&](Sum s, T v) {
            return v < T{} ? plus(s, times(convert<Sum>(v), static_cast<Sum>(-1))) : plus(s, convert<Sum>(v));
          },
          same);
    case ReduceFunction::l2:
      return fold<T>(
          r, x, y, 0.0, [&](double s, T v) { return s + real(v) * real(v); },
          [](double s) { return std::sqrt(s); });
    case ReduceFunction::log_sum:
      return fold<T>(
          r, x, y, 0.0, [&](double s, T v) { return s + real(v); }, [](double s) { return std::log(s); });
    case ReduceFunction::log_sum_exp:
      return log_sum_exp<T>(r, x, y);
    default:
      refuse(function_name(function), x.dtype);
  }
}

}  // namespace

void compute(const Reduce& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  const MutableTensorView& y = outputs[0];
  const Reduction r(x.shape, step.axes, threads);
  with_type(x.dtype, [&]<typename T>(Type<T>) {
    const auto pick = [&](bool greatest) {
      fold<T>(
          r, x, y, extreme<T>(!greatest),
          [&](T s, T v) { return is_nan(s) || (greatest ? s > v : s < v) ? s : v; }, [](T v) { return v; });
    };
    if (step.function == ReduceFunction::max || step.function == ReduceFunction::min) {
      pick(step.function == ReduceFunction::max);
    } else if constexpr (kIsBoolean<T>) {
      refuse(function_name(step.function), x.dtype);
    } else {
      reduce<T>(step.function, r, x, y);
    }
  });
}

void compute(const ArgExtreme& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  const Reduction r(x.shape, std::span(&step.axis, 1), threads);
  with_type(x.dtype, [&]<typename T>(Type<T>) {
    r.each(x.as<T>(), [&](std::int64_t slice, auto elements) {
      std::int64_t place = 0, best_place = 0;
      T best{};
      elements([&](T v) {
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
  const auto lines = [&]<typename T>(Type<T>, std::int64_t begin, std::int64_t end) {
    std::vector<std::int64_t> order(static_cast<std::size_t>(around.size));
    for (std::int64_t s = begin; s < end; ++s) {
      const std::int64_t outer = s / around.inner, inner = s % around.inner;
      const T* from = x.as<T>() + outer * around.size * around.inner + inner;
      // NaN counts as larger than all; equal values keep their order
      const auto before = [&](std::int64_t i, std::int64_t j) {
        const T a = from[i * around.inner], b = from[j * around.inner];
        const bool less = is_nan(b) ? !is_nan(a) : a < b, greater = is_nan(a) ? !is_nan(b) : a > b;
        if (less || greater) return step.largest ? greater : less;
        return i < j;
      };
      std::iota(order.begin(), order.end(), std::int64_t{0});
      std::partial_sort(order.begin(), order.begin() + k, order.end(), before);
      for (std::int64_t i = 0; i < k; ++i) {
        const std::int64_t to = (outer * k + i) * around.inner + inner,
                           place = order[static_cast<std::size_t>(i)];
        if (present(values)) values.as<T>()[to] = from[place * around.inner];
        if (present(indices)) indices.as<std::int64_t>()[to] = place;
      }
    }
  };
  with_type(x.dtype, [&]<typename T>(Type<T> type) {
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
