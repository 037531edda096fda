// Sums and extremes of integers.
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "runtime/native/loops.hpp"
#include "runtime/native/passes.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using program::ReduceFunction;
using program::Step;

/// Two results as one; sums wrap.
template <ReduceFunction kHow, typename T>
T joined(T a, T b) {
  using Wrapping = std::make_unsigned_t<T>;
  if constexpr (kHow == ReduceFunction::min) return std::min(a, b);
  if constexpr (kHow == ReduceFunction::max) return std::max(a, b);
  return static_cast<T>(static_cast<Wrapping>(a) + static_cast<Wrapping>(b));
}

/// Operands: from, to.
template <typename T>
struct IntegersWork {
  ReduceFunction function;
  Pass pass;
  int threads;

  void operator()(void* const* operand) const {
    const auto* const from = static_cast<const T*>(operand[0]);
    auto* const to = static_cast<T*>(operand[1]);
    if (function == ReduceFunction::min) return reduce<ReduceFunction::min>(from, to);
    if (function == ReduceFunction::max) return reduce<ReduceFunction::max>(from, to);
    reduce<ReduceFunction::sum>(from, to);
  }

 private:
  template <ReduceFunction kHow>
  void reduce(const T* from, T* to) const {
    share_pass(pass, threads, [&](std::int64_t slice, std::int64_t begin, std::int64_t end) {
      if (pass.inner == 1) {
        for (std::int64_t row = begin; row < end; ++row) to[row] = row_of<kHow>(from + row * pass.length);
      } else {
        columns<kHow>(from + slice * pass.length * pass.inner, to + slice * pass.inner, begin, end);
      }
    });
  }

  template <ReduceFunction kHow>
  T row_of(const T* x) const {
    T result = x[0];
    for (std::int64_t i = 1; i < pass.length; ++i) result = joined<kHow>(result, x[i]);
    return result;
  }

  template <ReduceFunction kHow>
  void columns(const T* x, T* y, std::int64_t begin, std::int64_t end) const {
    std::copy(x + begin, x + end, y + begin);
    for (std::int64_t i = 1; i < pass.length; ++i) {
      x += pass.inner;
      for (std::int64_t column = begin; column < end; ++column)
        y[column] = joined<kHow>(y[column], x[column]);
    }
  }
};

template <typename T>
bool emit_integers(Builder& builder, const Step& step, ReduceFunction function, const Pass& pass) {
  builder.emit(make_native(pass.inner > 1 ? "integer columns" : "integer rows", 2,
                           IntegersWork<T>{function, pass, builder.threads()}),
               {builder.read(step.inputs[0], Layout::plain), builder.write(step.outputs[0], Layout::plain)},
               Layout::plain);
  return true;
}

bool emit_pass(Builder& builder, const Step& step, ReduceFunction function, const Pass& pass) {
  switch (builder.value(step.inputs[0]).dtype) {
    case core::DType::i64:
      return emit_integers<std::int64_t>(builder, step, function, pass);
    case core::DType::i32:
      return emit_integers<std::int32_t>(builder, step, function, pass);
    case core::DType::i8:
      return emit_integers<std::int8_t>(builder, step, function, pass);
    case core::DType::u8:
      return emit_integers<std::uint8_t>(builder, step, function, pass);
    default:
      return false;
  }
}

}  // namespace

bool reduce_integer_rows(Builder& builder, const Step& step, ReduceFunction function, std::int64_t length) {
  return emit_pass(builder, step, function,
                   {core::element_count(builder.value(step.outputs[0]).shape), length, 1});
}

bool build_integer_reduce(Builder& builder, const Step& step) {
  const auto* reduce = std::get_if<program::Reduce>(&step.operation);
  if (reduce == nullptr) return false;
  const ReduceFunction function = reduce->function;
  if (function != ReduceFunction::sum && function != ReduceFunction::min && function != ReduceFunction::max)
    return false;
  const program::Value& x = builder.value(step.inputs[0]);
  if (core::element_count(x.shape) == 0) return false;
  const std::vector<Pass> passes = passes_of(x.shape, reduce->axes);
  if (passes.size() > 1) return false;
  return emit_pass(builder, step, function, passes[0]);
}

}  // namespace rdquant::runtime::native
