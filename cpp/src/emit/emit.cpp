#include "rdquant/emit/emit.hpp"

#include <algorithm>
#include <set>

#include "emit/network.hpp"

namespace rdquant::emit {
namespace {

/// Bytes of buffers that hold something while call `now` runs, each counted once where two overlap.
std::int64_t live_bytes(const Network& network, std::int32_t now) {
  std::int64_t end = 0;
  std::set<std::pair<std::int64_t, std::int64_t>> spans;
  for (const Buffer& b : network.buffers) {
    if (b.outside.empty() && b.first <= now && now <= b.last) spans.emplace(b.offset, b.offset + b.bytes);
  }
  std::int64_t sum = 0;
  for (const auto& [from, to] : spans) {
    sum += std::max<std::int64_t>(0, to - std::max(from, end));
    end = std::max(end, to);
  }
  return sum;
}

/// Weights coded in as many layers as there can be within an arena of so many bytes, which becomes what it takes: those of
/// large images stay plain first.
Network read_coded(const program::Program& program, const Options& options, std::int64_t& arena) {
  for (std::int64_t room = arena;;) {
    Network network = read(program, options, room);
    const std::int64_t bytes = place_in_rows(network);
    if (bytes <= arena) {
      arena = bytes;
      return network;
    }
    std::int64_t most = 0;
    for (const Call& call : network.calls) most = std::max(most, call.working);
    room = most - 1;
  }
}

}  // namespace

Firmware emit(const program::Program& program, const Options& options) {
  Network network = read(program, options);
  Firmware made;
  made.arena = place_in_rows(network);
  if (options.coded) {
    made.arena = std::max(made.arena, options.room);
    network = read_coded(program, options, made.arena);
  }
  write(network, options, made);
  std::set<std::string> kernels;
  for (std::size_t i = 0; i < network.calls.size(); ++i) {
    const Call& call = network.calls[i];
    kernels.insert(call.function);
    made.layers.push_back({call.node, call.function, call.macs, call.outputs, call.constants, call.decoded,
                           live_bytes(network, static_cast<std::int32_t>(i))});
  }
  for (const auto* helpers : {&network.input_helpers, &network.output_helpers}) {
    for (const std::string& text : *helpers) kernels.insert(text.substr(0, text.find('(')));
  }
  made.kernels.assign(kernels.begin(), kernels.end());
  made.inputs = network.inputs;
  made.outputs = network.outputs;
  made.constants = network.bytes;
  made.taps = network.taps;
  return made;
}

}  // namespace rdquant::emit
