// Opens a model, runs it on a ramp from 0 to 1, prints the shape of its first output and the largest value in it.
#include <algorithm>
#include <iostream>
#include <rdquant/core/error.hpp>
#include <rdquant/model/session.hpp>

int main(int argc, char** argv) try {
  if (argc != 2) throw rdquant::core::InvalidArgument("usage: run_model MODEL.onnx|MODEL.rdq");
  rdquant::model::Session session(argv[1]);
  const rdquant::graph::ValueInfo& input = session.inputs().at(0);
  rdquant::core::Shape shape;
  for (const rdquant::graph::Dimension& d : input.shape) shape.push_back(d.size.value_or(1));
  rdquant::core::Tensor x(rdquant::core::DType::f32, shape);
  auto* const values = x.write().as<float>();
  for (std::int64_t i = 0; i < x.size(); ++i)
    values[i] = static_cast<float>(i) / static_cast<float>(x.size());
  const rdquant::core::Tensor y = session.run({&x, 1}).front();
  const std::vector<double> scores = y.doubles();
  const auto top = std::ranges::max_element(scores);
  std::cout.precision(4);
  std::cout << session.outputs().at(0).name << ' ' << rdquant::core::shape_text(y.shape())
            << ": largest value " << *top << " at " << top - scores.begin() << '\n';
} catch (const rdquant::core::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
