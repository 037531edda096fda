#pragma once

#include "runtime/native/builder.hpp"

/// The rules of oneDNN: each adds a primitive that computes `step`, or returns false and adds nothing.
namespace rdquant::runtime::native::onednn {

bool build_convolution(Builder& builder, const program::Step& step);
bool build_matmul(Builder& builder, const program::Step& step);
bool build_pool(Builder& builder, const program::Step& step);
bool build_mean(Builder& builder, const program::Step& step);
bool build_unary(Builder& builder, const program::Step& step);
bool build_binary(Builder& builder, const program::Step& step);
bool build_softmax(Builder& builder, const program::Step& step);
bool build_normalization(Builder& builder, const program::Step& step);

}  // namespace rdquant::runtime::native::onednn
