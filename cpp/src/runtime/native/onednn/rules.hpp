#pragma once

#include "runtime/native/builder.hpp"

/// The rules of oneDNN: each adds a primitive that computes `step`, or returns false and adds nothing.
namespace rdquant::runtime::native::onednn {

bool build_convolution(Builder& builder, const program::Step& step);
bool build_matmul(Builder& builder, const program::Step& step);

}  // namespace rdquant::runtime::native::onednn
