#include "rdquant/entropy/counts.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <mutex>

#include "rdquant/core/error.hpp"
#include "rdquant/core/parallel.hpp"

namespace rdquant::entropy {
namespace {

constexpr std::int64_t kMostEntries = std::int64_t{1} << 24;
constexpr std::size_t kSmallTable = 2048;
constexpr std::size_t kManySymbols = std::size_t{1} << 18;

int gamma_bits(std::uint64_t n) { return 2 * std::bit_width(n) - 1; }

// Least-significant-digit radix sort of 32-bit keys, 11 bits a pass.
void radix_sort(std::vector<std::uint32_t>& keys) {
  std::vector<std::uint32_t> other(keys.size());
  for (int shift = 0; shift < 32; shift += 11) {
    std::array<std::size_t, 2049> start{};
    for (const std::uint32_t key : keys) ++start[((key >> shift) & 2047) + 1];
    for (std::size_t d = 1; d < start.size(); ++d) start[d] += start[d - 1];
    for (const std::uint32_t key : keys) other[start[(key >> shift) & 2047]++] = key;
    keys.swap(other);
  }
}

// Four tables in turn, so that a run of one symbol does not wait for its own store each time.
void add_small(std::span<const std::int32_t> symbols, std::int64_t low, std::vector<std::uint64_t>& table) {
  std::array<std::array<std::uint32_t, kSmallTable>, 4> parts;
  const std::size_t used = table.size();
  for (auto& part : parts) std::fill_n(part.begin(), used, 0U);
  const std::int32_t* s = symbols.data();
  const auto base = static_cast<std::int32_t>(low);
  std::size_t i = 0;
  for (; i + 4 <= symbols.size(); i += 4) {
    ++parts[0][static_cast<std::size_t>(s[i] - base)];
    ++parts[1][static_cast<std::size_t>(s[i + 1] - base)];
    ++parts[2][static_cast<std::size_t>(s[i + 2] - base)];
    ++parts[3][static_cast<std::size_t>(s[i + 3] - base)];
  }
  for (; i < symbols.size(); ++i) ++parts[0][static_cast<std::size_t>(s[i] - base)];
  for (std::size_t k = 0; k < used; ++k) {
    table[k] += std::uint64_t{parts[0][k]} + parts[1][k] + parts[2][k] + parts[3][k];
  }
}

// Pairs of symbols in one table of 65536, for the 256 symbols around zero: half as many increments, and runs
// of one symbol seldom meet. Blocks with another symbol are counted one by one. Worth its fixed cost, about
// that of 60,000 symbols, for many symbols only.
void add_pairs(std::span<const std::int32_t> symbols, std::int64_t low, std::vector<std::uint64_t>& table) {
  constexpr std::size_t kBlock = 1024;
  const std::int64_t high = low + static_cast<std::int64_t>(table.size()) - 1;
  const std::int64_t window = std::max(low, std::min<std::int64_t>(-128, high - 255));
  const auto base = static_cast<std::uint32_t>(window);
  std::vector<std::uint32_t> pairs(65536, 0);
  std::array<std::uint16_t, kBlock> codes;
  std::size_t at = 0;
  for (; at + 2 * kBlock <= symbols.size(); at += 2 * kBlock) {
    const std::int32_t* first = symbols.data() + at;
    const std::int32_t* second = first + kBlock;
    std::uint32_t all = 0;
    for (std::size_t i = 0; i < kBlock; ++i) {
      const std::uint32_t a = static_cast<std::uint32_t>(first[i]) - base;
      const std::uint32_t b = static_cast<std::uint32_t>(second[i]) - base;
      all |= a | b;
      codes[i] = static_cast<std::uint16_t>(a << 8 | b);
    }
    if (all < 256) {
      for (const std::uint16_t code : codes) ++pairs[code];
    } else {
      for (const std::int32_t s : symbols.subspan(at, 2 * kBlock)) ++table[static_cast<std::size_t>(s - low)];
    }
  }
  for (const std::int32_t s : symbols.subspan(at)) ++table[static_cast<std::size_t>(s - low)];
  const auto shift = static_cast<std::size_t>(window - low);
  const std::size_t used = std::min<std::size_t>(256, table.size() - shift);
  for (std::size_t a = 0; a < used; ++a) {
    for (std::size_t b = 0; b < used; ++b) {
      table[shift + a] += pairs[a << 8 | b];
      table[shift + b] += pairs[a << 8 | b];
    }
  }
}

std::pair<std::int32_t, std::int32_t> extremes(std::span<const std::int32_t> symbols) {
  std::int32_t low = symbols[0];
  std::int32_t high = symbols[0];
  for (const std::int32_t s : symbols) {
    low = std::min(low, s);
    high = std::max(high, s);
  }
  return {low, high};
}

}  // namespace

std::uint64_t Counts::total() const noexcept {
  std::uint64_t sum = 0;
  for (const std::uint64_t c : counts) sum += c;
  return sum;
}

double Counts::entropy() const noexcept {
  const auto n = static_cast<double>(total());
  if (n == 0.0) return 0.0;
  double sum = 0.0;
  for (const std::uint64_t c : counts) sum += static_cast<double>(c) * std::log2(static_cast<double>(c));
  return std::max(0.0, std::log2(n) - sum / n);
}

std::uint64_t Counts::table_bits() const noexcept {
  if (values.empty()) return 32;
  std::uint64_t bits = 64;
  for (std::size_t i = 0; i < values.size(); ++i) {
    bits += static_cast<std::uint64_t>(gamma_bits(counts[i]));
    if (i > 0)
      bits += static_cast<std::uint64_t>(gamma_bits(static_cast<std::uint64_t>(values[i] - values[i - 1])));
  }
  return bits;
}

bool Counter::cover(std::int64_t low, std::int64_t high) {
  const std::int64_t end = low_ + static_cast<std::int64_t>(table_.size());
  if (!table_.empty() && low >= low_ && high < end) return true;
  const std::int64_t new_low = table_.empty() ? low : std::min(low, low_);
  const std::int64_t new_end = table_.empty() ? high + 1 : std::max(high + 1, end);
  const auto most = std::clamp<std::int64_t>(static_cast<std::int64_t>(expected_) * 4, 1 << 16, kMostEntries);
  if (new_end - new_low > most) return false;
  std::vector<std::uint64_t> wider(static_cast<std::size_t>(new_end - new_low), 0);
  std::copy(table_.begin(), table_.end(), wider.begin() + (table_.empty() ? 0 : low_ - new_low));
  table_.swap(wider);
  low_ = new_low;
  return true;
}

// Turns the table into kept symbols.
void Counter::spill() {
  for (std::size_t k = 0; k < table_.size(); ++k) {
    kept_.insert(kept_.end(), table_[k], static_cast<std::int32_t>(low_ + static_cast<std::int64_t>(k)));
  }
  table_.clear();
  sparse_ = true;
}

void Counter::add(std::span<const std::int32_t> symbols, int threads) {
  if (symbols.empty()) return;
  if (threads != 1 && symbols.size() >= kManySymbols) {
    std::mutex mutex;
    core::parallel_for(symbols.size(), kManySymbols / 2, threads, [&](std::size_t begin, std::size_t end) {
      Counter part(end - begin);
      part.add(symbols.subspan(begin, end - begin));
      const std::lock_guard lock(mutex);
      merge(part);
    });
    return;
  }
  if (!sparse_) {
    const auto [low, high] = extremes(symbols);
    if (!cover(low, high)) spill();
  }
  if (sparse_) {
    kept_.insert(kept_.end(), symbols.begin(), symbols.end());
  } else if (table_.size() <= kSmallTable && symbols.size() >= kManySymbols) {
    add_pairs(symbols, low_, table_);
  } else if (table_.size() <= kSmallTable && symbols.size() >= table_.size()) {
    add_small(symbols, low_, table_);
  } else {
    for (const std::int32_t s : symbols) ++table_[static_cast<std::size_t>(s - low_)];
  }
}

void Counter::merge(const Counter& other) {
  if (!other.sparse_ && !other.table_.empty() && !sparse_) {
    const std::int64_t high = other.low_ + static_cast<std::int64_t>(other.table_.size()) - 1;
    if (cover(other.low_, high)) {
      for (std::size_t k = 0; k < other.table_.size(); ++k) {
        table_[static_cast<std::size_t>(other.low_ - low_) + k] += other.table_[k];
      }
      return;
    }
  }
  if (!sparse_) spill();
  Counter copy = other;
  if (!copy.sparse_) copy.spill();
  kept_.insert(kept_.end(), copy.kept_.begin(), copy.kept_.end());
}

Counts Counter::finish() const {
  Counts result;
  if (!sparse_) {
    for (std::size_t k = 0; k < table_.size(); ++k) {
      if (table_[k] == 0) continue;
      result.values.push_back(low_ + static_cast<std::int64_t>(k));
      result.counts.push_back(table_[k]);
    }
    return result;
  }
  std::vector<std::uint32_t> keys(kept_.size());
  // The sign bit turned, unsigned order is signed order.
  std::transform(kept_.begin(), kept_.end(), keys.begin(),
                 [](std::int32_t s) { return static_cast<std::uint32_t>(s) ^ 0x80000000U; });
  radix_sort(keys);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::int64_t value = static_cast<std::int32_t>(keys[i] ^ 0x80000000U);
    if (i == 0 || value != result.values.back()) {
      result.values.push_back(value);
      result.counts.push_back(0);
    }
    ++result.counts.back();
  }
  return result;
}

double conditional_entropy(std::span<const std::int32_t> symbols, std::size_t outer, std::size_t length,
                           std::size_t inner) {
  core::require(symbols.size() == outer * length * inner, "symbols must have outer·length·inner elements");
  if (symbols.empty() || length < 2) return 0.0;
  std::vector<std::uint64_t> pairs;
  pairs.reserve(outer * (length - 1) * inner);
  Counter previous(symbols.size());
  for (std::size_t o = 0; o < outer; ++o) {
    const std::int32_t* row = symbols.data() + o * length * inner;
    const std::size_t count = (length - 1) * inner;
    previous.add({row, count});
    for (std::size_t i = 0; i < count; ++i) {
      pairs.push_back(std::uint64_t{static_cast<std::uint32_t>(row[i])} << 32 |
                      static_cast<std::uint32_t>(row[i + inner]));
    }
  }
  std::sort(pairs.begin(), pairs.end());
  const auto n = static_cast<double>(pairs.size());
  double joint = std::log2(n);
  for (std::size_t i = 0; i < pairs.size();) {
    std::size_t end = i + 1;
    while (end < pairs.size() && pairs[end] == pairs[i]) ++end;
    const auto c = static_cast<double>(end - i);
    joint -= c * std::log2(c) / n;
    i = end;
  }
  return std::max(0.0, joint - previous.finish().entropy());
}

}  // namespace rdquant::entropy
