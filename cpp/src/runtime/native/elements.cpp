// Steps over elements that are not all float32: comparisons, choices, conversions, arithmetic of integers.
#include "runtime/kernels/elements/elements.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/native/broadcast.hpp"
#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/predicates.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::DType;
using core::Shape;
using kernels::ElementFunction;
using kernels::Index;
using program::BinaryFunction;
using program::Step;
using program::ValueId;
using Element = kernels::ElementType;

constexpr Index kElements = 4096;  ///< that one call of a kernel takes: they stay in the first cache

const kernels::Elements& element_kernels() { return kernels::elements(float_kernels().isa); }

std::optional<Element> element_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return Element::f32;
    case DType::i32:
      return Element::i32;
    case DType::i64:
      return Element::i64;
    case DType::u8:
      return Element::u8;
    case DType::i8:
      return Element::i8;
    case DType::boolean:
      return Element::boolean;
    default:
      return std::nullopt;
  }
}

/// A type as wide, of those that a choice knows.
std::optional<Element> type_of_width(DType dtype) {
  switch (core::size_of(dtype)) {
    case 1:
      return Element::boolean;
    case 4:
      return Element::f32;
    case 8:
      return Element::i64;
    default:
      return std::nullopt;
  }
}

std::optional<ElementFunction> arithmetic(BinaryFunction function) {
  switch (function) {
    case BinaryFunction::add:
      return ElementFunction::add;
    case BinaryFunction::sub:
      return ElementFunction::sub;
    case BinaryFunction::mul:
      return ElementFunction::mul;
    case BinaryFunction::div:
      return ElementFunction::div;
    case BinaryFunction::mod:
      return ElementFunction::mod;
    case BinaryFunction::fmod:
      return ElementFunction::fmod;
    case BinaryFunction::min:
      return ElementFunction::min;
    case BinaryFunction::max:
      return ElementFunction::max;
    case BinaryFunction::bitwise_and:
      return ElementFunction::bitwise_and;
    case BinaryFunction::bitwise_or:
      return ElementFunction::bitwise_or;
    case BinaryFunction::bitwise_xor:
      return ElementFunction::bitwise_xor;
    default:
      return std::nullopt;
  }
}

std::optional<ElementFunction> comparison(BinaryFunction function) {
  switch (function) {
    case BinaryFunction::equal:
      return ElementFunction::equal;
    case BinaryFunction::less:
      return ElementFunction::less;
    case BinaryFunction::less_equal:
      return ElementFunction::less_equal;
    case BinaryFunction::greater:
      return ElementFunction::greater;
    case BinaryFunction::greater_equal:
      return ElementFunction::greater_equal;
    default:
      return std::nullopt;
  }
}

std::optional<ElementFunction> logical(BinaryFunction function) {
  switch (function) {
    case BinaryFunction::logical_and:
      return ElementFunction::logical_and;
    case BinaryFunction::logical_or:
      return ElementFunction::logical_or;
    case BinaryFunction::logical_xor:
      return ElementFunction::logical_xor;
    default:
      return std::nullopt;
  }
}

/// What kernels compute of two elements of `type`.
std::optional<ElementFunction> function_of_two(BinaryFunction function, Element type) {
  if (type == Element::u8 || type == Element::i8) return std::nullopt;
  if (const auto f = comparison(function)) return f;
  if (type == Element::boolean) return logical(function);
  return type == Element::f32 ? std::nullopt : arithmetic(function);
}

/// A function over all axes, the last two of them in one call or in pieces.
struct ElementsWork {
  ElementFunction function;
  Element type;
  std::array<std::size_t, 3> bytes;  ///< of an element of each operand
  std::size_t result_bytes;
  std::vector<WalkedAxis> axes;
  std::size_t operands;
  int threads;

  void operator()(void* const* operand) const {
    const WalkedAxis &rows = axes[axes.size() - 2], &last = axes.back();
    const Index columns = std::min(last.count, kElements),
                column_pieces = kernels::divide(last.count, columns);
    const Index height = column_pieces > 1 ? 1 : std::max<Index>(1, kElements / columns);
    const Index row_pieces = kernels::divide(rows.count, height);
    Index outer = 1;
    for (std::size_t i = 0; i + 2 < axes.size(); ++i) outer *= axes[i].count;
    share(outer * row_pieces * column_pieces, std::max<Index>(1, kElements / (height * columns)), threads,
          [&](Index begin, Index end) {
            for (Index item = begin; item < end; ++item) {
              const Index first_column = item % column_pieces * columns;
              const Index first_row = item / column_pieces % row_pieces * height;
              run(operand, item / column_pieces / row_pieces, first_row,
                  std::min(height, rows.count - first_row), first_column,
                  std::min(columns, last.count - first_column));
            }
          });
  }

 private:
  void run(void* const* operand, Index outer, Index row, Index rows, Index column, Index columns) const {
    const WalkedAxis &across = axes[axes.size() - 2], &last = axes.back();
    kernels::ElementRows k{{}, across.step, last.step, nullptr, rows, columns};
    const auto at = places_at(axes, axes.size() - 2, outer);
    for (std::size_t o = 0; o < operands; ++o) {
      const Index place = at[o] + row * across.step[o] + column * last.step[o];
      k.from[o] = static_cast<const char*>(operand[o]) + place * static_cast<Index>(bytes[o]);
    }
    const Index to = (outer * across.count + row) * last.count + column;
    k.to = static_cast<char*>(operand[operands]) + to * static_cast<Index>(result_bytes);
    element_kernels().apply(function, type, k);
  }
};

bool emit_elements(Builder& builder, const Step& step, const char* name, ElementFunction function,
                   Element type) {
  const program::Value& y = builder.value(step.outputs[0]);
  ElementsWork work{function, type, {}, core::size_of(y.dtype), {}, step.inputs.size(), builder.threads()};
  std::vector<const Shape*> shapes;
  std::vector<Place> places;
  for (std::size_t i = 0; i < step.inputs.size(); ++i) {
    work.bytes[i] = core::size_of(builder.value(step.inputs[i]).dtype);
    shapes.push_back(&builder.value(step.inputs[i]).shape);
    places.push_back(builder.read(step.inputs[i], Layout::plain));
  }
  work.axes = walked_axes(y.shape, shapes);
  if (work.axes.size() == 1) work.axes.insert(work.axes.begin(), WalkedAxis{});
  places.push_back(builder.write(step.outputs[0], Layout::plain));
  const std::size_t count = places.size();
  builder.emit(make_native(with_isa(name), count, std::move(work)), std::move(places), Layout::plain);
  return true;
}

/// y = f(x) over n elements, in pieces.
template <class F>
bool emit_pieces(Builder& builder, const Step& step, const char* name, F f) {
  const program::Value &x = builder.value(step.inputs[0]), &y = builder.value(step.outputs[0]);
  const Index n = core::element_count(y.shape), from = static_cast<Index>(core::size_of(x.dtype)),
              to = static_cast<Index>(core::size_of(y.dtype));
  builder.emit(make_native(with_isa(name), 2,
                           [f, n, from, to, threads = builder.threads()](void* const* operand) {
                             share(kernels::divide(n, kElements), 1, threads, [&](Index begin, Index end) {
                               const Index first = begin * kElements, last = std::min(n, end * kElements);
                               f(static_cast<const char*>(operand[0]) + first * from,
                                 static_cast<char*>(operand[1]) + first * to, last - first);
                             });
                           }),
               {builder.read(step.inputs[0], Layout::plain), builder.write(step.outputs[0], Layout::plain)},
               Layout::plain);
  return true;
}

bool is_short(DType dtype) { return dtype == DType::f16 || dtype == DType::bf16; }

bool build_cast(Builder& builder, const Step& step) {
  const DType from = builder.value(step.inputs[0]).dtype, to = builder.value(step.outputs[0]).dtype;
  if (is_short(from) && to == DType::f32)
    return emit_pieces(builder, step, "convert",
                       [brain = from == DType::bf16](const void* a, void* b, Index n) {
                         element_kernels().widen(brain, a, b, n);
                       });
  if (from == DType::f32 && is_short(to))
    return emit_pieces(builder, step, "convert",
                       [brain = to == DType::bf16](const void* a, void* b, Index n) {
                         element_kernels().narrow(brain, a, b, n);
                       });
  const auto one = element_type(from), other = element_type(to);
  return one && other &&
         emit_pieces(builder, step, "convert", [one = *one, other = *other](const void* a, void* b, Index n) {
           element_kernels().convert(one, other, a, b, n);
         });
}

}  // namespace

bool build_elements(Builder& builder, const Step& step) {
  const auto left_out = [](const std::vector<ValueId>& ids) {
    return ids.empty() || std::ranges::find(ids, program::kNone) != ids.end();
  };
  if (left_out(step.inputs) || left_out(step.outputs)) return false;
  const program::Value& y = builder.value(step.outputs[0]);
  if (core::element_count(y.shape) == 0) return false;
  if (std::holds_alternative<program::Where>(step.operation)) {
    const auto type = type_of_width(y.dtype);
    return type && emit_elements(builder, step, "where", ElementFunction::where, *type);
  }
  if (std::holds_alternative<program::Cast>(step.operation)) return build_cast(builder, step);
  const program::Value& x = builder.value(step.inputs[0]);
  const auto type = element_type(x.dtype);
  if (!type) return false;
  if (const auto* binary = std::get_if<program::Binary>(&step.operation)) {
    if (binary->activation != program::Activation{} || builder.value(step.inputs[1]).dtype != x.dtype)
      return false;
    const auto function = function_of_two(binary->function, *type);
    return function && emit_elements(builder, step, "elements", *function, *type);
  }
  const auto* unary = std::get_if<program::Unary>(&step.operation);
  if (unary == nullptr || y.dtype != DType::boolean) return false;
  const program::Function function = unary->activation.function;
  if (function == program::Function::logical_not && x.dtype == DType::boolean)
    return emit_pieces(builder, step, "not",
                       [](const void* a, void* b, Index n) { element_kernels().negate(a, b, n); });
  return function == program::Function::is_nan && x.dtype == DType::f32 &&
         emit_pieces(builder, step, "is_nan",
                     [](const void* a, void* b, Index n) { element_kernels().is_nan(a, b, n); });
}

}  // namespace rdquant::runtime::native
