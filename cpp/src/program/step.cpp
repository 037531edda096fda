#include "rdquant/program/step.hpp"

#include <array>

namespace rdquant::program {
namespace {

constexpr std::array<std::string_view, std::variant_size_v<Operation>> kOperations = {
    "convolution",
    "transposed_convolution",
    "matmul",
    "pool",
    "unary",
    "binary",
    "where",
    "cast",
    "quantize",
    "dequantize",
    "dynamic_quantize",
    "int8_convolution",
    "int8_binary",
    "lookup",
    "int8_pool",
    "reduce",
    "arg_extreme",
    "top_k",
    "cumulative_sum",
    "softmax",
    "layer_normalization",
    "batch_normalization",
    "group_normalization",
    "lp_normalization",
    "local_response_normalization",
    "concat",
    "split",
    "slice",
    "pad",
    "reshape",
    "transpose",
    "expand",
    "tile",
    "gather",
    "gather_elements",
    "gather_nd",
    "scatter_nd",
    "one_hot",
    "triangle",
    "depth_to_space",
    "space_to_depth",
    "resize",
    "recurrence",
    "scatter_elements",
    "grid_sample",
    "roi_pool",
    "determinant"};

constexpr std::array<std::string_view, 47> kFunctions = {"identity",
                                                         "relu",
                                                         "clip",
                                                         "leaky_relu",
                                                         "prelu",
                                                         "sigmoid",
                                                         "silu",
                                                         "hard_sigmoid",
                                                         "hard_swish",
                                                         "tanh",
                                                         "elu",
                                                         "selu",
                                                         "celu",
                                                         "gelu",
                                                         "gelu_tanh",
                                                         "mish",
                                                         "softplus",
                                                         "softsign",
                                                         "thresholded_relu",
                                                         "swish",
                                                         "shrink",
                                                         "exp",
                                                         "log",
                                                         "sqrt",
                                                         "reciprocal",
                                                         "erf",
                                                         "abs",
                                                         "neg",
                                                         "sign",
                                                         "floor",
                                                         "ceil",
                                                         "round",
                                                         "sin",
                                                         "cos",
                                                         "tan",
                                                         "asin",
                                                         "acos",
                                                         "atan",
                                                         "sinh",
                                                         "cosh",
                                                         "asinh",
                                                         "acosh",
                                                         "atanh",
                                                         "logical_not",
                                                         "bitwise_not",
                                                         "is_nan",
                                                         "is_inf"};
static_assert(static_cast<std::size_t>(Function::is_inf) + 1 == kFunctions.size());

constexpr std::array<std::string_view, 23> kBinary = {
    "add",         "sub",        "mul",           "div",         "pow",        "min",
    "max",         "mod",        "fmod",          "prelu",       "equal",      "less",
    "less_equal",  "greater",    "greater_equal", "logical_and", "logical_or", "logical_xor",
    "bitwise_and", "bitwise_or", "bitwise_xor",   "shift_left",  "shift_right"};
static_assert(static_cast<std::size_t>(BinaryFunction::shift_right) + 1 == kBinary.size());

constexpr std::array<std::string_view, 10> kReductions = {
    "sum", "mean", "max", "min", "prod", "l1", "l2", "log_sum", "log_sum_exp", "sum_square"};
static_assert(static_cast<std::size_t>(ReduceFunction::sum_square) + 1 == kReductions.size());

}  // namespace

std::string_view operation_name(const Operation& operation) noexcept {
  return kOperations[operation.index()];
}

std::string_view function_name(Function function) noexcept {
  return kFunctions[static_cast<std::size_t>(function)];
}

std::string_view function_name(BinaryFunction function) noexcept {
  return kBinary[static_cast<std::size_t>(function)];
}

std::string_view function_name(ReduceFunction function) noexcept {
  return kReductions[static_cast<std::size_t>(function)];
}

}  // namespace rdquant::program
