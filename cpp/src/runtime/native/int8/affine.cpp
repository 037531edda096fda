// Levels of batch normalizations, as they stand before the convolutions of dense blocks and of residuals "before activation".
#include <string>
#include <utility>

#include "runtime/native/batch.hpp"
#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/int8/int8.hpp"
#include "runtime/native/loops.hpp"

namespace rdquant::runtime::native {
namespace {

using kernels::Index;
using program::kNone;
using program::Step;
using program::ValueId;

/// Operands: x, levels, scale, bias, mean, variance, memory for factors and shifts, scale of the levels, their zero point.
struct AffineWork {
  Int8Layout levels;
  Index src_image;  ///< floats
  bool relu, zero_given, is_signed;
  float epsilon;
  int threads;

  void operator()(void* const* operand) const {
    auto* const factors = static_cast<float*>(operand[6]);
    const Index padded = kernels::divide(levels.channels, block_size()) * block_size();
    make_affine(operand + 2, levels.channels, padded, epsilon, factors);
    const kernels::Int8Affine affine{factors, factors + padded, relu};
    const std::int32_t low = is_signed ? -128 : 0, zero = zero_given ? int8_at(operand[8], is_signed) : 0;
    share(levels.images * kernels::divide(levels.area, kItemPixels), 1, threads, [&](Index begin, Index end) {
      static_cast<void>(int8_kernels().quantize_affine(
          affine, static_cast<const float*>(operand[0]), src_image, static_cast<std::uint8_t*>(operand[1]),
          levels.image, levels.pixel, levels.channels, levels.area, *static_cast<const float*>(operand[7]),
          zero, low, low + 255, begin, end));
    });
  }
};

/// The Quantize, with one scale and to channels last, that alone reads the normalization; null where there is none.
const Step* quantizer_after(const Builder& builder, ValueId y) {
  const Step* reader = builder.only_reader(y);
  if (reader == nullptr || !std::holds_alternative<program::Quantize>(reader->operation)) return nullptr;
  const program::Value &levels = builder.value(reader->outputs[0]), &scale = builder.value(reader->inputs[1]);
  const bool fits = reader->inputs[0] == y && is_int8(levels) && scale.dtype == core::DType::f32 &&
                    core::element_count(scale.shape) == 1 && core::element_count(levels.shape) > 0 &&
                    builder.layout(reader->outputs[0]) == Layout::channels_last;
  return fits ? reader : nullptr;
}

}  // namespace

bool build_int8_affine(Builder& builder, const Step& step) {
  const auto* norm = std::get_if<program::BatchNormalization>(&step.operation);
  if (norm == nullptr) return false;
  const program::Function function = norm->activation.function;
  const ValueId x = step.inputs[0], y = step.outputs[0];
  const Step* quantizer = quantizer_after(builder, y);
  if (quantizer == nullptr || builder.layout(x) != Layout::blocked || builder.layout(y) != Layout::blocked ||
      (function != program::Function::identity && function != program::Function::relu))
    return false;
  const ValueId made = quantizer->outputs[0], zero = program::input(*quantizer, 2);
  const Int8Layout levels = int8_layout_of(builder, made);
  const auto floats = static_cast<Index>(bytes_in(builder.value(x), Layout::blocked) / sizeof(float));
  const Index padded = kernels::divide(levels.channels, block_size()) * block_size();
  const AffineWork work{levels,
                        floats / levels.images,
                        function == program::Function::relu,
                        zero != kNone,
                        builder.value(made).dtype == core::DType::i8,
                        norm->epsilon,
                        builder.threads()};
  std::vector<Place> operands{builder.read(x, Layout::blocked), {}};
  for (std::size_t i = 1; i < 5; ++i) operands.push_back(builder.read(step.inputs[i], Layout::plain));
  operands.push_back(builder.scratch(static_cast<std::size_t>(2 * padded) * sizeof(float)));
  operands.push_back(builder.read(quantizer->inputs[1], Layout::plain));
  if (zero != kNone) operands.push_back(builder.read(zero, Layout::plain));
  operands[1] = builder.write(made, Layout::channels_last);
  builder.absorb(*quantizer);
  const std::size_t count = operands.size();
  builder.emit(make_native(std::string("batch and quantize ") + int8_kernels().name, count, work),
               std::move(operands), Layout::channels_last);
  return true;
}

}  // namespace rdquant::runtime::native
