// Attention as ONNX Runtime's optimizer joins it, and positions by rotation.
#include <algorithm>
#include <tuple>
#include <utility>

#include "program/composite/composite.hpp"

namespace rdquant::program {
namespace {

/// A mask of what may be looked at, as what is added to scores: 0 there, `mask_filter_value` elsewhere.
std::string hidden_keys(Composite& node, const std::string& seen, const std::string& like) {
  const std::string nothing = node.number(0, like),
                    hidden = node.number(node.real("mask_filter_value", -10000), like);
  return node.add("Where", {seen, nothing, hidden});
}

/// Keys before the lengths given [batch], or also from starts on [2 · batch: ends, starts].
std::string between(Composite& node, const std::string& lengths, std::int64_t batch, std::int64_t keys) {
  const std::string places = node.add("CastLike", {node.counted(keys), lengths});
  const bool starts = node.shape(lengths)[0] == 2 * batch;
  if (!starts) return node.add("Less", {places, node.reshaped(lengths, {batch, 1, 1, 1})});
  const Strings both = node.parts(lengths, 0, {batch, batch});
  const std::string before = node.add("Less", {places, node.reshaped(both[0], {batch, 1, 1, 1})});
  const std::string after = node.add("GreaterOrEqual", {places, node.reshaped(both[1], {batch, 1, 1, 1})});
  return node.add("And", {before, after});
}

/// What the node's mask, input `i`, adds to scores; "" where there is none.
std::string mask_of(Composite& node, std::size_t i, const std::string& like, std::int64_t batch,
                    std::int64_t keys) {
  if (!node.has(i)) return "";
  const std::string mask = node.input(i);
  const core::Shape shape = node.shape(mask);
  if (shape.size() == 1 && (shape[0] == batch || shape[0] == 2 * batch)) {
    return hidden_keys(node, between(node, mask, batch, keys), like);
  }
  core::Shape wide;
  if (shape.size() == 2 && shape[0] == batch && shape[1] == keys) wide = {batch, 1, 1, keys};
  if (shape.size() == 3 && shape[0] == batch && shape[2] == keys) wide = {batch, 1, shape[1], keys};
  if (wide.empty()) {
    node.refuse("a mask of shape " + core::shape_text(shape) +
                " (allowed are [batch, keys] and [batch, queries, keys], "
                "lengths [batch], and ends and starts [2 · batch], of a batch of " +
                std::to_string(batch) + " and " + std::to_string(keys) + " keys)");
  }
  const std::string seen = node.add("Greater", {mask, node.number(0, mask)});
  return hidden_keys(node, node.reshaped(seen, wide), like);
}

/// Queries, keys and values, what came before, and how many heads share them.
struct Attended {
  std::string queries, keys, values, past_keys, past_values;
  std::int64_t heads = 0;
};

/// ONNX's Attention, whose outputs become `outputs`.
void attend(Composite& node, const Attended& of, const std::string& bias, Strings outputs) {
  Attributes attributes = {
      {"q_num_heads", of.heads}, {"kv_num_heads", of.heads}, {"is_causal", node.integer("unidirectional")}};
  if (node.real("scale", 0) != 0) attributes["scale"] = node.real("scale", 0);
  node.add_all("Attention", {of.queries, of.keys, of.values, bias, of.past_keys, of.past_values},
               std::move(attributes), std::move(outputs));
}

std::int64_t heads_of(const Composite& node) {
  const std::int64_t heads = node.integer("num_heads");
  node.check(heads >= 1, "num_heads must be at least 1, it is " + std::to_string(heads));
  return heads;
}

/// The sizes of queries, keys and values in `weights` columns.
std::vector<std::int64_t> hidden_sizes(const Composite& node, std::int64_t columns) {
  const auto given = node.attribute("qkv_hidden_sizes", std::vector<std::int64_t>());
  const std::int64_t third = columns / 3;
  const std::vector<std::int64_t> sizes = given.empty() ? std::vector<std::int64_t>(3, third) : given;
  const auto fits = [&](std::int64_t size) { return size >= 0 && size <= columns; };
  node.check(
      sizes.size() == 3 && std::ranges::all_of(sizes, fits) && sizes[0] + sizes[1] + sizes[2] == columns,
      "weights of " + std::to_string(columns) + " columns are not cut into queries, keys and values");
  return sizes;
}

/// x, weights and bias of queries, keys and values in one, mask, past, bias of scores.
void packed_attention(Composite& node) {
  if (node.integer("do_rotary") != 0) node.refuse("do_rotary");
  if (node.integer("past_present_share_buffer") != 0) node.refuse("past_present_share_buffer");
  const core::Shape x = node.shape(node.input(0)), weights = node.shape(node.input(1));
  node.check(x.size() == 3 && weights.size() == 2,
             "x of shape [batch, steps, size] and weights [size, columns] are wanted");
  const std::string product = node.add("MatMul", {node.input(0), node.input(1)});
  const Strings parts = node.parts(node.sum(product, node.input(2)), 2, hidden_sizes(node, weights[1]));
  Attended of = {parts[0], parts[1], parts[2], "", "", heads_of(node)};
  std::int64_t keys = x[1];
  if (node.has(4)) {
    const core::Shape past = node.shape(node.input(4));
    node.check(past.size() == 5 && past[0] == 2, "a past of shape [2, batch, heads, steps, size] is wanted");
    const Strings halves = node.parts(node.input(4), 0, {1, 1});
    const core::Shape one(past.begin() + 1, past.end());
    of.past_keys = node.reshaped(halves[0], one);
    of.past_values = node.reshaped(halves[1], one);
    keys += past[3];
  }
  const std::string bias = node.sum(node.input(5), mask_of(node, 3, product, x[0], keys));
  if (!node.wants(1)) return attend(node, of, bias, {node.output()});
  Strings given = {node.output(), node.output(1) + "#keys", node.output(1) + "#values"};
  attend(node, of, bias, given);
  Strings both;
  for (const std::size_t i : {std::size_t{1}, std::size_t{2}})
    both.push_back(node.add("Unsqueeze", {given[i], node.integers({0})}));
  node.add("Concat", std::move(both), {{"axis", std::int64_t{0}}}, node.output(1));
}

/// The parts of an input [batch, steps, heads, parts, size], each [batch, steps, heads · size].
Strings unpacked(Composite& node, const std::string& x) {
  const core::Shape shape = node.shape(x);
  node.check(shape[3] == 2 || shape[3] == 3, "packed queries hold three parts, packed keys two");
  Strings parts;
  for (const std::string& part :
       node.parts(x, 3, std::vector<std::int64_t>(static_cast<std::size_t>(shape[3]), 1)))
    parts.push_back(node.reshaped(part, {shape[0], shape[1], shape[2] * shape[4]}));
  return parts;
}

/// Adds to each of them its part of the bias.
void add_bias(Composite& node, Attended& of, const std::string& bias) {
  std::vector<std::int64_t> sizes;
  for (const std::string* x : {&of.queries, &of.keys, &of.values}) {
    node.check(node.shape(*x).size() == 3, "a bias for keys or values that have heads already");
    sizes.push_back(node.shape(*x)[2]);
  }
  const Strings parts = node.parts(bias, 0, sizes);
  of.queries = node.add("Add", {of.queries, parts[0]});
  of.keys = node.add("Add", {of.keys, parts[1]});
  of.values = node.add("Add", {of.values, parts[2]});
}

/// Queries, keys, values, bias of the three, mask, bias of scores, past keys and values.
void multi_head_attention(Composite& node) {
  for (std::size_t i = 8; i < node.inputs(); ++i) {
    if (node.has(i)) node.refuse("a past in a buffer of its own (input " + std::to_string(i) + ")");
  }
  if (node.wants(3)) node.refuse("the output of scores");
  Attended of = {node.input(0), node.input(1), node.input(2), node.input(6), node.input(7), heads_of(node)};
  if (node.shape(of.queries).size() == 5) {
    const Strings parts = unpacked(node, of.queries);
    node.check(parts.size() == 3, "packed queries hold three parts");
    std::tie(of.queries, of.keys, of.values) = std::tie(parts[0], parts[1], parts[2]);
  } else if (node.has(1) && node.shape(of.keys).size() == 5) {
    const Strings parts = unpacked(node, of.keys);
    node.check(parts.size() == 2, "packed keys hold two parts");
    std::tie(of.keys, of.values) = std::tie(parts[0], parts[1]);
  }
  node.check(!of.keys.empty() && !of.values.empty(), "keys and values are left out");
  if (node.has(3)) add_bias(node, of, node.input(3));
  const core::Shape queries = node.shape(of.queries), keys = node.shape(of.keys);
  node.check(queries.size() == 3 && (keys.size() == 3 || keys.size() == 4),
             "queries [batch, steps, size] and keys of three or four axes are wanted");
  std::int64_t count = keys[keys.size() - 2];
  if (!of.past_keys.empty()) count += node.shape(of.past_keys).size() == 4 ? node.shape(of.past_keys)[2] : 0;
  const std::string bias = node.sum(node.input(5), mask_of(node, 4, of.queries, queries[0], count));
  Strings outputs = {node.output()};
  if (node.wants(1) || node.wants(2)) outputs.insert(outputs.end(), {node.output(1), node.output(2)});
  attend(node, of, bias, std::move(outputs));
}

/// Which pairs of numbers are turned by which angles.
struct Rotation {
  std::string x, cosines, sines;  ///< cosines and sines [batch or 1, steps, half]
  std::int64_t heads = 0, turned = 0;
  bool interleaved = false;
};

/// The two halves of what is turned, and the rest, of x [.., size]; "" where there is none.
Strings pairs(Composite& node, const Rotation& of, const std::string& x, std::int64_t rest) {
  const core::Shape shape = node.shape(x);
  const auto axis = std::ssize(shape) - 1;
  if (!of.interleaved) {
    std::vector<std::int64_t> sizes(2, of.turned / 2);
    if (rest > 0) sizes.push_back(rest);
    Strings all = node.parts(x, axis, sizes);
    all.resize(3);
    return all;
  }
  const Strings apart = rest > 0 ? node.parts(x, axis, {of.turned, rest}) : Strings{x, ""};
  core::Shape wide(shape.begin(), shape.end() - 1), one = wide;
  wide.insert(wide.end(), {of.turned / 2, 2});
  one.push_back(of.turned / 2);
  const Strings halves = node.parts(node.reshaped(apart[0], wide), axis + 1, {1, 1});
  return {node.reshaped(halves[0], one), node.reshaped(halves[1], one), apart[1]};
}

std::string joined(Composite& node, const Rotation& of, const std::string& a, const std::string& b,
                   const std::string& rest) {
  const Attributes last = {{"axis", std::int64_t{-1}}};
  Strings all = {a, b};
  if (of.interleaved) {
    core::Shape flat = node.shape(a);
    flat.back() = of.turned;
    for (std::string& half : all) half = node.add("Unsqueeze", {half, node.integers({-1})});
    all = {node.reshaped(node.add("Concat", std::move(all), last), flat)};
  }
  if (!rest.empty()) all.push_back(rest);
  return all.size() == 1 ? all[0] : node.add("Concat", std::move(all), last);
}

void rotate(Composite& node, const Rotation& of) {
  const core::Shape shape = node.shape(of.x), angles = node.shape(of.cosines);
  const bool heads_first = shape.size() == 4;
  node.check(
      heads_first || (shape.size() == 3 && of.heads >= 1 && shape[2] % of.heads == 0),
      "x of shape " + core::shape_text(shape) + " does not fit " + std::to_string(of.heads) + " heads");
  const std::int64_t size = heads_first ? shape[3] : shape[2] / of.heads;
  const std::int64_t steps = heads_first ? shape[2] : shape[1];
  node.check(of.turned >= 2 && of.turned % 2 == 0 && of.turned <= size && angles.size() == 3 &&
                 angles == node.shape(of.sines) && angles[1] == steps && angles[2] == of.turned / 2 &&
                 (angles[0] == 1 || angles[0] == shape[0]),
             "cosines of shape " + core::shape_text(angles) + " do not fit x of shape " +
                 core::shape_text(shape) + " of which " + std::to_string(of.turned) +
                 " in each head are turned");
  const std::string x = heads_first ? of.x : node.reshaped(of.x, {shape[0], steps, of.heads, size});
  const core::Shape spread =
      heads_first ? core::Shape{angles[0], 1, steps, angles[2]} : core::Shape{angles[0], steps, 1, angles[2]};
  const std::string c = node.reshaped(of.cosines, spread), s = node.reshaped(of.sines, spread);
  const Strings part = pairs(node, of, x, size - of.turned);
  const auto product = [&](const std::string& a, const std::string& b) { return node.add("Mul", {a, b}); };
  const std::string a = node.add("Sub", {product(part[0], c), product(part[1], s)});
  const std::string b = node.add("Add", {product(part[0], s), product(part[1], c)});
  node.reshaped(joined(node, of, a, b, part[2]), shape, node.output());
}

/// Rows of a table at the places of each step: [batch or 1, steps, half].
std::string angles_at(Composite& node, const std::string& table, const std::string& places,
                      std::int64_t steps) {
  const core::Shape shape = node.shape(places);
  if (shape.size() == 2) return node.add("Gather", {table, places});
  node.check(core::element_count(shape) == 1,
             "places have shape " + core::shape_text(shape) + "; allowed are [1] and [batch, steps]");
  const std::string first = node.reshaped(places, {1, 1});
  const std::string each = node.add("Add", {first, node.add("CastLike", {node.counted(steps), places})});
  return node.add("Gather", {table, each});
}

/// x, cosines, sines, places.
void rotary(Composite& node) {
  const core::Shape x = node.shape(node.input(0)), table = node.shape(node.input(1));
  Rotation of = {node.input(0), node.input(1), node.input(2), node.integer("num_heads"), 0, false};
  of.interleaved = node.integer("interleaved") != 0;
  of.turned = node.integer("rotary_embedding_dim");
  if (of.turned == 0 && !table.empty()) of.turned = 2 * table.back();
  if (node.has(3)) {
    const std::int64_t steps = x.size() == 4 ? x[2] : x.size() == 3 ? x[1] : 0;
    of.cosines = angles_at(node, node.input(1), node.input(3), steps);
    of.sines = angles_at(node, node.input(2), node.input(3), steps);
  }
  rotate(node, of);
}

/// x, places, cosines, sines.
void rotary_of_microsoft(Composite& node) {
  if (node.real("scale", 1) != 1) node.refuse("scale");
  if (node.integer("is_packed_batching") != 0) node.refuse("is_packed_batching");
  const core::Shape x = node.shape(node.input(0)), table = node.shape(node.input(2));
  node.check((x.size() == 3 || x.size() == 4) && table.size() == 2,
             "x of three or four axes and tables of two are wanted");
  Rotation of = {node.input(0), "", "", node.integer("num_heads"), 2 * table[1], false};
  of.interleaved = node.integer("interleaved") != 0;
  if (x.size() == 3 && of.heads == 0 && of.turned > 0) of.heads = x[2] / of.turned;
  const std::int64_t steps = x.size() == 4 ? x[2] : x[1];
  of.cosines = angles_at(node, node.input(2), node.input(1), steps);
  of.sines = angles_at(node, node.input(3), node.input(1), steps);
  rotate(node, of);
}

}  // namespace

void add_attention_composites(CompositeKinds& kinds) {
  kinds["RotaryEmbedding"] = {rotary};
  kinds["com.microsoft.Attention"] = {packed_attention, 2};
  kinds["com.microsoft.MultiHeadAttention"] = {multi_head_attention, 4};
  kinds["com.microsoft.RotaryEmbedding"] = {rotary_of_microsoft};
}

}  // namespace rdquant::program
