// Functions of one and two numbers on our own kernels: compared with the definition, none of it left to it.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "native_only.hpp"

using namespace rdquant;
using core::Shape;
using program::Activation;
using program::Function;
using program::kNone;
using program::ValueId;
using testing::check_native;
using testing::Net;

TEST_CASE("functions of one and two numbers on images in blocks, with broadcasting either way") {
  using program::BinaryFunction;
  const auto all = {Function::relu,  Function::sigmoid, Function::silu,       Function::tanh,
                    Function::gelu,  Function::mish,    Function::exp,        Function::abs,
                    Function::erf,   Function::neg,     Function::floor,      Function::ceil,
                    Function::swish, Function::elu,     Function::hard_swish, Function::gelu_tanh,
                    Function::sin,   Function::cos,     Function::softplus,   Function::selu,
                    Function::celu,  Function::log,     Function::softsign,   Function::sign,
                    Function::round, Function::atan,    Function::cosh,       Function::shrink};
  for (const std::int64_t c : {16, 10, 1}) {
    Net net(7);
    const ValueId x = net.convolve(net.input({2, 3, 6, 5}), c, 3);
    std::vector<ValueId> made;
    for (const Function f : all) made.push_back(net.unary(x, {f, 0.7F, 0}));
    const std::vector<Shape> others = {{1},          {c, 1, 1},    {1, 1, 6, 5}, {2, 1, 6, 1},
                                       {2, c, 1, 1}, {1, c, 6, 1}, {2, c, 6, 5}, {5}};
    for (const Shape& other : others) {
      const ValueId v = net.input(other);
      for (const auto f : {BinaryFunction::add, BinaryFunction::sub, BinaryFunction::mul, BinaryFunction::min,
                           BinaryFunction::max, BinaryFunction::prelu}) {
        made.push_back(net.step(program::Binary{f, {Function::sigmoid, 0, 0}}, {x, v}, net.shape(x)));
        made.push_back(net.step(program::Binary{f, {}}, {v, x}, net.shape(x)));
      }
    }
    for (const float exponent : {3.0F, 0.75F, -0.5F, 2.5F, 1.7F}) {
      core::Tensor number(core::DType::f32, {1});
      *number.write().as<float>() = exponent;
      const ValueId size = net.unary(x, {Function::abs, 0, 0}),
                    e = net.add({1}, program::Role::constant, number);
      made.push_back(net.step(program::Binary{BinaryFunction::pow, {}}, {size, e}, net.shape(x)));
    }
    // padding lanes stay zero: a convolution reads what was made
    const ValueId one = net.step(program::Binary{BinaryFunction::add, {Function::exp, 0, 0}},
                                 {x, net.constant({1})}, net.shape(x));
    made.push_back(net.convolve(one, 17, 3));
    made.push_back(net.step(program::Binary{BinaryFunction::mul, {}},
                            {net.input({4, 1, 3}), net.input({5, 1})}, {4, 5, 3}));
    for (const auto& [a, b] : {std::pair<Shape, Shape>{{300, 6, 1}, {6, 11}},
                               {{300, 6, 11}, {11}},
                               {{6, 1}, {300, 6, 9}},
                               {{300, 6, 130}, {6, 130}}}) {
      const std::int64_t last = std::max(a.back(), b.back());
      made.push_back(net.step(program::Binary{BinaryFunction::div, {Function::silu, 0, 0}},
                              {net.input(a), net.constant(b)}, {300, 6, last}));
    }
    check_native(net, made);
  }
}

TEST_CASE("functions of two numbers over short rows, either of which is broadcast") {
  using program::BinaryFunction;
  const std::vector<std::pair<Shape, Shape>> cases = {{{700, 1, 3}, {1, 400, 3}},
                                                      {{5, 900, 1}, {5, 900, 9}},
                                                      {{1200, 2}, {1, 1200, 1}},
                                                      {{1, 16}, {900, 1}},
                                                      {{31, 1, 17, 1}, {40, 1, 5}}};
  for (const auto& [a, b] : cases) {
    Net net(15);
    Shape shape(std::max(a.size(), b.size()), 1);
    for (const Shape& operand : {a, b}) {
      for (std::size_t i = 0; i < operand.size(); ++i) {
        std::int64_t& size = shape[shape.size() - operand.size() + i];
        size = std::max(size, operand[i]);
      }
    }
    const ValueId x = net.input(a), y = net.input(b);
    check_native(net,
                 {net.step(program::Binary{BinaryFunction::sub, {}}, {x, y}, shape),
                  net.step(program::Binary{BinaryFunction::div, {Function::sigmoid, 0, 0}}, {y, x}, shape)});
  }
}
