// Products of matrices, with what follows them.
#include "runtime/kernels/float32/matmul/matmul.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using kernels::Index;
using program::kNone;
using program::MatMul;
using program::Role;
using program::Step;
using program::ValueId;

/// Elements between neighbours along each of the last `axes` axes; 0 where the array is broadcast.
std::vector<Index> broadcast_strides(const Shape& shape, std::size_t axes) {
  std::vector<Index> strides(axes, 0);
  Index step = 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::int64_t n = shape[shape.size() - 1 - i];
    if (n != 1) strides[axes - 1 - i] = step;
    step *= n;
  }
  return strides;
}

/// An operand: where its matrices begin, and elements from row to row and from column to column.
struct Operand {
  std::vector<Index> offsets;  ///< by matrix of the result
  Index row = 0, column = 0;
};

Operand operand_of(const Shape& shape, const Shape& result) {
  const std::size_t axes = result.size();
  const std::vector<Index> strides = broadcast_strides(shape, axes);
  Operand operand{{0}, strides[axes - 2], strides[axes - 1]};
  for (std::size_t axis = 0; axis + 2 < axes; ++axis) {
    std::vector<Index> next;
    for (const Index offset : operand.offsets) {
      for (std::int64_t i = 0; i < result[axis]; ++i) next.push_back(offset + i * strides[axis]);
    }
    operand.offsets = std::move(next);
  }
  return operand;
}

/// A product as its kernel sees it: `batch` products of the same sizes, whose operands begin at offsets.
struct Product {
  Index m, n, k;
  Operand a, b, sum, residual;
  [[nodiscard]] std::size_t batch() const { return a.offsets.size(); }
};

Index extent(const Shape& shape, std::size_t from_last) {
  return shape.size() < from_last ? 1 : shape[shape.size() - from_last];
}

Product product_of(const Builder& builder, const Step& step) {
  const auto& matmul = std::get<MatMul>(step.operation);
  const auto shape = [&](ValueId id) -> const Shape& { return builder.value(id).shape; };
  const Shape& y = shape(step.outputs[0]);
  Product product{.m = extent(y, 2),
                  .n = extent(y, 1),
                  .k = extent(shape(step.inputs[0]), matmul.transpose_a ? 2 : 1),
                  .a = operand_of(shape(step.inputs[0]), y),
                  .b = operand_of(shape(step.inputs[1]), y),
                  .sum = {},
                  .residual = {}};
  // axes of one element have stride 0 above, which is right for them but not for a transposed one
  if (matmul.transpose_a) std::swap(product.a.row, product.a.column);
  if (matmul.transpose_b) std::swap(product.b.row, product.b.column);
  for (const auto& [i, operand] :
       {std::pair{std::size_t{2}, &product.sum}, {std::size_t{3}, &product.residual}}) {
    if (program::input(step, i) != kNone) *operand = operand_of(shape(step.inputs[i]), y);
  }
  return product;
}

/// The elements from row to row if the operand's matrices, of so many rows, are taken as one matrix; nullopt
/// where they do not lie one after the other.
std::optional<Index> stacked_row(const Operand& operand, Index rows) {
  if (operand.offsets.size() < 2) return operand.row;
  const Index step = operand.offsets[1];
  for (std::size_t i = 0; i < operand.offsets.size(); ++i) {
    if (operand.offsets[i] != static_cast<Index>(i) * step) return std::nullopt;
  }
  if (rows == 1) return step;
  return step == rows * operand.row ? std::optional(operand.row) : std::nullopt;
}

/// Makes one product of many that share b.
void stack(Product& product) {
  const bool same = std::ranges::all_of(product.b.offsets, [](Index offset) { return offset == 0; });
  if (!same || product.batch() < 2) return;
  Product stacked = product;
  for (Operand* operand : {&stacked.a, &stacked.sum, &stacked.residual}) {
    const std::optional<Index> row = stacked_row(*operand, product.m);
    if (!row) return;
    operand->row = *row;
    if (!operand->offsets.empty()) operand->offsets.resize(1);
  }
  stacked.b.offsets.resize(1);
  stacked.m *= static_cast<Index>(product.batch());
  product = std::move(stacked);
}

/// b of every product of a batch in panels.
class PanelPacker final : public Packer {
 public:
  PanelPacker(const kernels::Matmul& kernels, kernels::MatmulPlan plan, Operand b, int threads)
      : kernels_(kernels), plan_(plan), b_(std::move(b)), threads_(threads) {}
  void pack(const void* from, void* to) const override {
    const auto* const b = static_cast<const float*>(from);
    auto* const packed = static_cast<float*>(to);
    const auto count = static_cast<Index>(b_.offsets.size()) * plan_.panels;
    const Index grain = std::max<Index>(1, 8192 / (plan_.packed / plan_.panels));
    share(count, grain, threads_, [&](Index begin, Index end) {
      for (Index item = begin; item < end; ++item) {
        const Index i = item / plan_.panels, panel = item % plan_.panels;
        kernels_.pack(plan_, b + b_.offsets[static_cast<std::size_t>(i)], b_.row, b_.column,
                      packed + i * plan_.packed, panel, panel + 1);
      }
    });
  }

 private:
  const kernels::Matmul& kernels_;
  kernels::MatmulPlan plan_;
  Operand b_;
  int threads_;
};

/// Operands: a, packed b, y, scratch, then sum and residual where given.
struct MatmulWork {
  const kernels::Matmul& kernels;
  kernels::MatmulPlan plan;
  Product product;
  kernels::MatmulArgs fixed;
  bool shared_b;  ///< one packed b for all
  bool is_bias;   ///< the sum is one number per column, the same in every row
  int threads;
  Index scratch;  ///< floats between the threads' parts

  void operator()(void* const* operand) const {
    auto* const memory = static_cast<float*>(operand[3]);
    share_ranked(static_cast<Index>(product.batch()) * plan.items, 1, threads,
                 [&](Index begin, Index end, int rank) {
                   for (Index item = begin; item < end;) {
                     const Index i = item / plan.items, first = item % plan.items;
                     const Index count = std::min(plan.items - first, end - item);
                     kernels.run(plan, at(operand, static_cast<std::size_t>(i)), memory + rank * scratch,
                                 first, first + count);
                     item += count;
                   }
                 });
  }

 private:
  [[nodiscard]] kernels::MatmulArgs at(void* const* operand, std::size_t i) const {
    kernels::MatmulArgs args = fixed;
    const auto index = static_cast<Index>(i);
    args.a = static_cast<const float*>(operand[0]) + product.a.offsets[i];
    args.b = static_cast<const float*>(operand[1]) + (shared_b ? 0 : index * plan.packed);
    args.y = static_cast<float*>(operand[2]) + index * product.m * product.n;
    std::size_t next = 4;
    const auto addend = [&](const Operand& from) -> const float* {
      return from.offsets.empty() ? nullptr : static_cast<const float*>(operand[next++]) + from.offsets[i];
    };
    const float* const sum = addend(product.sum);
    (is_bias ? args.bias : args.sum.data) = sum;
    args.residual.data = addend(product.residual);
    return args;
  }
};

bool takes(const Builder& builder, const Step& step) {
  for (const ValueId id : step.inputs) {
    if (id != kNone && core::element_count(builder.value(id).shape) == 0) return false;
  }
  const auto& matmul = std::get<MatMul>(step.operation);
  return all_float(builder.program(), step) && kernel_activation(matmul.activation).has_value() &&
         matmul.activation.function != program::Function::prelu &&
         builder.value(step.outputs[0]).shape.size() >= 2;
}

kernels::MatmulArgs fixed_arguments(const Product& product, const MatMul& matmul) {
  kernels::MatmulArgs args;
  args.a_row = product.a.row;
  args.a_column = product.a.column;
  args.y_row = product.n;
  args.alpha = matmul.alpha;
  args.beta = matmul.beta;
  args.sum = {nullptr, product.sum.row, product.sum.column};
  args.residual = {nullptr, product.residual.row, product.residual.column};
  args.residual_last = matmul.residual_last;
  args.activation = *kernel_activation(matmul.activation);
  return args;
}

}  // namespace

/// Where b is packed beforehand: oneDNN reads others faster as they are (0.8 of our time for attention's).
bool native_matmul_is_better(const Builder& builder, const Step& step) {
  return builder.value(step.inputs[1]).role == Role::constant;
}

bool build_matmul(Builder& builder, const Step& step) {
  if (!std::holds_alternative<MatMul>(step.operation) || !takes(builder, step)) return false;
  const auto& matmul = std::get<MatMul>(step.operation);
  const ValueId b = step.inputs[1], sum = program::input(step, 2), residual = program::input(step, 3);
  Product product = product_of(builder, step);
  stack(product);
  const core::Isa isa = float_kernels().isa;
  const kernels::Matmul& kernels = kernels::matmul(isa);
  const int threads = builder.threads();
  const auto batch = static_cast<int>(std::min<std::size_t>(product.batch(), 1U << 16U));
  const kernels::MatmulPlan plan =
      kernels.plan(product.m, product.n, product.k, std::max(1, threads / batch));
  const bool shared_b = std::ranges::all_of(product.b.offsets, [](Index offset) { return offset == 0; });
  Operand packed = product.b;
  if (shared_b) packed.offsets.resize(1);
  const std::size_t bytes = packed.offsets.size() * static_cast<std::size_t>(plan.packed) * sizeof(float);
  const bool is_bias =
      sum != kNone && matmul.beta == 1 && product.sum.row == 0 && (product.sum.column == 1 || product.n == 1);
  const Index scratch = kernels::divide(plan.scratch, kLine) * kLine;
  std::vector<Place> operands{
      builder.read(step.inputs[0], Layout::plain),
      builder.packed(b, bytes, std::make_shared<PanelPacker>(kernels, plan, std::move(packed), threads)),
      {},
      builder.scratch(static_cast<std::size_t>(scratch * threads) * sizeof(float))};
  for (const ValueId id : {sum, residual}) {
    if (id != kNone) operands.push_back(builder.read(id, Layout::plain));
  }
  operands[2] = builder.write(step.outputs[0], Layout::plain);
  const std::size_t count = operands.size();
  const kernels::MatmulArgs fixed = fixed_arguments(product, matmul);
  builder.emit(
      make_native("matmul " + std::string(core::isa_name(isa)), count,
                  MatmulWork{kernels, plan, std::move(product), fixed, shared_b, is_bias, threads, scratch}),
      std::move(operands), Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
