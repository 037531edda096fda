// Windows of all kinds by our kernels: every function, size, stride, dilation and padding, compared with the
// definition.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "native_only.hpp"

using namespace rdquant;
using core::Shape;
using program::Pool;
using program::PoolFunction;
using program::ValueId;
using testing::check_native;
using testing::Net;

namespace {

/// Sizes that a test draws.
class Draw {
 public:
  explicit Draw(unsigned seed) : random_(seed) {}
  std::int64_t operator()(std::int64_t least, std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(least, most)(random_);
  }

 private:
  std::mt19937 random_;
};

/// A window over `axes` axes and the shapes that it goes between; results may reach past the padding.
struct Drawn {
  Pool pool;
  Shape x, y;
};

Drawn draw_pool(Draw& draw, std::size_t axes) {
  Drawn drawn{{}, {draw(1, 2), draw(1, 3)}, {}};
  drawn.y = drawn.x;
  program::Window& window = drawn.pool.window;
  for (std::size_t i = 0; i < axes; ++i) {
    const bool still = draw(0, 3) == 0;
    const std::int64_t size = draw(1, i + 1 == axes ? 45 : 7), stride = still ? 1 : draw(1, 4);
    const std::int64_t kernel = still ? 1 : draw(1, 4), dilation = draw(1, 2);
    const std::int64_t before = draw(0, kernel - 1), after = draw(0, kernel - 1),
                       beyond = draw(0, stride - 1);
    const std::int64_t room = size + before + after + beyond - (kernel - 1) * dilation - 1;
    window.kernel.push_back(kernel);
    window.strides.push_back(stride);
    window.dilations.push_back(dilation);
    window.pads_begin.push_back(before);
    window.pads_end.push_back(after + beyond);
    drawn.pool.counted_pads_end.push_back(after);
    drawn.x.push_back(size);
    drawn.y.push_back(room < 0 ? 1 : room / stride + 1);
  }
  return drawn;
}

/// The places of maxima beside them.
std::vector<ValueId> with_places(Net& net, const Pool& pool, ValueId x, const Shape& y) {
  const ValueId most = net.step(pool, {x}, y), places = net.add(y, program::Role::activation);
  net.program.values.back().dtype = core::DType::i64;
  net.program.steps.back().outputs.push_back(places);
  return {most, places};
}

}  // namespace

TEST_CASE("windows over one to three axes of plain arrays") {
  Draw draw(7);
  for (int i = 0; i < 150; ++i) {
    CAPTURE(i);
    Drawn drawn = draw_pool(draw, static_cast<std::size_t>(draw(1, 3)));
    Net net(static_cast<unsigned>(i));
    const ValueId x = net.input(drawn.x);
    std::vector<ValueId> made;
    for (const auto f : {PoolFunction::max, PoolFunction::average, PoolFunction::lp}) {
      drawn.pool.function = f;
      for (const bool either : {false, true}) {
        drawn.pool.count_include_pad = either;
        drawn.pool.p = either ? 1 : 2;
        made.push_back(net.step(drawn.pool, {x}, drawn.y));
      }
    }
    check_native(net, made);
  }
}

TEST_CASE("maxima and their places, of equal ones the first, of NaN before all") {
  Draw draw(8);
  for (int i = 0; i < 150; ++i) {
    CAPTURE(i);
    Drawn drawn = draw_pool(draw, static_cast<std::size_t>(draw(1, 3)));
    Net net(static_cast<unsigned>(i));
    const ValueId x = net.constant(drawn.x);
    auto* const values = net.program.values.back().data.write().as<float>();
    for (std::int64_t at = 0; at < core::element_count(drawn.x); ++at) {
      values[at] = static_cast<float>(draw(-2, 2));
      if (draw(0, 30) == 0) values[at] = std::numeric_limits<float>::quiet_NaN();
      if (draw(0, 9) == 0) values[at] = -std::numeric_limits<float>::infinity();
    }
    std::vector<ValueId> made;
    for (const bool columns_first : {false, true}) {
      drawn.pool.column_major_indices = columns_first;
      for (const ValueId id : with_places(net, drawn.pool, x, drawn.y)) made.push_back(id);
    }
    made.push_back(net.step(drawn.pool, {x}, drawn.y));
    check_native(net, made);
  }
}

TEST_CASE("windows of two columns side by side") {
  Draw draw(13);
  for (int i = 0; i < 60; ++i) {
    CAPTURE(i);
    Drawn drawn = draw_pool(draw, static_cast<std::size_t>(draw(2, 3)));
    program::Window& window = drawn.pool.window;
    window.kernel.back() = window.strides.back() = 2;
    window.dilations.back() = 1;
    window.pads_begin.back() = window.pads_end.back() = drawn.pool.counted_pads_end.back() = 0;
    drawn.x.back() = draw(2, 75);
    drawn.y.back() = drawn.x.back() / 2;
    Net net(static_cast<unsigned>(i));
    const ValueId x = net.constant(drawn.x);
    net.program.values.back().data.write().as<float>()[draw(0, core::element_count(drawn.x) - 1)] =
        std::numeric_limits<float>::quiet_NaN();
    std::vector<ValueId> made;
    for (const auto f : {PoolFunction::max, PoolFunction::average, PoolFunction::lp}) {
      drawn.pool.function = f;
      made.push_back(net.step(drawn.pool, {x}, drawn.y));
    }
    check_native(net, made);
  }
}

TEST_CASE("windows of more rows than are seen at once") {
  Net net(12);
  const Shape x{1, 2, 9, 8, 37}, y{1, 2, 3, 2, 18};
  const ValueId volume = net.input(x);
  std::vector<ValueId> made;
  for (const auto f : {PoolFunction::max, PoolFunction::average, PoolFunction::lp}) {
    const program::Window window{{7, 6, 3}, {1, 3, 2}, {1, 1, 1}, {0, 1, 0}, {0, 1, 0}};
    made.push_back(net.step(Pool{f, window, false, {0, 1, 0}}, {volume}, y));
    if (f != PoolFunction::max) continue;
    for (const ValueId id : with_places(net, Pool{f, window, false, {0, 1, 0}}, volume, y))
      made.push_back(id);
  }
  const program::Window tall{{9, 8, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}};
  for (const auto f : {PoolFunction::max, PoolFunction::average})
    made.push_back(net.step(Pool{f, tall, false, {0, 0, 0}}, {volume}, {1, 2, 1, 1, 37}));
  check_native(net, made);
}

TEST_CASE("one window over whole volumes") {
  Net net(9);
  const Shape x{2, 5, 3, 4, 6}, y{2, 5, 1, 1, 1};
  const ValueId volume = net.input(x);
  std::vector<ValueId> made;
  for (const auto f : {PoolFunction::max, PoolFunction::average, PoolFunction::lp}) {
    const program::Window window{{3, 4, 6}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}};
    made.push_back(net.step(Pool{f, window, false, {0, 0, 0}}, {volume}, y));
  }
  check_native(net, made);
}

TEST_CASE("images sampled at the places of a grid") {
  Draw draw(10);
  for (int i = 0; i < 120; ++i) {
    CAPTURE(i);
    Net net(static_cast<unsigned>(i));
    const std::int64_t images = draw(1, 2), channels = draw(0, 1) == 0 ? draw(1, 3) : draw(14, 35);
    const std::int64_t axes = draw(1, 3);
    Shape x{images, channels}, y = x, grid{images};
    for (std::int64_t axis = 0; axis < axes; ++axis) {
      x.push_back(draw(1, 9));
      y.push_back(draw(1, axes == 1 ? 150 : 12));
      grid.push_back(y.back());
    }
    grid.push_back(axes);
    // multiples of 1/8: no place is so near the middle between two elements that rounding decides
    const ValueId points = net.constant(grid);
    auto* const values = net.program.values.back().data.write().as<float>();
    for (std::int64_t at = 0; at < core::element_count(grid); ++at) {
      values[at] = static_cast<float>(draw(-20, 20)) / 8;
      if (draw(0, 60) == 0) values[at] = std::numeric_limits<float>::quiet_NaN();
    }
    const ValueId far = net.constant(grid);
    auto* const beyond = net.program.values.back().data.write().as<float>();
    std::copy_n(values, core::element_count(grid), beyond);
    beyond[0] = std::numeric_limits<float>::infinity();
    const bool blocked = axes == 2 && draw(0, 1) == 0;
    const ValueId image = blocked ? net.convolve(net.input(x), channels, 1) : net.constant(x);
    if (!blocked)
      net.program.values.back().data.write().as<float>()[0] = std::numeric_limits<float>::infinity();
    std::vector<ValueId> made;
    for (const auto mode :
         {program::ResizeMode::nearest, program::ResizeMode::linear, program::ResizeMode::cubic}) {
      for (const auto padding :
           {program::GridPadding::zeros, program::GridPadding::border, program::GridPadding::reflection}) {
        const program::GridSample sample{mode, padding, draw(0, 1) == 0};
        // what infinity mirrors depends on the last bits
        const bool mirrors = padding == program::GridPadding::reflection;
        made.push_back(net.step(sample, {image, mirrors ? points : far}, y));
      }
    }
    check_native(net, made);
  }
}

TEST_CASE("transposed convolutions over one to three axes, where taps meet all outputs and where not") {
  Draw draw(11);
  const std::vector<std::array<std::int64_t, 3>> channels = {{1, 1, 1},    {5, 3, 1},  {20, 17, 1}, {6, 4, 2},
                                                             {24, 24, 24}, {24, 8, 4}, {32, 32, 2}};
  for (int i = 0; i < 140; ++i) {
    CAPTURE(i);
    const std::int64_t axes = draw(1, 3);
    const auto& [c, k, groups] = channels[static_cast<std::size_t>(draw(0, 6))];
    Shape x{draw(1, 2), c}, w{c, k / groups}, y{x[0], k};
    program::Window window;
    for (std::int64_t axis = 0; axis < axes; ++axis) {
      const std::int64_t size = draw(1, axes == 1 ? 20 : 5), kernel = draw(1, 4), stride = draw(1, 4);
      const std::int64_t dilation = draw(1, 3), pad = draw(0, 3), extra = draw(0, 2);
      window.kernel.push_back(kernel);
      window.strides.push_back(stride);
      window.dilations.push_back(dilation);
      window.pads_begin.push_back(pad);
      window.pads_end.push_back(pad);
      x.push_back(size);
      w.push_back(kernel);
      y.push_back(
          std::max<std::int64_t>(1, (size - 1) * stride + (kernel - 1) * dilation + 1 - 2 * pad + extra));
    }
    Net net(static_cast<unsigned>(i));
    const bool biased = draw(0, 1) == 0;
    const ValueId bias = biased ? net.constant({k}, 0.3F) : program::kNone;
    const program::TransposedConvolution step{
        window, groups, {draw(0, 1) == 0 ? program::Function::identity : program::Function::sigmoid, 0, 0}};
    check_native(net, {net.step(step, {net.input(x), net.constant(w, 0.3F), bias}, y)});
  }
}

TEST_CASE("convolutions of few filters over one to three axes, of images plain and in blocks") {
  Draw draw(13);
  for (int i = 0; i < 80; ++i) {
    CAPTURE(i);
    const std::int64_t axes = draw(1, 3), n = draw(1, 2), c = draw(8, 40), k = draw(1, 10);
    Shape x{n, c}, w{k, c}, y{n, k};
    program::Window window;
    for (std::int64_t axis = 0; axis < axes; ++axis) {
      const std::int64_t kernel = draw(axes == 1 ? 5 : 2, axes == 1 ? 9 : 4), dilation = draw(1, 3);
      const std::int64_t before = draw(0, 5), after = draw(0, 3), reach = (kernel - 1) * dilation;
      const std::int64_t size = draw(std::max<std::int64_t>(1, reach + 1 - before - after),
                                     axes == 3 ? 12 : (axes == 2 ? 70 : 900));
      window.kernel.push_back(kernel);
      window.strides.push_back(1);
      window.dilations.push_back(dilation);
      window.pads_begin.push_back(before);
      window.pads_end.push_back(after);
      x.push_back(size);
      w.push_back(kernel);
      y.push_back(size + before + after - reach);
    }
    if (axes > 1 && window.kernel[0] * window.kernel[1] < 5) continue;
    Net net(static_cast<unsigned>(i));
    ValueId from = net.input(x);
    if (axes == 2 && draw(0, 1) == 0) {  // made in blocks
      const program::Window one{{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
      from = net.step(program::Convolution{one, 1, {}, false}, {from, net.constant({c, c, 1, 1}, 0.2F)}, x);
    }
    const ValueId bias = draw(0, 1) == 0 ? net.constant({k}, 0.3F) : program::kNone;
    const program::Convolution step{
        window,
        1,
        {draw(0, 1) == 0 ? program::Function::identity : program::Function::tanh, 0, 0},
        draw(0, 1) == 0};
    const ValueId residual = draw(0, 1) == 0 ? net.input(y) : program::kNone;
    check_native(net, {net.step(step, {from, net.constant(w, 0.2F), bias, residual}, y)});
  }
}

TEST_CASE("transposed convolutions of few filters, whose phases are one convolution") {
  Draw draw(12);
  for (int i = 0; i < 60; ++i) {
    CAPTURE(i);
    const std::int64_t n = draw(1, 2), c = draw(1, 20), k = draw(1, 19), height = draw(4, 9),
                       width = draw(4, 80);
    const std::int64_t stride = draw(2, 4), kernel = draw(2, 9), pad = draw(0, kernel / 2),
                       extra = draw(0, 1);
    const auto length = [&](std::int64_t size) { return (size - 1) * stride + kernel - 2 * pad + extra; };
    const program::Window window{{kernel, kernel}, {stride, stride}, {1, 1}, {pad, pad}, {pad, pad}};
    Net net(static_cast<unsigned>(i));
    const ValueId bias = draw(0, 1) == 0 ? net.constant({k}, 0.3F) : program::kNone;
    const program::TransposedConvolution step{
        window, 1, {draw(0, 1) == 0 ? program::Function::identity : program::Function::sigmoid, 0, 0}};
    check_native(
        net,
        {net.step(step, {net.input({n, c, height, width}), net.constant({c, k, kernel, kernel}, 0.3F), bias},
                  {n, k, length(height), length(width)})});
  }
}

TEST_CASE(
    "transposed convolutions of one to three filters over one to three axes, of images plain and in blocks") {
  Draw draw(14);
  for (int i = 0; i < 60; ++i) {
    CAPTURE(i);
    const std::int64_t axes = draw(1, 3), c = draw(8, 40), k = draw(1, 3), stride = draw(1, 3);
    Shape x{draw(1, 2), c}, w{c, k}, y{x[0], k};
    program::Window window;
    for (std::int64_t axis = 0; axis < axes; ++axis) {
      const std::int64_t size = draw(axes == 3 ? 2 : 3, axes == 3 ? 5 : 40),
                         kernel = draw(2, axes == 3 ? 4 : 8);
      const std::int64_t pad = draw(0, kernel / 2), extra = draw(0, stride - 1);
      window.kernel.push_back(kernel);
      window.strides.push_back(stride);
      window.dilations.push_back(1);
      window.pads_begin.push_back(pad);
      window.pads_end.push_back(pad);
      x.push_back(size);
      w.push_back(kernel);
      y.push_back((size - 1) * stride + kernel - 2 * pad + extra);
    }
    Net net(static_cast<unsigned>(i));
    ValueId from = net.input(x);
    if (axes == 2 && draw(0, 1) == 0) {  // made in blocks
      const program::Window one{{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
      from = net.step(program::Convolution{one, 1, {}, false}, {from, net.constant({c, c, 1, 1}, 0.2F)}, x);
    }
    const ValueId bias = draw(0, 1) == 0 ? net.constant({k}, 0.3F) : program::kNone;
    const program::TransposedConvolution step{
        window, 1, {draw(0, 1) == 0 ? program::Function::identity : program::Function::tanh, 0, 0}};
    check_native(net, {net.step(step, {from, net.constant(w, 0.2F), bias}, y)});
  }
}

TEST_CASE("windows over one axis") {
  for (const std::int64_t channels : {16, 5}) {
    Net net(14);
    const ValueId x = net.input({2, channels, 41});
    std::vector<ValueId> made;
    for (const auto f : {PoolFunction::max, PoolFunction::average}) {
      for (const bool counts : {false, true}) {
        const Pool pool{f, {{4}, {3}, {1}, {1}, {2}}, counts, {1}};
        made.push_back(net.step(pool, {x}, {2, channels, 14}));
      }
    }
    made.push_back(
        net.step(Pool{PoolFunction::average, {{41}, {1}, {1}, {0}, {0}}, false, {0}}, {x}, {2, channels, 1}));
    check_native(net, made);
  }
}
