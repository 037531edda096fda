#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <random>
#include <string>

#include "codec/format/bytes.hpp"
#include "levels.hpp"
#include "limited_memory.hpp"
#include "rdquant/codec/container.hpp"
#include "rdquant/codec/floats.hpp"
#include "rdquant/codec/levels.hpp"
#include "rdquant/codec/tensor.hpp"
#include "rdquant/core/error.hpp"

using namespace rdquant;

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

TEST_CASE("one damaged tensor among others is reported") {
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
