// The vectors that the kernels of this folder are written with: a block of channels is one of them.
#pragma once

#include "runtime/kernels/base.inl"
#include "simd/int8.inl"

namespace rdquant::runtime::kernels {
namespace {

using simd::F32;
using simd::I32;
constexpr Index kBlock = simd::kLanes;

using simd::load;
using simd::load_some;
using simd::max_of;
using simd::splat;
using simd::store;
using simd::store_some;

}  // namespace
}  // namespace rdquant::runtime::kernels
