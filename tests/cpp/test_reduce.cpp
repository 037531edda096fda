// Reductions, places of extremes and sorting on our own kernels, compared with the definition.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "net.hpp"

using namespace rdquant;
using core::Shape;
using program::Function;
using program::ReduceFunction;
using program::ValueId;
using testing::Net;

namespace {

/// Compares with the definition and wants every step on kernels of ours.
void check_native(Net& net, std::vector<ValueId> outputs) {
  testing::check(net, std::move(outputs));
  for (const auto& row : testing::native()->prepare(net.program, {1, 0})->plan()) {
    CAPTURE(row.operation);
    CAPTURE(row.kernel);
    CHECK(row.supplier != "reference");
  }
}

Shape kept(Shape shape, const std::vector<std::int64_t>& axes) {
  for (const std::int64_t axis : axes) shape[static_cast<std::size_t>(axis)] = 1;
  return shape;
}

/// Noise; whole numbers, many of which are equal; and one where every other number is NaN.
std::vector<ValueId> kinds_of(Net& net, const Shape& shape) {
  const ValueId x = net.input(shape);
  return {x, net.unary(x, {Function::floor, 0, 0}), net.unary(x, {Function::sqrt, 0, 0})};
}

/// Values and places of the first along an axis.
std::vector<ValueId> top_k(Net& net, ValueId x, program::TopK first, const Shape& shape) {
  const std::vector<ValueId> made{net.step(first, {x}, shape), net.step(first, {x}, shape)};
  net.program.values[static_cast<std::size_t>(made[1])].dtype = core::DType::i64;
  net.program.steps.pop_back();
  net.program.steps.back().outputs = made;
  return made;
}

}  // namespace

TEST_CASE("sums and extremes over any axes") {
  const std::vector<std::pair<Shape, std::vector<std::int64_t>>> cases = {{{3, 37, 5}, {1}},
                                                                          {{3, 37, 70}, {0}},
                                                                          {{2, 5, 7, 9}, {2, 3}},
                                                                          {{2, 5, 7, 9}, {1, 2}},
                                                                          {{9001}, {0}},
                                                                          {{2, 3, 5000}, {2}},
                                                                          {{1, 700, 19}, {1}},
                                                                          {{1, 6, 1, 8}, {0, 1, 2, 3}},
                                                                          {{4, 1, 3}, {1}},
                                                                          {{2, 300, 1, 133}, {1}},
                                                                          {{35, 3}, {1}},
                                                                          {{35, 16}, {1}},
                                                                          {{19, 31}, {1}},
                                                                          {{2, 70}, {1}},
                                                                          {{4, 3, 24, 25}, {0, 2, 3}},
                                                                          {{3, 4, 5, 6, 7}, {0, 2, 4}},
                                                                          {{3, 4, 5, 6, 7}, {1, 3}}};
  for (const auto& [shape, axes] : cases) {
    CAPTURE(shape.size());
    CAPTURE(shape.back());
    Net net(8);
    const ValueId x = net.input(shape);
    std::vector<ValueId> made;
    for (const auto f :
         {ReduceFunction::sum, ReduceFunction::mean, ReduceFunction::max, ReduceFunction::min,
          ReduceFunction::l1, ReduceFunction::l2, ReduceFunction::sum_square, ReduceFunction::log_sum_exp})
      made.push_back(net.step(program::Reduce{f, axes}, {x}, kept(shape, axes)));
    const ValueId positive = net.unary(x, {Function::exp, 0, 0});
    made.push_back(net.step(program::Reduce{ReduceFunction::log_sum, axes}, {positive}, kept(shape, axes)));
    check_native(net, made);
  }
}

TEST_CASE("products along one axis, also where floats would overflow on the way") {
  for (const Shape& shape : {Shape{35, 3}, Shape{4, 12, 5}, Shape{3, 12, 40}, Shape{2, 19}}) {
    for (std::int64_t axis = 0; axis < static_cast<std::int64_t>(shape.size()); ++axis) {
      Net net(9);
      const ValueId x = net.input(shape);
      const ValueId wide = net.binary(program::BinaryFunction::mul, x, net.constant(shape, 1e20F));
      std::vector<ValueId> made;
      for (const ValueId from : {x, wide})
        made.push_back(net.step(program::Reduce{ReduceFunction::prod, {axis}}, {from}, kept(shape, {axis})));
      check_native(net, made);
    }
  }
}

TEST_CASE("NaN and infinities in what is reduced") {
  for (const Shape& shape : {Shape{40, 2}, Shape{2, 40}, Shape{5, 3, 37}}) {
    for (std::int64_t axis = 0; axis < static_cast<std::int64_t>(shape.size()); ++axis) {
      Net net(10);
      std::vector<ValueId> kinds = kinds_of(net, shape);
      // infinities of both signs, where the divisor is 0
      kinds.push_back(net.binary(program::BinaryFunction::div, net.constant(shape), kinds[1]));
      std::vector<ValueId> made;
      for (const ValueId x : kinds) {
        for (const auto f : {ReduceFunction::sum, ReduceFunction::max, ReduceFunction::min,
                             ReduceFunction::log_sum_exp, ReduceFunction::log_sum})
          made.push_back(net.step(program::Reduce{f, {axis}}, {x}, kept(shape, {axis})));
      }
      check_native(net, made);
    }
  }
}

TEST_CASE("places of extremes: the first or last of equal numbers, NaN beyond all") {
  for (const Shape& shape :
       {Shape{40, 2}, Shape{2, 40}, Shape{3, 5, 8}, Shape{5, 3, 37}, Shape{2, 5000}, Shape{1}}) {
    for (std::int64_t axis = 0; axis < static_cast<std::int64_t>(shape.size()); ++axis) {
      Net net(11);
      const std::vector<ValueId> kinds = kinds_of(net, shape);
      std::vector<ValueId> made;
      for (const ValueId x : kinds) {
        for (const bool largest : {false, true}) {
          for (const bool last : {false, true}) {
            made.push_back(net.step(program::ArgExtreme{largest, axis, last}, {x}, kept(shape, {axis})));
            net.program.values[static_cast<std::size_t>(made.back())].dtype = core::DType::i64;
          }
        }
      }
      check_native(net, made);
    }
  }
}

TEST_CASE("the first in order: equal numbers in the order of their places, NaN as the largest") {
  for (const Shape& shape : {Shape{3, 5, 8}, Shape{2, 300, 3}, Shape{4, 1500}, Shape{1}}) {
    for (std::int64_t axis = 0; axis < static_cast<std::int64_t>(shape.size()); ++axis) {
      const std::int64_t size = shape[static_cast<std::size_t>(axis)];
      for (const std::int64_t k : {std::int64_t{1}, size / 20, size / 3, size * 3 / 4, size}) {
        if (k == 0) continue;
        Net net(12);
        Shape first = shape;
        first[static_cast<std::size_t>(axis)] = k;
        std::vector<ValueId> made;
        for (const ValueId x : kinds_of(net, shape)) {
          for (const bool largest : {false, true}) {
            for (const ValueId y : top_k(net, x, {axis, largest}, first)) made.push_back(y);
          }
        }
        check_native(net, made);
      }
    }
  }
}
