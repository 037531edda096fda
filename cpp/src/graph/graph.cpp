#include "rdquant/graph/graph.hpp"

namespace rdquant::graph {

std::string describe(const Node& node) {
  const std::string op = node.domain.empty() ? node.op : node.domain + ":" + node.op;
  if (!node.name.empty()) return op + " node '" + node.name + "'";
  return op + " node giving '" + (node.outputs.empty() ? "" : node.outputs.front()) + "'";
}

}  // namespace rdquant::graph
