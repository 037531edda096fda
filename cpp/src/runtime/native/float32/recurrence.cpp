// One direction of a recurrent layer: a product of the state with r in every step, then the cell.
#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/float32/state_product.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using kernels::Binary;
using kernels::Index;
using program::Cell;
using program::kNone;
using program::Recurrence;
using program::Step;
using program::ValueId;

struct Extents {
  Index steps, batch, gates, hidden;  ///< gates: floats of all
};

/// Slots that every cell has, as its work sees them; null where they are left out.
struct StateMemory {
  const float *x, *scales, *bias, *h0, *c0, *peepholes;
  const void *packed, *packed_last;
  const std::int32_t* lengths;
  float *y, *last_h, *last_c, *products, *gates, *h, *c, *spare;
};

/// What `StateMemory` is made of.
enum Slot : std::uint8_t {
  kX,
  kPacked,
  kPackedLast,
  kBias,
  kH0,
  kC0,
  kPeepholes,
  kScales,
  kLengths,
  kY,
  kLastH,
  kLastC,
  kScratch,
  kCount
};

struct RecurrenceWork {
  Recurrence op;
  Extents s;
  std::array<kernels::Activation, 3> f;
  kernels::Activation limit;      ///< of what goes into the first two, where op.clip is there
  StateProduct product, last;     ///< of all gates or of those before the last; of the last gate of a gru
  std::array<int, kCount> place;  ///< of each operand; −1 where it is left out

  [[nodiscard]] Index product_floats() const { return std::max(product.scratch(), last.scratch()); }
  [[nodiscard]] std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(product_floats() + s.batch * (s.gates + 2 * s.hidden) + s.hidden) *
           sizeof(float);
  }

  void operator()(void* const* operand) const {
    const StateMemory m = memory(operand);
    const Index state = s.batch * s.hidden;
    start(m.h, m.h0);
    start(m.c, m.c0);
    // a sequence that is shorter waits for its last element where the others are walked through backwards
    for (Index i = 0; i < s.steps; ++i) {
      const Index t = op.reverse ? s.steps - 1 - i : i;
      const Index rows = rows_at(m, t);
      if (rows > 0) advance(m, t, rows);
      if (m.y != nullptr) keep(m, t, rows);
    }
    if (m.last_h != nullptr) std::copy_n(m.h, state, m.last_h);
    if (m.last_c != nullptr) std::copy_n(m.c, state, m.last_c);
  }

 private:
  [[nodiscard]] StateMemory memory(void* const* operand) const {
    const auto found = [&](Slot which) { return place[which] < 0 ? nullptr : operand[place[which]]; };
    const auto at = [&](Slot which) { return static_cast<float*>(found(which)); };
    float* const products = at(kScratch);
    float* const gates = products + product_floats();
    float* const h = gates + s.batch * s.gates;
    return {at(kX),
            at(kScales),
            at(kBias),
            at(kH0),
            at(kC0),
            at(kPeepholes),
            found(kPacked),
            found(kPackedLast),
            static_cast<const std::int32_t*>(found(kLengths)),
            at(kY),
            at(kLastH),
            at(kLastC),
            products,
            gates,
            h,
            h + s.batch * s.hidden,
            h + 2 * s.batch * s.hidden};
  }

  void start(float* state, const float* given) const {
    if (given == nullptr) {
      std::fill_n(state, s.batch * s.hidden, 0.0F);
    } else {
      std::copy_n(given, s.batch * s.hidden, state);
    }
  }

  /// Whether sequence `b` has an element `t`.
  [[nodiscard]] bool goes_on(const StateMemory& m, Index b, Index t) const {
    return m.lengths == nullptr || t < m.lengths[b];
  }

  /// One past the last sequence that has an element `t`.
  [[nodiscard]] Index rows_at(const StateMemory& m, Index t) const {
    Index rows = s.batch;
    while (rows > 0 && !goes_on(m, rows - 1, t)) --rows;
    return rows;
  }

  /// The states of the first `rows` sequences as y's at `t`; zeros of those that have ended.
  void keep(const StateMemory& m, Index t, Index rows) const {
    float* const y = m.y + t * s.batch * s.hidden;
    std::copy_n(m.h, rows * s.hidden, y);
    for (Index b = 0; b < s.batch; ++b) {
      if (!goes_on(m, b, t)) std::fill_n(y + b * s.hidden, s.hidden, 0.0F);
    }
  }

  /// One step of those of the first `rows` sequences that go on; products of the others are thrown away.
  void advance(const StateMemory& m, Index t, Index rows) const {
    const float* const x = m.x + t * s.batch * s.gates;
    const bool apart = op.cell == Cell::gru && op.linear_before_reset;
    product({m.h, m.packed, m.scales, apart ? nullptr : x, m.gates, s.gates, rows, m.products});
    for (Index b = 0; b < rows; ++b) {
      if (!goes_on(m, b, t)) continue;
      float *const gates = m.gates + b * s.gates, *const h = m.h + b * s.hidden;
      if (op.cell == Cell::rnn) bend(0, gates, h, s.hidden);
      if (op.cell == Cell::lstm) lstm(m, gates, h, m.c + b * s.hidden);
      if (op.cell == Cell::gru) update_and_reset(x + b * s.gates, gates, h, m.c + b * s.hidden, m.bias);
    }
    if (op.cell != Cell::gru) return;
    const Index before = 2 * s.hidden;
    const float* const scales = m.scales == nullptr ? nullptr : m.scales + before;
    if (!apart) last({m.c, m.packed_last, scales, x + before, m.gates + before, s.gates, rows, m.products});
    for (Index b = 0; b < rows; ++b) {
      if (goes_on(m, b, t)) gru(m.gates + b * s.gates, m.h + b * s.hidden);
    }
  }

  void lstm(const StateMemory& m, float* gates, float* h, float* c) const {
    float *const input = gates, *const output = gates + s.hidden, *const forget = output + s.hidden,
                 *const cell = forget + s.hidden;
    if (m.peepholes == nullptr) {
      bend(0, gates, gates, 3 * s.hidden);
    } else {
      look(m, 0, c, input);
      look(m, 2, c, forget);
      bend(0, input, input, s.hidden);
      bend(0, forget, forget, s.hidden);
    }
    bend(1, cell, cell, s.hidden);
    if (op.input_forget) {
      binary(Binary::sub, cell, c, cell);  // what the input lets in, it lets the state forget
    } else {
      binary(Binary::mul, c, forget, c);
    }
    binary(Binary::mul, input, cell, cell);
    binary(Binary::add, c, cell, c);
    if (m.peepholes != nullptr) {
      look(m, 1, c, output);
      bend(0, output, output, s.hidden);
    }
    unary(2, c, h, s.hidden);
    binary(Binary::mul, h, output, h);
  }

  /// Adds to a gate what it sees of the cell's state through its peepholes: those of i, o, f in this order.
  void look(const StateMemory& m, Index gate, const float* c, float* sums) const {
    binary(Binary::mul, m.peepholes + gate * s.hidden, c, m.spare);
    binary(Binary::add, sums, m.spare, sums);
  }

  /// The gates z and r; then the last gate's sum, or, where its product comes later, what that is of: r·h.
  void update_and_reset(const float* x, float* gates, const float* h, float* product_of,
                        const float* bias) const {
    float *const r = gates + s.hidden, *const g = r + s.hidden;
    if (!op.linear_before_reset) {
      bend(0, gates, gates, 2 * s.hidden);
      return binary(Binary::mul, r, h, product_of);
    }
    float_kernels().binary(Binary::add, gates, 1, x, 1, gates, 0, 2 * s.hidden);
    bend(0, gates, gates, 2 * s.hidden);
    if (bias != nullptr) binary(Binary::add, g, bias, g);
    binary(Binary::mul, g, r, g);
    binary(Binary::add, g, x + 2 * s.hidden, g);
  }

  /// h = (1 − z)·g + z·h
  void gru(float* gates, float* h) const {
    float* const g = gates + 2 * s.hidden;
    bend(1, g, g, s.hidden);
    binary(Binary::sub, h, g, h);
    binary(Binary::mul, h, gates, h);
    binary(Binary::add, h, g, h);
  }

  /// A gate's activation of its sums, which may be limited first.
  void bend(std::size_t function, float* from, float* to, Index count) const {
    if (op.clip > 0) float_kernels().unary(limit, from, from, 0, count);
    unary(function, from, to, count);
  }
  void unary(std::size_t function, const float* from, float* to, Index count) const {
    float_kernels().unary(f[function], from, to, 0, count);
  }
  void binary(Binary function, const float* a, const float* b, float* to) const {
    float_kernels().binary(function, a, 1, b, 1, to, 0, s.hidden);
  }
};

/// The kernels' activations; nullopt where one lacks.
std::optional<std::array<kernels::Activation, 3>> activations_of(const Recurrence& op) {
  std::array<kernels::Activation, 3> found;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto one = kernel_activation(op.activations[i]);
    if (!one || one->function == kernels::Function::prelu) return std::nullopt;
    found[i] = *one;
  }
  return found;
}

bool is_float_recurrence(const Builder& builder, const Step& step) {
  const program::Value& x = builder.value(step.inputs[0]);
  return x.dtype == core::DType::f32 && core::element_count(x.shape) > 0;
}

/// The operands in the order of Slot, noting the places of those that are there.
class Slots {
 public:
  explicit Slots(RecurrenceWork& work) : work_(work) { work_.place.fill(-1); }
  void add(Slot which, Place place) {
    work_.place[which] = static_cast<int>(places.size());
    places.push_back(place);
  }
  std::vector<Place> places;

 private:
  RecurrenceWork& work_;
};

}  // namespace

bool build_recurrence(Builder& builder, const Step& step) {
  const auto* op = std::get_if<Recurrence>(&step.operation);
  if (op == nullptr || !is_float_recurrence(builder, step)) return false;
  const auto activations = activations_of(*op);
  if (!activations) return false;
  const core::Shape& x = builder.value(step.inputs[0]).shape;
  const Extents s{x[0], x[1], x[2], builder.value(step.inputs[1]).shape[1]};
  const bool levels = builder.value(step.inputs[1]).dtype == core::DType::i8;
  const bool two = op->cell == Cell::gru && !op->linear_before_reset;
  const Index rows = two ? 2 * s.hidden : s.gates;
  RecurrenceWork work{*op,
                      s,
                      *activations,
                      *kernel_activation({program::Function::clip, -op->clip, op->clip}),
                      StateProduct(s.batch, rows, s.hidden, levels, builder.threads()),
                      StateProduct(s.batch, s.hidden, s.hidden, levels, builder.threads()),
                      {}};
  Slots operands(work);
  operands.add(kX, builder.read(step.inputs[0], Layout::plain));
  const auto add_packed = [&](Slot which, const StateProduct& product, Index first) {
    operands.add(which, builder.packed(step.inputs[1], product.bytes(), product.packer(first)));
  };
  add_packed(kPacked, work.product, 0);
  if (two) add_packed(kPackedLast, work.last, rows);
  for (const auto& [which, i] : {std::pair{kBias, std::size_t{2}},
                                 {kH0, std::size_t{3}},
                                 {kLengths, std::size_t{4}},
                                 {kC0, std::size_t{5}},
                                 {kPeepholes, std::size_t{6}},
                                 {kScales, std::size_t{7}}}) {
    const ValueId id = program::input(step, i);
    if (id != kNone) operands.add(which, builder.read(id, Layout::plain));
  }
  for (const auto& [which, i] :
       {std::pair{kY, std::size_t{0}}, {kLastH, std::size_t{1}}, {kLastC, std::size_t{2}}}) {
    if (i < step.outputs.size() && step.outputs[i] != kNone)
      operands.add(which, builder.write(step.outputs[i], Layout::plain));
  }
  operands.add(kScratch, builder.scratch(work.scratch_bytes()));
  const std::size_t count = operands.places.size();
  builder.emit(make_native(with_isa(levels ? "recurrence of levels" : "recurrence"), count, std::move(work)),
               std::move(operands.places), Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
