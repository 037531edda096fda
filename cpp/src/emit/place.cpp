// Places in the arena. Buffers that live at once lie apart, but a call's output may lie over an input that it reads for
// the last time, as far as its kernel has done with it.
#include <algorithm>
#include <numeric>

#include "emit/network.hpp"

namespace rdquant::emit {
namespace {

constexpr std::int64_t kArenaAlignment = 4;

std::int64_t down(std::int64_t offset) { return offset / kArenaAlignment * kArenaAlignment; }
std::int64_t up(std::int64_t offset) { return down(offset + kArenaAlignment - 1); }

/// Two buffers that may overlap: `input` begins `distance` after `output` at least, or, where `same`, with it.
struct Relation {
  std::size_t output, input;
  std::int64_t distance;
  bool same;
};

/// Buffers of the arena with what is known of each pair.
class Placer {
 public:
  explicit Placer(Network& network) : buffers_(network.buffers) {
    for (std::size_t i = 0; i < buffers_.size(); ++i) {
      if (buffers_[i].outside.empty() && buffers_[i].last >= buffers_[i].first) inside_.push_back(i);
    }
    for (std::size_t c = 0; c < network.calls.size(); ++c) relate(network, c);
  }

  std::int64_t run() {
    std::vector<std::size_t> order = inside_, best;
    const auto bytes = [&](std::size_t i) { return buffers_[i].bytes; };
    const auto improve = [&] {
      if (attempt(order)) best = order;
    };
    improve();
    std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return bytes(a) > bytes(b); });
    improve();
    // From the last to the first: an output lies below what it is computed from.
    order.assign(inside_.rbegin(), inside_.rend());
    improve();
    std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return bytes(a) > bytes(b); });
    improve();
    // Exchanges of two, kept where the arena does not grow.
    std::uint32_t state = 1;
    const auto random = [&](std::size_t n) { return (state = state * 1664525U + 1013904223U) / 65536U % n; };
    for (int i = 0; i < 2000 && order.size() > 1; ++i) {
      order = best;
      std::swap(order[random(order.size())], order[random(order.size())]);
      if (attempt(order)) best = order;
    }
    for (const std::size_t i : inside_) buffers_[i].offset = best_[i];
    return best_bytes_;
  }

 private:
  void relate(const Network& network, std::size_t c) {
    const Call& call = network.calls[c];
    for (const Overlap& overlap : call.overlaps) {
      const Buffer& input = buffers_[static_cast<std::size_t>(overlap.input)];
      const Buffer& output = buffers_[static_cast<std::size_t>(call.output)];
      const auto now = static_cast<std::int32_t>(c);
      if (input.last != now || output.first != now || !input.outside.empty() || !output.outside.empty())
        continue;
      relations_.push_back({static_cast<std::size_t>(call.output), static_cast<std::size_t>(overlap.input),
                            overlap.distance, overlap.same});
    }
  }

  [[nodiscard]] bool alive_together(std::size_t a, std::size_t b) const {
    return buffers_[a].first <= buffers_[b].last && buffers_[b].first <= buffers_[a].last;
  }

  /// Whether a and b may lie at these offsets though they overlap.
  [[nodiscard]] bool related(std::size_t a, std::int64_t a_offset, std::size_t b,
                             std::int64_t b_offset) const {
    bool any = false;
    for (const Relation& r : relations_) {
      if (!((r.output == a && r.input == b) || (r.output == b && r.input == a))) continue;
      const std::int64_t gap = r.output == a ? b_offset - a_offset : a_offset - b_offset;
      if (gap < r.distance && !(r.same && gap == 0)) return false;
      any = true;
    }
    return any;
  }

  [[nodiscard]] bool fits(std::size_t i, std::int64_t offset, const std::vector<std::size_t>& placed,
                          const std::vector<std::int64_t>& offsets) const {
    return offset >= 0 && std::ranges::all_of(placed, [&](std::size_t j) {
             const bool apart =
                 offset + buffers_[i].bytes <= offsets[j] || offsets[j] + buffers_[j].bytes <= offset;
             return apart || !alive_together(i, j) || related(i, offset, j, offsets[j]);
           });
  }

  /// The lowest place beside or over those placed.
  [[nodiscard]] std::int64_t lowest(std::size_t i, const std::vector<std::size_t>& placed,
                                    const std::vector<std::int64_t>& offsets) const {
    std::vector<std::int64_t> candidates{0};
    for (const std::size_t j : placed) {
      if (alive_together(i, j)) candidates.push_back(up(offsets[j] + buffers_[j].bytes));
    }
    for (const Relation& r : relations_) {
      const bool known = std::ranges::find(placed, r.output == i ? r.input : r.output) != placed.end();
      if (!known || (r.output != i && r.input != i)) continue;
      if (r.output == i) {
        candidates.push_back(down(offsets[r.input] - r.distance));
        candidates.push_back(offsets[r.input]);
      } else {
        candidates.push_back(up(offsets[r.output] + r.distance));
        candidates.push_back(offsets[r.output]);
      }
    }
    std::ranges::sort(candidates);
    return *std::ranges::find_if(candidates,
                                 [&](std::int64_t offset) { return fits(i, offset, placed, offsets); });
  }

  /// Places all in this order; true where the arena is no larger than the best.
  bool attempt(const std::vector<std::size_t>& order) {
    std::vector<std::int64_t> offsets(buffers_.size(), 0);
    std::vector<std::size_t> placed;
    std::int64_t bytes = 0;
    for (const std::size_t i : order) {
      offsets[i] = lowest(i, placed, offsets);
      bytes = std::max(bytes, up(offsets[i] + buffers_[i].bytes));
      if (bytes > best_bytes_) return false;
      placed.push_back(i);
    }
    best_ = std::move(offsets);
    best_bytes_ = bytes;
    return true;
  }

  std::vector<Buffer>& buffers_;
  std::vector<std::size_t> inside_;
  std::vector<Relation> relations_;
  std::vector<std::int64_t> best_;
  std::int64_t best_bytes_ = INT64_MAX;
};

}  // namespace

std::int64_t place(Network& network) { return Placer(network).run(); }

}  // namespace rdquant::emit
