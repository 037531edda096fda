#include "rdquant/program/evaluate.hpp"

#include <variant>

#include "program/evaluate/steps.hpp"

namespace rdquant::program {

void evaluate(const Step& step, std::span<const core::TensorView> inputs,
              std::span<const core::MutableTensorView> outputs, int threads) {
  std::visit(
      [&](const auto& operation) {
        if constexpr (requires { plain::compute(operation, inputs, outputs, threads); }) {
          plain::compute(operation, inputs, outputs, threads);
        } else {
          plain::compute(operation, inputs, outputs);
        }
      },
      step.operation);
}

}  // namespace rdquant::program
