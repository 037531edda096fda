#include <algorithm>

#include "program/evaluate/steps.hpp"
#include "program/evaluate/walk.hpp"

namespace rdquant::program::plain {
namespace {

using Numbers = std::vector<double>;

/// One sequence of a batch: what `compute` has in doubles, and the state that goes from step to step.
class Sequence {
 public:
  Sequence(const Recurrence& step, const Numbers& r, const Numbers& bias, const Numbers& peepholes,
           std::size_t hidden)
      : step_(step), r_(r), bias_(bias), peepholes_(peepholes), size_(hidden), h(hidden), c(hidden) {}

  /// `x`: products with the inputs, gates · hidden; they are overwritten.
  void advance(double* x) {
    switch (step_.cell) {
      case Cell::rnn:
        add_products(x, h, 0, size_);
        apply(0, x, size_);
        std::copy_n(x, size_, h.begin());
        return;
      case Cell::gru:
        return gru(x);
      case Cell::lstm:
        return lstm(x);
    }
  }

 private:
  /// x[i] += r[i]·state for rows i in [first, last).
  void add_products(double* x, const Numbers& state, std::size_t first, std::size_t last) const {
    for (std::size_t i = first; i < last; ++i) {
      double sum = 0;
      for (std::size_t k = 0; k < size_; ++k) sum += r_[i * size_ + k] * state[k];
      x[i] += sum;
    }
  }

  void apply(std::size_t function, double* values, std::size_t count) const {
    if (step_.clip > 0) {
      const auto most = static_cast<double>(step_.clip);
      for (std::size_t i = 0; i < count; ++i) values[i] = std::clamp(values[i], -most, most);
    }
    activate(step_.activations[function], values, static_cast<std::int64_t>(count));
  }

  void gru(double* x) {
    double *const z = x, *const r = x + size_, *const g = r + size_;
    add_products(x, h, 0, 2 * size_);
    apply(0, x, 2 * size_);
    if (step_.linear_before_reset) {
      Numbers inner(3 * size_);
      add_products(inner.data(), h, 2 * size_, 3 * size_);
      for (std::size_t i = 0; i < size_; ++i)
        g[i] += r[i] * (inner[2 * size_ + i] + (bias_.empty() ? 0 : bias_[i]));
    } else {
      Numbers reset(size_);
      for (std::size_t i = 0; i < size_; ++i) reset[i] = r[i] * h[i];
      add_products(x, reset, 2 * size_, 3 * size_);
    }
    apply(1, g, size_);
    for (std::size_t i = 0; i < size_; ++i) h[i] = (1 - z[i]) * g[i] + z[i] * h[i];
  }

  void peep(std::size_t gate, double* values) const {
    if (peepholes_.empty()) return;
    for (std::size_t i = 0; i < size_; ++i) values[i] += peepholes_[gate * size_ + i] * c[i];
  }

  void lstm(double* x) {
    double *const input = x, *const output = x + size_, *const forget = output + size_,
                  *const cell = forget + size_;
    add_products(x, h, 0, 4 * size_);
    peep(0, input);
    peep(2, forget);
    apply(0, input, size_);
    apply(0, forget, size_);
    apply(1, cell, size_);
    for (std::size_t i = 0; i < size_; ++i) {
      const double kept = step_.input_forget ? 1 - input[i] : forget[i];
      c[i] = kept * c[i] + input[i] * cell[i];
    }
    peep(1, output);
    apply(0, output, size_);
    h = c;
    activate(step_.activations[2], h.data(), static_cast<std::int64_t>(size_));
    for (std::size_t i = 0; i < size_; ++i) h[i] *= output[i];
  }

  const Recurrence& step_;
  const Numbers &r_, &bias_, &peepholes_;
  std::size_t size_;

 public:
  Numbers h, c;
};

/// r, of levels and the scales of their rows where there are scales.
Numbers weights(const TensorView& r, const TensorView& scales) {
  Numbers found = numbers(r);
  if (!present(scales)) return found;
  const Numbers factors = numbers(scales);
  const std::size_t hidden = found.size() / factors.size();
  for (std::size_t i = 0; i < found.size(); ++i) found[i] *= factors[i / hidden];
  return found;
}

}  // namespace

void compute(const Recurrence& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  require_float("recurrence", x);
  const std::int64_t steps = x.shape[0], batch = x.shape[1], gates = x.shape[2], hidden = inputs[1].shape[1];
  const Numbers r = weights(inputs[1], at(inputs, 7)), bias = numbers(at(inputs, 2)),
                peepholes = numbers(at(inputs, 6));
  const TensorView h0 = at(inputs, 3), lengths = at(inputs, 4), c0 = at(inputs, 5);
  const MutableTensorView y = at(outputs, 0), last_h = at(outputs, 1), last_c = at(outputs, 2);
  const std::vector<std::int64_t> ends = present(lengths) ? integers(lengths) : std::vector<std::int64_t>();
  share_lines(batch, steps * gates * hidden, threads, [&](std::int64_t begin, std::int64_t end) {
    Numbers products(static_cast<std::size_t>(gates));
    const Numbers nothing(static_cast<std::size_t>(hidden));
    for (std::int64_t b = begin; b < end; ++b) {
      Sequence sequence(step, r, bias, peepholes, static_cast<std::size_t>(hidden));
      if (present(h0)) load(h0, b * hidden, hidden, sequence.h.data());
      if (present(c0)) load(c0, b * hidden, hidden, sequence.c.data());
      const std::int64_t length =
          ends.empty() ? steps : std::clamp<std::int64_t>(ends[static_cast<std::size_t>(b)], 0, steps);
      for (std::int64_t i = 0; i < steps; ++i) {
        const std::int64_t t = step.reverse && i < length ? length - 1 - i : i;
        if (i < length) {
          load(x, (t * batch + b) * gates, gates, products.data());
          sequence.advance(products.data());
        }
        if (present(y))
          store(i < length ? sequence.h.data() : nothing.data(), y, (t * batch + b) * hidden, hidden);
      }
      if (present(last_h)) store(sequence.h.data(), last_h, b * hidden, hidden);
      if (present(last_c)) store(sequence.c.data(), last_c, b * hidden, hidden);
    }
  });
}

}  // namespace rdquant::program::plain
