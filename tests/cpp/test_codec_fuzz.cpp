#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <limits>
#include <random>
#include <string>

#include "codec/rdo/trellis_code.hpp"
#include "format_tree.hpp"
#include "fuzzing.hpp"
#include "levels.hpp"
#include "limited_memory.hpp"
#include "rdquant/codec/container.hpp"
#include "rdquant/codec/floats.hpp"
#include "rdquant/codec/levels.hpp"
#include "rdquant/codec/tensor.hpp"
#include "rdquant/core/error.hpp"

using namespace rdquant;

namespace {

constexpr std::uint64_t kMostDecoded = 1 << 20;  // elements that a caller with little memory allows
constexpr std::size_t kMostMemory = std::size_t{256} << 20;

/// What a program does with bytes that somebody sent: ask for the shape, then decode if it fits the memory.
void read_levels(const Bytes& bytes) {
  const codec::LevelsHeader header = codec::levels_header(bytes);
  if (header.size > kMostDecoded) return;
  std::vector<std::int32_t> levels(static_cast<std::size_t>(header.size));
  codec::decode_levels(bytes, levels);
}

void read_tensor(const Bytes& bytes) {
  const codec::TensorHeader tensor = codec::tensor_header(bytes, "t");
  if (tensor.size > kMostDecoded) return;
  const auto size = static_cast<std::size_t>(tensor.size);
  if (tensor.coding == codec::Coding::floats) {
    Bytes values(size * 8);
    for (const std::size_t width : {2U, 4U, 8U}) {
      try {
        codec::decode_tensor_floats(tensor, std::span(values).first(size * width));
      } catch (const core::CorruptFile&) {
      }
    }
    return;
  }
  // Bytes for the largest of what a tensor may become.
  std::vector<std::int32_t> values(std::max(size, tensor.payload.size() / 4 + 1));
  const std::span room(reinterpret_cast<std::uint8_t*>(values.data()), values.size() * 4);
  const bool raw = tensor.coding == codec::Coding::raw;
  const codec::TensorJob job{&tensor, room.first(raw ? tensor.payload.size() : size * 4)};
  codec::decode_tensors(std::span(&job, 1), 1);
}

/// All tensors of a file together, on two threads.
void read_file(const Bytes& bytes) {
  const std::vector<codec::Section> sections = codec::read_table(bytes);
  std::deque<codec::TensorHeader> tensors;
  std::vector<std::vector<std::uint64_t>> rooms;
  std::vector<codec::TensorJob> jobs;
  std::uint64_t most = kMostDecoded;
  for (const codec::Section& section : sections) {
    if (section.kind != static_cast<std::uint8_t>(codec::SectionKind::tensor)) {
      (void)codec::section_bytes(bytes, section);
      continue;
    }
    const auto part = codec::unchecked_bytes(bytes, section);
    const codec::TensorHeader& tensor = tensors.emplace_back(codec::tensor_header(part, section.name));
    const bool raw = tensor.coding == codec::Coding::raw;
    const std::uint64_t size = raw ? tensor.payload.size() / 4 + 1 : tensor.size;
    if (size > most) return;
    most -= size;
    rooms.emplace_back(static_cast<std::size_t>(size) + 1);
    std::size_t width = 4;
    if (tensor.coding == codec::Coding::floats) {
      width = codec::float_bytes(codec::float_type_of(tensor, section.name));
    }
    const std::span room(reinterpret_cast<std::uint8_t*>(rooms.back().data()), rooms.back().size() * 8);
    jobs.push_back({&tensor, room.first(raw ? tensor.payload.size() : static_cast<std::size_t>(size) * width),
                    part, &section});
  }
  codec::decode_tensors(jobs, 2);
}

/// Mutates `seed` in one of four ways: bytes changed, bits flipped, cut, or a piece copied elsewhere.
Bytes mutated(const Bytes& seed, std::mt19937& engine) {
  Bytes bytes = seed;
  const auto at = [&] { return engine() % bytes.size(); };
  for (std::uint32_t i = 1 + engine() % 3; i > 0 && !bytes.empty(); --i) {
    switch (engine() % 4) {
      case 0:
        // Mostly near the front, where the fields are.
        bytes[engine() % 2 != 0 ? at() : at() % 24] = static_cast<std::uint8_t>(engine());
        break;
      case 1:
        bytes[at()] ^= static_cast<std::uint8_t>(1U << (engine() % 8));
        break;
      case 2:
        bytes.resize(at());
        break;
      default: {
        const std::size_t from = at(), to = at(),
                          n = std::min({bytes.size() - from, bytes.size() - to, at() + 1});
        const Bytes piece(bytes.begin() + static_cast<std::ptrdiff_t>(from),
                          bytes.begin() + static_cast<std::ptrdiff_t>(from + n));
        std::copy(piece.begin(), piece.end(), bytes.begin() + static_cast<std::ptrdiff_t>(to));
      }
    }
  }
  return bytes;
}

/// Reads `rounds` mutations, `next(round, engine)`; anything but success or a clean error ends the program.
template <typename Next, typename Read>
void fuzz(std::size_t rounds, Next&& next, Read&& read) {
  std::mt19937 engine(fuzzing::seed());
  std::size_t errors = 0;
  allowed_bytes = live_bytes + kMostMemory;
  for (std::size_t i = 0; i < rounds; ++i) {
    try {
      read(next(i, engine));
    } catch (const core::CorruptFile& error) {
      ++errors;
      const std::string what = error.what();
      if (what.find("section ") != 0 || what.find("offset ") == std::string::npos) FAIL(what);
    } catch (const core::Unsupported&) {
      ++errors;
    }
  }
  allowed_bytes = std::numeric_limits<std::size_t>::max();
  CHECK(errors > 0);
}

/// Mutations of bytes.
auto bytes_of(const std::vector<Bytes>& seeds) {
  return [&seeds](std::size_t i, std::mt19937& engine) { return mutated(seeds[i % seeds.size()], engine); };
}

/// Mutations of fields, within lengths that fit.
auto fields_of(const std::vector<format_tree::Fields>& seeds) {
  return [&seeds](std::size_t i, std::mt19937& engine) {
    format_tree::Fields fields = seeds[i % seeds.size()];
    format_tree::mutate(fields, engine);
    return format_tree::written(fields);
  };
}

/// The fields of all seeds, which are written as they were.
template <typename Parse>
std::vector<format_tree::Fields> parsed(const std::vector<Bytes>& seeds, Parse&& parse) {
  std::vector<format_tree::Fields> all;
  for (const Bytes& seed : seeds) {
    all.push_back(format_tree::parsed(seed, parse));
    REQUIRE(format_tree::written(all.back()) == seed);
  }
  return all;
}

std::vector<Bytes> level_seeds() {
  std::vector<Bytes> seeds;
  for (const codec::Profile profile : {codec::Profile::fast, codec::Profile::max}) {
    for (const Shape& shape : {Shape{12}, Shape{40, 30}, Shape{16, 8, 3, 3}, Shape{70, 64}, Shape{0, 3}}) {
      for (const double scale : {0.3, 3.0, 900.0}) {
        const auto levels = laplace(product(shape), scale, 7);
        seeds.push_back(codec::encode_levels(levels, shape, codec::LevelType::i32, profile));
      }
    }
    for (const Shape& shape : {Shape{20, 8, 3, 3}, Shape{16, 16, 3, 3}, Shape{20, 40, 3, 3}, Shape{80, 64}}) {
      const auto levels = smooth(shape, 2.0, 6);
      seeds.push_back(codec::encode_levels(levels, shape, codec::LevelType::i32, profile));
    }
    const auto classes = alike(40, 96, 5);
    seeds.push_back(codec::encode_levels(classes, Shape{40, 96}, codec::LevelType::i32, profile));
    std::vector<std::int32_t> humps = laplace(2000, 1.0, 8);
    for (std::size_t i = 0; i < humps.size(); ++i) humps[i] += i % 2 == 0 ? 90 : -90;
    seeds.push_back(codec::encode_levels(humps, Shape{2000}, codec::LevelType::i16, profile));
    const auto ends = cut_off(40 * 30, 40.0, 127, 9);
    seeds.push_back(codec::encode_levels(ends, Shape{40, 30}, codec::LevelType::i8, profile));
    for (const double scale : {0.0, 2.0, 4000.0, 1e8}) {
      const Shape shape = scale > 100.0 ? Shape{60, 70} : Shape{24, 16, 3, 3};
      const auto levels = pruned(product(shape), 12, 5, scale, scale == 2.0 ? 7 : 0);
      seeds.push_back(codec::encode_levels(levels, shape, codec::LevelType::i32, profile));
    }
  }
  return seeds;
}

/// A path of a trellis, near twice the given levels of `taps` taps each.
std::vector<std::int32_t> path_of(std::vector<std::int32_t> levels, const codec::Trellis& trellis,
                                  std::size_t taps) {
  const codec::TrellisCode code = codec::trellis_code(3);
  std::vector<unsigned> states(static_cast<std::size_t>(trellis.chains) * taps);
  for (std::size_t i = 0; i < levels.size(); ++i) {
    auto& state = states[i / taps % static_cast<std::size_t>(trellis.chains) * taps + i % taps];
    levels[i] = 2 * levels[i] + static_cast<std::int32_t>(state & 1);
    state = static_cast<unsigned>(code.next(static_cast<std::uint8_t>(state), levels[i]));
  }
  return levels;
}

std::vector<Bytes> tensor_seeds() {
  const Shape shape = {12, 5, 3, 3};
  const auto levels = laplace(product(shape), 2.0, 3);
  std::vector<float> values;
  for (const std::int32_t v : levels) values.push_back(static_cast<float>(v) * 0.37F + 0.001F);
  const std::span raw(reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * 4);
  const std::vector<quant::Quantizer> uniform = {quant::Uniform{.step = 0.1}};
  const std::vector<quant::Quantizer> book = {quant::Codebook{{-1.0F, 0.0F, 1.0F}}};
  std::vector<std::int32_t> indices(levels.size());
  for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = std::abs(levels[i]) % 3;
  const codec::Trellis trellis{8, 5};
  const std::vector<std::int32_t> path = path_of(levels, trellis, 9);
  const std::vector<quant::Quantizer> stripes(5, quant::Uniform{.step = 0.1, .delta = 0.2});
  const std::vector<quant::Quantizer> rows(12, quant::MuLaw{.mu = 255.0, .range = 1.0, .step = 0.01});
  const std::vector<quant::Quantizer> minifloat = {quant::Minifloat{.exponent = 4, .mantissa = 3, .bias = 7}};
  const auto fast = codec::Profile::fast, max = codec::Profile::max;
  std::vector<float> few(values);
  for (std::size_t i = 0; i < few.size(); ++i) few[i] = static_cast<float>(i % 3);
  const std::span palette(reinterpret_cast<const std::uint8_t*>(few.data()), few.size() * 4);
  const std::vector<std::int32_t> sparse = pruned(levels.size(), 12, 5, 2000.0, 0);
  return {codec::encode_float_tensor(raw, shape, 1, codec::FloatType::f32, fast),
          codec::encode_float_tensor(raw.first(raw.size() / 2), shape, 10, codec::FloatType::f16, fast),
          codec::encode_float_tensor(raw.first(raw.size() / 2), Shape{270}, 1, codec::FloatType::f32, max),
          codec::encode_float_tensor(raw, Shape{270}, 11, codec::FloatType::f64, fast),
          codec::encode_float_tensor(palette, shape, 1, codec::FloatType::f32, fast),
          codec::encode_quantized(levels, shape, 1, uniform, product(shape), max),
          codec::encode_quantized(levels, shape, 1, stripes, 9, fast),
          codec::encode_quantized(levels, shape, 10, rows, 45, fast),
          codec::encode_quantized(sparse, shape, 1, uniform, product(shape), max),
          codec::encode_quantized(indices, shape, 1, minifloat, product(shape), fast),
          codec::encode_quantized(indices, shape, 1, book, product(shape), fast),
          codec::encode_quantized(path, shape, 1, uniform, product(shape), max, 1, trellis),
          codec::encode_quantized(path, shape, 1, uniform, product(shape), fast, 1, trellis),
          codec::encode_integers(levels, shape, 3, codec::LevelType::i8, fast),
          codec::encode_raw(raw, shape, 8)};
}

}  // namespace

TEST_CASE("mutated levels give clean errors only") {
  const std::vector<Bytes> seeds = level_seeds();
  fuzz(fuzzing::rounds(), bytes_of(seeds), read_levels);
}

TEST_CASE("mutated tensors give clean errors only") {
  const std::vector<Bytes> seeds = tensor_seeds();
  fuzz(fuzzing::rounds(), bytes_of(seeds), read_tensor);
}

TEST_CASE("mutated files give clean errors only") {
  codec::FileWriter writer;
  for (const Bytes& tensor : tensor_seeds()) writer.add(codec::SectionKind::tensor, "t", tensor);
  Bytes file = writer.head();
  for (const Bytes& section : writer.sections()) file.insert(file.end(), section.begin(), section.end());
  const std::vector<Bytes> seeds = {file, writer.head()};
  fuzz(fuzzing::rounds(), bytes_of(seeds), read_file);
}

TEST_CASE("levels with mutated fields give clean errors only") {
  const auto seeds = parsed(level_seeds(), format_tree::parse_levels);
  fuzz(fuzzing::rounds(), fields_of(seeds), read_levels);
}

TEST_CASE("tensors with mutated fields give clean errors only") {
  const auto seeds = parsed(tensor_seeds(), format_tree::parse_tensor);
  fuzz(fuzzing::rounds(), fields_of(seeds), read_tensor);
}

TEST_CASE("files with mutated fields and checksums that fit give clean errors only") {
  const auto tensors = parsed(tensor_seeds(), format_tree::parse_tensor);
  const format_tree::Fields text = {{format_tree::Field::Kind::bytes, 0, {'{', '}'}, {}}};
  const auto next = [&](std::size_t i, std::mt19937& engine) {
    std::vector<format_tree::Part> parts = {{1, "graph", text}, {2, "facts", text}};
    for (std::size_t k = 0; k < 4; ++k) parts.push_back({3, "t", tensors[(i + 5 * k) % tensors.size()]});
    const bool table = engine() % 4 == 0;
    if (!table) format_tree::mutate(parts[engine() % parts.size()].fields, engine);
    return format_tree::file_of(parts, engine, table);
  };
  fuzz(fuzzing::rounds(), next, read_file);
}
