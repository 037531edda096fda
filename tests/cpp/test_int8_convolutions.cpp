#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "int8_sets.hpp"

using namespace reference;

namespace {

void check_levels(const Case& test) {
  const Data data(test);
  const ConvShape& s = test.shape;
  Bytes expected(at(s.n * data.dst_image), 0xa5);
  for (Index i = 0; i < s.n * data.area * s.k; ++i) {
    const Index n = i / s.k / data.area;
    const Index p = i / s.k % data.area;
    expected[at(n * data.dst_image + p * data.dst_pixel + i % s.k)] = data.int8_at(n, i % s.k, p);
  }
  for (const Set& set : sets()) {
    CAPTURE(set.name);
    CAPTURE(describe(s));
    Bytes dst(expected.size(), 0xa5);
    Int8ConvArgs args;
    args.dst = dst.data();
    args.dst_image = data.dst_image;
    args.dst_pixel = data.dst_pixel;
    args.epilogue.zero = data.zero;
    args.epilogue.low = data.low;
    args.epilogue.high = data.high;
    args.epilogue.table = test.table ? data.table.data() : nullptr;
    args.epilogue.residual = test.residual ? data.residual.data() : nullptr;
    args.epilogue.residual_image = data.dst_image;
    args.epilogue.residual_pixel = data.dst_pixel;
    args.epilogue.sum = data.sum;
    run(*set.table, data, args);
    if (test.activation.function == Function::none) {
      CHECK(dst == expected);
      continue;
    }
    Index others = 0;
    int worst = 0;
    for (std::size_t i = 0; i < dst.size(); ++i) {
      const int error = level(dst[i], test.dst_signed) - level(expected[i], test.dst_signed);
      others += error != 0;
      worst = std::max(worst, std::abs(error));
    }
    CHECK(worst <= 1);
    CHECK(others * 1000 <= s.n * data.area * s.k);
  }
}

// With every kind of source and output.
void check(const ConvShape& shape) {
  Case test = {shape};
  test.whole = true;
  check_levels(test);
  test.whole = false;
  check_levels(test);
  test.src_zero = 131;
  test.extra = 3;
  check_levels(test);
  test.src_signed = true;
  test.dst_signed = true;
  test.src_zero = -7;
  test.extra = 4 - shape.c % 4;
  check_levels(test);
  test.src_zero = -128;
  test.extra = 0;
  test.bias = false;
  check_levels(test);
}

}  // namespace

TEST_CASE("depthwise convolutions of levels") {
  for (const Index size : {1, 2, 3, 5, 7, 8, 13, 15, 28}) {
    for (const Index stride : {1, 2}) {
      check(square(19, size, 19, 3, stride, 1, 19));
      check(square(5, size, 5, 5, stride, 2, 5));
      check(square(40, size, 40, 7, stride, 3, 40));
    }
  }
  check(square(64, 9, 64, 3, 1, 1, 64));
  check(square(96, 9, 96, 5, 2, 2, 96));
  check(square(130, 8, 130, 3, 2, 0, 130));
  check(square(96, 9, 96, 7, 1, 3, 96));
  check(square(13, 9, 13, 7, 2, 0, 13));
  check(square(16, 9, 16, 3, 1, 4, 16));
  check(square(16, 12, 16, 7, 3, 3, 16));
  check(square(16, 6, 16, 1, 1, 0, 16));
  check(crooked(21, 21, 21));
  ConvShape s = square(33, 14, 33, 3, 1, 0, 33);
  s.n = 2;
  s.bottom = s.right = 1;
  check(s);
  s.sh = s.sw = 2;
  s.w = 9;
  check(s);
}

TEST_CASE("depthwise convolutions of levels with kernels of any kind") {
  for (const Index c : {8, 16, 24, 40, 64, 130}) {
    check(crooked(c, c, c));
    ConvShape s = square(c, 11, c, 3, 1, 3, c);
    s.dh = s.dw = 3;
    check(s);
    s = square(c, 9, c, 1, 1, 0, c);
    s.kw = 11;
    s.left = s.right = 5;
    check(s);
    std::swap(s.kh, s.kw);
    std::swap(s.top, s.left);
    std::swap(s.bottom, s.right);
    check(s);
  }
  check(square(21, 9, 21, 16, 1, 8, 21));
  check(square(21, 9, 21, 40, 2, 20, 21));  // more taps than are interleaved
}

TEST_CASE("depthwise convolutions of levels with wide kernels") {
  for (const Index kernel : {4, 6, 9, 10, 11, 12, 13, 21, 31, 32}) {
    for (const Index stride : {1, 2}) {
      check(square(21, 14, 21, kernel, stride, kernel / 2, 21));
      check(square(9, 33, 9, kernel, stride, 0, 9));
    }
    check(square(70, 5, 70, kernel, 1, kernel - 1, 70));
  }
  check(square(40, 20, 40, 13, 1, 6, 40));
  ConvShape s = square(21, 31, 21, 9, 2, 12, 21);
  s.n = 2;
  s.h = 11;
  s.w = 100;  // more than one segment
  s.dw = 3;
  s.dh = 2;
  check(s);
  s.kh = 3;
  s.sw = 1;
  s.left = 40;  // of pixels that meet padding only
  check(s);
}

TEST_CASE("first layers of levels") {
  for (const Index size : {7, 16, 33}) {
    check(square(3, size, 24, 3, 2, 1));
    check(square(3, size, 16, 3, 1, 1));
    check(square(1, size, 5, 6, 2, 2));
    check(square(4, size, 40, 7, 2, 3));
  }
  check(square(3, 4, 8, 3, 1, 5));
  check(square(3, 27, 96, 11, 2, 0));
  check(crooked(3, 33, 1));
}

TEST_CASE("dense convolutions of levels") {
  for (const Index size : {1, 2, 3, 5, 7, 13, 20}) {
    for (const Index stride : {1, 2}) {
      check(square(24, size, 40, 1, stride, 0));
      check(square(16, size, 17, 3, stride, 1));
      check(square(5, size, 100, 3, stride, 1));
    }
  }
  for (const Index k : {1, 15, 16, 31, 48, 63, 64, 65, 80, 128}) check(square(20, 6, k, 1, 1, 0));
  check(square(3, 6, 50, 5, 1, 2));
  check(square(17, 4, 8, 3, 1, 5));
  check(square(48, 9, 64, 7, 3, 3));
  check(crooked(37, 21, 1));
}

TEST_CASE("dense convolutions of levels in groups") {
  check(square(64, 7, 32, 3, 1, 1, 2));
  check(square(32, 7, 64, 3, 2, 1, 8));
  check(square(64, 6, 64, 1, 1, 0, 16));
  check(square(6, 6, 9, 3, 1, 1, 3));
  check(square(10, 5, 32, 3, 1, 1, 2));
  check(square(8, 5, 16, 3, 1, 1, 8));
  check(crooked(64, 32, 4));
}

TEST_CASE("dense convolutions of levels in groups that fill no whole blocks") {
  for (const Index groups : {2, 3, 5}) {
    for (const Index channels : {5, 12, 24, 40, 56}) {
      check(square(channels * groups, 7, channels * groups, 3, 1, 1, groups));
      check(square(channels * groups, 6, 20 * groups, 1, 1, 0, groups));
      check(square(24 * groups, 17, channels * groups, 3, 2, 1, groups));
    }
  }
  check(square(240, 5, 240, 3, 1, 1, 2));
  check(square(336, 6, 112, 3, 1, 1, 2));  // lists of some of the windows only
  check(square(20, 5, 220, 3, 1, 1, 20));
  check(square(220, 5, 20, 3, 1, 1, 20));
  check(crooked(72, 120, 3));
}

TEST_CASE("dense convolutions of levels in small groups") {
  for (const Index channels : {4, 8, 12}) {
    for (const Index filters : {1, 2, 3, 4, 8}) {
      for (const Index groups : {4, 8, 32}) {
        check(square(channels * groups, 7, filters * groups, 3, 1, 1, groups));
        check(square(channels * groups, 17, filters * groups, 3, 2, 1, groups));
        check(square(channels * groups, 5, filters * groups, 1, 1, 0, groups));
      }
    }
  }
  check(square(32, 12, 32, 33, 1, 16, 8));  // windows longer than the list of their places
  check(crooked(32, 32, 8));
}

TEST_CASE("windows longer than the list of their places") {
  for (const Index c : {452, 456, 460}) check(square(c, 6, 40, 3, 1, 1));  // 1017, 1026, 1035 quads
  check(square(100, 9, 64, 7, 2, 0));
}

TEST_CASE("more channels than a pixel of the padding holds, or than a copy of a window") {
  ConvShape s = square(5003, 2, 9, 2, 1, 1);
  check(s);
  check(square(5003, 3, 9, 3, 1, 1));
  s.kh = s.kw = 1;
  s.top = s.left = s.bottom = s.right = 0;
  s.h = 1;
  s.w = 3;
  check(s);
}

TEST_CASE("the largest sums") {
  for (const ConvShape& shape :
       {square(256, 5, 33, 3, 1, 1), square(64, 5, 64, 3, 1, 1, 64), square(64, 5, 64, 5, 1, 2, 64),
        square(64, 9, 64, 7, 1, 3, 64), square(64, 5, 64, 3, 3, 1, 64)}) {
    Case test = {shape};
    test.values = Values::extreme;
    check_levels(test);
    test.src_zero = 255;
    check_levels(test);
    test.src_zero = -128;
    test.src_signed = test.dst_signed = true;
    check_levels(test);
  }
}

TEST_CASE("multipliers that take sums past int32") {
  const ConvShape shape = square(16, 6, 20, 3, 1, 1);
  for (const float scale : {3e12f, -3e12f, std::nanf("")}) {
    Case test = {shape};
    test.scale = scale;
    check_levels(test);
    test.scale = 1.0f;
    test.multiplier = scale;
    for (int mask = 0; mask < 4; ++mask) {
      test.table = mask & 1;
      test.residual = mask & 2;
      check_levels(test);
    }
  }
}

TEST_CASE("tables and residuals with tiles of every size") {
  for (const Index k : {5, 16, 24, 32, 40, 48, 64, 100}) {
    for (const Index size : {1, 2, 4, 7, 9, 14}) {
      for (int mask = 1; mask < 8; ++mask) {
        Case test = {square(8, size, k, 1, 1, 0)};
        test.table = mask & 1;
        test.residual = mask & 2;
        test.dst_signed = mask & 4;
        test.extra = k % 16 == 0 ? 0 : 3;
        if (test.table || test.residual) check_levels(test);
      }
    }
  }
  for (const Index c : {3, 8, 16, 24, 32, 64, 100}) {
    for (const Index size : {1, 7, 8, 9, 17}) {
      Case test = {square(c, size, c, 3, 1, 1, c)};
      test.table = true;
      check_levels(test);
      test.dst_signed = true;
      test.extra = 5;
      check_levels(test);
    }
  }
}

TEST_CASE("tables, residuals, biases in float32 and scales") {
  for (const ConvShape& shape :
       {square(20, 9, 37, 3, 1, 1), square(16, 9, 72, 1, 1, 0), square(71, 9, 71, 3, 1, 1, 71),
        square(16, 9, 16, 7, 3, 3, 16), square(23, 9, 23, 7, 1, 3, 23)}) {
    for (const bool is_signed : {false, true}) {
      for (int mask = 1; mask < 16; ++mask) {
        Case test = {shape};
        test.dst_signed = is_signed;
        test.src_zero = 99;
        test.extra = 2;
        test.table = mask & 1;
        test.residual = mask & 2;
        test.float_bias = mask & 4;
        test.scale = mask & 8 ? 30.5f : 1.0f;
        check_levels(test);
      }
    }
  }
}

constexpr Function kActivations[] = {Function::leaky_relu, Function::prelu,       Function::sigmoid,
                                     Function::silu,       Function::hard_swish,  Function::tanh,
                                     Function::elu,        Function::gelu_erf,    Function::mish,
                                     Function::gelu_tanh,  Function::hard_sigmoid};

TEST_CASE("activations into levels") {
  for (const Function function : kActivations) {
    CAPTURE(static_cast<int>(function));
    for (const ConvShape& shape : {square(20, 17, 37, 3, 1, 1), square(71, 17, 71, 3, 1, 1, 71)}) {
      Case test = {shape};
      test.activation = {function, 0.2f, 0.5f, nullptr};
      test.scale = 25.0f;
      test.float_bias = true;
      check_levels(test);
    }
  }
}

#if defined(__x86_64__)
TEST_CASE("tiles of AMX for shapes that keep them busy, and for no others") {
  const auto& amx = rdquant::runtime::kernels::avx512amx::int8_amx;
  for (const ConvShape& shape :
       {square(64, 56, 64, 3, 1, 1), square(512, 7, 512, 3, 1, 1), square(256, 14, 1024, 1, 1, 0),
        square(768, 8, 768, 1, 1, 0), square(3, 224, 64, 7, 2, 3)})
    CHECK_MESSAGE(amx.pays(shape, 1), describe(shape));
  for (const ConvShape& shape :
       {square(8, 56, 16, 1, 1, 0), square(1280, 1, 1000, 1, 1, 0), square(64, 56, 64, 3, 1, 1, 64),
        square(3000, 9, 64, 5, 1, 2)})  // the last one's windows are too long to be copied
    CHECK_MESSAGE(!amx.pays(shape, 1), describe(shape));
}
#endif
