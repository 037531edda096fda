#include "runtime/native/suppliers.hpp"

#include <cstdlib>
#include <string>
#include <string_view>

#include "rdquant/core/error.hpp"
#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/onednn/openmp.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using program::Step;
using Preference = SupplierChoice::Preference;

#ifdef RDQUANT_WITH_ONEDNN
constexpr bool kHasOnednn = true;
#else
constexpr bool kHasOnednn = false;
#endif

std::string_view variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? std::string_view() : std::string_view(text);
}

/// Whether RDQUANT_ONEDNN and the build allow oneDNN.
bool allows_onednn() {
  const std::string_view text = variable("RDQUANT_ONEDNN");
  if (text == "0") return false;
  const bool reachable = [] {
    if constexpr (kHasOnednn) return onednn::openmp_is_ours();
    return false;
  }();
  if (text.empty()) return reachable;
  if (text != "1")
    throw core::InvalidArgument("RDQUANT_ONEDNN is '" + std::string(text) + "'; allowed are 0 and 1");
  if (!kHasOnednn) throw core::Unsupported("RDQUANT_ONEDNN is 1, but this build of rdquant has no oneDNN");
  if (!reachable) {
    throw core::Unsupported(
        "RDQUANT_ONEDNN is 1, but oneDNN is not installed (pip install 'rdquant[onednn]'), or something "
        "else in this process loaded it or libgomp before rdquant: its threads would not be ours");
  }
  return true;
}

Preference preference() {
  const std::string_view text = variable("RDQUANT_KERNELS");
  if (text.empty() || text == "auto") return Preference::automatic;
  if (text == "native") return Preference::native;
  if (text == "onednn") return Preference::onednn;
  throw core::InvalidArgument("RDQUANT_KERNELS is '" + std::string(text) +
                              "'; allowed are auto, native, onednn");
}

/// Whether our kernels are expected to be at least as fast as oneDNN's for this step.
bool native_is_better(const Builder& builder, const Step& step) {
  if (std::holds_alternative<program::Convolution>(step.operation))
    return native_convolution_is_better(builder, step);
  if (std::holds_alternative<program::MatMul>(step.operation)) return native_matmul_is_better(builder, step);
  return true;
}

}  // namespace

std::string_view supplier_name(Supplier supplier) noexcept {
  switch (supplier) {
    case Supplier::native:
      return "native";
    case Supplier::onednn:
      return "onednn";
    default:
      return "reference";
  }
}

SupplierChoice choose_suppliers() {
  const SupplierChoice choice{allows_onednn(), preference()};
  if (choice.preference == Preference::onednn && !choice.onednn) {
    throw core::Unsupported(kHasOnednn
                                ? "RDQUANT_KERNELS is onednn, but RDQUANT_ONEDNN is 0"
                                : "RDQUANT_KERNELS is onednn, but this build of rdquant has no oneDNN");
  }
  return choice;
}

std::array<Rule, 3> rules_for(const Builder& builder, const Step& step) {
  const SupplierChoice& choice = builder.suppliers();
  if constexpr (kHasOnednn) {
    const bool native_first = choice.preference == Preference::native ||
                              (choice.preference == Preference::automatic && native_is_better(builder, step));
    if (choice.onednn && native_first) return {build_native, build_onednn, build_reference};
    if (choice.onednn) return {build_onednn, build_native, build_reference};
  }
  return {build_native, build_reference, build_reference};
}

bool build_native(Builder& builder, const Step& step) {
  static constexpr Rule kRules[] = {build_int8_convolution,
                                    build_int8,
                                    build_convolution,
                                    build_transposed_convolution,
                                    build_matmul,
                                    build_pool,
                                    build_mean,
                                    build_unary,
                                    build_binary,
                                    build_softmax,
                                    build_normalization,
                                    build_reduce,
                                    build_integer_reduce,
                                    build_arg_extreme,
                                    build_top_k,
                                    build_resize,
                                    build_resample,
                                    build_recurrence,
                                    build_tile,
                                    build_pad,
                                    build_gather,
                                    build_gather_nd,
                                    build_gather_elements,
                                    build_scatter,
                                    build_plain_pool,
                                    build_grid_sample,
                                    build_cumulative,
                                    build_elements,
                                    build_scatter_elements,
                                    build_movement};
  for (const Rule rule : kRules) {
    if (rule(builder, step)) return true;
  }
  return false;
}

}  // namespace rdquant::runtime::native
