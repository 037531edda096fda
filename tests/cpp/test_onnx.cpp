// Reading ONNX files: what a model becomes, what is refused, and mutated files under a limit of memory.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>

#include "fuzzing.hpp"
#include "limited_memory.hpp"
#include "onnx_models.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/core/text.hpp"
#include "rdquant/graph/onnx.hpp"
#include "rdquant/program/program.hpp"

using namespace rdquant;
using onnx_models::Model;
using protobuf::Bytes;

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostMemory = std::size_t{256} << 20;

graph::OnnxModel read(const Bytes& bytes, const graph::OnnxOptions& options = {}) {
  const auto kept = std::make_shared<const Bytes>(bytes);  // the model may view them
  return graph::read_onnx(graph::Source::of(*kept, kept, "m.onnx"), "", options);
}

Bytes file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A folder that goes with the object.
struct Folder {
  fs::path path = fs::temp_directory_path() / ("rdquant-" + std::to_string(std::random_device()()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  void write(const std::string& name, const Bytes& bytes) const {
    std::ofstream(path / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
};

program::Program lowered(const graph::Graph& graph) {
  std::map<std::string, core::Shape> shapes;
  for (const graph::Port& port : graph.inputs) {
    for (const auto& size : port.shape) shapes[port.name].push_back(size.value_or(2));
    shapes[port.name];
  }
  return program::lower(graph, shapes);
}

std::vector<std::string> operators_of(const graph::Graph& graph) {
  std::vector<std::string> out;
  for (const graph::Node& node : graph.nodes) out.push_back(node.op);
  return out;
}

template <typename Error, typename Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  FAIL("nothing was thrown");
  return "";
}

std::string numbered(const std::string& name, int number) { return name + std::to_string(number); }

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a network becomes a graph that can be lowered") {
  const graph::OnnxModel model = read(onnx_models::network().bytes());
  CHECK(model.graph.name == "g");
  CHECK(model.graph.opset == 17);
  CHECK(operators_of(model.graph) == std::vector<std::string>{"Conv", "BatchNormalization", "Relu", "MaxPool",
                                                              "Reshape", "Gemm", "Softmax"});
  REQUIRE(model.inputs.size() == 1);
  CHECK(model.inputs[0].shape[0].symbol == "N");
  CHECK(model.inputs[0].shape[1].size == 2);
  CHECK(model.graph.initializers.at("to").integers() == std::vector<std::int64_t>{0, -1});
  CHECK(model.graph.initializers.at("fb").doubles() == std::vector<double>{1, 2, 3, 4, 5});
  const auto& pads = std::get<std::vector<std::int64_t>>(model.graph.nodes[0].attributes.at("pads"));
  CHECK(pads == std::vector<std::int64_t>{1, 1, 1, 1});
  CHECK(lowered(model.graph).outputs.size() == 1);
}

TEST_CASE("big tensors are viewed where they are aligned, or copied") {
  const Bytes bytes = onnx_models::network().bytes();
  const auto inside = [&](const core::Tensor& t) {
    const auto* const at = static_cast<const std::uint8_t*>(t.data());
    return at >= bytes.data() && at < bytes.data() + bytes.size();
  };
  int viewed = 0;
  for (std::size_t shift = 0; shift < 4; ++shift) {  // one of four places is aligned to float32
    Bytes padded(4096 + bytes.size());
    std::copy(bytes.begin(), bytes.end(), padded.begin() + static_cast<std::ptrdiff_t>(shift));
    const graph::Bytes part(padded.data() + shift, bytes.size());
    const auto model = graph::read_onnx(graph::Source::of(part, nullptr, "m"), "", {});
    const core::Tensor& fc = model.graph.initializers.at("fc");
    const auto* const at = static_cast<const std::uint8_t*>(fc.data());
    viewed += at >= part.data() && at < part.data() + part.size() ? 1 : 0;
    CHECK(reinterpret_cast<std::uintptr_t>(at) % 4 == 0);
    CHECK(fc.doubles()[1] == doctest::Approx(0.02));
  }
  CHECK(viewed == 1);
  const graph::OnnxModel copied = read(bytes, {.view = false, .external_data = true, .stored = {}});
  for (const auto& [name, tensor] : copied.graph.initializers) CHECK(!inside(tensor));
  REQUIRE(copied.payloads.size() == 2);
  for (const graph::Payload& payload : copied.payloads) {
    CHECK(std::equal(bytes.begin() + static_cast<std::ptrdiff_t>(payload.offset),
                     bytes.begin() + static_cast<std::ptrdiff_t>(payload.offset + payload.data.bytes()),
                     static_cast<const std::uint8_t*>(payload.data.data())));
  }
}

TEST_CASE("a skeleton is a model without its big tensors") {
  const Bytes bytes = onnx_models::network().bytes();
  const Bytes light = graph::skeleton(graph::Source::of(bytes, nullptr, "m"));
  CHECK(light.size() < bytes.size() - 4 * (16 * 2 * 9 + 5 * 256) + 200);
  CHECK(has(std::string(light.begin(), light.end()), std::string(graph::kSelf)));
  CHECK(graph::skeleton(graph::Source::of(light, nullptr, "m")) == light);
}

TEST_CASE("functions stand in place of their calls") {
  const graph::OnnxModel model = read(onnx_models::calls().bytes());
  CHECK(operators_of(model.graph) ==
        std::vector<std::string>{"Neg", "LeakyRelu", "Neg", "LeakyRelu", "Identity", "Add"});
  CHECK(std::get<float>(model.graph.nodes[1].attributes.at("alpha")) == 0.5F);
  CHECK(std::get<float>(model.graph.nodes[3].attributes.at("alpha")) == 0.25F);
  CHECK(model.graph.nodes[4].inputs == std::vector<std::string>{"x"});
  CHECK(lowered(model.graph).outputs.size() == 1);
}

TEST_CASE("functions that call themselves, or each other too often, are refused") {
  Model m = onnx_models::calls();
  m.functions[0].fields.push_back(onnx_models::node("Twice", {"a"}, {"z"}, {}, "own", 7));
  CHECK(has(message_of<core::CorruptFile>([&] { (void)read(m.bytes()); }), "the function calls itself"));
  Model bomb = onnx_models::calls();
  bomb.functions.clear();
  const auto opsets = [] { return protobuf::message(9, {protobuf::text(1, ""), protobuf::number(2, 17)}); };
  for (int level = 0; level < 40; ++level) {
    const std::string inner = level == 0 ? "Relu" : numbered("f", level - 1);
    const std::string domain = level == 0 ? "" : "own";
    bomb.functions.push_back(protobuf::message(
        25, {protobuf::text(1, numbered("f", level)), protobuf::text(10, "own"), protobuf::text(4, "a"),
             protobuf::text(5, "b"), opsets(), onnx_models::node(inner, {"a"}, {"m"}, {}, domain, 7),
             onnx_models::node(inner, {"m"}, {"b"}, {}, domain, 7)}));
  }
  bomb.nodes = {onnx_models::node("f39", {"x"}, {"y"}, {}, "own")};
  const limited_memory::Limit limit(kMostMemory);
  CHECK(has(message_of<core::Unsupported>([&] { (void)read(bomb.bytes()); }), "too large a graph"));
}

TEST_CASE("nodes are put in order, equal ones taken once, values read from every field") {
  const graph::OnnxModel model = read(onnx_models::assorted().bytes());
  CHECK(operators_of(model.graph) ==
        std::vector<std::string>{"Mul", "Exp", "Add", "Slice", "Slice", "Concat"});
  CHECK(model.graph.nodes[2].inputs == std::vector<std::string>{"l", "l"});
  CHECK(model.inputs.size() == 1);  // k has a value
  const auto numbers = [&](const char* name) { return model.graph.initializers.at(name).doubles(); };
  CHECK(numbers("k") == std::vector<double>{1, 2, 3, 4});
  CHECK(numbers("starts") == std::vector<double>{0});
  CHECK(numbers("doubled") == std::vector<double>{1, 2});
  CHECK(numbers("wide") == std::vector<double>{7});
  CHECK(numbers("half") == std::vector<double>{1});
  CHECK(numbers("four") == std::vector<double>{4});
  CHECK(lowered(model.graph).outputs.size() == 1);
}

TEST_CASE("a cycle names its nodes") {
  Model m = onnx_models::network();
  m.nodes[2] = onnx_models::node("Add", {"b", "f"}, {"r"});
  const std::string what = message_of<core::InvalidArgument>([&] { (void)read(m.bytes()); });
  CHECK(has(what, "m.onnx: the graph has a cycle: "));
  CHECK(has(what, "MaxPool node 'MaxPool_p' → Reshape node 'Reshape_f' → Add node 'Add_r' → MaxPool node"));
}

TEST_CASE("files are mapped, and outlive their names") {
  const Folder folder;
  const Bytes bytes = onnx_models::network().bytes();
  folder.write("m.onnx", bytes);
  const std::string path = (folder.path / "m.onnx").string();
  const graph::OnnxModel model = [&] {
    const graph::Source source = graph::Source::open(path);
    fs::remove(path);
    return graph::read_onnx(source, "n", {});
  }();
  CHECK(model.graph.name == "n");
  CHECK(model.graph.initializers.at("fc").doubles()[49] == doctest::Approx(0.5));
  CHECK(has(message_of<core::InvalidArgument>([&] { (void)graph::Source::open(path); }), "No such file"));
  CHECK(has(message_of<core::InvalidArgument>([&] { (void)graph::Source::open(folder.path.string()); }),
            "is a folder; a file is needed"));
  folder.write("empty.onnx", {});
  const graph::Source empty = graph::Source::open((folder.path / "empty.onnx").string());
  CHECK(has(message_of<core::CorruptFile>([&] { (void)graph::read_onnx(empty, "", {}); }), "it is empty"));
}

TEST_CASE("external data lies in the model's folder, or is refused") {
  const Folder outer;
  const Folder folder;
  Bytes weights(64 + 5 * 256 * 4);
  weights[64 + 3] = 0x3F;  // 0.5
  folder.write("w.bin", weights);
  outer.write("secret.bin", weights);
  fs::create_symlink(outer.path / "secret.bin", folder.path / "link.bin");
  const auto with = [&](const std::string& location, const std::string& offset, const std::string& length) {
    Model m = onnx_models::network();
    const auto entry = [](const char* key, const std::string& value) {
      return protobuf::message(13, {protobuf::text(1, key), protobuf::text(2, value)});
    };
    std::vector<protobuf::Field> place = {entry("location", location), entry("offset", offset),
                                          entry("length", length), protobuf::number(14, 1)};
    m.initializers[5] = protobuf::message(5, onnx_models::tensor("fc", 1, {5, 256}, std::move(place)));
    folder.write("m.onnx", m.bytes());
    return graph::read_onnx(graph::Source::open((folder.path / "m.onnx").string()), "", {});
  };
  CHECK(with("w.bin", "64", "5120").graph.initializers.at("fc").doubles()[0] == 0.5);
  const auto invalid = [&](const std::string& location) {
    return message_of<core::InvalidArgument>([&] { (void)with(location, "0", "5120"); });
  };
  const auto corrupt = [&](const std::string& location, const std::string& offset,
                           const std::string& length) {
    return message_of<core::CorruptFile>([&] { (void)with(location, offset, length); });
  };
  CHECK(has(invalid("../secret.bin"), "tensor 'fc', external_data location '../secret.bin' is refused"));
  CHECK(has(invalid("..\\secret.bin"), "is refused"));
  CHECK(has(invalid("a/../../secret.bin"), "is refused"));
  CHECK(has(invalid("/etc/hostname"), "is refused"));
  CHECK(has(invalid("link.bin"), "a link that leaves"));
  CHECK(has(invalid("none.bin"), "No such file"));
  CHECK(has(invalid("."), "is a folder"));
  CHECK(has(corrupt("", "0", "5120"), "it must name a file"));
  CHECK(has(corrupt("w.bin", "65", "5120"), "bytes 65..5185 requested, 'w.bin' has 5184"));
  CHECK(has(corrupt("w.bin", "-1", "5120"), "offset is '-1'; a number of bytes is needed"));
  CHECK(has(corrupt("w.bin", "99999999999999999999", "5120"), "a number of bytes is needed"));
  CHECK(has(corrupt("w.bin", "0", "4"), "length is 4 bytes, the tensor's shape needs 5120"));
}

TEST_CASE("messages nest no deeper than protobuf's") {
  Bytes body(2000);
  for (int level = 0; level < 70; ++level) {
    for (const std::uint32_t number : {6U, 5U, 1U}) body = protobuf::written({protobuf::blob(number, body)});
  }
  const Bytes model = protobuf::written({protobuf::blob(7, body)});
  const auto source = graph::Source::of(model, nullptr, "deep");
  CHECK(has(message_of<core::CorruptFile>([&] { (void)graph::skeleton(source); }),
            "nested deeper than 100 levels"));
  CHECK_THROWS_AS((void)graph::read_onnx(source, "", {}), core::Error);
}

TEST_CASE("mutated models give clean errors only") {
  std::vector<Bytes> seeds = {onnx_models::network().bytes(), onnx_models::calls().bytes(),
                              onnx_models::assorted().bytes(), onnx_models::levels().bytes()};
  for (const Model& m : onnx_models::operators()) seeds.push_back(m.bytes());
  seeds.push_back(file(fs::path(RDQUANT_ROOT) / "python/rdquant/assets/digits.onnx"));
  std::size_t read_well = 0, lowered_well = 0;
  std::mt19937 engine(fuzzing::seed());
  protobuf::Mutator mutator(engine);
  const limited_memory::Limit limit(kMostMemory);
  for (std::size_t i = 0; i < fuzzing::rounds(); ++i) {
    const Bytes bytes = mutator.mutated(seeds[i % seeds.size()], "model");
    const auto source = graph::Source::of(bytes, nullptr, "fuzzed");
    fuzzing::keep(bytes);
    try {
      (void)graph::skeleton(source);
    } catch (const core::CorruptFile& error) {
      CHECK(has(error.what(), "fuzzed: "));
    }
    graph::OnnxModel model;
    try {
      model = graph::read_onnx(source, "", {.view = engine() % 2 == 0, .external_data = true, .stored = {}});
      ++read_well;
    } catch (const core::Error& error) {
      const std::string what = error.what();
      if (!what.starts_with("fuzzed: ") || !core::is_utf8(what)) FAIL(what);
      continue;
    }
    try {
      (void)lowered(model.graph);
      ++lowered_well;
    } catch (const core::Error& error) {
      if (!core::is_utf8(error.what())) FAIL(error.what());
    }
  }
  CHECK(read_well > fuzzing::rounds() / 50);
  CHECK(lowered_well > fuzzing::rounds() / 100);
  MESSAGE(fuzzing::rounds(), " mutated models, ", read_well, " read, ", lowered_well, " lowered");
}
