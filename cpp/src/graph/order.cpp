// Nodes put in order, and those left out that compute what others do.
#include <algorithm>
#include <bit>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "graph/proto.hpp"
#include "rdquant/core/error.hpp"

namespace rdquant::graph {
namespace {

using Needs = std::vector<std::vector<std::size_t>>;

/// For each node those that make its inputs, in order and once each.
Needs needs_of(const std::vector<NodeProto>& nodes) {
  std::unordered_map<std::string_view, std::size_t> makers;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    for (const std::string& output : nodes[i].node.outputs) {
      if (!output.empty()) makers[output] = i;
    }
  }
  Needs needs(nodes.size());
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    for (const std::string& input : nodes[i].node.inputs) {
      const auto found = makers.find(input);
      if (found != makers.end()) needs[i].push_back(found->second);
    }
    std::ranges::sort(needs[i]);
    const auto [last, end] = std::ranges::unique(needs[i]);
    needs[i].erase(last, end);
  }
  return needs;
}

bool in_order(const Needs& needs) {
  for (std::size_t i = 0; i < needs.size(); ++i) {
    if (!needs[i].empty() && needs[i].back() >= i) return false;
  }
  return true;
}

struct Visit {
  std::size_t node;
  std::size_t next = 0;  // of its needs
};

[[noreturn]] void refuse_cycle(const std::vector<NodeProto>& nodes, const std::vector<Visit>& way,
                               std::size_t start, const std::string& name) {
  constexpr std::size_t kMostNamed = 8;
  const auto first = std::ranges::find(way, start, &Visit::node);
  const std::string last = described(nodes[way.back().node].node);
  std::string text = last;
  auto at = way.end() - 1;
  for (std::size_t named = 1; at != first && named < kMostNamed; ++named) {
    --at;
    text += " → " + described(nodes[at->node].node);
  }
  throw core::InvalidArgument(name + ": the graph has a cycle: " + text +
                              (at == first ? " → " + last : " → …"));
}

/// Whether two such nodes give different values.
bool is_random(const std::string& op) {
  return op.starts_with("Random") || op == "Bernoulli" || op == "Multinomial" || op == "Dropout";
}

/// Text of which equal parts only give equal wholes.
class Key {
 public:
  void add(const std::string& part) {
    add(static_cast<std::int64_t>(part.size()));
    text_ += part;
  }
  void add(std::int64_t number) { text_.append(std::to_string(number)).append(","); }
  void add(float number) { add(std::int64_t{std::bit_cast<std::int32_t>(number)}); }
  template <typename T>
  void add(const std::vector<T>& parts) {
    add(std::ssize(parts));
    for (const T& part : parts) add(part);
  }
  void add(const core::Tensor&) {}
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

/// What a node computes, as text; "" where that takes too long to tell.
std::string meaning(const Node& node) {
  Key key;
  key.add(node.op);
  key.add(node.domain);
  key.add(node.inputs);
  key.add(std::ssize(node.outputs));
  for (const auto& [name, value] : node.attributes) {
    if (std::holds_alternative<core::Tensor>(value)) return "";
    key.add(name);
    key.add(static_cast<std::int64_t>(value.index()));
    std::visit([&](const auto& v) { key.add(v); }, value);
  }
  return key.take();
}

}  // namespace

void sort_nodes(std::vector<NodeProto>& nodes, const std::string& name) {
  const Needs needs = needs_of(nodes);
  if (in_order(needs)) return;
  enum class State : std::uint8_t { untouched, open, placed };
  std::vector<State> states(nodes.size(), State::untouched);
  std::vector<NodeProto> sorted;
  sorted.reserve(nodes.size());
  std::vector<Visit> way;
  for (std::size_t root = 0; root < nodes.size(); ++root) {
    if (states[root] == State::untouched) way.push_back({root});
    while (!way.empty()) {
      Visit& at = way.back();
      states[at.node] = State::open;
      const auto& wanted = needs[at.node];
      while (at.next < wanted.size() && states[wanted[at.next]] == State::placed) ++at.next;
      if (at.next == wanted.size()) {
        states[at.node] = State::placed;
        sorted.push_back(nodes[at.node]);  // not moved: an error may still have to name it
        way.pop_back();
      } else if (states[wanted[at.next]] == State::open) {
        refuse_cycle(nodes, way, wanted[at.next], name);
      } else {
        way.push_back({wanted[at.next]});
      }
    }
  }
  nodes = std::move(sorted);
}

void drop_repeats(std::vector<Node>& nodes, const std::vector<ValueInfo>& kept) {
  std::unordered_set<std::string_view> named;
  for (const ValueInfo& value : kept) named.insert(value.name);
  std::unordered_map<std::string, std::string> same;      // a value → an earlier one that equals it
  std::unordered_map<std::string, std::size_t> first_of;  // what a node does → its place in `left`
  std::vector<Node> left;
  left.reserve(nodes.size());
  for (Node& node : nodes) {
    for (std::string& input : node.inputs) {
      const auto found = same.find(input);
      if (found != same.end()) input = found->second;
    }
    const auto is_kept = [&](const std::string& output) { return named.contains(output); };
    std::string key = is_random(node.op) || std::ranges::any_of(node.outputs, is_kept) ? "" : meaning(node);
    if (!key.empty()) {
      const auto [at, fresh] = first_of.emplace(std::move(key), left.size());
      const auto lacks = [](const std::string& first, const std::string& own) {
        return first.empty() && !own.empty();
      };
      if (!fresh) {
        const std::vector<std::string>& given = left[at->second].outputs;
        bool serves = true;
        for (std::size_t i = 0; i < given.size(); ++i) serves = serves && !lacks(given[i], node.outputs[i]);
        if (serves) {
          for (std::size_t i = 0; i < given.size(); ++i) {
            if (!node.outputs[i].empty()) same[node.outputs[i]] = given[i];
          }
          continue;
        }
      }
    }
    left.push_back(std::move(node));
  }
  nodes = std::move(left);
}

}  // namespace rdquant::graph
