#pragma once

#include "runtime/native/builder.hpp"

/// The rules of our own kernels: each adds what computes `step`, or returns false and adds nothing.
namespace rdquant::runtime::native {

bool build_int8_convolution(Builder& builder, const program::Step& step);
bool build_int8(Builder& builder, const program::Step& step);
bool build_convolution(Builder& builder, const program::Step& step);
bool build_transposed_convolution(Builder& builder, const program::Step& step);
bool build_matmul(Builder& builder, const program::Step& step);
bool build_pool(Builder& builder, const program::Step& step);
bool build_plain_pool(Builder& builder, const program::Step& step);
bool build_mean(Builder& builder, const program::Step& step);
bool build_unary(Builder& builder, const program::Step& step);
bool build_binary(Builder& builder, const program::Step& step);
bool build_elements(Builder& builder, const program::Step& step);
bool build_softmax(Builder& builder, const program::Step& step);
bool build_normalization(Builder& builder, const program::Step& step);
bool build_grid_sample(Builder& builder, const program::Step& step);
bool build_recurrence(Builder& builder, const program::Step& step);
bool build_cumulative(Builder& builder, const program::Step& step);
bool build_reduce(Builder& builder, const program::Step& step);
bool build_integer_reduce(Builder& builder, const program::Step& step);
bool build_arg_extreme(Builder& builder, const program::Step& step);
bool build_top_k(Builder& builder, const program::Step& step);
bool build_resize(Builder& builder, const program::Step& step);
bool build_resample(Builder& builder, const program::Step& step);
bool build_tile(Builder& builder, const program::Step& step);
bool build_pad(Builder& builder, const program::Step& step);
bool build_gather(Builder& builder, const program::Step& step);
bool build_gather_nd(Builder& builder, const program::Step& step);
bool build_gather_elements(Builder& builder, const program::Step& step);
bool build_scatter(Builder& builder, const program::Step& step);
bool build_scatter_elements(Builder& builder, const program::Step& step);
bool build_movement(Builder& builder, const program::Step& step);

/// Emits the reduction of a step's input, read as rows of `length` floats, to a number each.
void reduce_rows(Builder& builder, const program::Step& step, program::ReduceFunction function,
                 std::int64_t length);
/// The same of integers of 8, 32 or 64 bits; false, and nothing added, for others.
bool reduce_integer_rows(Builder& builder, const program::Step& step, program::ReduceFunction function,
                         std::int64_t length);

/// Whether our kernels are expected to be at least as fast as oneDNN's for a product of matrices.
[[nodiscard]] bool native_matmul_is_better(const Builder& builder, const program::Step& step);

}  // namespace rdquant::runtime::native
