// Products of matrices. Included by one file per instruction set, which sets RDQUANT_KERNELS_ISA.
#include "runtime/kernels/float32/math.inl"
#include "runtime/kernels/float32/matmul/pack.inl"
#include "runtime/kernels/float32/matmul/tables.hpp"

namespace rdquant::runtime::kernels {
namespace {

// Rows of a register tile for panels of N blocks: its sums fill the registers but for N blocks of b and an
// element of a. Few rows get wide panels, so that there are sums enough to keep the multipliers busy.
#if defined(__AVX512F__)
constexpr int kBlocks = 2, kRows = 14, kWideBlocks = 4, kFewRows = 6;
#elif defined(__AVX2__)
constexpr int kBlocks = 2, kRows = 6, kWideBlocks = 4, kFewRows = 3;
#else
constexpr int kBlocks = 1, kRows = 6, kWideBlocks = 2, kFewRows = 3;
#endif

constexpr Index kDepth = 256;      // of k that is walked through at a time
constexpr Index kGroupRows = 112;  // rows of a that are packed together at most
constexpr Index kEndPanels = 8;    // whose sums become y while they are in the second cache

// Weights come from memory or the third cache: tiles fetch the next panel while they use theirs.
constexpr Index kLineBytes = 64;
constexpr Index kStride = 8;             // steps of k between the fetches of a tile
constexpr Index kKept = Index{1} << 17;  // floats of b that the second cache still has for the next rows

// Where a tile's sums come from and go to.
struct Tile {
  float* y;
  Index y_row;
  Index columns;  // of the panel that exist
  bool first, last;
  float alpha, low, high;
  const float* bias;  // of the panel, or null
  const char* ahead;  // what of the next panel this tile fetches
  Index lines;        // so much of it with every kStride steps of k
};

// Elements [n·B, …) of a panel's row that exist.
template <int N>
inline Index columns_of(const Tile& t, int n) {
  const Index left = t.columns - n * kBlock;
  return left < 0 ? 0 : (left < kBlock ? left : kBlock);
}

template <int P, int N, bool Whole>
[[gnu::always_inline]] inline void store_sums(const Tile& t, F32 (&sums)[P][N]) {
  const F32 alpha = splat(t.alpha), low = splat(t.low), high = splat(t.high);
  for_each<N>([&](auto n) __attribute__((always_inline)) {
    const Index real = Whole ? kBlock : columns_of<N>(t, n);
    if (!Whole && real == 0) return;
    F32 bias = splat(0.0f);
    if (t.last && t.bias != nullptr)
      bias = Whole ? load(t.bias + n * kBlock) : load_some(t.bias + n * kBlock, real);
    for_each<P>([&](auto p) __attribute__((always_inline)) {
      float* const at = t.y + p * t.y_row + n * kBlock;
      const F32 x = t.last ? clamp(fma(sums[p][n], alpha, bias), low, high) : sums[p][n];
      if constexpr (Whole) {
        store(at, x);
      } else {
        store_some(at, x, real);
      }
    });
  });
}

// P rows of packed a by a panel of N blocks of packed b, over `depth`.
template <int P, int N, bool Whole>
void tile_of(const Tile& t, const float* a, const float* b, Index depth) {
  F32 sums[P][N];
  for_each<P>([&](auto p) __attribute__((always_inline)) {
    for_each<N>([&](auto n) __attribute__((always_inline)) {
      const float* const at = t.y + p * t.y_row + n * kBlock;
      if (t.first) {
        sums[p][n] = splat(0.0f);
      } else {
        sums[p][n] = Whole ? load(at) : load_some(at, columns_of<N>(t, n));
      }
    });
  });
  const char* ahead = t.ahead;
  for (Index left = depth; left > 0; left -= kStride) {
    for (Index i = 0; i < t.lines; ++i, ahead += kLineBytes) __builtin_prefetch(ahead, 0, 2);
    for (Index i = left < kStride ? left : kStride; i > 0; --i, a += P, b += N * kBlock) {
      F32 panel[N];
      for_each<N>([&](auto n) __attribute__((always_inline)) { panel[n] = load(b + n * kBlock); });
      for_each<P>([&](auto p) __attribute__((always_inline)) {
        const F32 x = splat(a[p]);
        for_each<N>([&](auto n)
                        __attribute__((always_inline)) { sums[p][n] = fma(x, panel[n], sums[p][n]); });
      });
    }
  }
  store_sums<P, N, Whole>(t, sums);
}

using TileFunction = void (*)(const Tile&, const float*, const float*, Index);

template <int N, int... P>
TileFunction choose_tile(Index rows, bool whole, std::integer_sequence<int, P...> /*counts*/) {
  TileFunction found = nullptr;
  ((rows == P + 1 ? void(found = whole ? tile_of<P + 1, N, true> : tile_of<P + 1, N, false>) : void()), ...);
  return found;
}

inline TileFunction choose_tile(Index blocks, Index rows, bool whole) {
  if (blocks == kWideBlocks)
    return choose_tile<kWideBlocks>(rows, whole, std::make_integer_sequence<int, kFewRows>{});
  return choose_tile<kBlocks>(rows, whole, std::make_integer_sequence<int, kRows>{});
}

MatmulPlan plan_matmul(Index m, Index n, Index k, Index threads) {
  MatmulPlan plan;
  plan.m = m;
  plan.n = n;
  plan.k = k;
  const bool few = m <= kFewRows;
  plan.blocks = few ? kWideBlocks : kBlocks;
  plan.panels = divide(n, plan.blocks * kBlock);
  plan.tiles = divide(m, few ? kFewRows : kRows);
  plan.rows = divide(m, plan.tiles);
  const Index most = kGroupRows / plan.rows;
  const Index groups = divide(plan.tiles, most);
  plan.group_tiles = divide(plan.tiles, groups);
  // each thread takes columns of its own, so that b comes to one core only
  plan.group_panels = divide(plan.panels, threads < plan.panels ? threads : plan.panels);
  plan.items = divide(plan.tiles, plan.group_tiles) * divide(plan.panels, plan.group_panels);
  plan.packed = plan.panels * plan.blocks * kBlock * k;
  plan.scratch = plan.group_tiles * plan.rows * (k < kDepth ? k : kDepth) + kBlock;
  return plan;
}

// Tile `t` of the plan: the rows are shared out evenly, larger tiles first.
struct TileRows {
  Index first, count;
};
inline TileRows tile_rows(const MatmulPlan& plan, Index t) {
  const Index larger = plan.m - plan.tiles * (plan.rows - 1);  // tiles of plan.rows rows
  if (t < larger) return {t * plan.rows, plan.rows};
  return {larger * plan.rows + (t - larger) * (plan.rows - 1), plan.rows - 1};
}

void add(const MatmulAddend& addend, float factor, Index i, Index j, float* y, Index count) {
  const float* const data = addend.data + i * addend.row + j * addend.column;
  const F32 scale = splat(factor);
  const F32 all = splat(*data);
  Index c = 0;
  for (; c + kBlock <= count; c += kBlock)
    store(y + c, fma(addend.column == 0 ? all : load(data + c), scale, load(y + c)));
  if (c == count) return;
  const F32 x = addend.column == 0 ? all : load_some(data + c, count - c);
  store_some(y + c, fma(x, scale, load_some(y + c, count - c)), count - c);
}

// What is not a clamp of alpha·a·b + bias, on columns [j, j + count) of row i.
void finish_row(const MatmulArgs& args, Index i, Index j, Index count) {
  float* const y = args.y + i * args.y_row + j;
  if (args.sum.data != nullptr) add(args.sum, args.beta, i, j, y, count);
  if (args.residual.data != nullptr && !args.residual_last) add(args.residual, 1.0f, i, j, y, count);
  apply_all(args.activation, y, y, count);
  if (args.residual.data != nullptr && args.residual_last) add(args.residual, 1.0f, i, j, y, count);
}

// How the sums become y: `simple` clamps in registers, everything else takes finish_row.
struct Ending {
  bool simple;
  float low, high;
};
inline Ending ending_of(const MatmulArgs& args) {
  const Function f = args.activation.function;
  const bool clamps = f == Function::none || f == Function::relu || f == Function::clip;
  const bool simple = clamps && args.sum.data == nullptr && args.residual.data == nullptr;
  Ending ending = {simple, -__builtin_inff(), __builtin_inff()};
  if (simple && f == Function::relu) ending.low = 0.0f;
  if (simple && f == Function::clip) ending = {simple, args.activation.alpha, args.activation.beta};
  return ending;
}

// Tiles [begin, end) by panels [left, right) for k from `from` on.
struct Group {
  Index begin, end, left, right, from, depth;
};

// Shares the panel behind that at `b` out among the tiles of a group. A few rows leave no time for it.
inline void fetch_next(const MatmulPlan& plan, const Group& g, Index panel, const float* b, Tile& tile) {
  const Index wide = plan.blocks * kBlock, bytes = kStride * wide * Index{sizeof(float)};
  const bool far = g.begin == 0 || plan.packed > kKept;
  const bool fetches = far && plan.blocks == kBlocks && panel + 1 < plan.panels;
  tile.lines = fetches ? divide(bytes, (g.end - g.begin) * kLineBytes) : 0;
  tile.ahead = fetches ? reinterpret_cast<const char*>(b + plan.k * wide) : nullptr;
}

void run_group(const MatmulPlan& plan, const MatmulArgs& args, const Ending& ending, Group g,
               const float* rows) {
  const Index wide = plan.blocks * kBlock;
  Tile tile = {nullptr,    args.y_row, 0,           g.from == 0, g.from + g.depth == plan.k,
               args.alpha, ending.low, ending.high, nullptr,     nullptr,
               0};
  for (Index panel = g.left; panel < g.right; ++panel) {
    const Index column = panel * wide;
    const float* const b = args.b + (panel * plan.k + g.from) * wide;
    tile.columns = plan.n - column < wide ? plan.n - column : wide;
    tile.bias = args.bias == nullptr ? nullptr : args.bias + column;
    const float* a = rows;
    fetch_next(plan, g, panel, b, tile);
    for (Index t = g.begin; t < g.end; ++t) {
      const TileRows at = tile_rows(plan, t);
      tile.y = args.y + at.first * args.y_row + column;
      choose_tile(plan.blocks, at.count, tile.columns == wide)(tile, a, b, g.depth);
      a += at.count * g.depth;
      if (tile.lines > 0) tile.ahead += divide(g.depth, kStride) * tile.lines * kLineBytes;
    }
  }
}

// The last range of k where sums do not become y in registers: some panels at a time, all rows of them.
void end_group(const MatmulPlan& plan, const MatmulArgs& args, const Ending& ending, Group g,
               const float* rows) {
  const Index wide = plan.blocks * kBlock, right = g.right;
  const TileRows final = tile_rows(plan, g.end - 1);
  for (; g.left < right; g.left = g.right) {
    g.right = g.left + kEndPanels < right ? g.left + kEndPanels : right;
    run_group(plan, args, ending, g, rows);
    const Index column = g.left * wide, end = g.right * wide < plan.n ? g.right * wide : plan.n;
    for (Index i = tile_rows(plan, g.begin).first; i < final.first + final.count; ++i)
      finish_row(args, i, column, end - column);
  }
}

// Items: groups of panels, then groups of tiles of rows.
void run_matmul(const MatmulPlan& plan, const MatmulArgs& args, float* scratch, Index begin, Index end) {
  const Ending ending = ending_of(args);
  const Index down = divide(plan.tiles, plan.group_tiles);
  const auto least = [](Index x, Index y) { return x < y ? x : y; };
  for (Index item = begin; item < end; ++item) {
    Group g = {};
    g.begin = item % down * plan.group_tiles;
    g.end = least(plan.tiles, g.begin + plan.group_tiles);
    g.left = item / down * plan.group_panels;
    g.right = least(plan.panels, g.left + plan.group_panels);
    for (g.from = 0; g.from < plan.k; g.from += kDepth) {
      g.depth = least(kDepth, plan.k - g.from);
      float* packed = scratch;
      for (Index t = g.begin; t < g.end; ++t) {
        const TileRows at = tile_rows(plan, t);
        pack_rows(args.a + at.first * args.a_row + g.from * args.a_column, args.a_row, args.a_column,
                  at.count, g.depth, packed);
        packed += at.count * g.depth;
      }
      const bool ends = g.from + g.depth == plan.k && !ending.simple;
      (ends ? end_group : run_group)(plan, args, ending, g, scratch);
    }
  }
}

void pack_matmul(const MatmulPlan& plan, const float* b, Index row, Index column, float* packed, Index begin,
                 Index end) {
  const Index wide = plan.blocks * kBlock;
  for (Index panel = begin; panel < end; ++panel) {
    const Index first = panel * wide;
    const Index real = plan.n - first < wide ? plan.n - first : wide;
    pack_panel(b + first * column, row, column, real, wide, plan.k, packed + panel * wide * plan.k);
  }
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const Matmul matmul = {.plan = plan_matmul, .pack = pack_matmul, .run = run_matmul};
}
}  // namespace rdquant::runtime::kernels
