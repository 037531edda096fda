#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace rdquant::stats {

/// One array of weights, viewed, and what to call it in a message ("tensor 'conv1.weight'").
struct NamedValues {
  std::string name;
  std::variant<std::span<const float>, std::span<const double>> data;

  [[nodiscard]] std::size_t size() const {
    return std::visit([](auto values) { return values.size(); }, data);
  }
};

/// Arrays that are read one after the other as if they were one: a model's tensors, without a copy.
using Values = std::vector<NamedValues>;

[[nodiscard]] inline std::size_t total_size(const Values& values) {
  std::size_t total = 0;
  for (const NamedValues& part : values) total += part.size();
  return total;
}

}  // namespace rdquant::stats
