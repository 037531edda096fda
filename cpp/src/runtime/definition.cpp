#include "runtime/definition.hpp"

#include <string>

#include "rdquant/core/error.hpp"
#include "rdquant/program/evaluate.hpp"

namespace rdquant::runtime {

std::string label(const program::Step& step) {
  return std::string(program::operation_name(step.operation)) + " of node '" + step.node + "': ";
}

void evaluate_named(const program::Step& step, std::span<const core::TensorView> inputs,
                    std::span<const core::MutableTensorView> outputs, int threads) {
  try {
    program::evaluate(step, inputs, outputs, threads);
  } catch (const core::Unsupported& error) {
    throw core::Unsupported(label(step) + error.what());
  } catch (const core::InvalidArgument& error) {
    throw core::InvalidArgument(label(step) + error.what());
  }
}

}  // namespace rdquant::runtime
