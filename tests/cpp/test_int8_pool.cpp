#include <doctest/doctest.h>

#include <algorithm>

#include "int8_layer_reference.hpp"

using namespace reference;

namespace {

/// One window: the level that it gives.
std::uint8_t pooled(const PoolShape& s, const Int8Kernels::PoolArgs& args, const Levels& src, Index image,
                    Index y, Index x, Index k) {
  std::int32_t sum = 0;
  std::int32_t most = args.is_signed ? -128 : 0;
  Index real = 0;
  Index padded = 0;
  for (Index t = 0; t < s.kh * s.kw; ++t) {
    const Index row = y * s.sh - s.top + t / s.kw * s.dh;
    const Index column = x * s.sw - s.left + t % s.kw * s.dw;
    padded += row < s.h + s.bottom && column < s.w + s.right;
    if (row < 0 || row >= s.h || column < 0 || column >= s.w) continue;
    const Index place = image * args.src_image + (row * s.w + column) * args.src_pixel + k;
    const std::int32_t value = number(src[at(place)], args.is_signed);
    sum += value - args.src_zero;
    most = std::max(most, value);
    ++real;
  }
  if (!s.average) return static_cast<std::uint8_t>(most);
  if (real == 0) return static_cast<std::uint8_t>(args.zero);
  const float factor = args.scale / static_cast<float>(s.count_pad ? padded : real);
  return level(static_cast<float>(sum) * factor, {0.0f, args.zero, args.low, args.high});
}

void check_pool(const PoolShape& s, const Type& from, const Type& to, Index more) {
  const Layout in = layout(s.c, s.h * s.w, more);
  const Layout out = layout(s.c, s.oh * s.ow, more);
  const Levels src = random_levels(in.bytes(), 1);
  Levels expected(at(out.bytes()), kUntouched);
  Levels got = expected;
  Int8Kernels::PoolArgs args;
  args.src = src.data();
  args.src_image = in.image;
  args.src_pixel = in.pixel;
  args.is_signed = from.is_signed();
  args.dst_image = out.image;
  args.dst_pixel = out.pixel;
  args.scale = from.scale / to.scale;
  args.src_zero = from.zero;
  args.zero = to.zero;
  args.low = to.low;
  args.high = to.high;
  for (Index i = 0; i < s.n; ++i) {
    for (Index p = 0; p < s.oh * s.ow; ++p) {
      for (Index k = 0; k < s.c; ++k) {
        expected[out.place(i, p, k)] = pooled(s, args, src, i, p / s.ow, p % s.ow, k);
      }
    }
  }
  for_every_isa([&](const Int8LayerTable& table, Index) {
    std::fill(got.begin(), got.end(), kUntouched);
    args.dst = got.data();
    in_disorder(s.n * s.oh, [&](Index begin, Index end) { table.pool(s, args, begin, end); });
    CHECK(got == expected);
  });
}

PoolShape window(Index c, Index size, Index kernel, Index stride, Index pad) {
  PoolShape s;
  s.n = 2;
  s.c = c;
  s.h = size;
  s.w = size + 3;
  s.kh = s.kw = kernel;
  s.sh = s.sw = stride;
  s.top = s.left = s.bottom = s.right = pad;
  s.oh = (s.h + 2 * pad - kernel) / stride + 1;
  s.ow = (s.w + 2 * pad - kernel) / stride + 1;
  return s;
}

std::vector<PoolShape> windows() {
  std::vector<PoolShape> all;
  for (const Index c : {1, 3, 5, 8, 17, 24, 33, 64, 100}) {
    for (const PoolShape& s :
         {window(c, 7, 2, 2, 0), window(c, 13, 3, 2, 0), window(c, 6, 3, 1, 1), window(c, 5, 5, 1, 2),
          window(c, 6, 3, 2, 1), window(c, 4, 4, 3, 3), window(c, 6, 13, 1, 6)}) {
      all.push_back(s);
    }
    PoolShape past = window(c, 9, 3, 2, 0);  // windows past the end, as ceil mode makes them
    past.dh = 2;
    past.ow += 1;
    past.right = 1;
    past.oh -= 1;
    all.push_back(past);
    PoolShape wide = window(c, 4, 3, 1, 1);  // more columns than a tile
    wide.w = wide.ow = 301;
    wide.dw = 2;
    wide.left = wide.right = 2;
    all.push_back(wide);
  }
  PoolShape apart = window(40, 4, 2, 1, 0);  // windows without any pixel
  apart.top = apart.left = 3;
  apart.oh = apart.h + 2;
  apart.ow = apart.w + 2;
  all.push_back(apart);
  PoolShape far = window(17, 3, 3, 1, 1);  // taps further apart than a tile
  far.w = 300;
  far.dw = 140;
  far.left = far.right = 140;
  far.ow = 300;
  all.push_back(far);
  return all;
}

}  // namespace

TEST_CASE("pooling") {
  std::size_t turn = 0;
  for (PoolShape s : windows()) {
    CAPTURE(s.c);
    CAPTURE(s.h);
    CAPTURE(s.kh);
    for (const bool is_signed : {false, true}) {
      const Index more = turn++ % 2 == 0 ? 0 : 40;
      const Type& type = kTypes[turn % 3 + (is_signed ? 3 : 0)];
      s.average = false;
      check_pool(s, type, type, more);
      s.average = true;
      for (const bool count_pad : {false, true}) {
        s.count_pad = count_pad;
        check_pool(s, type, kTypes[turn++ % 6], more);
      }
    }
  }
}

TEST_CASE("averages of windows that overlap much") {
  std::size_t turn = 0;
  for (const Index c : {3, 64, 100}) {
    PoolShape line = window(c, 5, 31, 1, 15);  // along one row
    line.kh = 1;
    line.top = line.bottom = 0;
    line.oh = line.h;
    PoolShape tall = window(3, 262, 21, 2, 0);  // as many rows as 16 bits hold sums of
    tall.kh = 256;
    tall.w = 25;
    tall.ow = 3;
    tall.oh = (tall.h - tall.kh) / 2 + 1;
    PoolShape wide = window(c, 9, 7, 1, 3);  // more columns than a strip
    wide.w = wide.ow = 600;
    PoolShape uneven = window(c, 12, 9, 2, 6);  // some windows wholly in the padding
    uneven.bottom = uneven.right = 8;
    uneven.oh = (uneven.h + 14 - 9) / 2 + 1;
    uneven.ow = (uneven.w + 14 - 9) / 2 + 1;
    for (PoolShape s : {line, tall, wide, uneven, window(c, 22, 21, 1, 10), window(c, 24, 11, 3, 2)}) {
      s.average = true;
      for (const bool count_pad : {false, true}) {
        s.count_pad = count_pad;
        const Type& type = kTypes[turn++ % 6];
        check_pool(s, type, kTypes[turn % 6], turn % 2 == 0 ? 0 : 40);
      }
    }
  }
  PoolShape apart = window(40, 6, 4, 1, 5);  // windows without any pixel
  apart.average = true;
  check_pool(apart, kTypes[0], kTypes[4], 0);
}

TEST_CASE("averages of whole images, at both ends of the range") {
  for (const Index size : {7, 20, 70}) {
    PoolShape s = window(100, size, size, 1, 0);
    s.kw = s.w;
    s.ow = 1;
    s.average = true;
    check_pool(s, {1.0f, 255, 0, 255}, {1.0f, 200, 0, 255}, 0);
    check_pool(s, {1.0f, -128, -128, 127}, {2.0f, -128, -128, 127}, 3);
  }
}

TEST_CASE("an average of more pixels than int32 holds the sum of") {
  PoolShape s;
  s.c = 1;
  s.h = s.kh = 2930;
  s.w = s.kw = 2930;
  s.oh = s.ow = 1;
  s.average = true;
  const Levels src(at(s.h * s.w + 64), 255);
  for_every_isa([&](const Int8LayerTable& table, Index) {
    std::uint8_t mean = 0;
    Int8Kernels::PoolArgs args;
    args.src = src.data();
    args.src_image = s.h * s.w;
    args.src_pixel = 1;
    args.dst = &mean;
    args.dst_image = args.dst_pixel = 1;
    args.scale = 0.52f;
    table.pool(s, args, 0, 1);
    CHECK(mean == 133);  // 132.6
    args.src_zero = 55;
    table.pool(s, args, 0, 1);
    CHECK(mean == 104);
  });
}
