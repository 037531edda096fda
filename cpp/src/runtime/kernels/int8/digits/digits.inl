// Products by digits. Included by one file per instruction set, which sets RDQUANT_KERNELS_ISA.
//
// Packed weights: for each item of kItemBlocks blocks of rows, 128 times the sums of the rows' weights (int32), then for
// every four inputs the blocks' taps.
#include "runtime/kernels/int8/digits/digits.hpp"
#include "runtime/kernels/int8/vectors.inl"

namespace rdquant::runtime::kernels {
namespace {

constexpr int kDigits = 3, kItemBlocks = 4;
constexpr Index kItemRows = kItemBlocks * kBlock;
constexpr std::int32_t kHalf = 1 << 23;  // added to numbers, so that no digit is negative

inline Index quads_of(Index depth) { return divide(depth, 4); }
inline Index stride_of(Index depth) { return divide(depth, kBlock) * kBlock; }  // of one of a vector's digits
inline Index item_bytes(Index depth) {
  return kItemRows * Index{sizeof(std::int32_t)} + quads_of(depth) * kItemBlocks * kTapBytes;
}

Index packed_bytes(Index rows, Index depth) { return divide(rows, kItemRows) * item_bytes(depth); }
Index digit_bytes(Index depth) { return kDigits * stride_of(depth); }

void pack_digits(const std::int8_t* weights, Index rows, Index depth, std::byte* packed) {
  std::memset(packed, 0, static_cast<std::size_t>(packed_bytes(rows, depth)));
  for (Index row = 0; row < rows; ++row) {
    std::byte* const item = packed + row / kItemRows * item_bytes(depth);
    const Index in_item = row % kItemRows, block = in_item / kBlock;
    auto* const taps = reinterpret_cast<std::int8_t*>(item) + kItemRows * Index{sizeof(std::int32_t)};
    std::int32_t sum = 0;
    for (Index k = 0; k < depth; ++k) {
      const std::int8_t weight = weights[row * depth + k];
      taps[(k / 4 * kItemBlocks + block) * kTapBytes + tap_place(row % kBlock, k % 4)] = weight;
      sum += weight;
    }
    sum *= 128;
    std::memcpy(item + in_item * Index{sizeof sum}, &sum, sizeof sum);
  }
}

inline float power_of_two(std::int32_t exponent) {
  const std::int32_t bits = (exponent + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return power;
}

float split_digits(const float* x, Index depth, std::uint8_t* digits) {
  simd::Maximum largest;
  for (Index k = 0; k < depth; k += kBlock) {
    const F32 some = depth - k < kBlock ? load_some(x + k, depth - k) : load(x + k);
    largest.see(simd::abs(some));
  }
  float all[kBlock], most = 0;
  store(all, largest.get());
  for (const float one : all) most = most >= one || most != most ? most : one;
  if (!(most < __builtin_inff())) most = __builtin_nanf("");
  std::int32_t bits;
  std::memcpy(&bits, &most, sizeof bits);
  // most < 2^exponent; far smaller numbers are left with fewer digits
  std::int32_t exponent = ((bits >> 23) & 255) - 126;
  if (exponent < -100) exponent = -100;
  const F32 factor = splat(power_of_two(most == most ? 23 - exponent : 0));
  const Index stride = stride_of(depth);
  for (Index k = 0; k < depth; k += kBlock) {
    const F32 some = depth - k < kBlock ? load_some(x + k, depth - k) : load(x + k);
    const I32 number = min(simd::nearest(some * factor), splat(kHalf - 1)) + splat(kHalf);
    store_bytes(digits + k, number);
    store_bytes(digits + stride + k, number >> 8);
    store_bytes(digits + 2 * stride + k, number >> 16);
  }
  return most == most ? power_of_two(exponent - 23) : most;
}

// N blocks of rows from `row` on by all vectors.
template <int N>
void run_item(const DigitArgs& args, const std::byte* item, Index row) {
  const Index quads = quads_of(args.depth), stride = stride_of(args.depth);
  const auto* const halves = reinterpret_cast<const std::int32_t*>(item);
  for (Index b = 0; b < args.batch; ++b) {
    I32 sums[kDigits][N];
    // what dot() adds to or takes from digits to make them bytes as it wants them
    for_each<N>([&](auto n) __attribute__((always_inline)) {
      const I32 half = load(halves + n * kBlock);
      sums[0][n] = sums[1][n] = kSignedQuads ? half : splat(std::int32_t{0});
      sums[2][n] = kSignedQuads ? splat(std::int32_t{0}) : splat(std::int32_t{0}) - half;
    });
    const std::uint8_t* x = args.digits + b * kDigits * stride;
    const auto* taps = reinterpret_cast<const std::int8_t*>(item) + kItemRows * Index{sizeof(std::int32_t)};
    for (Index q = 0; q < quads; ++q, x += 4, taps += kItemBlocks * kTapBytes) {
      const Quads digits[] = {broadcast<false>(x), broadcast<false>(x + stride),
                              broadcast<false>(x + 2 * stride)};
      for_each<N>([&](auto n) __attribute__((always_inline)) {
        const Taps w = load_taps(taps + n * kTapBytes);
        for_each<kDigits>([&](auto d)
                              __attribute__((always_inline)) { sums[d][n] = dot(digits[d], w, sums[d][n]); });
      });
    }
    const F32 unit = splat(args.units[b]);
    for_each<N>([&](auto n) __attribute__((always_inline)) {
      const Index first = row + n * kBlock, left = args.rows - first;
      const F32 low = simd::fma(to_float(sums[1][n]), splat(256.0f), to_float(sums[0][n]));
      const F32 sum = simd::fma(to_float(sums[2][n]), splat(65536.0f), low);
      const float* const added = args.added == nullptr ? nullptr : args.added + b * args.y_row + first;
      float* const y = args.y + b * args.y_row + first;
      const auto some = [&](const float* from) __attribute__((always_inline)) {
        return left < kBlock ? load_some(from, left) : load(from);
      };
      const F32 made =
          simd::fma(sum, some(args.scales + first) * unit, added == nullptr ? splat(0.0f) : some(added));
      left < kBlock ? store_some(y, made, left) : store(y, made);
    });
  }
}

void run_digits(const DigitArgs& args, Index begin, Index end) {
  for (Index i = begin; i < end; ++i) {
    const std::byte* const item = args.packed + i * item_bytes(args.depth);
    const Index row = i * kItemRows, blocks = divide(args.rows - row, kBlock);
    if (blocks >= 4) {
      run_item<4>(args, item, row);
    } else if (blocks == 3) {
      run_item<3>(args, item, row);
    } else if (blocks == 2) {
      run_item<2>(args, item, row);
    } else {
      run_item<1>(args, item, row);
    }
  }
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
extern const DigitKernels digits;
const DigitKernels digits = {kItemRows, packed_bytes, digit_bytes, pack_digits, split_digits, run_digits};
}  // namespace RDQUANT_KERNELS_ISA
}  // namespace rdquant::runtime::kernels
