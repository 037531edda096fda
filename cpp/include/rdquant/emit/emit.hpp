#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rdquant/program/program.hpp"

/// C99 source of quantized networks for microcontrollers: weights as constant arrays, one call of a kernel for each layer,
/// one static arena that is planned here. The kernels themselves are C files beside the Python package.
namespace rdquant::emit {

/// Who owns the memory of inputs and outputs.
enum class Ports : std::uint8_t {
  arena,  ///< they are parts of the arena, whose bytes serve other values before and after
  caller  ///< `run` gets pointers; inputs are not written
};

struct Options {
  std::string name = "model";  ///< prefix of all names in C, an identifier
  Ports ports = Ports::arena;
  bool coded =
      false;  ///< weights stay entropy coded in flash where that is smaller and the arena stays within `room`
  std::int64_t room = 0;  ///< bytes of the arena that coded weights may need; never less than plain ones do
};

/// An input or output. In C its elements are int8 levels or float32, in an order that its helper function knows.
struct Port {
  std::string name;        ///< in the model
  core::DType dtype;       ///< in the model
  core::Shape shape;       ///< in the model
  bool levels = true;      ///< int8 in C, not float32
  float scale = 1;         ///< where the model's are floats: x = scale · (level − zero)
  std::int32_t zero = 0;   ///< likewise
  std::int64_t bytes = 0;  ///< in C
};

/// What one call costs.
struct Layer {
  std::string node;          ///< of the model
  std::string kernel;        ///< the C function
  std::int64_t macs = 0;     ///< multiply–accumulates
  std::int64_t outputs = 0;  ///< elements written
  std::int64_t constants =
      0;  ///< bytes of weights and other constants of this layer on a core with 32-bit pointers
  std::int64_t decoded = 0;  ///< levels of coded weights that a run decodes
  std::int64_t live = 0;     ///< bytes of the arena that hold something while it runs
};

struct Firmware {
  std::string source, header;  ///< text of NAME.c and NAME.h
  std::string host;            ///< text of host.c: from stdin to stdout
  std::string main;  ///< text of main.c: one stored input (sample.h), compared with what it must give
  std::vector<std::string> kernels;  ///< C functions that the source calls, sorted
  std::vector<Port> inputs, outputs;
  std::vector<Layer> layers;
  std::int64_t constants = 0;  ///< bytes in flash, the code left out
  std::int64_t arena = 0;      ///< bytes
  std::int64_t taps = 0;       ///< most taps of a depthwise window, for RDQ_MOST_TAPS
};

/// The program as C. Values that are unsigned in the model are int8 moved by 128; images have their channels last.
///
/// @throws Unsupported      a step that has no kernel, with the node's name: floats in the middle, ranges found at run time
/// @throws InvalidArgument  a name that is no identifier of C
[[nodiscard]] Firmware emit(const program::Program& program, const Options& options = {});

}  // namespace rdquant::emit
