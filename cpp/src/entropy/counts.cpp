#include "rdquant/entropy/counts.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <mutex>

#include "entropy/window.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/core/parallel.hpp"

namespace rdquant::entropy {
namespace {

constexpr std::int64_t kMostEntries = std::int64_t{1} << 24;
constexpr std::size_t kSmallTable = 2048;
constexpr std::size_t kBlock = std::size_t{1} << 15;
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

// 64 symbols from all over.
std::array<std::int32_t, 64> sample(std::span<const std::int32_t> symbols) {
  std::array<std::int32_t, 64> some;
  const std::size_t stride = symbols.size() / some.size();
  for (std::size_t i = 0; i < some.size(); ++i) some[i] = symbols[i * stride];
  return some;
}

bool in_window(std::int64_t symbol, std::int64_t centre) {
  return symbol >= centre - kWindowLow && symbol <= centre + kWindowHigh;
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
  fold_window();
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
  // Block by block, so that the second look at a symbol finds it in the cache.
  for (std::size_t at = 0; at < symbols.size(); at += kBlock)
    add_block(symbols.subspan(at, std::min(kBlock, symbols.size() - at)));
}

// Counts what a block has in one window, and returns the rest; all of it where a sample says
// that too much lies outside. The window stays as long as blocks fit it.
std::span<const std::int32_t> Counter::add_window(std::span<const std::int32_t> symbols) {
  constexpr std::ptrdiff_t kFew = 4;  // of the sample, that may lie outside
  if (sparse_ || symbols.size() < kWindowBlock) return symbols;
  auto some = sample(symbols);
  const auto inside =
      std::count_if(some.begin(), some.end(), [this](std::int32_t s) { return in_window(s, centre_); });
  if (window_.empty() || inside < std::ssize(some) - kFew) {
    std::sort(some.begin(), some.end());
    const std::int64_t low = some[kFew / 2];
    const std::int64_t high = some[some.size() - 1 - kFew / 2];
    if (high - low > kWindowLow + kWindowHigh || std::max(-low, high) > kMostEntries) return symbols;
    fold_window();
    centre_ = static_cast<std::int32_t>(low + (high - low) / 2 + 1);
    window_.assign(kWindowSums, 0);
  }
  outside_.resize(symbols.size());
  const std::size_t whole = symbols.size() / kWindowBlock * kWindowBlock;
  std::size_t rest = selected_count_window()(symbols.data(), whole, centre_, window_.data(), outside_.data());
  for (const std::int32_t s : symbols.subspan(whole)) outside_[rest++] = s;
  return {outside_.data(), rest};
}

// Moves the window's counts to where all others are.
void Counter::fold_window() {
  std::vector<std::uint64_t> sums;
  sums.swap(window_);
  for (std::size_t k = 0; k + 8 < sums.size(); k += 8) {
    std::uint64_t count = 0;
    for (std::size_t j = 0; j < 8; ++j) count += sums[k + j];
    if (count == 0) continue;
    const std::int32_t symbol = centre_ - kWindowLow + static_cast<std::int32_t>(k / 8);
    if (!sparse_ && !cover(symbol, symbol)) spill();
    if (sparse_) {
      kept_.insert(kept_.end(), count, symbol);
    } else {
      table_[static_cast<std::size_t>(symbol - low_)] += count;
    }
  }
}

void Counter::add_block(std::span<const std::int32_t> symbols) {
  symbols = add_window(symbols);
  if (symbols.empty()) return;
  if (!sparse_) {
    const auto [low, high] = extremes(symbols);
    if (!cover(low, high)) spill();
  }
  if (sparse_) {
    kept_.insert(kept_.end(), symbols.begin(), symbols.end());
  } else if (table_.size() <= kSmallTable && symbols.size() >= table_.size()) {
    add_small(symbols, low_, table_);
  } else {
    for (const std::int32_t s : symbols) ++table_[static_cast<std::size_t>(s - low_)];
  }
}

void Counter::merge(const Counter& other) {
  if (!other.window_.empty()) {
    Counter folded = other;
    folded.fold_window();
    merge(folded);
    return;
  }
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
  if (!window_.empty()) {
    Counter folded = *this;
    folded.fold_window();
    return folded.finish();
  }
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
  // With the sign bit inverted, unsigned order is signed order.
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
