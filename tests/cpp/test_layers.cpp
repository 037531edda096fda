#include <doctest/doctest.h>

#include <algorithm>
#include <array>

#include "kernel_reference.hpp"
#include "rdquant/core/error.hpp"

using namespace reference;
using rdquant::core::Isa;

namespace {

// body(kernels) for every instruction set of this machine.
template <class Body>
void for_every_isa(Body body) {
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (isa > rdquant::core::available_isa()) continue;
    CAPTURE(rdquant::core::isa_name(isa));
    body(rdquant::runtime::kernels::kernels(isa));
  }
}

Index image_of(const Floats& x, Index n) { return static_cast<Index>(x.size()) / n; }

double binary(Binary f, double a, double b) {
  switch (f) {
    case Binary::add:
      return a + b;
    case Binary::sub:
      return a - b;
    case Binary::mul:
      return a * b;
    case Binary::div:
      return a / b;
    case Binary::min:
      return std::fmin(a, b);
    case Binary::max:
      return std::fmax(a, b);
    case Binary::prelu:
      return a < 0 ? a * b : a;
    case Binary::pow:
      return std::pow(a, b);
  }
  return 0.0;
}

constexpr Binary kBinaries[] = {Binary::add, Binary::sub, Binary::mul,  Binary::div,
                                Binary::min, Binary::max, Binary::prelu};

PoolShape window(Index size, Index kernel, Index stride, Index pad) {
  PoolShape s;
  s.n = 2;
  s.c = 19;
  s.h = size;
  s.w = size + 3;
  s.kh = s.kw = kernel;
  s.sh = s.sw = stride;
  s.top = s.left = s.bottom = s.right = pad;
  s.oh = (s.h + 2 * pad - kernel) / stride + 1;
  s.ow = (s.w + 2 * pad - kernel) / stride + 1;
  return s;
}

void check_pool(const PoolShape& s) {
  const Floats x = random_floats(s.n * s.c * s.h * s.w, 1);
  const Doubles expected = reference::pool(s, x);
  for_every_isa([&](const Kernels& kernels) {
    const Floats src = blocked(x, s.n, s.c, s.h * s.w, kernels.block, 16);
    const Index area = s.oh * s.ow;
    Floats dst = blocked(Floats(at(s.n * s.c * area), 7.0f), s.n, s.c, area, kernels.block, 32);
    const Index items = s.n * divide(s.c, kernels.block) * s.oh;
    kernels.pool(s, src.data(), image_of(src, s.n), dst.data(), image_of(dst, s.n), items / 2, items);
    kernels.pool(s, src.data(), image_of(src, s.n), dst.data(), image_of(dst, s.n), 0, items / 2);
    double worst = 0.0;
    for (Index i = 0; i < s.n * s.c * area; ++i) {
      const float got =
          element(dst, image_of(dst, s.n), i / area / s.c, i / area % s.c, i % area, area, kernels.block);
      worst = std::max(worst, std::fabs(got - expected[at(i)]));
    }
    CHECK(worst < 1e-6);
  });
}

}  // namespace

TEST_CASE("pooling") {
  for (const bool average : {false, true}) {
    for (const bool count_pad : {false, true}) {
      for (PoolShape s : {window(7, 2, 2, 0), window(13, 3, 2, 0), window(8, 3, 1, 1), window(5, 5, 1, 2),
                          window(6, 3, 2, 1), window(4, 4, 3, 3)}) {
        s.average = average;
        s.count_pad = count_pad;
        check_pool(s);
      }
      for (PoolShape s : {window(21, 9, 1, 4), window(30, 12, 2, 5), window(25, 25, 1, 12)}) {
        s.average = average;  // windows that share much: their rows are brought into one first
        s.count_pad = count_pad;
        s.w += 130;  // more columns than are kept at once
        s.ow = (s.w + s.left + s.right - s.kw) / s.sw + 1;
        check_pool(s);
        s.kw = (s.kw + 1) / 2;
        s.dw = 2;
        s.ow = (s.w + s.left + s.right - s.dw * (s.kw - 1) - 1) / s.sw + 1;
        check_pool(s);
      }
      PoolShape s = window(9, 3, 2, 0);  // windows past the end, as ceil mode makes them
      s.average = average;
      s.count_pad = count_pad;
      s.dh = 2;
      s.ow += 1;
      s.right = 1;
      s.oh -= 1;
      check_pool(s);
    }
  }
}

TEST_CASE("mean of each channel") {
  for (const Index area : {1, 3, 49, 170}) {
    const Floats x = random_floats(2 * 19 * area, 1);
    for_every_isa([&](const Kernels& kernels) {
      const Floats src = blocked(x, 2, 19, area, kernels.block, 16);
      Floats dst(2 * 21, 7.0f);
      kernels.global_average(src.data(), image_of(src, 2), dst.data(), 21, 19, area, 0,
                             2 * divide(19, kernels.block));
      for (Index i = 0; i < 2 * 19; ++i) {
        double sum = 0.0;
        for (Index j = 0; j < area; ++j) sum += x[at(i * area + j)];
        CHECK(std::fabs(dst[at(i / 19 * 21 + i % 19)] - sum / static_cast<double>(area)) < 1e-6);
      }
      CHECK(dst[19] == 7.0f);
      CHECK(dst[40] == 7.0f);
    });
  }
}

TEST_CASE("functions of one number over their whole range") {
  for (int code = 0; code <= static_cast<int>(Function::ceil); ++code) {
    const Activation f = {static_cast<Function>(code), 0.3f, 0.6f, nullptr};
    if (f.function == Function::prelu) continue;
    const bool positive = f.function == Function::sqrt || f.function == Function::reciprocal;
    Floats x;
    for (int i = -4001; i <= 4000; ++i) x.push_back(static_cast<float>(positive ? i + 4001.5 : i) * 0.005f);
    for (const float wide : {-1e30f, -200.0f, -90.0f, 90.0f, 200.0f, 1e30f}) {
      if (f.function != Function::exp && !positive) x.push_back(wide);
    }
    for_every_isa([&](const Kernels& kernels) {
      Floats y = x;
      kernels.unary(f, y.data(), y.data(), 3, static_cast<Index>(x.size()));
      CAPTURE(code);
      double worst = 0.0;
      for (std::size_t i = 3; i < x.size(); ++i) {
        const double expected = function(f, x[i], 0);
        const double error = std::fabs(y[i] - expected) / std::fmax(1.0, std::fabs(expected));
        worst = std::fmax(worst, std::isfinite(y[i]) ? error : 1e9);
      }
      CHECK(worst < 1e-6);
      CHECK(y[2] == x[2]);
    });
  }
}

TEST_CASE("functions of two numbers") {
  const Index n = 1003;
  const Floats a = random_floats(n, 1);
  Floats b = random_floats(n, 2);
  for (float& value : b) value += value < 0 ? -0.1f : 0.1f;
  for (const Binary f : kBinaries) {
    for_every_isa([&](const Kernels& kernels) {
      for (const Index steps : {0, 1, 2}) {  // both arrays, a one number, b one number
        const Index a_step = steps == 1 ? 0 : 1;
        const Index b_step = steps == 2 ? 0 : 1;
        Floats y(at(n), 7.0f);
        kernels.binary(f, a.data(), a_step, b.data(), b_step, y.data(), 5, 700);
        kernels.binary(f, a.data(), a_step, b.data(), b_step, y.data(), 700, n);
        for (Index i = 5; i < n; ++i) {
          const double expected = binary(f, a[at(i * a_step)], b[at(i * b_step)]);
          CHECK(std::fabs(y[at(i)] - expected) < 1e-6 * std::fmax(1.0, std::fabs(expected)));
        }
        CHECK(y[4] == 7.0f);
      }
    });
  }
}

TEST_CASE("rows of two numbers") {
  for (const Index count : {1, 9, 16, 35, 200}) {
    const Index apart = 201;
    const Floats a = random_floats(7 * apart, 1), b = random_floats(7 * apart, 2);
    for (const Binary f : {Binary::sub, Binary::max}) {
      for_every_isa([&](const Kernels& kernels) {
        for (const auto& [a_row, a_step, b_row, b_step] :
             {std::array<Index, 4>{apart, 1, 0, 1}, {count, 1, 1, 0}, {1, 0, apart, 1}, {0, 0, count, 1}}) {
          Floats y(at(7 * count + 1), 7.0f);
          kernels.binary_rows(f, a.data(), a_row, a_step, b.data(), b_row, b_step, y.data(), count, 0, 3);
          kernels.binary_rows(f, a.data(), a_row, a_step, b.data(), b_row, b_step, y.data(), count, 3, 7);
          for (Index i = 0; i < 7 * count; ++i) {
            const Index row = i / count, column = i % count;
            const double expected =
                binary(f, a[at(row * a_row + column * a_step)], b[at(row * b_row + column * b_step)]);
            CHECK(std::fabs(y[at(i)] - expected) < 1e-6);
          }
          CHECK(y.back() == 7.0f);
        }
      });
    }
  }
}

TEST_CASE("blocked images against one number per channel") {
  const Index area = 15;
  const Floats x = random_floats(2 * 19 * area, 1);
  for (const Binary f : kBinaries) {
    for_every_isa([&](const Kernels& kernels) {
      const Index whole = divide(19, kernels.block) * kernels.block;
      Floats v = random_floats(2 * whole, 2);
      for (float& value : v) value += value < 0 ? -0.1f : 0.1f;
      const Floats src = blocked(x, 2, 19, area, kernels.block, 16);
      for (const bool reversed : {false, true}) {
        for (const Index v_image : {Index{0}, whole}) {
          Floats dst(src.size());
          kernels.binary_channels(f, reversed, src.data(), image_of(src, 2), v.data(), v_image, dst.data(),
                                  image_of(dst, 2), 19, area, 0, 2 * divide(19, kernels.block));
          for (Index i = 0; i < 2 * 19 * area; ++i) {
            const Index n = i / area / 19;
            const Index channel = i / area % 19;
            const double value = v[at(n * v_image + channel)];
            const double expected = reversed ? binary(f, value, x[at(i)]) : binary(f, x[at(i)], value);
            const float got = element(dst, image_of(dst, 2), n, channel, i % area, area, kernels.block);
            CHECK(std::fabs(got - expected) < 1e-6 * std::fmax(1.0, std::fabs(expected)));
          }
        }
      }
    });
  }
}

TEST_CASE("softmax") {
  for (const Index length : {1, 2, 7, 16, 100, 1000}) {
    Floats x = random_floats(3 * length, 1);
    for (float& value : x) value *= 30.0f;
    for_every_isa([&](const Kernels& kernels) {
      Floats y = x;
      kernels.softmax(y.data(), y.data(), length, 1, 3);
      for (Index row = 1; row < 3; ++row) {
        double total = 0.0;
        for (Index i = 0; i < length; ++i) total += std::exp(static_cast<double>(x[at(row * length + i)]));
        for (Index i = 0; i < length; ++i) {
          const double expected = std::exp(static_cast<double>(x[at(row * length + i)])) / total;
          CHECK(std::fabs(y[at(row * length + i)] - expected) < 2e-6);
        }
      }
      CHECK(y[0] == x[0]);
    });
  }
}

TEST_CASE("softmax makes no subnormal numbers") {
  const Index length = 20;
  Floats x = random_floats(length * 21, 3);
  for (float& value : x) value *= 300.0f;
  for_every_isa([&](const Kernels& kernels) {
    Floats rows = x;
    Floats columns = x;
    kernels.softmax(rows.data(), rows.data(), length, 0, 21);
    kernels.softmax_columns(columns.data(), columns.data(), length, 21, 0, 21);
    for (const Floats& y : {rows, columns})
      CHECK(std::ranges::all_of(y, [](float value) { return value >= 0x1p-126f && value <= 1.0f; }));
  });
}

TEST_CASE("softmax of columns") {
  for (const Index columns : {1, 5, 16, 37, 300}) {
    const Index length = 7;
    const Index stride = columns + 3;
    Floats x = random_floats(length * stride, 2);
    for (float& value : x) value *= 30.0f;
    for_every_isa([&](const Kernels& kernels) {
      Floats y = x;
      kernels.softmax_columns(y.data(), y.data(), length, stride, 0, columns);
      for (Index i = 0; i < length * stride; ++i) {
        const Index column = i % stride;
        double total = 0.0;
        for (Index a = 0; a < length; ++a) total += std::exp(static_cast<double>(x[at(a * stride + column)]));
        const double expected = std::exp(static_cast<double>(x[at(i)])) / total;
        if (column < columns) CHECK(std::fabs(y[at(i)] - expected) < 2e-6);
        if (column >= columns) CHECK(y[at(i)] == x[at(i)]);
      }
    });
  }
}

TEST_CASE("fully connected layers") {
  for (const Index in : {1, 5, 16, 77, 200}) {
    for (const Index rows : {1, 2, 5}) {
      const Index out = 11;
      const Floats x = random_floats(rows * (in + 3), 1);
      const Floats w = random_floats(out * in, 2);
      const Floats bias = random_floats(out, 3);
      for_every_isa([&](const Kernels& kernels) {
        Floats y(at(rows * (out + 2)), 7.0f);
        const LinearArgs args = {
            rows,     in,          out,      x.data(), in + 3,
            w.data(), bias.data(), y.data(), out + 2,  {Function::silu, 0.0f, 0.0f, nullptr}};
        kernels.linear(args, 1, 3);
        kernels.linear(args, 0, 1);
        for (Index i = 0; i < rows * out; ++i) {
          double sum = bias[at(i % out)];
          for (Index j = 0; j < in; ++j) {
            sum += static_cast<double>(x[at(i / out * (in + 3) + j)]) * w[at(i % out * in + j)];
          }
          CHECK(std::fabs(y[at(i / out * (out + 2) + i % out)] - function(args.activation, sum, 0)) < 1e-5);
        }
        CHECK(y[at(out)] == 7.0f);
      });
    }
  }
}

TEST_CASE("moves") {
  for (const Index area : {1, 5, 16, 49}) {
    const Floats x = random_floats(2 * 19 * area, 1);
    for_every_isa([&](const Kernels& kernels) {
      const Index items = 2 * divide(19, kernels.block);
      const Floats expected = blocked(x, 2, 19, area, kernels.block, 16);
      Floats middle(expected.size(), 0.0f);
      kernels.to_blocked(x.data(), 19 * area, middle.data(), image_of(middle, 2), 19, area, 0, items);
      CHECK(middle == expected);
      Floats back(x.size());
      kernels.to_plain(middle.data(), image_of(middle, 2), back.data(), 19 * area, area, 19, area, 0, items);
      CHECK(back == x);
      const Index apart = area + 3;
      Floats spread(at(2 * 19 * apart), 7.0f);
      kernels.to_plain(middle.data(), image_of(middle, 2), spread.data(), 19 * apart, apart, 19, area, 0,
                       items);
      for (Index i = 0; i < 2 * 19 * apart; ++i)
        CHECK(spread[at(i)] == (i % apart < area ? x[at(i / apart * area + i % apart)] : 7.0f));
      Floats transposed(at(area * 40), 7.0f);
      kernels.transpose(x.data(), area, transposed.data(), 40, 2 * 19, area);
      for (Index i = 0; i < area * 40; ++i)
        CHECK(transposed[at(i)] == (i % 40 < 38 ? x[at(i % 40 * area + i / 40)] : 7.0f));

      Floats large(expected.size() * 6 + 64, 0.0f);
      const Index large_image = image_of(expected, 2) * 6;
      kernels.resize(expected.data(), image_of(expected, 2), large.data(), large_image, 19, 1, area, 2, 3, 0,
                     items);
      for (Index i = 0; i < 2 * 19 * area * 6; ++i) {
        const Index pixel = i % (area * 6);
        const Index plane = i / (area * 6);
        CHECK(element(large, large_image, plane / 19, plane % 19, pixel, area * 6, kernels.block) ==
              x[at(plane * area + pixel % (area * 3) / 3)]);
      }
    });
  }
  const Floats rows = random_floats(40, 1);
  for_every_isa([&](const Kernels& kernels) {
    Floats dst(36, 0.0f);
    kernels.copy_rows(rows.data() + 2, 10, dst.data() + 1, 9, 5, 1, 4);
    CHECK(dst[1] == 0.0f);
    CHECK(std::equal(rows.begin() + 12, rows.begin() + 17, dst.begin() + 10));
    CHECK(dst[15] == 0.0f);
    CHECK(std::equal(rows.begin() + 32, rows.begin() + 37, dst.begin() + 28));
  });
}

TEST_CASE("lanes of two blocks") {
  for_every_isa([&](const Kernels& kernels) {
    const Index block = kernels.block, area = 7;
    Floats a = random_floats(block * area, 1);
    const Floats b = random_floats(block * area, 2);
    std::vector<std::int32_t> places;
    for (Index lane = 0; lane < block; ++lane)
      places.push_back(static_cast<std::int32_t>((lane * 7 + 3) % (2 * block + 1) - 1));
    Floats expected;
    for (Index i = 0; i < area * block; ++i) {
      const Index place = places[at(i % block)], first = i / block * block;
      expected.push_back(place < 0       ? 0.0f
                         : place < block ? a[at(first + place)]
                                         : b[at(first + place - block)]);
    }
    Floats dst(a.size() + 1, 7.0f);
    kernels.pick_lanes(a.data(), b.data(), places.data(), dst.data(), area);
    CHECK(dst.back() == 7.0f);
    dst.pop_back();
    CHECK(dst == expected);
    kernels.pick_lanes(a.data(), b.data(), places.data(), a.data(), area);
    CHECK(a == expected);
  });
}

TEST_CASE("sums of rows that are moved against each other") {
  for (const auto& [length, count] : {std::pair<Index, Index>{1, 5}, {7, 3}, {40, 90}, {150, 141}}) {
    const Index stride = length + 3, margin = 16;
    const Floats rows = random_floats(margin + 5 * stride + margin, 1);
    const Floats y = random_floats(count, 2);
    for_every_isa([&](const Kernels& kernels) {
      std::vector<rdquant::runtime::kernels::MovedRow> moved;
      for (Index i = 0; i < 5; ++i) moved.push_back({rows.data() + margin + i * stride, (i - 2) * 9});
      Floats got = y;
      got.push_back(7.0f);
      kernels.add_moved(moved.data(), 5, length, got.data(), count);
      for (Index x = 0; x < count; ++x) {
        double sum = y[at(x)];
        for (const auto& row : moved) {
          const Index from = x - row.moved;
          if (from >= 0 && from < length) sum += row.data[from];
        }
        CHECK(std::fabs(got[at(x)] - sum) < 1e-5);
      }
      CHECK(got.back() == 7.0f);
    });
  }
}

TEST_CASE("an instruction set that this machine lacks is refused") {
  const Isa best = rdquant::core::available_isa();
  CHECK(rdquant::runtime::kernels::kernels(best).isa == best);
  if (best != Isa::avx512) {
    CHECK_THROWS_AS((void)rdquant::runtime::kernels::kernels(Isa::avx512), rdquant::core::InvalidArgument);
  }
  CHECK(rdquant::runtime::kernels::kernels().isa == rdquant::core::selected_isa());
}
