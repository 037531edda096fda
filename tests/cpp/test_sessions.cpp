#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <future>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "children.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/runtime/session.hpp"
#include "runtime/made_once.hpp"

namespace {

using rdquant::core::DType;
using rdquant::core::Shape;
using rdquant::core::Tensor;
using rdquant::graph::Graph;
using rdquant::runtime::Backend;
using rdquant::runtime::MadeOnce;
using rdquant::runtime::Session;
using Clock = std::chrono::steady_clock;

Tensor noise(unsigned seed, Shape shape) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-0.5F, 0.5F);
  Tensor tensor(DType::f32, std::move(shape));
  auto* at = tensor.write().as<float>();
  for (std::int64_t i = 0; i < tensor.size(); ++i) at[i] = uniform(random);
  return tensor;
}

std::map<std::string, Tensor> weights(unsigned seed) {
  return {{"w1", noise(seed, {32, 8, 3, 3})}, {"w2", noise(seed + 1, {24, 32, 1, 1})}};
}

// Two convolutions, a step that runs by its definition (a remainder), and a softmax.
Graph net() {
  Graph graph;
  graph.name = "net";
  graph.opset = 17;
  graph.inputs = {{"x", DType::f32, {std::nullopt, 8, std::nullopt, std::nullopt}}};
  graph.outputs = {{"y", DType::f32, {}}};
  for (auto& [name, tensor] : weights(1)) graph.initializers[name] = tensor;
  Tensor divisor(DType::f32, {});
  *divisor.write().as<float>() = 3;
  graph.initializers["divisor"] = divisor;
  const std::vector<std::int64_t> pads{1, 1, 1, 1};
  graph.nodes = {{"Conv", "", "first", {"x", "w1"}, {"a"}, {{"pads", pads}}},
                 {"Relu", "", "relu", {"a"}, {"b"}, {}},
                 {"Conv", "", "second", {"b", "w2"}, {"c"}, {}},
                 {"Mod", "", "rest", {"c", "divisor"}, {"d"}, {{"fmod", std::int64_t{1}}}},
                 {"Softmax", "", "softmax", {"d"}, {"y"}, {{"axis", std::int64_t{1}}}}};
  return graph;
}

std::string bytes_of(const Tensor& tensor) {
  return {static_cast<const char*>(tensor.data()), static_cast<std::size_t>(tensor.bytes())};
}

// What the session gives for `x`, as bytes.
std::string answer(Session& session, const Tensor& x) {
  const std::vector<rdquant::core::TensorView> inputs{x.view()};
  return bytes_of(session.run(inputs).at(0));
}

TEST_CASE("a thing is made once, by the first that asks, while others are made") {
  MadeOnce<int, int> made(4);
  std::promise<void> other_made;
  std::atomic<int> calls = 0;
  const auto slow = [&] {
    ++calls;
    const auto in_time = other_made.get_future().wait_for(std::chrono::seconds(20));
    CHECK(in_time == std::future_status::ready);  // not so where a lock is held meanwhile
    return 10;
  };
  auto first = std::async(std::launch::async, [&] { return made.get(1, slow); });
  while (calls == 0) std::this_thread::yield();
  auto second = std::async(std::launch::async, [&] { return made.get(1, slow); });
  CHECK(made.get(2, [] { return 20; }) == 20);
  other_made.set_value();
  CHECK(first.get() == 10);
  CHECK(second.get() == 10);
  CHECK(calls == 1);
  CHECK(made.all().size() == 2);
}

TEST_CASE("a failure goes to all who wait and is not kept") {
  MadeOnce<int, int> made(4);
  std::atomic<int> calls = 0;
  std::atomic<int> failed = 0;
  const auto ask = [&] {
    try {
      (void)made.get(1, [&]() -> int {
        ++calls;
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        throw std::runtime_error("requested");
      });
    } catch (const std::runtime_error&) {
      ++failed;
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back(ask);
  }
  CHECK(failed == 4);
  CHECK(calls <= 4);
  CHECK(made.all().empty());
  CHECK(made.get(1, [] { return 3; }) == 3);
}

TEST_CASE("only the latest are kept") {
  MadeOnce<int, int> made(2);
  int calls = 0;
  const auto make = [&] { return ++calls; };
  CHECK(made.get(1, make) == 1);
  CHECK(made.get(2, make) == 2);
  CHECK(made.get(1, make) == 1);
  CHECK(made.get(3, make) == 3);  // in the place of 2
  CHECK(made.get(1, make) == 1);
  CHECK(made.get(2, make) == 4);
}

TEST_CASE("errors of a step that runs by its definition name the operation and the node") {
  Graph graph;
  graph.name = "lookup";
  graph.opset = 17;
  graph.inputs = {{"x", DType::f32, {4}}, {"i", DType::i64, {2}}};
  graph.outputs = {{"y", DType::f32, {}}};
  graph.nodes = {{"Gather", "", "look", {"x", "i"}, {"y"}, {}}};
  const Tensor x = noise(1, {4});
  Tensor wrong(DType::i64, {2});
  wrong.write().as<std::int64_t>()[0] = 4;
  wrong.write().as<std::int64_t>()[1] = 0;
  for (const Backend* backend : rdquant::runtime::backends()) {
    for (const int threads : {1, 2}) {
      Session session(graph, backend->name(), {threads, 0});
      const std::vector<rdquant::core::TensorView> inputs{x.view(), wrong.view()};
      std::string message;
      try {
        (void)session.run(inputs);
      } catch (const rdquant::core::InvalidArgument& error) {
        message = error.what();
      }
      CHECK(message.starts_with("gather of node 'look': "));
    }
  }
}

// Two threads that run, swap weights, dump and plan for as long as the environment's RDQUANT_STRESS_SECONDS
// says (1), while a third forks; every answer must be that of one set of weights or of the other.
class Stress {
 public:
  explicit Stress(std::string_view backend) : session_(net(), backend, {2, 0}) {
    for (std::int64_t side = 5; side < 11; ++side) {  // more shapes than plans are kept
      for (const std::int64_t rows : {1, 3}) inputs_.push_back(noise(7, {rows, 8, side, side + 3}));
    }
    for (const unsigned seed : {1U, 50U}) {
      sets_.push_back(weights(seed));
      session_.set_weights(sets_.back());
      for (const Tensor& x : inputs_) answers_[&x].push_back(answer(session_, x));
    }
  }

  // Some calls of every kind; how many answers were wrong.
  int work(unsigned seed, int calls) {
    std::mt19937 random(seed);
    int wrong = 0;
    for (int i = 0; i < calls; ++i) {
      const Tensor& x = inputs_[random() % inputs_.size()];
      switch (random() % 5) {
        case 0:
          session_.set_weights(sets_[random() % sets_.size()]);
          break;
        case 1:
          wrong += session_.dump({x.shape()}).empty() ? 1 : 0;
          break;
        case 2:
          wrong += session_.plan({x.shape()}).steps.empty() ? 1 : 0;
          break;
        default:
          wrong += right(x) ? 0 : 1;
      }
    }
    return wrong;
  }

  bool right(const Tensor& x) {
    const std::string found = answer(session_, x);
    const auto& allowed = answers_.at(&x);
    return found == allowed[0] || found == allowed[1];
  }

 private:
  std::vector<Tensor> inputs_;
  std::vector<std::map<std::string, Tensor>> sets_;
  std::map<const Tensor*, std::vector<std::string>> answers_;
  Session session_;
};

TEST_CASE("two threads call run, set_weights, dump and plan, with forks between") {
  const char* const text = std::getenv("RDQUANT_STRESS_SECONDS");
  const std::chrono::duration<double> seconds(text == nullptr ? 1.0 : std::atof(text));
  for (const Backend* backend : rdquant::runtime::backends()) {
    CAPTURE(backend->name());
    Stress stress(backend->name());
    std::atomic<bool> stop = false;
    std::atomic<int> wrong = 0;
    std::atomic<int> calls = 0;
    int forks = 0;
    {
      std::vector<std::jthread> threads;
      for (unsigned t = 0; t < 2; ++t) {
        threads.emplace_back([&, t] {
          for (unsigned i = 0; !stop; i += 2, calls += 20) wrong += stress.work(i + t, 20);
        });
      }
      const auto end = Clock::now() + seconds / 2;
      while (Clock::now() < end) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
#if defined(__unix__) || defined(__APPLE__)
        if (!rdquant::testing::child_succeeds([&] { return stress.work(1000, 20) == 0; })) ++wrong;
        ++forks;
#endif
      }
      stop = true;
    }
    CHECK(wrong == 0);
    CHECK(calls > 0);
    MESSAGE(std::string(backend->name()), ": ", calls.load(), " calls, ", forks, " forks");
  }
}

}  // namespace
