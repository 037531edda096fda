// Where tiles of an int8 convolution find their part of the image: in the image itself, or in copies with
// the padding.
#pragma once

#include <cstring>

#include "runtime/kernels/base.inl"
#include "runtime/kernels/int8/convolution/groups.inl"
#include "runtime/kernels/int8/convolution/items.inl"

namespace rdquant::runtime::kernels {
namespace {

constexpr Index kChunk = 1024;    // quads of channels
constexpr Index kOffsets = 1024;  // quads of a window that are listed
constexpr Index kSeen = 4;        // numbers of quads that tiles of groups run together see, with a list each
#if defined(__ARM_FEATURE_DOTPROD)
// Runs of channels that lie side by side are listed, not quads.
constexpr bool kListsRuns = true;
constexpr Index kStage = Index{1} << 15;  // bytes of the image that are staged
#else
constexpr bool kListsRuns = false;
constexpr Index kStage = Index{1} << 16;
#endif

// The source's zero as Quads have it.
inline std::int32_t quads_zero(const Int8ConvArgs& args) {
  return args.src_zero + (args.src_signed == kSignedQuads ? 0 : (kSignedQuads ? -128 : 128));
}

// What all tiles of a run share.
struct Int8View {
  Index h, w, kh, kw, dh, dw;
  Index quads;                // of channels that the tile sees
  simd::Bytes places;         // of each lane's bytes, where they are spread
  std::int32_t zero;          // of the source, as Quads have it
  const std::uint8_t* zeros;  // a pixel of the padding, of one chunk
};

// Where the tile is, and how its window lies in memory: in the image, or in a copy with the padding.
struct Int8Corner {
  Index row, column;        // of the first tap; may lie in the padding
  const std::uint8_t* src;  // that tap's first channel of the group
  Index line, tap, step;    // bytes from one row, column of the kernel, pixel of the tile to the next
  const std::int8_t* weights;
  const std::int32_t* offsets;      // of each four under them, in bytes from the first; or null
  Index runs;                       // of a kernel's row; `offsets` are theirs where kListsRuns
  const std::int32_t* weight_sums;  // of the tile's first block
  bool joined;                      // the taps of a row lie side by side, as their weights do
  bool inside;                      // no tap has to be looked up in `zeros`; else the tile is one pixel
  Index tiles;                      // side by side, where `inside` and the window lies in the image
};

// Columns of the image, with the padding, that `pixels` pixels of a row read.
inline Index columns_under(const ConvShape& s, Index pixels) {
  return (pixels - 1) * s.sw + (s.kw - 1) * s.dw + 1;
}
inline Index rows_under(const ConvShape& s, Index rows) { return (rows - 1) * s.sh + (s.kh - 1) * s.dh + 1; }

// Whether windows lie in the padding at the left or the right.
inline bool reaches_past(const ConvShape& s) { return s.left > 0 || columns_under(s, s.ow()) - s.left > s.w; }

// Rows of outputs whose part of the image is copied at once, with its padding; 0 where the windows of the
// tiles that reach into the padding are fewer bytes.
inline Index band_rows(const Int8Plan& plan) {
  const ConvShape& s = plan.shape;
  const Index wide = columns_under(s, s.ow());
  if (!reaches_past(s)) return 0;
  // Tiles of runs would rather have whole rows: a tile in the padding costs as many instructions as a row's copy.
  if (!kListsRuns && s.sh * wide > 2 * s.kh * columns_under(s, plan.pixels)) return 0;
  const Index most = kStage / (wide * 4 * divide(plan.group_c, 4));  // rows of the image
  return most < rows_under(s, 1) ? 0 : (most - rows_under(s, 1)) / s.sh + 1;
}

// A run of a plan: where its tiles are.
struct DenseRun {
  DenseRun(const Int8Plan& the_plan, const Int8ConvArgs& the_args)
      : plan(the_plan), args(the_args), s(the_plan.shape), quads(divide(the_plan.group_c, 4)) {
    const Index c4 = quads;
    const std::int32_t zero = quads_zero(args);
    view = plan.flat ? Int8View{1, s.h * s.w, 1, 1, 1, 1, c4, {}, zero, zeros}
                     : Int8View{s.h, s.w, s.kh, s.kw, s.dh, s.dw, c4, {}, zero, zeros};
    if (spreads(plan)) view.places = places();
    band = plan.flat ? 0 : band_rows(plan);
    find_numbers();
    columns = columns_under(s, band > 0 ? s.ow() : plan.pixels);
    staged = s.kh * columns * 4 * c4 <= kStage;
    const Index line = view.dh * view.w * args.src_pixel;
    listed = (kListsRuns ? view.kh * view.kw <= kOffsets && c4 <= kChunk
                         : view.kh * view.kw * numbers[0].quads <= kOffsets) &&
             view.kh * line < (Index{1} << 31);
    if (listed && kListsRuns) {
      list_runs(image_offsets, joins_image() ? 1 : view.kw, line, view.dw * args.src_pixel);
      list_runs(copy_offsets, joins_copy() ? 1 : view.kw, (band > 0 ? s.dh : 1) * columns * 4 * c4,
                s.dw * 4 * c4);
    } else if (listed) {
      list(image_offsets, line, view.dw * args.src_pixel);
      list(copy_offsets, (band > 0 ? s.dh : 1) * columns * 4 * c4, s.dw * 4 * c4);
    }
    if (!staged) std::memset(zeros, static_cast<std::uint8_t>(args.src_zero), sizeof zeros);
  }

  [[nodiscard]] simd::Bytes places() const {
    const Index c = s.c / s.groups, k = s.k / s.groups;
    alignas(64) std::uint8_t all[4 * kBlock];
    for (Index i = 0; i < 4 * kBlock; ++i) all[i] = static_cast<std::uint8_t>(i / 4 / k * c + i % 4);
    return simd::load_as<simd::Bytes>(all);
  }

  // Numbers of quads that tiles see, as many as have room for their lists.
  void find_numbers() {
    const Index blocks = divide(plan.group_k, kBlock);
    const Index last_group = plan.groups - 1;
    for (Index group = 0; group < plan.groups; group += last_group > 0 ? last_group : 1) {
      for (Index block = 0; block < blocks; block += plan.blocks) {
        add_number(quads_seen(plan, group, block).count());
        if (plan.groups == s.groups) return;
      }
    }
  }

  void add_number(Index seen) {
    if (seen == 0) return;
    if (seen < quads) narrow = true;
    for (Index i = 0; i < count; ++i) {
      if (numbers[i].quads == seen) return;
    }
    const Index first =
        count == 0 ? 0 : numbers[count - 1].first + view.kh * view.kw * numbers[count - 1].quads;
    if (count < kSeen && (count == 0 || first + view.kh * view.kw * seen <= kOffsets))
      numbers[count++] = {seen, first};
  }

  void list(std::int32_t* to, Index line, Index tap) const {
    for (Index i = 0; i < count; ++i)
      for (Index ky = 0; ky < view.kh; ++ky)
        for (Index kx = 0; kx < view.kw; ++kx)
          for (Index four = 0; four < numbers[i].quads; ++four)
            *to++ = static_cast<std::int32_t>(ky * line + kx * tap + 4 * four);
  }

  [[nodiscard]] SeenQuads seen(Index group, Index block) const {
    return narrow ? quads_seen(plan, group, block) : SeenQuads{0, quads};
  }

  // The part of the window that a tile sees.
  void see(const SeenQuads& seen, Int8Corner& at) const {
    if (!narrow) return;
    at.src += 4 * seen.begin;
    if (kListsRuns || at.offsets == nullptr) return;
    for (Index i = 0; i < count; ++i) {
      if (numbers[i].quads != seen.count()) continue;
      at.offsets += numbers[i].first;
      return;
    }
    at.offsets = nullptr;
  }

  void list_runs(std::int32_t* to, Index runs, Index line, Index tap) const {
    for (Index ky = 0; ky < view.kh; ++ky)
      for (Index kx = 0; kx < runs; ++kx) *to++ = static_cast<std::int32_t>(ky * line + kx * tap);
  }
  // Whether the taps of a kernel's row lie side by side in the image, as their weights do.
  [[nodiscard]] bool joins_image() const {
    return joins_copy() && plan.groups == 1 && args.src_pixel == 4 * quads;
  }
  [[nodiscard]] bool joins_copy() const { return s.dw == 1 && !narrow && quads <= kChunk; }

  // The window of a tile of `pixels` pixels as it lies in the image.
  [[nodiscard]] Int8Corner corner(const Int8Item& item, Index row, Index column, Index pixels) const {
    const Index pixel = args.src_pixel;
    Int8Corner at = {};
    at.row = row;
    at.column = column;
    at.src = args.src + item.image * args.src_image + first_channel(plan, item.group) +
             (row * view.w + column) * pixel;
    at.line = s.dh * view.w * pixel;
    at.tap = s.dw * pixel;
    at.step = s.sw * pixel;
    at.inside = column >= 0 && column + (pixels - 1) * s.sw + (view.kw - 1) * s.dw < view.w;
    at.tiles = 1;
    at.offsets = listed && at.inside ? image_offsets : nullptr;
    at.joined = at.inside && joins_image();
    at.runs = at.joined ? 1 : view.kw;
    return at;
  }

  // How many tiles from this one on, `most` at most, lie side by side in the image and do not overlap.
  [[nodiscard]] Index inside_tiles(const Int8Item& item, const Int8Corner& at, Index most) const {
    const Index reach = at.column + (s.kw - 1) * s.dw + (plan.pixels - 1) * s.sw;  // the last column read
    const Index step = plan.pixels * s.sw;
    const Index inside = 1 + (view.w - 1 - reach) / step;
    const Index row = plan.flat ? view.w : s.ow();
    const Index whole = row / plan.pixels - item.tile;
    const Index tiles = inside < whole && band == 0 ? inside : whole;
    return tiles < 1 ? 1 : (tiles < most ? tiles : most);
  }

  // Copies the window with the padding, unless it is there from the item before.
  void stage_window(const Int8Item& item, Int8Corner& at) {
    const Index size = 4 * quads;
    if (item.tile != last.tile || item.y != last.y || item.group != last.group || item.image != last.image) {
      const Span rows = taps_inside(at.row, s.kh, s.dh, s.h);
      for (Index ky = rows.begin; ky < rows.end; ++ky)
        stage_row(at.src + ky * at.line, at.column, window + ky * columns * size);
      last = item;
    }
    at.src = window;
    at.line = columns * size;
  }

  // The same with the windows of the rows of outputs from this one on, `rows` of them at most.
  void stage_band(const Int8Item& item, Index rows, Int8Corner& at) {
    const Index size = 4 * quads;
    const Index end = at.row + rows_under(s, 1);
    if (item.group != last.group || item.image != last.image || at.row < band_begin || end > band_end) {
      last = item;
      band_begin = at.row;
      band_end = at.row + rows_under(s, rows < band ? rows : band);
      const std::uint8_t* const first = at.src - (at.column + s.left) * args.src_pixel;
      for (Index row = band_begin < 0 ? 0 : band_begin; row < band_end && row < s.h; ++row) {
        const Index from = row - band_begin;
        stage_row(first + from * view.w * args.src_pixel, -s.left, window + from * columns * size);
      }
    }
    at.src = window + ((at.row - band_begin) * columns + at.column + s.left) * size;
    at.line = s.dh * columns * size;
  }

  void stage(const Int8Item& item, Index rows, Int8Corner& at) {
    band > 0 ? stage_band(item, rows, at) : stage_window(item, at);
    at.tap = s.dw * 4 * quads;
    at.step = s.sw * 4 * quads;
    at.inside = true;
    at.offsets = listed ? copy_offsets : nullptr;
    at.joined = joins_copy();
    at.runs = at.joined ? 1 : view.kw;
  }

  void stage_row(const std::uint8_t* src, Index column, std::uint8_t* to) const {
    const Index size = 4 * quads;
    const Index begin = column < 0 ? (-column < columns ? -column : columns) : 0;
    const Index room = view.w - column < columns ? view.w - column : columns;
    const Index end = room > begin ? room : begin;
    const auto zero = static_cast<std::uint8_t>(args.src_zero);
    std::memset(to, zero, static_cast<std::size_t>(begin * size));
    if (args.src_pixel == size) {
      std::memcpy(to + begin * size, src + begin * size, static_cast<std::size_t>((end - begin) * size));
    } else {
      for (Index i = begin; i < end; ++i) {
        std::memcpy(to + i * size, src + i * args.src_pixel, static_cast<std::size_t>(size));
      }
    }
    std::memset(to + end * size, zero, static_cast<std::size_t>((columns - end) * size));
  }

  const Int8Plan& plan;
  const Int8ConvArgs& args;
  const ConvShape& s;
  Index quads;  // of channels of groups run together
  Int8View view;
  Index band;           // rows of outputs whose windows are copied together, or 0
  Index columns;        // of a tile's window, or a band's
  bool listed;          // windows' quads are listed
  bool staged;          // windows that reach past the image are copied; else their pixels are run one by one
  bool narrow = false;  // some tiles do not see all channels
  // Fewer quads that a tile sees may have a list of their own.
  struct Number {
    Index quads, first;  // `first`: place in the lists
  };
  Number numbers[kSeen];
  Index count = 0;                     // of them
  Index band_begin = 0, band_end = 0;  // rows of the image
  Int8Item last = {-1, -1, -1, -1, -1, 0, 0, 0, 0};
  std::int32_t image_offsets[kOffsets], copy_offsets[kOffsets];
  alignas(64) std::uint8_t window[kStage];
  alignas(64) std::uint8_t zeros[4 * kChunk];
};

}  // namespace
}  // namespace rdquant::runtime::kernels
