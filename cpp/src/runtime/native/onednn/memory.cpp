#include "runtime/native/onednn/memory.hpp"

#include <algorithm>
#include <utility>

#include "rdquant/core/cpu.hpp"
#include "runtime/native/onednn/openmp.hpp"

namespace rdquant::runtime::native::onednn {
namespace {

using dnnl::memory;

/// An argument of a primitive (DNNL_ARG_…).
struct Argument {
  int index = 0;
  memory::desc desc;
};

const dnnl::stream& stream() {
  static const dnnl::stream instance(engine());  // of a processor: holds no state, usable from all threads
  return instance;
}

class BoundPrimitive final : public Bound {
 public:
  BoundPrimitive(const dnnl::primitive& primitive, const std::vector<Argument>& arguments, int threads)
      : primitive_(primitive.get()), stream_(stream().get()), threads_(threads) {
    for (const Argument& argument : arguments) {
      memories_.emplace_back(argument.desc, engine(), static_cast<void*>(nullptr));  // not allocated
      arguments_.push_back({argument.index, memories_.back().get()});
    }
  }
  void set(std::size_t i, void* address) override {
    dnnl::error::wrap_c_api(dnnl_memory_set_data_handle(arguments_[i].memory, address),
                            "set a memory's address");
  }
  void run() override {
    const OpenMpThreads divided(threads_);
    guarded([&] {
      dnnl::error::wrap_c_api(
          dnnl_primitive_execute(primitive_, stream_, static_cast<int>(arguments_.size()), arguments_.data()),
          "run a primitive");
    });
  }

 private:
  dnnl_primitive_t primitive_;
  dnnl_stream_t stream_;
  int threads_;
  std::vector<memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
};

class PrimitiveKernel final : public Kernel {
 public:
  PrimitiveKernel(dnnl::primitive primitive, std::vector<Argument> arguments, std::string name, int threads)
      : primitive_(std::move(primitive)),
        arguments_(std::move(arguments)),
        name_(std::move(name)),
        threads_(threads) {}
  [[nodiscard]] std::unique_ptr<Bound> bind() const override {
    return guarded([&] { return std::make_unique<BoundPrimitive>(primitive_, arguments_, threads_); });
  }
  [[nodiscard]] std::string name() const override { return name_; }
  [[nodiscard]] Supplier supplier() const override { return Supplier::onednn; }

 private:
  dnnl::primitive primitive_;
  std::vector<Argument> arguments_;
  std::string name_;
  int threads_;
};

class ReorderPacker final : public Packer {
 public:
  ReorderPacker(memory::desc from, memory::desc to, int threads)
      : from_(std::move(from)),
        to_(std::move(to)),
        threads_(threads),
        reorder_(dnnl::reorder::primitive_desc(engine(), from_, engine(), to_)) {}
  void pack(const void* from, void* to) const override {
    const OpenMpThreads divided(threads_);
    guarded([&] {
      // a reorder does not write to what it reads
      memory source(from_, engine(), const_cast<void*>(from));
      memory target(to_, engine(), to);
      dnnl::stream queue = stream();
      reorder_.execute(queue, source, target);
    });
  }

 private:
  memory::desc from_, to_;
  int threads_;
  dnnl::reorder reorder_;
};

}  // namespace

const dnnl::engine& engine() {
  static const dnnl::engine instance = [] {
    const core::Isa isa = core::selected_isa();
    // fails where somebody in this process has used oneDNN already; then its own choice stands
    if (isa == core::Isa::avx512) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core);
    if (isa == core::Isa::avx2) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
    if (isa == core::Isa::baseline) dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41);
    return dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return instance;
}

memory::desc describe_plain(std::span<const std::int64_t> shape) {
  if (shape.empty()) return {{1}, memory::data_type::f32, memory::dims{1}};
  memory::dims strides(shape.size(), 1);
  for (std::size_t i = shape.size() - 1; i-- > 0;) strides[i] = strides[i + 1] * shape[i + 1];
  return {memory::dims(shape.begin(), shape.end()), memory::data_type::f32, strides};
}

memory::desc describe(std::span<const std::int64_t> shape, Layout layout) {
  if (layout == Layout::plain) return describe_plain(shape);
  const auto tag = block_size() == 16 ? memory::format_tag::nChw16c : memory::format_tag::nChw8c;
  return {memory::dims(shape.begin(), shape.end()), memory::data_type::f32, tag};
}

core::Shape aligned(const core::Shape& shape, std::size_t axes) {
  core::Shape result(axes - shape.size(), 1);
  result.insert(result.end(), shape.begin(), shape.end());
  return result;
}

dnnl::primitive_attr attributes() {
  dnnl::primitive_attr result;
  result.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return result;
}

void emit(Builder& builder, const dnnl::primitive_desc_base& desc, const dnnl::primitive& primitive,
          const std::vector<Operand>& operands, Layout made) {
  std::vector<Argument> arguments;
  std::vector<Place> places;
  for (const Operand& operand : operands) {
    arguments.push_back({operand.index, operand.desc});
    places.push_back(operand.place);
  }
  const memory::desc scratchpad = desc.scratchpad_desc();
  if (scratchpad.get_size() != 0) {
    arguments.push_back({DNNL_ARG_SCRATCHPAD, scratchpad});
    places.push_back(builder.scratch(scratchpad.get_size()));
  }
  builder.emit(std::make_shared<PrimitiveKernel>(primitive, std::move(arguments), desc.impl_info_str(),
                                                 builder.threads()),
               std::move(places), made);
}

Place pack(Builder& builder, program::ValueId id, const memory::desc& from, const memory::desc& to) {
  if (from == to) return builder.read(id, Layout::plain);
  return builder.pack(id, to.get_size(), std::make_shared<ReorderPacker>(from, to, builder.threads()));
}

bool append_activation(dnnl::post_ops& chain, const program::Activation& activation) {
  using dnnl::algorithm;
  using program::Function;
  const auto append = [&](algorithm what, float a = 0, float b = 0) {
    chain.append_eltwise(what, a, b);
    return true;
  };
  switch (activation.function) {
    case Function::identity:
      return true;
    case Function::leaky_relu:
      return append(algorithm::eltwise_relu, activation.a);
    case Function::silu:
      return append(algorithm::eltwise_swish, 1);
    case Function::swish:
      return append(algorithm::eltwise_swish, activation.a);
    case Function::hard_swish:
      return append(algorithm::eltwise_hardswish, 1.0F / 6, 0.5F);
    case Function::gelu:
      return append(algorithm::eltwise_gelu_erf);
    case Function::gelu_tanh:
      return append(algorithm::eltwise_gelu_tanh);
    case Function::mish:
      return append(algorithm::eltwise_mish);
    case Function::abs:
      return append(algorithm::eltwise_abs);
    case Function::sqrt:
      return append(algorithm::eltwise_sqrt);
    default:
      return false;
  }
}

}  // namespace rdquant::runtime::native::onednn
