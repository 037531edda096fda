// Pairs of convolutions run row by row: of the image between them only a few rows are kept at a time.
#include <algorithm>
#include <limits>

#include "emit/reader.hpp"

namespace rdquant::emit {
namespace {

Buffer& buffer_at(Network& network, int i) { return network.buffers[static_cast<std::size_t>(i)]; }

/// Whether calls i and i + 1 are convolutions with nothing else reading what lies between.
bool can_merge(Network& network, std::size_t i) {
  if (i + 1 >= network.calls.size()) return false;
  const auto &before = network.calls[i].windowed, &after = network.calls[i + 1].windowed;
  if (before == nullptr || after == nullptr || before->residual.buffer >= 0) return false;
  const int between = before->to.buffer;
  const Buffer& kept = buffer_at(network, between);
  const bool alone = kept.outside.empty() && kept.first == static_cast<std::int32_t>(i) &&
                     kept.last == static_cast<std::int32_t>(i) + 1;
  const bool passed = after->from.buffer == between && after->from.offset == 0 && before->to.offset == 0 &&
                      after->residual.buffer != between && before->y == after->x;
  return alone && passed && after->window.dilations[0] == 1 && after->window.kernel[0] < after->x[2];
}

/// As window_distance, for two convolutions: what the first still reads when a row of the second has been written.
std::int64_t pair_distance(const Windowed& before, const Windowed& after) {
  const std::int64_t line = before.x[1] * before.x[3], step = after.y[1] * after.y[3];
  std::int64_t distance = std::numeric_limits<std::int64_t>::min() / 2;
  for (std::int64_t row = 0; row < after.y[2]; ++row) {
    const std::int64_t done =
        row * after.window.strides[0] - after.window.pads_begin[0] + after.window.kernel[0];
    if (done >= after.x[2]) break;  // the first has read all
    const std::int64_t next = std::max<std::int64_t>(0, done);
    const std::int64_t first = next * before.window.strides[0] - before.window.pads_begin[0];
    distance = std::max(distance, (row + 1) * step - std::max<std::int64_t>(0, first) * line);
  }
  return distance;
}

/// Calls i and i + 1 as one.
void merge(Network& network, std::size_t i) {
  const Call before = network.calls[i], after = network.calls[i + 1];
  const Windowed &a = *before.windowed, &b = *after.windowed;
  Buffer& work = buffer_at(network, before.scratch);
  work.bytes = std::max(work.bytes, buffer_at(network, after.scratch).bytes);
  buffer_at(network, after.scratch) = {"", 0, INT32_MAX, -1, {}, 0};
  buffer_at(network, a.to.buffer).bytes = b.window.kernel[0] * b.x[1] * b.x[3];
  Call both{before.node + ", " + after.node,
            "rdq_conv_pair",
            {},
            {},
            after.output,
            before.scratch,
            nullptr,
            before.macs + after.macs,
            before.outputs + after.outputs,
            before.constants + after.constants};
  const Argument scratch{{}, before.scratch, 0, "int16_t", true};
  both.arguments = {
      {a.layer, -1, 0, {}, false}, {b.layer, -1, 0, {}, false}, a.from, b.residual, b.to, a.to, scratch};
  for (const Overlap& overlap : after.overlaps) {
    if (overlap.input != a.to.buffer) both.overlaps.push_back(overlap);
  }
  if (a.from.offset == 0) both.overlaps.push_back({a.from.buffer, pair_distance(a, b), false});
  network.calls[i] = std::move(both);
  network.calls.erase(network.calls.begin() + static_cast<std::ptrdiff_t>(i) + 1);
  const auto now = static_cast<std::int32_t>(i);
  for (Buffer& buffer : network.buffers) {
    if (buffer.first > now && buffer.first != INT32_MAX) --buffer.first;
    if (buffer.last > now) --buffer.last;
  }
}

/// The network with those of its pairs merged that are chosen, in the order of their calls.
Network merged(const Network& network, const std::vector<bool>& chosen) {
  Network made = network;
  std::size_t pair = 0;
  for (std::size_t i = 0; i < made.calls.size(); ++i) {
    if (!can_merge(made, i)) continue;
    if (chosen[pair++]) {
      merge(made, i);
    } else {
      ++i;  // the second is in no other pair
    }
  }
  return made;
}

}  // namespace

std::int64_t place_in_rows(Network& network) {
  Network plain = network;
  std::int64_t least = place(plain);
  std::vector<bool> chosen;
  for (std::size_t i = 0; i < network.calls.size(); ++i) {
    if (can_merge(network, i)) {
      chosen.push_back(true);
      ++i;  // the second is in no other pair
    }
  }
  Network made = merged(network, chosen);
  const std::int64_t bytes = place(made);
  if (chosen.empty() || bytes >= least) {
    network = std::move(plain);
    return least;
  }
  least = bytes;
  for (std::size_t pair = 0; pair < chosen.size(); ++pair) {  // those that are not needed stay apart
    chosen[pair] = false;
    Network fewer = merged(network, chosen);
    if (place(fewer) > least) {
      chosen[pair] = true;
    } else {
      made = std::move(fewer);
    }
  }
  network = std::move(made);
  return least;
}

}  // namespace rdquant::emit
