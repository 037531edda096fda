#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "net.hpp"
#include "rdquant/core/error.hpp"

using namespace rdquant;
using program::Activation;
using program::Function;
using program::kNone;
using program::Role;
using program::ValueId;
using testing::check;
using testing::difference;
using testing::kBound;
using testing::native;
using testing::Net;
using testing::run;

namespace {

std::ptrdiff_t count_kernels(const runtime::Executable& executable, std::string_view name) {
  return std::ranges::count_if(executable.plan(),
                               [&](const auto& row) { return row.kernel.starts_with(name); });
}

/// Whether this build has oneDNN and the environment allows it.
bool may_use_onednn(const program::Program& program) {
  setenv("RDQUANT_KERNELS", "onednn", 1);
  bool allowed = true;
  try {
    (void)native()->prepare(program, {1, 0});
  } catch (const core::Unsupported&) {
    allowed = false;
  }
  unsetenv("RDQUANT_KERNELS");
  return allowed;
}

}  // namespace

TEST_CASE("Winograd's kernels beside others, into slices, with weights that change; off on demand") {
  for (const std::int64_t batch : {1, 3}) {
    Net net(17);
    const ValueId image = net.convolve(net.input({batch, 3, 27, 38}), 21, 3, {Function::relu, 0, 0});
    const ValueId a = net.convolve(image, 32, 3, {Function::silu, 0, 0});
    const ValueId b = net.convolve(image, 64, 3, {Function::prelu, 0, 0});
    const ValueId both = net.concat({a, b, image});
    const ValueId c = net.convolve(both, 24, 3, {Function::relu, 0, 0});
    const ValueId last = net.convolve(c, 24, 3, {Function::tanh, 0, 0}, c, true);
    const ValueId first = net.convolve(last, 24, 3, {Function::leaky_relu, 0.1F, 0}, last);
    check(net, {first});
    const auto ours = native()->prepare(net.program, {2, 0});
    CHECK(count_kernels(*ours, "winograd 4x4") == 5);
    const auto inputs = std::vector{net.noise(net.shape(net.program.inputs[0]))};
    std::vector<ValueId> changed;
    for (auto& value : net.program.values) {
      if (value.role != Role::constant || value.shape.size() != 4) continue;
      value.data = net.noise(value.shape, 0.05F);
      changed.push_back(static_cast<ValueId>(&value - net.program.values.data()));
    }
    ours->update(changed);
    const auto expected =
        run(*runtime::backend("reference").prepare(net.program, {1, 0}), net.program, inputs);
    CHECK(difference(expected[0], run(*ours, net.program, inputs)[0]) <= kBound);
    if (!may_use_onednn(net.program)) continue;
    setenv("RDQUANT_KERNELS", "onednn", 1);
    // those with activations that oneDNN has without making numbers of NaN go to it
    CHECK(count_kernels(*native()->prepare(net.program, {1, 0}), "winograd") == 2);
    unsetenv("RDQUANT_KERNELS");
  }
}

TEST_CASE("filters, biases and slopes may be given with the input") {
  for (const std::int64_t groups : {1, 24}) {
    Net net(19);
    const program::Window window{{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
    const ValueId x = net.input({1, 24, 9, 9});
    const ValueId w = net.input({24, 24 / groups, 3, 3});
    const ValueId bias = net.input({24});
    const program::Convolution plain{window, groups, {}, false};
    const ValueId y = net.step(plain, {x, w, bias}, net.shape(x));
    const program::Convolution prelu{window, groups, {Function::prelu, 0, 0}, false};
    const ValueId fixed = net.constant({24, 24 / groups, 3, 3}, 0.1F);
    check(net, {net.step(prelu, {y, fixed, bias, kNone, net.input({24, 1, 1})}, net.shape(x))});
  }
}

TEST_CASE("the environment leaves oneDNN out or prefers one supplier; other values are refused") {
  Net net(23);
  const ValueId x = net.input({1, 64, 14, 14});
  const ValueId strided = net.convolve(x, 64, 1);
  net.program.outputs = {net.unary(strided, {Function::tanh, 0, 0})};
  const auto count = [&](std::string_view supplier) {
    return std::ranges::count_if(native()->prepare(net.program, {1, 0})->plan(),
                                 [&](const auto& row) { return row.supplier == supplier; });
  };
  const char* const before = std::getenv("RDQUANT_ONEDNN");
  const std::string restore = before == nullptr ? "" : before;
  if (may_use_onednn(net.program)) {
    setenv("RDQUANT_KERNELS", "onednn", 1);
    CHECK(count("onednn") > 0);
    setenv("RDQUANT_ONEDNN", "0", 1);
    CHECK_THROWS_AS(count("native"), core::Unsupported);
  }
  setenv("RDQUANT_ONEDNN", "0", 1);
  setenv("RDQUANT_KERNELS", "auto", 1);
  CHECK(count("onednn") == 0);
  CHECK(count("native") > 0);
  setenv("RDQUANT_KERNELS", "fastest", 1);
  CHECK_THROWS_AS(count("native"), core::InvalidArgument);
  unsetenv("RDQUANT_KERNELS");
  setenv("RDQUANT_ONEDNN", "off", 1);
  CHECK_THROWS_AS(count("native"), core::InvalidArgument);
  setenv("RDQUANT_ONEDNN", restore.c_str(), 1);
}
