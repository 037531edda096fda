#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "integer_reference.hpp"
#include "runtime/kernels/integer_tables.hpp"

using namespace reference;
using rdquant::core::Isa;

namespace {

struct Set {
  std::string name;
  const IntegerConvolutionTable* table;
};

// Every set of instructions that this processor runs.
std::vector<Set> sets() {
  namespace k = rdquant::runtime::kernels;
  std::vector<Set> all = {{"baseline", &k::baseline::integer_convolution}};
#if defined(__x86_64__)
  const Isa best = rdquant::core::available_isa();
  if (best >= Isa::avx2) all.push_back({"avx2", &k::avx2::integer_convolution});
  if (best >= Isa::avx512) all.push_back({"avx512", &k::avx512::integer_convolution});
  if (best >= Isa::avx512 && __builtin_cpu_supports("avx512vnni")) {
    all.push_back({"avx512vnni", &k::avx512vnni::integer_convolution});
  }
#endif
  return all;
}

std::string describe(const ConvShape& s) {
  std::string text;
  for (const Index i : {s.n, s.c, s.h, s.w, s.k, s.kh, s.kw, s.sh, s.sw, s.dh, s.dw, s.top, s.left, s.bottom,
                        s.right, s.groups}) {
    text += std::to_string(i) + " ";
  }
  return text;
}

// Packs in two ranges and runs in three, in disorder.
void run(const IntegerConvolutionTable& table, const Data& data, IntegerConvArgs args) {
  const Case& test = data.test;
  const IntegerPlan plan = table.plan(data.s, 1 + data.s.h % 3);
  std::vector<std::byte> memory(at(plan.bytes) + 64, std::byte{0x55});
  std::byte* const packed = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
  const Index middle = plan.pack_items / 2;
  table.pack(plan, data.weights.data(), packed, middle, plan.pack_items);
  table.pack(plan, data.weights.data(), packed, 0, middle);
  args.src = data.src.data();
  args.src_image = data.image;
  args.src_pixel = data.pixel;
  args.src_signed = test.src_signed;
  args.src_zero = test.src_zero;
  args.weights = packed;
  args.bias = test.bias ? data.bias.data() : nullptr;
  args.finish.multipliers = data.multipliers.data();
  args.finish.multiplier = test.multiplier;
  args.finish.float_bias = test.float_bias ? data.float_bias.data() : nullptr;
  args.finish.activation = test.activation;
  args.finish.activation.slopes = data.slopes.data();
  args.finish.scale = test.scale;
  const Index first = plan.items / 3;
  const Index second = plan.items - plan.items / 4;
  table.run(plan, args, second, plan.items);
  table.run(plan, args, 0, first);
  table.run(plan, args, first, second);
}

void check_levels(const Case& test) {
  const Data data(test);
  const ConvShape& s = test.shape;
  Bytes expected(at(s.n * data.dst_image), 0xa5);
  for (Index i = 0; i < s.n * data.area * s.k; ++i) {
    const Index n = i / s.k / data.area;
    const Index p = i / s.k % data.area;
    expected[at(n * data.dst_image + p * data.dst_pixel + i % s.k)] = data.level_at(n, i % s.k, p);
  }
  for (const Set& set : sets()) {
    CAPTURE(set.name);
    CAPTURE(describe(s));
    Bytes dst(expected.size(), 0xa5);
    IntegerConvArgs args;
    args.dst = dst.data();
    args.dst_image = data.dst_image;
    args.dst_pixel = data.dst_pixel;
    args.finish.zero = data.zero;
    args.finish.low = data.low;
    args.finish.high = data.high;
    args.finish.table = test.table ? data.table.data() : nullptr;
    args.finish.residual = test.residual ? data.residual.data() : nullptr;
    args.finish.residual_image = data.dst_image;
    args.finish.residual_pixel = data.dst_pixel;
    args.finish.sum = data.sum;
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
    IntegerConvArgs args;
    args.dst = dst.data();
    args.dst_image = static_cast<Index>(dst.size()) / s.n;
    args.finish.to_float = true;
    args.finish.float_residual = test.residual ? dst.data() : nullptr;
    args.finish.float_residual_image = args.dst_image;
    args.finish.residual_last = test.residual_last;
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

// With every kind of source and output.
void check(const ConvShape& shape) {
  Case test = {shape};
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

ConvShape square(Index c, Index size, Index k, Index kernel, Index stride, Index pad, Index groups = 1) {
  ConvShape s;
  s.c = c;
  s.h = s.w = size;
  s.k = k;
  s.kh = s.kw = kernel;
  s.sh = s.sw = stride;
  s.top = s.left = s.bottom = s.right = pad;
  s.groups = groups;
  return s;
}

// Everything unequal: two images, sizes, pads, strides, dilations.
ConvShape crooked(Index c, Index k, Index groups) {
  ConvShape s = square(c, 11, k, 3, 1, 0, groups);
  s.n = 2;
  s.w = 17;
  s.kh = 4;
  s.sh = 3;
  s.sw = 2;
  s.dh = 2;
  s.dw = 3;
  s.top = 5;
  s.left = 1;
  s.right = 9;
  return s;
}

}  // namespace

TEST_CASE("depthwise convolutions of levels") {
  for (const Index size : {1, 2, 3, 5, 7, 8, 13, 15, 28}) {
    for (const Index stride : {1, 2}) {
      check(square(19, size, 19, 3, stride, 1, 19));
      check(square(5, size, 5, 5, stride, 2, 5));
    }
  }
  check(square(64, 9, 64, 3, 1, 1, 64));
  check(square(96, 9, 96, 5, 2, 2, 96));
  check(square(130, 8, 130, 3, 2, 0, 130));
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
  for (const ConvShape& shape : {square(256, 5, 33, 3, 1, 1), square(64, 5, 64, 3, 1, 1, 64),
                                 square(64, 5, 64, 5, 1, 2, 64), square(64, 5, 64, 3, 3, 1, 64)}) {
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
  for (const ConvShape& shape : {square(20, 9, 37, 3, 1, 1), square(16, 9, 72, 1, 1, 0),
                                 square(71, 9, 71, 3, 1, 1, 71), square(16, 9, 16, 7, 3, 3, 16)}) {
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

TEST_CASE("float32 outputs") {
  for (const Function function :
       {Function::none, Function::relu, Function::clip, Function::silu, Function::prelu, Function::sigmoid}) {
    for (const ConvShape& shape : {square(20, 9, 37, 3, 1, 1), square(21, 7, 21, 3, 1, 1, 21),
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
