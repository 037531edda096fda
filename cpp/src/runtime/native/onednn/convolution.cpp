#include "runtime/native/float32/convolution.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "runtime/native/onednn/memory.hpp"
#include "runtime/native/onednn/rules.hpp"

namespace rdquant::runtime::native::onednn {
namespace {

using dnnl::memory;
using program::Convolution;
using program::kNone;
using program::Step;
using program::ValueId;

/// How good an implementation is, by its name; smaller is better.
int rank_of(const std::string& name) {
  if (name.starts_with("ref")) return 2;
  return name.starts_with("gemm") ? 1 : 0;
}

/// Sizes and strides of ONNX's weights as oneDNN wants them: groups first where there are several.
memory::desc weights_desc(const core::Shape& shape, std::int64_t groups, bool any) {
  memory::dims dims(shape.begin(), shape.end());
  if (groups > 1) {
    dims[0] /= groups;
    dims.insert(dims.begin(), groups);
  }
  return any ? memory::desc(dims, memory::data_type::f32, memory::format_tag::any) : describe_plain(dims);
}

memory::dims less_one(const std::vector<std::int64_t>& dilations) {
  memory::dims result(dilations.begin(), dilations.end());
  for (auto& d : result) --d;
  return result;
}

using Parts = ConvolutionParts;

struct Candidate {
  Layout from, to;
  dnnl::convolution_forward::primitive_desc desc;
};

/// The post-operations; false where oneDNN cannot say them. `where` gives the chain's entry of the residual
/// and of the slopes.
bool chain_of(const Builder& builder, const Parts& parts, Layout to, dnnl::post_ops& chain,
              std::array<int, 2>& where) {
  const auto add_residual = [&] {
    if (parts.residual == kNone) return;
    where[0] = chain.len();
    if (parts.in_place) {
      chain.append_sum();
    } else {
      chain.append_binary(dnnl::algorithm::binary_add, describe(builder.value(parts.y).shape, to));
    }
  };
  const auto activate = [&] {
    if (parts.convolution.activation.function != program::Function::prelu) {
      return append_activation(chain, parts.convolution.activation);
    }
    const std::int64_t count = core::element_count(builder.value(parts.slopes).shape);
    const std::int64_t channels = builder.value(parts.y).shape[1];
    if (count != 1 && count != channels) return false;
    where[1] = chain.len();
    chain.append_prelu(count == 1 ? 0 : 2);
    return true;
  };
  if (!parts.convolution.residual_last) add_residual();
  if (!activate()) return false;
  if (parts.convolution.residual_last) add_residual();
  return true;
}

std::optional<Candidate> make(const Builder& builder, const Parts& parts, Layout from, Layout to) {
  const program::Window& window = parts.convolution.window;
  dnnl::post_ops chain;
  std::array<int, 2> where{};
  if (!chain_of(builder, parts, to, chain, where)) return std::nullopt;
  auto attr = attributes();
  attr.set_post_ops(chain);
  const auto weights = weights_desc(builder.value(parts.w).shape, parts.convolution.groups, true);
  const memory::desc bias =
      parts.bias == kNone ? memory::desc() : describe_plain(builder.value(parts.bias).shape);
  auto desc = try_make([&] {
    return dnnl::convolution_forward::primitive_desc(
        engine(), dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct,
        describe(builder.value(parts.x).shape, from), weights, bias,
        describe(builder.value(parts.y).shape, to), window.strides, less_one(window.dilations),
        window.pads_begin, window.pads_end, attr);
  });
  if (!desc) return std::nullopt;
  return Candidate{from, to, std::move(*desc)};
}

/// The best implementation over the layouts, those tried first that cost no reorder.
std::optional<Candidate> choose(const Builder& builder, const Parts& parts) {
  using Pair = std::pair<Layout, Layout>;
  std::vector<Pair> pairs;
  if (builder.value(parts.y).shape.size() == 4) {
    pairs = {
        {Layout::blocked, Layout::blocked}, {Layout::plain, Layout::blocked}, {Layout::plain, Layout::plain}};
    // oneDNN has kernels for first layers, which read the image as it comes
    if (builder.value(parts.x).shape[1] <= 3) std::swap(pairs[0], pairs[1]);
  } else {
    pairs = {{Layout::plain, Layout::plain}};
  }
  std::optional<Candidate> best;
  for (const auto& [from, to] : pairs) {
    if (parts.in_place && to != builder.layout(parts.y)) continue;
    auto candidate = make(builder, parts, from, to);
    if (!candidate) continue;
    const int rank = rank_of(candidate->desc.impl_info_str());
    if (!best || rank < rank_of(best->desc.impl_info_str())) best = std::move(candidate);
    if (rank == 0) break;
  }
  return best;
}

}  // namespace

bool build_convolution(Builder& builder, const Step& step) {
  if (!std::holds_alternative<Convolution>(step.operation)) return false;
  const Parts parts = take_apart(builder, step);
  const auto is_float = [&](ValueId id) {
    return id == kNone || builder.value(id).dtype == core::DType::f32;
  };
  if (!std::ranges::all_of(std::array{parts.x, parts.w, parts.bias, parts.residual, parts.slopes}, is_float))
    return false;
  // weights are packed when a program is prepared: those computed on the way go to other suppliers
  if (builder.value(parts.w).role != program::Role::constant) return false;
  const std::optional<Candidate> chosen = choose(builder, parts);
  if (!chosen) return false;
  if (rank_of(chosen->desc.impl_info_str()) > 0) return false;  // plain loops, or one image row at a time
  const auto& desc = chosen->desc;
  dnnl::post_ops chain;
  std::array<int, 2> where{};
  chain_of(builder, parts, chosen->to, chain, where);

  std::vector<Operand> operands = {
      {DNNL_ARG_SRC, desc.src_desc(), builder.read(parts.x, chosen->from)},
      {DNNL_ARG_WEIGHTS, desc.weights_desc(),
       pack(builder, parts.w, weights_desc(builder.value(parts.w).shape, parts.convolution.groups, false),
            desc.weights_desc())}};
  if (parts.bias != kNone) {
    operands.push_back({DNNL_ARG_BIAS, desc.bias_desc(), builder.read(parts.bias, Layout::plain)});
  }
  if (parts.residual != kNone && !parts.in_place) {
    operands.push_back({DNNL_ARG_ATTR_MULTIPLE_POST_OP(where[0]) | DNNL_ARG_SRC_1, desc.dst_desc(),
                        builder.read(parts.residual, chosen->to)});
  }
  if (parts.slopes != kNone) {
    const core::Shape flat{core::element_count(builder.value(parts.slopes).shape)};
    operands.push_back({DNNL_ARG_ATTR_MULTIPLE_POST_OP(where[1]) | DNNL_ARG_WEIGHTS, describe_plain(flat),
                        builder.read(parts.slopes, Layout::plain)});
  }
  operands.push_back({DNNL_ARG_DST, desc.dst_desc(), builder.write(parts.y, chosen->to)});
  emit(builder, desc, dnnl::convolution_forward(desc), operands, chosen->to);
  return true;
}

}  // namespace rdquant::runtime::native::onednn
