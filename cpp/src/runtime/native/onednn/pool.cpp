#include "runtime/native/onednn/memory.hpp"
#include "runtime/native/onednn/rules.hpp"

namespace rdquant::runtime::native::onednn {
namespace {

using program::Step;
using program::ValueId;

void emit_pool(Builder& builder, ValueId from, ValueId to, const core::Shape& made, Layout layout,
               dnnl::algorithm algorithm, const program::Window& window) {
  dnnl::memory::dims dilations(window.dilations.begin(), window.dilations.end());
  for (auto& d : dilations) --d;
  using Primitive = dnnl::pooling_forward;
  const Primitive::primitive_desc desc(engine(), dnnl::prop_kind::forward_inference, algorithm,
                                       describe(builder.value(from).shape, layout), describe(made, layout),
                                       window.strides, window.kernel, dilations, window.pads_begin,
                                       window.pads_end, attributes());
  emit(builder, desc, Primitive(desc),
       {{DNNL_ARG_SRC, desc.src_desc(), builder.read(from, layout)},
        {DNNL_ARG_DST, desc.dst_desc(), builder.write(to, layout)}},
       layout);
}

}  // namespace

bool build_pool(Builder& builder, const Step& step) {
  if (!is_plain_pool(builder.program(), step)) return false;
  const auto& pool = std::get<program::Pool>(step.operation);
  // rounded-up windows that count some of their padding have divisors that oneDNN cannot express
  if (pool.function != program::PoolFunction::max && pool.count_include_pad &&
      pool.counted_pads_end != pool.window.pads_end) {
    return false;
  }
  using dnnl::algorithm;
  const algorithm what = pool.function == program::PoolFunction::max ? algorithm::pooling_max
                         : pool.count_include_pad                    ? algorithm::pooling_avg_include_padding
                                                                     : algorithm::pooling_avg_exclude_padding;
  emit_pool(builder, step.inputs[0], step.outputs[0], builder.value(step.outputs[0]).shape,
            builder.layout(step.inputs[0]), what, pool.window);
  return true;
}

bool build_mean(Builder& builder, const Step& step) {
  const auto* reduce = std::get_if<program::Reduce>(&step.operation);
  if (reduce == nullptr || reduce->function != program::ReduceFunction::mean) return false;
  const program::Value& x = builder.value(step.inputs[0]);
  if (x.dtype != core::DType::f32 || x.shape.size() != 4 || reduce->axes != std::vector<std::int64_t>{2, 3}) {
    return false;
  }
  if (core::element_count(x.shape) == 0 || builder.layout(step.inputs[0]) != Layout::blocked) return false;
  // the result keeps both axes with one entry, or has lost them: the same bytes where blocks are whole
  if (x.shape[1] % block_size() != 0) return false;
  const program::Window window{{x.shape[2], x.shape[3]}, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
  emit_pool(builder, step.inputs[0], step.outputs[0], {x.shape[0], x.shape[1], 1, 1}, Layout::blocked,
            dnnl::algorithm::pooling_avg_exclude_padding, window);
  return true;
}

}  // namespace rdquant::runtime::native::onednn
