#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "int8_sets.hpp"
#include "rdquant/program/evaluate.hpp"

using namespace reference;

namespace {

void check_floats(const Case& test) {
  const Data data(test);
  const ConvShape& s = test.shape;
  const Floats residual = random_floats(s.n * s.k * data.area, 6);
  for (const Set& set : sets()) {
    CAPTURE(set.name);
    CAPTURE(describe(s));
    const Index block = set.table->block;
    const Floats other = blocked(residual, s.n, s.k, data.area, block, 32);
    Floats dst = other;  // in place
    Int8ConvArgs args;
    args.dst = dst.data();
    args.dst_image = static_cast<Index>(dst.size()) / s.n;
    args.epilogue.to_float = true;
    args.epilogue.float_residual = test.residual ? dst.data() : nullptr;
    args.epilogue.float_residual_image = args.dst_image;
    args.epilogue.residual_last = test.residual_last;
    run(*set.table, data, args);
    double worst = 0.0;
    for (Index i = 0; i < s.n * s.k * data.area; ++i) {
      const Index n = i / data.area / s.k;
      const Index k = i / data.area % s.k;
      const float v = data.number_at(n, k, i % data.area);
      const float extra = test.residual ? residual[at(i)] : 0.0f;
      const float wanted = test.residual_last ? data.activate(v, k) + extra : data.activate(v + extra, k);
      const float got = element(dst, args.dst_image, n, k, i % data.area, data.area, block);
      const bool exact =
          test.activation.function == Function::none || test.activation.function == Function::relu;
      if (exact) {
        CHECK(got == wanted);
      } else {
        worst = std::fmax(worst, std::fabs(got - wanted) / std::fmax(1.0f, std::fabs(wanted)));
      }
    }
    CHECK(worst < 2e-6);
    for (Index k = s.k; k < divide(s.k, block) * block; ++k) {
      CHECK(element(dst, args.dst_image, s.n - 1, k, data.area - 1, data.area, block) == 0.0f);
    }
  }
}

// Least and greatest of all results, 0 among them.
struct Range {
  float low = 0.0f, high = 0.0f;
};

Range range_of(const Data& data) {
  const ConvShape& s = data.s;
  Range range;
  for (Index i = 0; i < s.n * s.k * data.area; ++i) {
    const Index k = i / data.area % s.k;
    const float y = data.activate(data.number_at(i / data.area / s.k, k, i % data.area), k);
    range.low = std::fmin(range.low, y);
    range.high = std::fmax(range.high, y);
  }
  return range;
}

Range seen(const Floats& min_max, Index block) {
  Range range;
  for (Index lane = 0; lane < block; ++lane) {
    range.low = std::fmin(range.low, min_max[at(lane)]);
    range.high = std::fmax(range.high, min_max[at(block + lane)]);
  }
  return range;
}

// Results that are only measured, and made levels of that range: the same as of stored ones.
void check_unstored(const Case& test) {
  const Data data(test);
  const ConvShape& s = test.shape;
  const Range wanted = range_of(data);
  for (const Set& set : sets()) {
    CAPTURE(set.name);
    CAPTURE(describe(s));
    const Index block = set.table->block;
    const Index plane = divide(s.k, block) * block * data.area;
    Floats min_max(at(2 * block), 0.0f), stored(at(s.n * plane));
    Int8ConvArgs args;
    args.dst = stored.data();
    args.dst_image = plane;
    args.epilogue.min_max = min_max.data();
    args.epilogue.to_float = true;
    run(*set.table, data, args);
    CHECK(seen(min_max, block).low == wanted.low);
    CHECK(seen(min_max, block).high == wanted.high);
    std::fill(min_max.begin(), min_max.end(), 0.0f);
    args.dst = nullptr;
    args.epilogue.measured = true;
    run(*set.table, data, args);
    CHECK(seen(min_max, block).low == wanted.low);
    CHECK(seen(min_max, block).high == wanted.high);

    Bytes levels(at(s.n * data.dst_image), 0xa5), expected = levels;
    args.dst = levels.data();
    args.dst_image = data.dst_image;
    args.dst_pixel = data.dst_pixel;
    args.epilogue.to_float = args.epilogue.measured = false;
    const auto grid = rdquant::program::dynamic_grid(wanted.low, wanted.high);
    args.epilogue.out_scale = grid.scale;
    args.epilogue.zero = grid.zero;
    run(*set.table, data, args);
    for (Index i = 0; i < s.n * s.k * data.area; ++i) {
      const Index n = i / data.area / s.k, k = i / data.area % s.k, p = i % data.area;
      const float y = element(stored, plane, n, k, p, data.area, block);
      expected[at(n * data.dst_image + p * data.dst_pixel + k)] =
          static_cast<std::uint8_t>(to_level(y / args.epilogue.out_scale, args.epilogue.zero, 0, 255));
    }
    CHECK(levels == expected);
  }
}

TEST_CASE("float32 outputs") {
  for (const Function function : {Function::none, Function::relu, Function::clip, Function::leaky_relu,
                                  Function::silu, Function::hard_swish, Function::prelu, Function::sigmoid}) {
    for (const ConvShape& shape :
         {square(20, 9, 37, 3, 1, 1), square(21, 7, 21, 3, 1, 1, 21), square(96, 9, 96, 5, 1, 2, 96),
          square(6, 6, 9, 3, 1, 1, 3), square(16, 9, 16, 7, 3, 3, 16)}) {
      for (const int residual : {0, 1, 2}) {
        Case test = {shape};
        test.shape.n = 2;
        test.output = Output::floats;
        test.src_zero = 12;
        test.activation = {function, 0.25f, 0.75f, nullptr};
        test.float_bias = residual != 0;
        test.residual = residual != 0;
        test.residual_last = residual == 2;
        check_floats(test);
      }
    }
  }
}

TEST_CASE("numbers far out under x·sigmoid(x)") {
  for (const float multiplier : {100.0f, 1e6f, 1e30f}) {
    for (const ConvShape& shape : {square(20, 9, 37, 3, 1, 1), square(21, 7, 21, 3, 1, 1, 21)}) {
      Case test = {shape};
      test.output = Output::floats;
      test.multiplier = multiplier;
      test.activation.function = Function::silu;
      check_floats(test);
    }
  }
}

TEST_CASE("ranges, and levels of them") {
  for (const Function function : {Function::none, Function::relu, Function::clip}) {
    for (const ConvShape& shape :
         {square(20, 9, 37, 3, 1, 1), square(8, 9, 96, 1, 1, 0), square(3, 17, 24, 3, 2, 1),
          square(8, 14, 64, 1, 1, 0), square(21, 7, 21, 3, 1, 1, 21), square(96, 9, 96, 5, 2, 2, 96),
          square(130, 8, 130, 3, 2, 0, 130), square(16, 9, 16, 7, 3, 3, 16), crooked(21, 21, 21),
          crooked(37, 21, 1)}) {
      for (const bool float_bias : {false, true}) {
        Case test = {shape};
        test.shape.n = 2;
        test.output = Output::floats;
        test.extra = 3;
        test.src_zero = 12;
        test.activation = {function, -0.25f, 0.75f, nullptr};
        test.float_bias = float_bias;
        check_unstored(test);
        test.multiplier = -0.5f;
        check_unstored(test);
      }
    }
  }
}

TEST_CASE("levels of a range without end, of the least, and of one that is all zeros") {
  for (const ConvShape& shape : {square(20, 9, 37, 3, 1, 1), square(71, 9, 71, 3, 1, 1, 71)}) {
    for (const float multiplier : {0.0f, 1e-36f, 1e38f}) {
      Case test = {shape};
      test.output = Output::floats;
      test.multiplier = multiplier;
      check_unstored(test);
    }
  }
}

}  // namespace
