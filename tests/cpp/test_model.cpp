// Models from compressed files: what they become, and mutated files with repaired checksums under a limit of memory.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "fuzzing.hpp"
#include "limited_memory.hpp"
#include "lzma_writer.hpp"
#include "onnx_models.hpp"
#include "rdquant/codec/lzma.hpp"
#include "rdquant/codec/tensor.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/core/text.hpp"
#include "rdquant/model/session.hpp"

using namespace rdquant;
using protobuf::Bytes;

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostMemory = std::size_t{256} << 20;
constexpr std::uint64_t kMostDecoded = std::uint64_t{1} << 26;

struct Section {
  codec::SectionKind kind;
  std::string name;
  Bytes bytes;
};

Bytes file_of(const std::vector<Section>& sections) {
  codec::FileWriter writer;
  for (const Section& s : sections) writer.add(s.kind, s.name, s.bytes);
  Bytes out = writer.head();
  for (const Bytes& bytes : writer.sections()) protobuf::append(out, bytes);
  return out;
}

Bytes read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in);
  return {std::istreambuf_iterator<char>(in), {}};
}

model::Model read(const Bytes& bytes) {
  model::Options options;
  options.threads = 1;
  options.memory_limit = kMostDecoded;
  return model::read(graph::Source::of(bytes, nullptr, "m.rdq"), "m", options);
}

/// The network of onnx_models with a tensor of each coding beside the graph.
std::vector<Section> sections() {
  onnx_models::Model m = onnx_models::network();
  m.nodes.push_back(onnx_models::node("Add", {"y", "half"}, {"z"}));
  std::vector<float> fc(5 * 256), w(16 * 2 * 9);
  std::vector<std::int32_t> levels(w.size());
  for (std::size_t i = 0; i < fc.size(); ++i) fc[i] = 0.001F * static_cast<float>(i);
  for (std::size_t i = 0; i < levels.size(); ++i) levels[i] = static_cast<std::int32_t>(i % 9) - 4;
  const std::vector<std::uint64_t> w_shape = {16, 2, 3, 3}, fc_shape = {5, 256}, five = {5};
  const Bytes fc_bytes = onnx_models::raw(fc);
  const std::vector<quant::Quantizer> step = {quant::Uniform{.step = 0.25}};
  const auto fast = codec::Profile::fast;
  const std::vector<std::int32_t> integers = {-1, 0, 1, 2, 3};
  m.initializers.erase(m.initializers.begin() + 5);  // fc
  m.initializers.erase(m.initializers.begin());      // w
  m.nodes.push_back(onnx_models::node("Cast", {"ints"}, {"as float"}, {onnx_models::attribute("to", 1)}));
  return {{codec::SectionKind::graph, "", lzma_writer::packed(m.bytes())},
          {codec::SectionKind::facts, "", Bytes{'{', '}'}},
          {codec::SectionKind::tensor, "w", codec::encode_quantized(levels, w_shape, 1, step, 1, fast)},
          {codec::SectionKind::tensor, "fc",
           codec::encode_float_tensor(fc_bytes, fc_shape, 1, codec::FloatType::f32, fast)},
          {codec::SectionKind::tensor, "half", codec::encode_quantized(integers, five, 10, step, 1, fast)},
          {codec::SectionKind::tensor, "ints",
           codec::encode_integers(integers, five, 7, codec::LevelType::i64, fast)},
          {codec::SectionKind::tensor, "bytes", codec::encode_raw(Bytes{1, 0, 1, 1, 0}, five, 9)}};
}

}  // namespace

TEST_CASE("tensors come back in their own types") {
  const model::Model m = read(file_of(sections()));
  CHECK(m.compressed);
  CHECK(m.facts == "{}");
  CHECK(m.stored == std::vector<std::string>{"w", "fc", "half", "ints", "bytes"});
  const auto& tensors = m.graph.initializers;
  CHECK(tensors.at("w").doubles()[0] == -1.0);
  CHECK(tensors.at("fc").doubles()[1000] == doctest::Approx(1.0));
  CHECK(tensors.at("half").dtype() == core::DType::f16);
  CHECK(tensors.at("half").doubles() == std::vector<double>{-0.25, 0, 0.25, 0.5, 0.75});
  CHECK(tensors.at("ints").dtype() == core::DType::i64);
  CHECK(tensors.at("ints").integers() == std::vector<std::int64_t>{-1, 0, 1, 2, 3});
  CHECK(tensors.at("bytes").dtype() == core::DType::boolean);
}

TEST_CASE("a session runs a file of either kind") {
  const fs::path folder = fs::temp_directory_path() / ("rdquant-" + std::to_string(std::random_device()()));
  fs::create_directories(folder);
  onnx_models::Model m = onnx_models::network();
  std::ofstream(folder / "m.onnx", std::ios::binary) << [&] {
    const Bytes bytes = m.bytes();
    return std::string(bytes.begin(), bytes.end());
  }();
  model::Session session((folder / "m.onnx").string(), "reference");
  core::Tensor x(core::DType::f32, {3, 2, 8, 8});
  const auto outputs = session.run({&x, 1});
  REQUIRE(outputs.size() == 1);
  CHECK(outputs[0].shape() == core::Shape{3, 5});
  double sum = 0;
  for (const double v : outputs[0].doubles()) sum += v;
  CHECK(sum == doctest::Approx(3));
  CHECK_THROWS_AS(model::Session((folder / "none.onnx").string()), core::InvalidArgument);
  fs::remove_all(folder);
}

TEST_CASE("what liblzma wrote unpacks") {
  // lzma.compress(b"rate " * 30, format=lzma.FORMAT_ALONE)
  const Bytes packed = {0x5D, 0x00, 0x00, 0x80, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
                        0xFF, 0xFF, 0x00, 0x39, 0x18, 0x4A, 0xEE, 0xEB, 0x1A, 0x99, 0x6C,
                        0xDE, 0xF2, 0x67, 0xFF, 0xFF, 0xB2, 0x18, 0x00, 0x00};
  std::string expected;
  for (int i = 0; i < 30; ++i) expected += "rate ";
  const Bytes got = codec::unpack_lzma(packed, "graph");
  CHECK(std::string(got.begin(), got.end()) == expected);
  CHECK_THROWS_AS((void)codec::unpack_lzma(packed, "graph", 100), core::CorruptFile);
  for (std::size_t cut = 0; cut < packed.size(); ++cut) {
    CHECK_THROWS_AS((void)codec::unpack_lzma(std::span(packed).first(cut), "graph"), core::CorruptFile);
  }
}

TEST_CASE("mutated compressed models give clean errors only") {
  const std::vector<Section> own = sections();
  const Bytes graph = codec::unpack_lzma(own[0].bytes, "graph");
  const Bytes vector = read_file(fs::path(RDQUANT_ROOT) / "tests/vectors/version-1.rdq");
  std::mt19937 engine(fuzzing::seed());
  protobuf::Mutator mutator(engine);
  std::size_t read_well = 0;
  const limited_memory::Limit limit(kMostMemory);
  for (std::size_t i = 0; i < fuzzing::rounds(); ++i) {
    std::vector<Section> mutant = own;
    Bytes bytes = vector;
    switch (engine() % 4) {
      case 0:
        mutant[0].bytes = lzma_writer::packed(mutator.mutated(graph, "model"));
        break;
      case 1:
        mutator.damage(mutant[engine() % mutant.size()].bytes);
        break;
      case 2: {
        const std::size_t from = engine() % mutant.size(), to = engine() % mutant.size();
        std::swap(mutant[from].bytes, mutant[to].bytes);
        if (engine() % 2 == 0) mutant[from].name = mutant[to].name;
        if (engine() % 4 == 0) mutant.push_back(mutant[to]);
        break;
      }
      default:
        mutator.damage(bytes);
        mutant.clear();
    }
    if (!mutant.empty()) bytes = file_of(mutant);
    fuzzing::keep(bytes);
    try {
      (void)read(bytes);
      ++read_well;
    } catch (const core::Error& error) {
      const std::string what = error.what();
      if (!what.starts_with("m.rdq: ") || !core::is_utf8(what)) FAIL(what);
    }
  }
  CHECK(read_well > fuzzing::rounds() / 50);
  MESSAGE(fuzzing::rounds(), " mutated files, ", read_well, " read");
}
