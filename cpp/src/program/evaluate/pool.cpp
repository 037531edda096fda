#include <algorithm>

#include "program/evaluate/steps.hpp"
#include "program/evaluate/window.hpp"
#include "rdquant/core/parallel.hpp"

namespace rdquant::program::plain {
namespace {

/// The part of one window that lies within [0, size) along an axis, and how much of it counts.
struct Range {
  std::int64_t first, last, counted;  ///< taps [first, last)
};

std::vector<Range> ranges(const Spatial& s, std::size_t axis, std::int64_t counted_end) {
  std::vector<Range> all;
  for (std::int64_t o = 0; o < s.out[axis]; ++o) {
    const std::int64_t start = o * s.stride[axis] - s.begin[axis];
    // Taps lie at start + k · dilation: those before `end`, at most all.
    const auto before = [&](std::int64_t end) {
      const std::int64_t room = std::max<std::int64_t>(0, end - start);
      return std::min(s.kernel[axis], (room + s.dilation[axis] - 1) / s.dilation[axis]);
    };
    all.push_back({before(0), before(s.in[axis]), before(s.in[axis] + counted_end)});
  }
  return all;
}

class Pooling {
 public:
  Pooling(const Pool& step, const Spatial& s) : step_(step), s_(s) {
    for (std::size_t i = 0; i < 3; ++i) {
      const bool padded = i >= s.lead && step.count_include_pad && !step.counted_pads_end.empty();
      ranges_[i] = ranges(s, i, padded ? step.counted_pads_end[i - s.lead] : 0);
    }
  }

  /// Pools one plane; `indices`, if given, gets `base` plus the places of the maxima.
  void plane(const double* x, double* y, std::int64_t* indices, std::int64_t base) const {
    for (std::size_t d = 0; d < ranges_[0].size(); ++d) {
      for (std::size_t h = 0; h < ranges_[1].size(); ++h) {
        for (std::size_t w = 0; w < ranges_[2].size(); ++w) {
          std::int64_t place = 0;
          *y++ = window(x, {d, h, w}, place);
          if (indices != nullptr) *indices++ = base + place;
        }
      }
    }
  }

 private:
  using Output = std::array<std::size_t, 3>;

  /// Calls visit(value, place as MaxPool numbers it) for each element under the window.
  template <typename Visit>
  void each(const double* x, const Output& o, Visit visit) const {
    const auto place = [&](std::size_t axis, std::int64_t k) {
      return static_cast<std::int64_t>(o[axis]) * s_.stride[axis] - s_.begin[axis] + k * s_.dilation[axis];
    };
    const Range &rd = ranges_[0][o[0]], &rh = ranges_[1][o[1]], &rw = ranges_[2][o[2]];
    for (std::int64_t kd = rd.first; kd < rd.last; ++kd) {
      for (std::int64_t kh = rh.first; kh < rh.last; ++kh) {
        for (std::int64_t kw = rw.first; kw < rw.last; ++kw) {
          const std::int64_t d = place(0, kd), h = place(1, kh), w = place(2, kw);
          visit(x[(d * s_.in[1] + h) * s_.in[2] + w], step_.column_major_indices
                                                          ? (w * s_.in[1] + h) * s_.in[0] + d
                                                          : (d * s_.in[1] + h) * s_.in[2] + w);
        }
      }
    }
  }

  [[nodiscard]] double window(const double* x, const Output& o, std::int64_t& place) const {
    switch (step_.function) {
      case PoolFunction::max:
        return largest(x, o, place);
      case PoolFunction::average:
        return average(x, o);
      case PoolFunction::lp:
        break;
    }
    double sum = 0;
    const auto p = static_cast<double>(step_.p);
    each(x, o, [&](double v, std::int64_t) { sum += std::pow(std::abs(v), p); });
    return std::pow(sum, 1 / p);
  }

  /// The first of equal values; NaN where there is one.
  [[nodiscard]] double largest(const double* x, const Output& o, std::int64_t& place) const {
    double most = -INFINITY;
    bool found = false;
    each(x, o, [&](double v, std::int64_t at) {
      if (found && !(v > most) && !(v != v && most == most)) return;
      found = true;
      most = v;
      place = at;
    });
    return most;
  }

  /// Zero where nothing is counted.
  [[nodiscard]] double average(const double* x, const Output& o) const {
    double sum = 0, count = 1;
    std::int64_t real = 0;
    each(x, o, [&](double v, std::int64_t) {
      sum += v;
      ++real;
    });
    for (std::size_t i = 0; i < 3; ++i) count *= static_cast<double>(ranges_[i][o[i]].counted);
    if (!step_.count_include_pad) count = static_cast<double>(real);
    return count == 0 ? 0 : sum / count;
  }

  const Pool& step_;
  Spatial s_;
  std::array<std::vector<Range>, 3> ranges_;
};

}  // namespace

void compute(const Pool& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  const MutableTensorView &y = outputs[0], indices = at(outputs, 1);
  if (x.dtype == DType::boolean || x.dtype == DType::i64 || x.dtype == DType::u64) refuse("pooling", x.dtype);
  if (size_of(y.shape) == 0) return;
  const Spatial s(step.window, x.shape, y.shape);
  const Pooling pooling(step, s);
  const std::int64_t in = s.in[0] * s.in[1] * s.in[2], out = s.out[0] * s.out[1] * s.out[2];
  const auto planes = static_cast<std::size_t>(x.shape[0] * x.shape[1]);
  core::parallel_for(planes, 1, threads, [&](std::size_t begin, std::size_t end) {
    std::vector<double> from(static_cast<std::size_t>(in)), to(static_cast<std::size_t>(out));
    for (auto p = static_cast<std::int64_t>(begin); p < static_cast<std::int64_t>(end); ++p) {
      load(x, p * in, in, from.data());
      std::int64_t* places = present(indices) ? indices.as<std::int64_t>() + p * out : nullptr;
      pooling.plane(from.data(), to.data(), places, p * in);
      store(to.data(), y, p * out, out);
    }
  });
}

}  // namespace rdquant::program::plain
