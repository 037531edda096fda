// Integers, booleans, comparisons, choices, conversions: on kernels of ours, and equal to the definition.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "net.hpp"
#include "rdquant/core/half.hpp"
#include "runtime/kernels/elements/elements.hpp"

using namespace rdquant;
using core::DType;
using core::Shape;
using program::BinaryFunction;
using program::ValueId;
using testing::Net;

namespace {

constexpr DType kTypes[] = {DType::f32, DType::i32, DType::i64, DType::u8, DType::i8, DType::boolean};

/// Values of every kind that the type has, special ones first.
core::Tensor values(DType dtype, const Shape& shape, unsigned seed) {
  std::mt19937_64 random(seed);
  core::Tensor tensor(dtype, shape);
  const auto fill = [&]<typename T>(T*, const std::vector<T>& special, auto make) {
    auto* const at = tensor.write().as<T>();
    for (std::int64_t i = 0; i < tensor.size(); ++i) {
      const auto draw = random();
      at[i] = draw % 3 == 0 ? special[draw / 3 % special.size()] : make(draw >> 8);
    }
  };
  const float infinity = std::numeric_limits<float>::infinity();
  const auto integers = [&]<typename T>(T* type) {
    using Limits = std::numeric_limits<T>;
    fill(type, std::vector<T>{0, 1, static_cast<T>(-1), 2, Limits::max(), Limits::min(), static_cast<T>(-7)},
         [](std::uint64_t draw) { return static_cast<T>(draw % 5 == 0 ? draw : draw % 23); });
  };
  switch (dtype) {
    case DType::f32:
      fill(static_cast<float*>(nullptr),
           {0.0F, -0.0F, infinity, -infinity, std::nanf(""), 0.5F, -0.5F, 255.5F, 256.0F, -128.5F,
            2147483648.0F, -2147483648.0F, 2147483520.0F, 9.3e18F, -9.3e18F, 1e30F, 0x1p-140F},
           [](std::uint64_t draw) { return static_cast<float>(draw % 2000) / 7 - 140; });
      break;
    case DType::i32:
      integers(static_cast<std::int32_t*>(nullptr));
      break;
    case DType::i64:
      integers(static_cast<std::int64_t*>(nullptr));
      break;
    case DType::u8:
      integers(static_cast<std::uint8_t*>(nullptr));
      break;
    case DType::i8:
      integers(static_cast<std::int8_t*>(nullptr));
      break;
    case DType::f16:
    case DType::bf16:
      fill(static_cast<std::uint16_t*>(nullptr),
           {0, 0x8000, 0x7C00, 0xFC00, 0x7E01, 0x7F80, 0xFF81, 1, 0x83FF},
           [](std::uint64_t draw) { return static_cast<std::uint16_t>(draw); });
      break;
    default:
      fill(static_cast<std::uint8_t*>(nullptr), {0, 1},
           [](std::uint64_t draw) { return static_cast<std::uint8_t>(draw % 2); });
  }
  return tensor;
}

ValueId typed(Net& net, DType dtype, const Shape& shape, unsigned seed) {
  const ValueId id = net.add(shape, program::Role::constant, values(dtype, shape, seed));
  net.program.values[static_cast<std::size_t>(id)].dtype = dtype;
  return id;
}

ValueId step(Net& net, program::Operation operation, std::vector<ValueId> inputs, const Shape& shape,
             DType dtype) {
  const ValueId id = net.step(std::move(operation), std::move(inputs), shape);
  net.program.values[static_cast<std::size_t>(id)].dtype = dtype;
  return id;
}

/// Every step on a kernel of ours, with the same bytes as the definition; all NaN are one.
void check_equal(Net& net, std::vector<ValueId> outputs) {
  net.program.outputs = std::move(outputs);
  const auto expected =
      testing::run(*runtime::backend("reference").prepare(net.program, {1, 0}), net.program, {});
  for (const int threads : {1, 2}) {
    const auto ours = testing::native()->prepare(net.program, {threads, 0});
    for (const auto& row : ours->plan()) {
      CAPTURE(row.operation);
      CHECK(row.supplier == "native");
    }
    const auto got = testing::run(*ours, net.program, {});
    for (std::size_t i = 0; i < got.size(); ++i) {
      CAPTURE(i);
      const auto x = expected[i].doubles(), y = got[i].doubles();
      std::size_t differ = 0;
      for (std::size_t j = 0; j < x.size(); ++j)
        differ += x[j] != y[j] && !(std::isnan(x[j]) && std::isnan(y[j]));
      CHECK(differ == 0);
    }
  }
}

struct Shapes {
  Shape a, b, y;
};
const std::vector<Shapes> kShapes = {{{2, 3, 70}, {2, 3, 70}, {2, 3, 70}},
                                     {{5000}, {1}, {5000}},
                                     {{1}, {5000}, {5000}},
                                     {{300, 6, 1}, {6, 11}, {300, 6, 11}},
                                     {{40, 1, 9}, {7, 1}, {40, 7, 9}},
                                     {{3, 9001}, {9001}, {3, 9001}},
                                     {{4, 1, 3}, {5, 1}, {4, 5, 3}},
                                     {{}, {}, {}}};

}  // namespace

TEST_CASE("comparisons and logic") {
  using enum BinaryFunction;
  for (const Shapes& s : kShapes) {
    for (const DType dtype : {DType::f32, DType::i32, DType::i64, DType::boolean}) {
      CAPTURE(core::dtype_name(dtype));
      Net net(1);
      std::vector<ValueId> made;
      const ValueId a = typed(net, dtype, s.a, 1), b = typed(net, dtype, s.b, 2);
      for (const auto f : {equal, BinaryFunction::less, less_equal, BinaryFunction::greater, greater_equal})
        made.push_back(step(net, program::Binary{f, {}}, {a, b}, s.y, DType::boolean));
      if (dtype == DType::boolean) {
        for (const auto f : {BinaryFunction::logical_and, BinaryFunction::logical_or, logical_xor})
          made.push_back(step(net, program::Binary{f, {}}, {a, b}, s.y, DType::boolean));
        const program::Unary negation{{program::Function::logical_not, 0, 0}};
        made.push_back(step(net, negation, {made.back()}, s.y, DType::boolean));
      }
      check_equal(net, made);
    }
  }
}

TEST_CASE("arithmetic of integers") {
  using enum BinaryFunction;
  for (const Shapes& s : kShapes) {
    for (const DType dtype : {DType::i32, DType::i64}) {
      CAPTURE(core::dtype_name(dtype));
      Net net(1);
      std::vector<ValueId> made;
      const ValueId a = typed(net, dtype, s.a, 3), b = typed(net, dtype, s.b, 4);
      for (const auto f : {add, sub, mul, div, mod, BinaryFunction::fmod, BinaryFunction::min,
                           BinaryFunction::max, bitwise_and, bitwise_or, bitwise_xor})
        made.push_back(step(net, program::Binary{f, {}}, {a, b}, s.y, dtype));
      check_equal(net, made);
    }
  }
}

TEST_CASE("choices") {
  for (const Shapes& s : kShapes) {
    for (const DType dtype : kTypes) {
      CAPTURE(core::dtype_name(dtype));
      Net net(1);
      std::vector<ValueId> made;
      const ValueId a = typed(net, dtype, s.a, 5), b = typed(net, dtype, s.b, 6),
                    one = typed(net, dtype, {}, 7);
      for (const Shape& condition : {s.a, s.b, s.y, Shape{}}) {
        const ValueId c = typed(net, DType::boolean, condition, 8);
        made.push_back(step(net, program::Where{}, {c, a, b}, s.y, dtype));
        if (condition != s.y) continue;
        made.push_back(step(net, program::Where{}, {c, one, a}, s.y, dtype));
        made.push_back(step(net, program::Where{}, {c, b, one}, s.y, dtype));
        made.push_back(step(net, program::Where{}, {c, one, one}, s.y, dtype));
      }
      check_equal(net, made);
    }
  }
}

TEST_CASE("conversions") {
  for (const DType from : kTypes) {
    for (const DType to : kTypes) {
      if (from == to) continue;
      CAPTURE(core::dtype_name(from));
      CAPTURE(core::dtype_name(to));
      Net net(1);
      const ValueId x = typed(net, from, {3, 4001}, 9);
      check_equal(net, {step(net, program::Cast{}, {x}, {3, 4001}, to)});
    }
    if (from != DType::f32) continue;
    Net net(1);
    const program::Unary unary{{program::Function::is_nan, 0, 0}};
    check_equal(net, {step(net, unary, {typed(net, from, {3, 4001}, 9)}, {3, 4001}, DType::boolean)});
  }
}

TEST_CASE("conversions from 16 bits and back") {
  for (const DType type : {DType::f16, DType::bf16}) {
    Net wide(1), narrow(1);
    check_equal(wide,
                {step(wide, program::Cast{}, {typed(wide, type, {3, 30001}, 9)}, {3, 30001}, DType::f32)});
    check_equal(narrow,
                {step(narrow, program::Cast{}, {typed(narrow, DType::f32, {3, 4001}, 9)}, {3, 4001}, type)});
  }
}

TEST_CASE("every float of 16 bits, its neighbours and the ties between") {
  using namespace runtime::kernels;
  std::vector<std::uint16_t> shorts(1U << 16U), back(shorts.size());
  for (std::size_t i = 0; i < shorts.size(); ++i) shorts[i] = static_cast<std::uint16_t>(i);
  for (const core::Isa isa : {core::Isa::baseline, core::Isa::avx2, core::Isa::avx512}) {
    if (isa > core::available_isa()) continue;
    for (const bool brain : {false, true}) {
      std::vector<float> floats(shorts.size());
      elements(isa).widen(brain, shorts.data(), floats.data(), 1 << 16);
      for (const std::uint32_t apart : {0x0U, 0x1U, 0xFFFU, 0x1000U, 0x1001U, 0x7FFFU, 0x8000U, 0x8001U}) {
        std::vector<float> near(floats);
        for (float& x : near) x = std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) + apart);
        elements(isa).narrow(brain, near.data(), back.data(), 1 << 16);
        bool same = true;
        for (std::size_t i = 0; i < shorts.size(); ++i) {
          const std::uint16_t bits = shorts[i];
          const float wide = brain ? core::bfloat_to_float(bits) : core::half_to_float(bits);
          same = same && std::bit_cast<std::uint32_t>(wide) == std::bit_cast<std::uint32_t>(floats[i]);
          same = same && back[i] == (brain ? core::float_to_bfloat(near[i]) : core::float_to_half(near[i]));
        }
        CHECK(same);
      }
    }
  }
}

TEST_CASE("all instruction sets agree") {
  using namespace runtime::kernels;
  for (const core::Isa isa : {core::Isa::avx2, core::Isa::avx512}) {
    if (isa > core::available_isa()) continue;
    const core::Tensor a = values(DType::f32, {999}, 10), b = values(DType::f32, {999}, 11);
    std::vector<std::int64_t> x(999), y(999);
    elements(core::Isa::baseline).convert(ElementType::f32, ElementType::i64, a.data(), x.data(), 999);
    elements(isa).convert(ElementType::f32, ElementType::i64, a.data(), y.data(), 999);
    CHECK(x == y);
    std::vector<std::uint8_t> p(999), q(999);
    for (auto* const to : {&p, &q}) {
      const ElementRows rows{{a.data(), b.data(), nullptr}, {}, {1, 1, 0}, to->data(), 1, 999};
      elements(to == &p ? core::Isa::baseline : isa).apply(ElementFunction::less, ElementType::f32, rows);
    }
    CHECK(p == q);
  }
}
