#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace rdquant::entropy {

/// Occurrences of integer symbols: `values` strictly increasing, `counts` positive, of one length.
struct Counts {
  std::vector<std::int64_t> values;
  std::vector<std::uint64_t> counts;

  [[nodiscard]] std::uint64_t total() const noexcept;

  /// Order-0 entropy −Σ p·log2 p, thesis 004 equation 2.31, in bits per symbol; 0 for no symbols.
  [[nodiscard]] double entropy() const noexcept;

  /// Bits of a plain table from which a decoder rebuilds the counts: symbols in rising order, each as the
  /// Elias-gamma code of its distance to the one before (the first one: 32 bits) and that of its count, and
  /// the number of symbols in 32 bits. The price of a static coder's side information, for comparison; not a
  /// format.
  [[nodiscard]] std::uint64_t table_bits() const noexcept;
};

/// Counts symbols block by block. Symbols whose span is small against their number go to a table that grows
/// as needed; past that, all of them are kept and sorted at the end. Memory: at most 8 bytes a symbol or 128
/// MiB.
class Counter {
 public:
  /// `expected`: about how many symbols will come; steers the choice between table and sorting only.
  explicit Counter(std::uint64_t expected = 0) : expected_(expected) {}

  /// Counts more symbols, on up to `threads` threads (0: all cores).
  void add(std::span<const std::int32_t> symbols, int threads = 1);

  /// Adds what another counter has seen.
  void merge(const Counter& other);

  [[nodiscard]] Counts finish() const;

 private:
  void add_block(std::span<const std::int32_t> symbols);
  std::span<const std::int32_t> add_window(std::span<const std::int32_t> symbols);
  void fold_window();
  bool cover(std::int64_t low, std::int64_t high);
  void spill();

  std::uint64_t expected_;
  std::int64_t low_ = 0;
  std::vector<std::uint64_t> table_;
  bool sparse_ = false;
  std::vector<std::int32_t> kept_;
  // Symbols about centre_ that were counted apart and are not in the table yet (src/entropy/window.hpp).
  std::int32_t centre_ = 0;
  std::vector<std::uint64_t> window_;
  std::vector<std::int32_t> outside_;
};

/// Occurrences of pairs (previous, current) of neighbours at distance 1 along the middle axis of an array of
/// shape (outer, length, inner); first elements have no predecessor and are left out. Gives H(current |
/// previous) = H(previous, current) − H(previous), in bits per symbol.
[[nodiscard]] double conditional_entropy(std::span<const std::int32_t> symbols, std::size_t outer,
                                         std::size_t length, std::size_t inner);

}  // namespace rdquant::entropy
