#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "int8_layer_reference.hpp"

using namespace reference;

namespace {

/// Numbers around and far outside the range of `type`, ties, and what is no finite number.
Floats awkward_floats(Index n, const Type& type, unsigned seed) {
  Floats x = random_floats(n, 300.0f * type.scale, seed);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const Floats odd = {
      std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity, 1e30f, -1e30f, 1e-42f, -0.0f, 0.0f};
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (i % 5 == 1) x[i] = (std::floor(x[i] / type.scale) + 0.5f) * type.scale;
    if (i % 29 == 3) x[i] = odd[i / 29 % odd.size()];
  }
  return x;
}

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> all = [] {
    std::vector<Layout> x;
    for (const Index c : {1, 2, 3, 4, 5, 8, 16, 19, 32, 63, 64, 65, 70, 144}) {
      for (const Index more : {0, 1, 2, 3, 40}) {
        for (const Index area : {1, 13, 64, 139}) x.push_back(layout(c, area, more));
      }
    }
    return x;
  }();
  return all;
}

/// Where channel k of pixel p of image i lies in plain images, or in blocked ones where block > 0.
std::size_t float_place(const Layout& l, Index block, Index image, Index i, Index p, Index k) {
  if (block == 0) return at(i * image + k * l.area + p);
  return at(i * image + (k / block * l.area + p) * block + k % block);
}

Index float_image(const Layout& l, Index block) {
  return (block == 0 ? l.c : divide(l.c, block) * block) * l.area + 3;
}

void check_quantize_images(const Int8LayerTable& table, Index block, const Layout& l, const Type& type) {
  const Index image = float_image(l, block);
  const Floats x = awkward_floats(l.n * image, type, 1);
  Levels expected(at(l.bytes()), kUntouched);
  for (Index i = 0; i < l.n; ++i) {
    for (Index p = 0; p < l.area; ++p) {
      for (Index k = 0; k < l.c; ++k) {
        expected[l.place(i, p, k)] = level(x[float_place(l, block, image, i, p, k)] / type.scale, type);
      }
      for (Index k = l.c; k < std::min(divide(l.c, 4) * 4, l.pixel); ++k) {
        expected[l.place(i, p, k)] = static_cast<std::uint8_t>(type.zero);
      }
    }
  }
  Levels got(expected.size(), kUntouched);
  in_disorder(l.items(), [&](Index begin, Index end) {
    (block == 0 ? table.quantize_plain : table.quantize_blocked)(x.data(), image, got.data(), l.image,
                                                                 l.pixel, l.c, l.area, type.scale, type.zero,
                                                                 type.low, type.high, begin, end);
  });
  CHECK(got == expected);
}

/// The levels of what is scaled first, next to those of numbers scaled before.
void check_quantize_affine(const Int8LayerTable& table, Index block, const Layout& l, const Type& type,
                           bool relu) {
  const Index image = float_image(l, block), padded = divide(l.c, block) * block;
  const Floats x = awkward_floats(l.n * image, type, 4);
  const Floats factors = random_floats(padded, 2.0f, 5), shifts = random_floats(padded, 9 * type.scale, 6);
  Floats scaled = x;
  for (Index i = 0; i < l.n; ++i) {
    for (Index p = 0; p < l.area; ++p) {
      for (Index k = 0; k < l.c; ++k) {
        float& v = scaled[float_place(l, block, image, i, p, k)];
        const float product = v * factors[at(k)];
        v = product + shifts[at(k)];
        if (relu && v < 0) v = 0;
      }
    }
  }
  Levels expected(at(l.bytes()), kUntouched), got = expected;
  in_disorder(l.items(), [&](Index begin, Index end) {
    table.quantize_blocked(scaled.data(), image, expected.data(), l.image, l.pixel, l.c, l.area, type.scale,
                           type.zero, type.low, type.high, begin, end);
    table.quantize_affine({factors.data(), shifts.data(), relu}, x.data(), image, got.data(), l.image,
                          l.pixel, l.c, l.area, type.scale, type.zero, type.low, type.high, begin, end);
  });
  CHECK(got == expected);
}

void check_dequantize_images(const Int8LayerTable& table, Index block, const Layout& l, const Type& type) {
  const Index image = float_image(l, block);
  const Levels q = random_levels(l.bytes(), 1);
  Floats expected(at(l.n * image), kUntouchedFloat);
  for (Index i = 0; i < l.n; ++i) {
    for (Index p = 0; p < l.area; ++p) {
      for (Index k = 0; k < l.c; ++k) {
        const std::int32_t whole = number(q[l.place(i, p, k)], type.is_signed()) - type.zero;
        expected[float_place(l, block, image, i, p, k)] = static_cast<float>(whole) * type.scale;
      }
      for (Index k = l.c; block > 0 && k % block != 0; ++k) {
        expected[float_place(l, block, image, i, p, k)] = 0.0f;
      }
    }
  }
  Floats got(expected.size(), kUntouchedFloat);
  in_disorder(l.items(), [&](Index begin, Index end) {
    (block == 0 ? table.dequantize_plain : table.dequantize_blocked)(
        q.data(), l.image, l.pixel, type.is_signed(), got.data(), image, l.c, l.area, type.scale, type.zero,
        begin, end);
  });
  CHECK(got == expected);
}

Int8Sum sum_of(const Type& a, const Type& b, const Type& y) {
  return {a.scale / y.scale, b.scale / y.scale, a.zero, b.zero, y.zero, y.low, y.high,
          a.is_signed(),     b.is_signed()};
}

std::uint8_t combined(const Int8Sum& s, const Type& y, bool product, std::uint8_t a, std::uint8_t b) {
  const auto x = static_cast<float>(number(a, s.a_signed) - s.a_zero);
  const auto z = static_cast<float>(number(b, s.b_signed) - s.b_zero);
  if (product) return level(x * z * s.a_scale, y);
  const float first = x * s.a_scale;
  const float second = z * s.b_scale;
  return level(first + second, y);
}

void check_combine(const Int8LayerTable& table, const Type& a_type, const Type& b_type, const Type& type,
                   bool product) {
  const Int8Sum sum = sum_of(a_type, b_type, type);
  Levels a;
  Levels b;
  for (int i = 0; i < 1 << 16; ++i) {
    a.push_back(static_cast<std::uint8_t>(i));
    b.push_back(static_cast<std::uint8_t>(i >> 8));
  }
  const auto run = product ? table.multiply : table.add;
  constexpr Index kBegin = 3;
  constexpr Index kEnd = (1 << 16) - 6;
  Levels expected = a;
  for (Index i = kBegin; i < kEnd; ++i) expected[at(i)] = combined(sum, type, product, a[at(i)], b[at(i)]);
  Levels got = a;
  run(sum, got.data(), b.data(), got.data(), kBegin + 4000, kEnd);
  run(sum, got.data(), b.data(), got.data(), kBegin, kBegin + 4000);
  CHECK(got == expected);
  got = b;
  run(sum, a.data(), got.data(), got.data(), kBegin, kEnd);
  CHECK(std::equal(got.begin() + kBegin, got.begin() + kEnd, expected.begin() + kBegin));
  CHECK(got[kEnd] == b[kEnd]);
}

}  // namespace

TEST_CASE("least and greatest") {
  for (const Index n : {0, 1, 7, 31, 64, 1000}) {
    for (const float bound : {0.5f, 9.0f}) {
      Floats x = random_floats(n + 4, bound, 1);
      for (std::size_t i = 0; i < x.size(); i += 11) x[i] = std::numeric_limits<float>::quiet_NaN();
      float expected_low = -1.0f;
      float expected_high = 1.0f;
      for (Index i = 2; i < n + 2; ++i) {
        expected_low = std::fmin(expected_low, x[at(i)]);
        expected_high = std::fmax(expected_high, x[at(i)]);
      }
      for_every_isa([&](const Int8LayerTable& table, Index) {
        float low = -1.0f;
        float high = 1.0f;
        table.min_max(x.data(), 2, n + 2, &low, &high);
        CHECK(low == expected_low);
        CHECK(high == expected_high);
      });
    }
  }
  for_every_isa([](const Int8LayerTable& table, Index) {
    Floats zeros(100, -0.0f);
    zeros[3] = zeros[97] = 0.0f;
    float low = -0.0f;
    float high = -0.0f;
    table.min_max(zeros.data(), 0, 100, &low, &high);
    CHECK(!std::signbit(low));
    CHECK(!std::signbit(high));
  });
}

TEST_CASE("levels of numbers in a row, and back") {
  for (const Type& type : kTypes) {
    const Index n = 5003;
    const Floats x = awkward_floats(n, type, 2);
    const Levels q = random_levels(n, 3);
    for_every_isa([&](const Int8LayerTable& table, Index) {
      Levels got(at(n), kUntouched);
      Floats back(at(n), kUntouchedFloat);
      in_disorder(n - 5, [&](Index begin, Index end) {
        table.quantize(x.data(), got.data(), type.scale, type.zero, type.low, type.high, begin + 3, end + 3);
        table.dequantize(q.data(), type.is_signed(), back.data(), type.scale, type.zero, begin + 3, end + 3);
      });
      Index wrong = 0;
      for (Index i = 3; i < n - 2; ++i) {
        const std::int32_t whole = number(q[at(i)], type.is_signed()) - type.zero;
        wrong += got[at(i)] != level(x[at(i)] / type.scale, type);
        wrong += back[at(i)] != static_cast<float>(whole) * type.scale;
      }
      CHECK(wrong == 0);
      CHECK(got[2] == kUntouched);
      CHECK(got[at(n - 2)] == kUntouched);
      CHECK(back[2] == kUntouchedFloat);
      CHECK(back[at(n - 2)] == kUntouchedFloat);
    });
  }
}

TEST_CASE("quotients a few bits from a tie") {
  for (const float scale : random_floats(40, 1.0f, 5)) {
    const Type type = {std::fabs(scale), 0, 0, 255};
    Floats x;
    for (int k = 0; k < 256; ++k) {
      float near = (static_cast<float>(k) + 0.5f) * type.scale;
      for (int i = 0; i < 4; ++i) near = std::nextafter(near, 0.0f);
      for (int i = 0; i < 9; ++i) x.push_back(near = std::nextafter(near, 1e9f));
    }
    for_every_isa([&](const Int8LayerTable& table, Index) {
      Levels got(x.size());
      table.quantize(x.data(), got.data(), type.scale, type.zero, type.low, type.high, 0,
                     static_cast<Index>(x.size()));
      Index wrong = 0;
      for (std::size_t i = 0; i < x.size(); ++i) wrong += got[i] != level(x[i] / type.scale, type);
      CHECK(wrong == 0);
    });
  }
}

TEST_CASE("levels for extreme scales") {
  for (const float scale : {1e-45f, 1e-38f, 3e-38f, 1e30f, 3e38f, 0.0f}) {
    const Type type = {scale, 100, 0, 255};
    Floats x = random_floats(999, 1.0f, 4);
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (i % 3 != 0) x[i] *= scale * 300.0f;
      if (i % 7 == 0) x[i] = 0.0f;
    }
    for_every_isa([&](const Int8LayerTable& table, Index) {
      Levels got(x.size());
      table.quantize(x.data(), got.data(), scale, type.zero, type.low, type.high, 0, 999);
      Index wrong = 0;
      for (std::size_t i = 0; i < x.size(); ++i) wrong += got[i] != level(x[i] / scale, type);
      CHECK(wrong == 0);
    });
  }
}

TEST_CASE("levels of plain and of blocked images, and back") {
  std::size_t turn = 0;
  for (const Layout& l : layouts()) {
    const Type& type = kTypes[turn++ % std::size(kTypes)];
    CAPTURE(l.c);
    CAPTURE(l.pixel);
    CAPTURE(l.area);
    for_every_isa([&](const Int8LayerTable& table, Index block) {
      for (const Index b : {Index{0}, block}) {
        CAPTURE(b);
        check_quantize_images(table, b, l, type);
        check_dequantize_images(table, b, l, type);
      }
      for (const bool relu : {false, true}) check_quantize_affine(table, block, l, type, relu);
    });
  }
}

TEST_CASE("tables") {
  const Levels table = random_levels(256, 1);
  const auto check = [&](decltype(Int8Kernels::lookup) lookup) {
    for (const Index n : {0, 1, 31, 64, 65, 1000}) {
      Levels x = random_levels(n + 7, 2);
      for (std::size_t i = 0; i < std::min<std::size_t>(x.size(), 256); ++i) {
        x[i] = static_cast<std::uint8_t>(37 * i);
      }
      Levels expected = x;
      for (Index i = 3; i < n + 3; ++i) expected[at(i)] = table[x[at(i)]];
      Levels got = x;
      in_disorder(n, [&](Index begin, Index end) {
        lookup(table.data(), got.data(), got.data(), begin + 3, end + 3);
      });
      CHECK(got == expected);
    }
  };
  for_every_isa([&](const Int8LayerTable& layers, Index) { check(layers.lookup); });
#if defined(__x86_64__)
  if (rdquant::core::available_cpu().has(rdquant::core::Feature::vbmi)) {
    check(avx512vbmi::lookup);
  }
#endif
}

TEST_CASE("sums and products of all pairs of levels") {
  for (std::size_t i = 0; i < std::size(kTypes); ++i) {
    const Type& a = kTypes[i];
    for (const std::size_t other : {i, (i + 1) % 6, (i + 3) % 6}) {
      Type b = kTypes[other];
      b.scale *= 1.37f;
      Type y = kTypes[(i + other) % 6];
      y.scale *= 1.61f;
      for_every_isa([&](const Int8LayerTable& table, Index) {
        check_combine(table, a, b, y, false);
        y.scale *= 0.5f;
        check_combine(table, a, b, y, true);
      });
    }
  }
  Type wide = kTypes[0];
  wide.scale = 1e30f;
  for_every_isa([&](const Int8LayerTable& table, Index) {
    check_combine(table, wide, kTypes[1], kTypes[4], false);
    check_combine(table, wide, kTypes[1], kTypes[4], true);
  });
}

TEST_CASE("pixels repeated") {
  for (const Index c : {1, 3, 4, 7, 8, 20, 32, 64, 100, 256}) {
    for (const Index more : {0, 9}) {
      const Index h = 5;
      const Index w = 7;
      const Index fy = more == 0 ? 2 : 3;
      const Index fx = 2;
      const Layout in = layout(c, h * w, more);
      const Layout out = layout(c, h * fy * w * fx, more);
      const Levels src = random_levels(in.bytes(), 1);
      Levels expected(at(out.bytes()), kUntouched);
      for (Index i = 0; i < 2 * h * fy * w * fx * c; ++i) {
        const Index p = i / c % out.area;
        const Index place = p / (w * fx) / fy * w + p % (w * fx) / fx;
        expected[out.place(i / c / out.area, p, i % c)] = src[in.place(i / c / out.area, place, i % c)];
      }
      for_every_isa([&](const Int8LayerTable& table, Index) {
        Levels got(expected.size(), kUntouched);
        in_disorder(2 * h, [&](Index begin, Index end) {
          table.resize(src.data(), in.image, in.pixel, got.data(), out.image, out.pixel, c, h, w, fy, fx,
                       begin, end);
        });
        CHECK(got == expected);
      });
    }
  }
}
