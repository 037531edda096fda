#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <limits>
#include <new>
#include <random>
#include <string>

#include "codec/format/bytes.hpp"
#include "rdquant/codec/container.hpp"
#include "rdquant/codec/floats.hpp"
#include "rdquant/codec/levels.hpp"
#include "rdquant/codec/tensor.hpp"
#include "rdquant/core/error.hpp"

namespace {

// Memory taken by new and not given back, and the most that readers of untrusted bytes may take: beyond it
// new fails, and the test with it.
std::atomic<std::size_t> live_bytes{0};
std::atomic<std::size_t> allowed_bytes{std::numeric_limits<std::size_t>::max()};
constexpr std::size_t kHeader = 16;

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size) {
  const std::size_t live = live_bytes.fetch_add(size) + size;
  void* const block = live > allowed_bytes.load() ? nullptr : std::malloc(size + kHeader);
  if (block == nullptr) {
    live_bytes.fetch_sub(size);
    throw std::bad_alloc();
  }
  std::memcpy(block, &size, sizeof(size));
  return static_cast<char*>(block) + kHeader;
}
[[gnu::noinline]] void operator delete(void* at) noexcept {
  if (at == nullptr) return;
  void* const block = static_cast<char*>(at) - kHeader;
  std::size_t size = 0;
  std::memcpy(&size, block, sizeof(size));
  live_bytes.fetch_sub(size);
  std::free(block);
}
void operator delete(void* at, std::size_t) noexcept { operator delete(at); }

using namespace rdquant;
using Bytes = std::vector<std::uint8_t>;
using Shape = std::vector<std::uint64_t>;

namespace {

constexpr std::uint64_t kMostDecoded = 1 << 20;  // elements that a caller with little memory allows
constexpr std::size_t kMostMemory = std::size_t{256} << 20;

std::size_t product(const Shape& shape) {
  std::size_t size = 1;
  for (const std::uint64_t d : shape) size *= static_cast<std::size_t>(d);
  return size;
}

std::vector<std::int32_t> laplace(std::size_t n, double scale, std::uint32_t seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<double> draw(1e-9, 1.0);
  std::vector<std::int32_t> levels(n);
  for (auto& v : levels) {
    const double magnitude = -scale * std::log(draw(engine));
    v = static_cast<std::int32_t>(std::lround(draw(engine) < 0.5 ? magnitude : -magnitude));
  }
  return levels;
}

/// Rows each of which is like some earlier ones, as classes are alike.
std::vector<std::int32_t> alike(std::size_t rows, std::size_t length, std::uint32_t seed) {
  auto levels = laplace(rows * length, 3.0, seed);
  std::mt19937 engine(seed);
  for (std::size_t row = 1; row < rows; ++row) {
    const std::int32_t* const other = levels.data() + engine() % row * length;
    for (std::size_t i = 0; i < length; ++i) levels[row * length + i] += other[i] * 3 / 4;
  }
  return levels;
}

/// Levels that the one before and the one a row above foretell in part, as smooth kernels do.
std::vector<std::int32_t> smooth(const Shape& shape, double scale, std::uint32_t seed) {
  std::vector<std::int32_t> levels = laplace(product(shape), scale, seed);
  const std::size_t row = levels.size() / shape[0];
  for (std::size_t i = row; i < levels.size(); ++i) levels[i] += (levels[i - 1] + levels[i - row]) / 2;
  return levels;
}

/// Levels as an integer type cuts them off at ±`reach`.
std::vector<std::int32_t> cut_off(std::size_t n, double scale, std::int32_t reach, std::uint32_t seed) {
  auto levels = laplace(n, scale, seed);
  for (auto& v : levels) v = std::clamp(v, -reach, reach);
  return levels;
}

/// Pruned levels: of every `rest` about one is left, at least `least` from `common`, up to `most`.
std::vector<std::int32_t> pruned(std::size_t n, std::uint32_t rest, std::int32_t least, double scale,
                                 std::int32_t common) {
  auto levels = laplace(n, scale, 11);
  std::mt19937 engine(12);
  for (auto& v : levels) {
    const std::int32_t beyond = v < 0 ? v - least : v + least;
    v = engine() % rest == 0 ? common + beyond : common;
  }
  return levels;
}

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

void read_file(const Bytes& bytes) {
  for (const codec::Section& section : codec::read_table(bytes)) (void)codec::section_bytes(bytes, section);
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

/// RDQUANT_FUZZ_SEED makes other mutations.
std::uint32_t fuzz_seed() {
  const char* const asked = std::getenv("RDQUANT_FUZZ_SEED");
  return asked == nullptr ? 2027U : static_cast<std::uint32_t>(std::strtoul(asked, nullptr, 10));
}

/// Reads `rounds` mutations of each seed; anything but success or a clean error ends the program.
template <typename Read>
void fuzz(const std::vector<Bytes>& seeds, std::size_t rounds, Read&& read) {
  std::mt19937 engine(fuzz_seed());
  std::size_t errors = 0;
  allowed_bytes = live_bytes + kMostMemory;
  for (std::size_t i = 0; i < rounds; ++i) {
    try {
      read(mutated(seeds[i % seeds.size()], engine));
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

/// RDQUANT_FUZZ sets the number of mutations a test reads; the default suits a test suite.
std::size_t rounds() {
  const char* const asked = std::getenv("RDQUANT_FUZZ");
  return asked == nullptr ? 1500 : static_cast<std::size_t>(std::strtoull(asked, nullptr, 10));
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
  const auto fast = codec::Profile::fast;
  return {codec::encode_float_tensor(raw, shape, 1, codec::FloatType::f32, fast),
          codec::encode_float_tensor(raw.first(raw.size() / 2), shape, 10, codec::FloatType::f16, fast),
          codec::encode_quantized(levels, shape, 1, uniform, product(shape), codec::Profile::max),
          codec::encode_quantized(indices, shape, 1, book, product(shape), fast),
          codec::encode_integers(levels, shape, 3, codec::LevelType::i8, fast),
          codec::encode_raw(raw, shape, 8)};
}

}  // namespace

TEST_CASE("levels come back for all grids, rates and profiles") {
  for (const codec::Profile profile : {codec::Profile::fast, codec::Profile::max}) {
    for (const Shape& shape :
         {Shape{}, Shape{5}, Shape{70, 64}, Shape{300, 300}, Shape{64, 36, 3, 3}, Shape{9, 9, 9, 9}}) {
      for (const double scale : {0.1, 2.0, 50.0, 1e8}) {
        const auto levels = laplace(product(shape), scale, 1);
        const Bytes coded = codec::encode_levels(levels, shape, codec::LevelType::i32, profile);
        std::vector<std::int32_t> back(levels.size());
        codec::decode_levels(coded, back, 2);
        REQUIRE(back == levels);
      }
    }
  }
}

TEST_CASE("levels that others foretell come back, in fewer bytes") {
  for (const codec::Profile profile : {codec::Profile::fast, codec::Profile::max}) {
    for (const Shape& shape :
         {Shape{20, 8, 3, 3}, Shape{16, 16, 3, 3}, Shape{50, 40, 3, 3}, Shape{300, 64}}) {
      for (const double scale : {0.8, 2.0, 20.0, 300.0}) {
        const auto levels = smooth(shape, scale, 2);
        auto shuffled = levels;
        std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937(3));
        const Bytes coded = codec::encode_levels(levels, shape, codec::LevelType::i32, profile);
        const Bytes other = codec::encode_levels(shuffled, shape, codec::LevelType::i32, profile);
        std::vector<std::int32_t> back(levels.size());
        codec::decode_levels(coded, back, 2);
        REQUIRE(back == levels);
        CHECK(coded.size() < other.size());
      }
    }
  }
}

TEST_CASE("rows that are alike come back, in fewer bytes") {
  for (const Shape& shape : {Shape{900, 160}, Shape{60, 300}, Shape{80, 20, 3, 3}, Shape{1500, 1410}}) {
    const std::size_t rows = shape[0], length = product(shape) / rows;
    const auto levels = alike(rows, length, 4);
    auto shuffled = levels;
    for (std::size_t row = 0; row < rows; ++row) {
      const auto first = shuffled.begin() + static_cast<std::ptrdiff_t>(row * length);
      std::shuffle(first, first + static_cast<std::ptrdiff_t>(length), std::mt19937(row));
    }
    const Bytes coded = codec::encode_levels(levels, shape, codec::LevelType::i32, codec::Profile::max);
    const Bytes other = codec::encode_levels(shuffled, shape, codec::LevelType::i32, codec::Profile::max);
    std::vector<std::int32_t> back(levels.size());
    codec::decode_levels(coded, back, 2);
    REQUIRE(back == levels);
    CHECK((coded[0] >> 4) == 5);
    CHECK(coded.size() < other.size() - other.size() / 32);
  }
}

TEST_CASE("sparse levels come back and take about what they must") {
  const std::int32_t most = std::numeric_limits<std::int32_t>::max();
  for (const codec::Profile profile : {codec::Profile::fast, codec::Profile::max}) {
    for (const Shape& shape : {Shape{1000}, Shape{300, 300}, Shape{900, 700}, Shape{64, 36, 3, 3}}) {
      for (const double scale : {0.0, 0.5, 20.0, 5000.0, 1e8}) {
        auto levels = pruned(product(shape), 16, 3, scale, scale == 20.0 ? -4 : 0);
        if (scale == 1e8) levels[7] = most, levels[8] = -most - 1;
        const Bytes coded = codec::encode_levels(levels, shape, codec::LevelType::i32, profile);
        std::vector<std::int32_t> back(levels.size());
        codec::decode_levels(coded, back, 2);
        REQUIRE(back == levels);
        // Entropies of where they are (a sixteenth: 0.337 bits) and of a Laplace density's levels.
        const double each = 0.338 + (1.0 + std::log2(std::max(1.0, 2.0 * 2.7183 * scale))) / 16.0;
        CHECK(8.0 * static_cast<double>(coded.size()) <
              1.02 * each * static_cast<double>(levels.size()) + 900.0);
      }
    }
  }
}

TEST_CASE("levels that are cut off come back and take no more than they must") {
  for (const codec::Profile profile : {codec::Profile::fast, codec::Profile::max}) {
    for (const Shape& shape : {Shape{5000}, Shape{70, 64}, Shape{300, 300}, Shape{512, 1, 3, 3}}) {
      for (const std::int32_t reach : {16, 127, 255}) {
        const double scale = reach / 2.5, n = static_cast<double>(product(shape));
        const auto levels = cut_off(product(shape), scale, reach, 4);
        const Bytes coded = codec::encode_levels(levels, shape, codec::LevelType::i32, profile);
        std::vector<std::int32_t> back(levels.size());
        codec::decode_levels(coded, back, 2);
        REQUIRE(back == levels);
        // Entropy of a Laplace density's levels whose tails are two symbols.
        double entropy = 0.0;
        for (std::int32_t v = -reach; v <= reach; ++v) {
          const double at = std::abs(v) - 0.5, tail = std::exp(-at / scale);  // of both sides, from |v| on
          const double p = v == 0                 ? 1.0 - std::exp(-0.5 / scale)
                           : std::abs(v) == reach ? 0.5 * tail
                                                  : 0.5 * (tail - std::exp(-(at + 1.0) / scale));
          entropy -= p * std::log2(p);
        }
        CHECK(8.0 * static_cast<double>(coded.size()) < 1.015 * entropy * n + 300.0);
      }
    }
  }
}

TEST_CASE("decoding piece by piece gives the same levels") {
  for (const Shape& shape : {Shape{}, Shape{900, 700}, Shape{9, 9, 9, 9}, Shape{0, 4}}) {
    for (const double scale : {0.1, 2.0, 1e8}) {
      const auto levels =
          scale < 1.0 ? pruned(product(shape), 10, 2, 4.0, 1) : laplace(product(shape), scale, 5);
      const Bytes coded = codec::encode_levels(levels, shape, codec::LevelType::i32, codec::Profile::fast);
      std::vector<std::int32_t> back(levels.size());
      codec::decode_levels_into(
          coded,
          [&](std::size_t first, std::span<const std::int32_t> piece) {
            std::copy(piece.begin(), piece.end(), back.begin() + static_cast<std::ptrdiff_t>(first));
          },
          2);
      CHECK(back == levels);
    }
  }
}

TEST_CASE("tensors decoded together come back as they do alone") {
  const Shape large = {900, 700}, small = {24, 16, 3, 3};
  const std::vector<quant::Quantizer> one = {quant::Uniform{.step = 0.1}};
  const std::vector<quant::Quantizer> stripes = {quant::Uniform{.step = 0.1}, quant::Uniform{.step = 0.3}};
  const auto fast = codec::Profile::fast;
  std::vector<Bytes> sections;
  for (const Shape& shape : {small, large, Shape{0, 3}, Shape{}}) {
    const auto levels = laplace(product(shape), 2.0, 11);
    for (const auto& quantizers : {one, stripes}) {
      if (product(shape) == 1 && quantizers.size() > 1) continue;
      const std::size_t inner = quantizers.size() > 1 ? 9 : std::max<std::size_t>(1, product(shape));
      sections.push_back(codec::encode_quantized(levels, shape, 1, quantizers, inner, fast));
    }
    sections.push_back(codec::encode_integers(levels, shape, 3, codec::LevelType::i8, fast));
    const std::span raw(reinterpret_cast<const std::uint8_t*>(levels.data()), levels.size() * 4);
    sections.push_back(codec::encode_float_tensor(raw, shape, 1, codec::FloatType::f32, fast));
    sections.push_back(codec::encode_raw(raw, shape, 6));
  }
  for (const int threads : {1, 2, 3}) {
    std::vector<codec::TensorJob> jobs;
    std::vector<std::vector<float>> rooms;
    std::deque<codec::TensorHeader> headers;
    for (const Bytes& section : sections) {
      const codec::TensorHeader& tensor = headers.emplace_back(codec::tensor_header(section, "t"));
      auto& room = rooms.emplace_back(static_cast<std::size_t>(tensor.size), -1.0F);
      jobs.push_back({&tensor, {reinterpret_cast<std::uint8_t*>(room.data()), room.size() * 4}});
    }
    int calls = 0;
    codec::decode_tensors(jobs, threads, [&] { ++calls; });
    CHECK(calls == 1);
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      const codec::TensorHeader& tensor = headers[i];
      std::vector<float> alone(rooms[i].size());
      const std::span bytes(reinterpret_cast<std::uint8_t*>(alone.data()), alone.size() * 4);
      if (tensor.coding == codec::Coding::quantized) codec::decode_tensor_values(tensor, alone);
      if (tensor.coding == codec::Coding::floats) codec::decode_tensor_floats(tensor, bytes);
      if (tensor.coding == codec::Coding::raw)
        std::copy(tensor.payload.begin(), tensor.payload.end(), bytes.begin());
      if (tensor.coding == codec::Coding::integers) {
        std::vector<std::int32_t> levels(alone.size());
        codec::decode_tensor_levels(tensor, levels);
        std::copy(levels.begin(), levels.end(), reinterpret_cast<std::int32_t*>(alone.data()));
      }
      CAPTURE(i);
      CHECK(std::equal(bytes.begin(), bytes.end(), jobs[i].to.begin()));
    }
  }
}

TEST_CASE("one damaged tensor among others is told of") {
  const Shape shape = {300, 300};
  const auto levels = laplace(product(shape), 2.0, 12);
  const std::vector<quant::Quantizer> uniform = {quant::Uniform{.step = 0.1}};
  const Bytes whole =
      codec::encode_quantized(levels, shape, 1, uniform, product(shape), codec::Profile::fast);
  Bytes damaged = whole;
  damaged[damaged.size() / 2] ^= 64;
  std::vector<std::vector<float>> rooms(6, std::vector<float>(product(shape)));
  const codec::TensorHeader good = codec::tensor_header(whole, "t"), bad = codec::tensor_header(damaged, "t");
  std::vector<codec::TensorJob> jobs;
  for (std::size_t i = 0; i < rooms.size(); ++i) {
    jobs.push_back(
        {i == 3 ? &bad : &good, {reinterpret_cast<std::uint8_t*>(rooms[i].data()), rooms[i].size() * 4}});
  }
  for (const int threads : {1, 2}) CHECK_THROWS_AS(codec::decode_tensors(jobs, threads), core::CorruptFile);
}

TEST_CASE("what is done meanwhile is done without tensors too, and may throw") {
  bool done = false;
  codec::decode_tensors({}, 2, [&] { done = true; });
  CHECK(done);
  const Bytes whole = codec::encode_raw({}, Shape{0}, 6);
  const codec::TensorHeader tensor = codec::tensor_header(whole, "t");
  const std::vector<codec::TensorJob> jobs(3, codec::TensorJob{&tensor});
  for (const int threads : {1, 2}) {
    CHECK_THROWS_AS(codec::decode_tensors(jobs, threads, [] { throw core::Unsupported("meanwhile"); }),
                    core::Unsupported);
  }
}

TEST_CASE("a tensor of many rows is decoded in little memory") {
  const Shape shape = {1 << 18, 1};
  for (const auto& levels : {laplace(product(shape), 2.0, 6), pruned(product(shape), 9, 4, 30.0, 0)}) {
    for (const codec::Profile profile : {codec::Profile::fast, codec::Profile::max}) {
      const Bytes coded = codec::encode_levels(levels, shape, codec::LevelType::i32, profile);
      std::vector<std::int32_t> back(levels.size());
      allowed_bytes = live_bytes + 12 * levels.size() + (std::size_t{8} << 20);
      codec::decode_levels(coded, back);
      allowed_bytes = std::numeric_limits<std::size_t>::max();
      CHECK(back == levels);
    }
  }
}

TEST_CASE("CRC-32 is zlib's") {
  const std::string text = "123456789";
  const std::span bytes(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  CHECK(codec::crc32(bytes) == 0xcbf43926U);
  CHECK(codec::crc32(bytes.subspan(4), codec::crc32(bytes.first(4))) == 0xcbf43926U);
}

TEST_CASE("CRC-32 is the polynomial's remainder for blocks of any size and place") {
  std::vector<std::uint8_t> bytes(600);
  std::mt19937 random(1);
  for (std::uint8_t& b : bytes) b = static_cast<std::uint8_t>(random());
  for (std::size_t first : {0U, 1U, 7U}) {
    std::uint32_t remainder = 0xffffffffU;
    for (std::size_t size = 0; first + size < bytes.size(); ++size) {
      CHECK(codec::crc32(std::span(bytes).subspan(first, size)) == ~remainder);
      remainder ^= bytes[first + size];
      for (int bit = 0; bit < 8; ++bit) {
        remainder = (remainder >> 1) ^ ((remainder & 1) != 0 ? 0xedb88320U : 0U);
      }
    }
  }
}

TEST_CASE("a file's sections are found again") {
  codec::FileWriter writer;
  writer.add(codec::SectionKind::facts, "facts", {'{', '}'});
  writer.add(codec::SectionKind::tensor, "w", {1, 2, 3, 4, 5});
  Bytes file = writer.head();
  for (const Bytes& section : writer.sections()) file.insert(file.end(), section.begin(), section.end());
  const auto sections = codec::read_table(file);
  REQUIRE(sections.size() == 2);
  CHECK(sections[1].name == "w");
  CHECK(codec::section_bytes(file, sections[1])[4] == 5);
  file.back() ^= 1;
  CHECK_THROWS_AS((void)codec::section_bytes(file, sections[1]), core::CorruptFile);
}

TEST_CASE("quantizers whose number times their elements exceeds 64 bits are refused") {
  // Coding quantized, FLOAT, shape [4]; 2^24 quantizers, 2^40 elements apart, uniform.
  codec::Writer out;
  for (const std::uint64_t v : {1ULL, 1ULL, 1ULL, 4ULL, 1ULL << 24, 1ULL << 40, 0ULL}) out.varint(v);
  const Bytes bytes = out.take();
  CHECK_THROWS_AS((void)codec::tensor_header(bytes, "w"), core::CorruptFile);
}

TEST_CASE("mutated levels give clean errors only") { fuzz(level_seeds(), rounds(), read_levels); }

TEST_CASE("mutated tensors give clean errors only") { fuzz(tensor_seeds(), rounds(), read_tensor); }

TEST_CASE("mutated files give clean errors only") {
  codec::FileWriter writer;
  for (const Bytes& tensor : tensor_seeds()) writer.add(codec::SectionKind::tensor, "t", tensor);
  Bytes file = writer.head();
  for (const Bytes& section : writer.sections()) file.insert(file.end(), section.begin(), section.end());
  fuzz({file, writer.head()}, rounds(), read_file);
}
