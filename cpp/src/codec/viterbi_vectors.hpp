#pragma once

#include <cstdint>

// Functions on them are inlined: how they would be passed does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace rdquant::codec {
namespace {

using Ints [[gnu::vector_size(64)]] = std::int32_t;
using Floats [[gnu::vector_size(64)]] = float;
using Shorts [[gnu::vector_size(32)]] = std::int16_t;

}  // namespace
}  // namespace rdquant::codec
