#include <algorithm>
#include <cmath>

#include "program/evaluate/steps.hpp"
#include "program/evaluate/walk.hpp"
#include "rdquant/core/parallel.hpp"

namespace rdquant::program::plain {
namespace {

/// Sizes, and where the matrices of each product of the batch begin.
struct Product {
  std::int64_t m, n, k;
  std::vector<std::int64_t> a, b;  ///< offsets of the matrices, per product
};

Product product_of(const MatMul& step, const TensorView& a, const TensorView& b, const MutableTensorView& y) {
  const std::size_t rank = y.shape.size();
  const auto batch_of = [](Sizes shape) { return shape.first(shape.size() - 2); };
  Product p{
      y.shape[rank - 2], y.shape[rank - 1], a.shape[a.shape.size() - (step.transpose_a ? 2 : 1)], {}, {}};
  const Sizes batch = batch_of(y.shape);
  const Walk<2> walk(
      batch, {broadcast_strides(batch_of(a.shape), batch), broadcast_strides(batch_of(b.shape), batch)});
  walk.elements(1, [&](const auto& offsets) {
    p.a.push_back(offsets[0] * p.m * p.k);
    p.b.push_back(offsets[1] * p.k * p.n);
  });
  return p;
}

/// A matrix [rows, columns] as `Sum`s, from one that is stored so or transposed.
template <typename Sum>
std::vector<Sum> matrix(const TensorView& from, std::int64_t offset, std::int64_t rows, std::int64_t columns,
                        bool transposed) {
  std::vector<Sum> to(static_cast<std::size_t>(rows * columns));
  with_type(from.dtype, [&]<typename T>(Type<T>) {
    const T* values = from.as<T>() + offset;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) {
        to[static_cast<std::size_t>(r * columns + c)] =
            convert<Sum>(values[transposed ? c * rows + r : r * columns + c]);
      }
    }
  });
  return to;
}

/// sums = row · b
template <typename Sum>
void multiply_row(const Sum* row, const std::vector<Sum>& b, std::vector<Sum>& sums) {
  const std::size_t n = sums.size();
  std::ranges::fill(sums, Sum{});
  for (std::size_t k = 0; k * n < b.size(); ++k) {
    const Sum factor = row[k];
    const Sum* from = &b[k * n];
    for (std::size_t j = 0; j < n; ++j) sums[j] += factor * from[j];
  }
}

/// Calls finish(row index over the whole batch, sums) for each row of the result.
template <typename Sum, typename Finish>
void multiply(const MatMul& step, Inputs inputs, const MutableTensorView& y, int threads, Finish finish) {
  const Product p = product_of(step, inputs[0], inputs[1], y);
  std::vector<Sum> b;
  for (std::size_t i = 0; i < p.a.size(); ++i) {
    if (i == 0 || p.b[i] != p.b[i - 1]) b = matrix<Sum>(inputs[1], p.b[i], p.k, p.n, step.transpose_b);
    const std::vector<Sum> a = matrix<Sum>(inputs[0], p.a[i], p.m, p.k, step.transpose_a);
    core::parallel_for(static_cast<std::size_t>(p.m), 4, threads, [&](std::size_t begin, std::size_t end) {
      std::vector<Sum> sums(static_cast<std::size_t>(p.n));
      for (std::size_t r = begin; r < end; ++r) {
        multiply_row(a.data() + r * static_cast<std::size_t>(p.k), b, sums);
        finish(static_cast<std::int64_t>(i) * p.m + static_cast<std::int64_t>(r), sums);
      }
    });
  }
}

/// Offsets of c's rows for every row of the result, and its step along them.
struct Addend {
  std::vector<std::int64_t> rows;
  std::int64_t step = 0;

  Addend(const TensorView& c, const MutableTensorView& y) {
    if (!present(c)) return;
    const Strides strides = broadcast_strides(c.shape, y.shape);
    const Sizes outer = y.shape.first(y.shape.size() - 1);
    step = strides.back();
    Walk<1>(outer, {Strides(strides.begin(), strides.end() - 1)}).elements(1, [&](const auto& offsets) {
      rows.push_back(offsets[0]);
    });
  }
};

void multiply_floats(const MatMul& step, Inputs inputs, const MutableTensorView& y, int threads) {
  const Addend addend(at(inputs, 2), y);
  const std::vector<double> c = numbers(at(inputs, 2));
  const TensorView residual = at(inputs, 3);
  const double alpha = step.alpha, beta = step.beta;
  multiply<double>(step, inputs, y, threads, [&](std::int64_t row, std::vector<double>& sums) {
    const auto n = static_cast<std::int64_t>(sums.size());
    std::vector<double> added(present(residual) ? sums.size() : 0);
    if (present(residual)) load(residual, row * n, n, added.data());
    const auto add_residual = [&] {
      for (std::size_t j = 0; j < added.size(); ++j) sums[j] += added[j];
    };
    for (std::int64_t j = 0; j < n; ++j) {
      double& sum = sums[static_cast<std::size_t>(j)];
      sum *= alpha;
      if (!c.empty()) {
        sum +=
            beta * c[static_cast<std::size_t>(addend.rows[static_cast<std::size_t>(row)] + j * addend.step)];
      }
    }
    if (!step.residual_last) add_residual();
    activate(step.activation, sums.data(), n);
    if (step.residual_last) add_residual();
    store(sums.data(), y, row * n, n);
  });
}

/// Modulo 2^64, of which the low bits are stored: what integers of any width give.
void multiply_integers(const MatMul& step, Inputs inputs, const MutableTensorView& y, int threads) {
  if (step.alpha != 1 || step.beta != 1 || step.activation.function != Function::identity) {
    throw core::Unsupported("a matrix product of integers takes no factors and no activation");
  }
  const Addend addend(at(inputs, 2), y);
  std::vector<std::int64_t> c;
  if (present(at(inputs, 2))) c = integers(inputs[2]);
  multiply<std::uint64_t>(step, inputs, y, threads, [&](std::int64_t row, std::vector<std::uint64_t>& sums) {
    const auto n = static_cast<std::int64_t>(sums.size());
    with_type(y.dtype, [&]<typename T>(Type<T>) {
      for (std::int64_t j = 0; j < n; ++j) {
        std::uint64_t sum = sums[static_cast<std::size_t>(j)];
        if (!c.empty()) {
          const std::int64_t place = addend.rows[static_cast<std::size_t>(row)] + j * addend.step;
          sum += static_cast<std::uint64_t>(c[static_cast<std::size_t>(place)]);
        }
        y.as<T>()[row * n + j] = convert<T>(sum);
      }
    });
  });
}

}  // namespace

namespace {

/// By elimination with the largest pivot of each column; `m` is used up.
double determinant(std::vector<double>& m, std::int64_t size) {
  double product = 1;
  const auto row = [&](std::int64_t i) { return m.begin() + i * size; };
  for (std::int64_t k = 0; k < size; ++k) {
    std::int64_t pivot = k;
    for (std::int64_t i = k + 1; i < size; ++i) {
      if (!(std::abs(row(i)[k]) <= std::abs(row(pivot)[k]))) pivot = i;
    }
    if (row(pivot)[k] == 0) return 0;
    if (pivot != k) {
      std::swap_ranges(row(k), row(k) + size, row(pivot));
      product = -product;
    }
    product *= row(k)[k];
    for (std::int64_t i = k + 1; i < size; ++i) {
      const double factor = row(i)[k] / row(k)[k];
      for (std::int64_t j = k; j < size; ++j) row(i)[j] -= factor * row(k)[j];
    }
  }
  return product;
}

}  // namespace

void compute(const Determinant& /*step*/, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  const std::int64_t size = x.shape.back();
  share_lines(size_of(outputs[0].shape), size * size * size, threads,
              [&](std::int64_t begin, std::int64_t end) {
                std::vector<double> matrix(static_cast<std::size_t>(size * size));
                for (std::int64_t i = begin; i < end; ++i) {
                  load(x, i * size * size, size * size, matrix.data());
                  const double found = determinant(matrix, size);
                  store(&found, outputs[0], i, 1);
                }
              });
}

void compute(const MatMul& step, Inputs inputs, Outputs outputs, int threads) {
  const MutableTensorView& y = outputs[0];
  if (size_of(y.shape) == 0) return;
  if (is_float(inputs[0].dtype)) {
    multiply_floats(step, inputs, y, threads);
  } else if (inputs[0].dtype != DType::boolean) {
    multiply_integers(step, inputs, y, threads);
  } else {
    refuse("matrix product", inputs[0].dtype);
  }
}

}  // namespace rdquant::program::plain
