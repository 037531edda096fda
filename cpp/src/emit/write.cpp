// NAME.c and NAME.h: constants, the arena, one call a layer; host.c and main.c that drive them.
#include <algorithm>
#include <cctype>
#include <set>

#include "emit/constants.hpp"
#include "emit/network.hpp"

namespace rdquant::emit {
namespace {

std::string c_type(const Port& port) { return port.levels ? "int8_t" : "float"; }

/// The type of the model's elements.
std::string model_type(const Port& port) {
  return port.dtype == core::DType::f32 ? "float" : port.dtype == core::DType::u8 ? "uint8_t" : "int8_t";
}

std::string upper(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

/// What becomes of a float that is an input.
std::string quantized_text(const Port& port) {
  if (!port.levels || port.dtype != core::DType::f32) return "";
  return " Numbers beyond its levels, infinities too, become\n * the nearest of these. NaN, which the "
         "reference "
         "refuses, becomes the lowest.";
}

std::int64_t model_bytes(const Port& port) {
  return core::element_count(port.shape) * static_cast<std::int64_t>(core::size_of(port.dtype));
}

/// The functions of a model as C declares them.
class Writer {
 public:
  Writer(const Network& network, const Options& options, std::int64_t arena)
      : network_(network), name_(options.name), inside_(options.ports == Ports::arena), arena_(arena) {}

  [[nodiscard]] std::string header() const {
    const std::string guard = upper(name_) + "_H";
    std::string text = "/* Made by rdquant. Images lie with their channels last. */\n#ifndef " + guard +
                       "\n#define " + guard + "\n\n#include \"rdq.h\"\n\n#define " + upper(name_) +
                       "_ARENA_BYTES " + std::to_string(arena_) + "\n";
    each([&](const Port& port, const std::string& which, bool) {
      text += "#define " + upper(name_ + "_" + which) + "_BYTES " + std::to_string(port.bytes) + "\n";
    });
    text += "\n";
    each([&](const Port& port, const std::string& which, bool input) {
      text += "/* '" + comment_text(port.name) + "', " + core::shape_text(port.shape) + " in the model." +
              (input ? quantized_text(port) : "") + " */\n";
      if (inside_) text += getter(port, which) + ";\n";
      text += helper(port, which, input) + ";\n";
    });
    text += "/* Computes the outputs. Inputs" +
            std::string(inside_ ? " are overwritten: write them before each run" : " are only read") +
            ". */\n" + run() + ";\n\n#endif\n";
    return text;
  }

  [[nodiscard]] std::string source() const {
    std::string text = "/* Made by rdquant. */\n#include \"" + name_ + ".h\"\n" + network_.constants + "\n";
    if (arena_ > 0) text += "static int8_t arena[" + upper(name_) + "_ARENA_BYTES] RDQ_ALIGNED;\n\n";
    each([&](const Port& port, const std::string& which, bool input) {
      const View& view = view_of(which, input);
      if (inside_) text += getter(port, which) + " { return " + address(view, c_type(port)) + "; }\n\n";
      std::string body = (input ? network_.input_helpers : network_.output_helpers)[number(which, input)];
      const std::string ours = inside_ ? address(view, c_type(port)) : which;
      body.replace(body.find("X, Y"), 4, input ? "x, " + ours : ours + ", x");
      text += helper(port, which, input) + " { " + body + "; }\n\n";
    });
    text += run() + " {\n";
    for (const Call& call : network_.calls) text += statement(call);
    return text + "}\n";
  }

  [[nodiscard]] std::string host() const {
    std::string text =
        "/* One input's bytes from stdin, the outputs' bytes to stdout, as the model has them. */\n"
        "#include <stdio.h>\n\n#include \"" +
        name_ + ".h\"\n\n" + memory();
    text += "int main(void) {\n";
    each([&](const Port& port, const std::string& which, bool input) {
      if (input)
        text += "  if (fread(" + which + "_data, 1, " + std::to_string(model_bytes(port)) +
                ", stdin) != " + std::to_string(model_bytes(port)) + ") {\n    fputs(\"host: " + which +
                " takes " + std::to_string(model_bytes(port)) +
                " bytes from stdin\\n\", stderr);\n    return 1;\n  }\n";
    });
    text += steps("_data");
    each([&](const Port& port, const std::string& which, bool input) {
      if (!input)
        text += "  if (fwrite(" + which + "_data, 1, " + std::to_string(model_bytes(port)) +
                ", stdout) != " + std::to_string(model_bytes(port)) + ") return 1;\n";
    });
    return text + "  return 0;\n}\n";
  }

  /// Whether any byte differs is what main gives back, so that no output is needed.
  [[nodiscard]] std::string main() const {
    std::string text =
        "/* Runs the stored input of sample.h; returns 0 where the outputs are as the reference gave them. "
        "*/\n"
        "#include <string.h>\n\n#include \"" +
        name_ + ".h\"\n#include \"sample.h\"\n\n" + memory(false) + "int main(void) {\n" + steps("_sample") +
        "  int wrong = 0;\n";
    each([&](const Port& port, const std::string& which, bool input) {
      if (!input)
        text += "  for (uint32_t i = 0; i < " + std::to_string(model_bytes(port)) +
                "; i++) wrong += ((const uint8_t *)" + which + "_data)[i] != ((const uint8_t *)" + which +
                "_sample)[i];\n";
    });
    return text + "  return wrong != 0;\n}\n";
  }

 private:
  template <typename Each>
  void each(const Each& act) const {
    for (std::size_t i = 0; i < network_.inputs.size(); ++i)
      act(network_.inputs[i], "input" + std::to_string(i), true);
    for (std::size_t i = 0; i < network_.outputs.size(); ++i)
      act(network_.outputs[i], "output" + std::to_string(i), false);
  }

  static std::size_t number(const std::string& which, bool input) {
    return static_cast<std::size_t>(std::stoul(which.substr(input ? 5 : 6)));
  }

  [[nodiscard]] const View& view_of(const std::string& which, bool input) const {
    return (input ? network_.input_views : network_.output_views)[number(which, input)];
  }

  [[nodiscard]] std::string getter(const Port& port, const std::string& which) const {
    return c_type(port) + " *" + name_ + "_" + which + "(void)";
  }

  [[nodiscard]] std::string helper(const Port& port, const std::string& which, bool input) const {
    const std::string theirs = model_type(port), ours = c_type(port);
    if (input)
      return "void " + name_ + "_write_" + which + "(const " + theirs + " *x" +
             (inside_ ? "" : ", " + ours + " *" + which) + ")";
    return "void " + name_ + "_read_" + which + "(" + (inside_ ? "" : "const " + ours + " *" + which + ", ") +
           theirs + " *x)";
  }

  [[nodiscard]] std::string run() const {
    if (inside_) return "void " + name_ + "_run(void)";
    std::string arguments;
    each([&](const Port& port, const std::string& which, bool input) {
      arguments +=
          (arguments.empty() ? "" : ", ") + std::string(input ? "const " : "") + c_type(port) + " *" + which;
    });
    return "void " + name_ + "_run(" + arguments + ")";
  }

  [[nodiscard]] std::string address(const View& view, const std::string& type) const {
    return place_text({{}, view.buffer, view.offset * view.element(), type, true});
  }

  [[nodiscard]] std::string place_text(const Argument& argument) const {
    const Buffer& buffer = network_.buffers[static_cast<std::size_t>(argument.buffer)];
    if (!buffer.outside.empty())
      return buffer.outside + (argument.offset == 0 ? "" : " + " + std::to_string(argument.offset));
    const std::string place = "arena + " + std::to_string(buffer.offset + argument.offset);
    if (argument.type == "int8_t" || argument.type == "void") return place;
    return "(" + argument.type + " *)(void *)(" + place + ")";
  }

  [[nodiscard]] std::string statement(const Call& call) const {
    std::string text = "  " + call.function + "(";
    for (std::size_t i = 0; i < call.arguments.size(); ++i) {
      const Argument& argument = call.arguments[i];
      text += (i == 0 ? "" : ", ") + (argument.buffer < 0 ? argument.text : place_text(argument));
    }
    return text + "); /* " + comment_text(call.node) + " */\n";
  }

  /// Memory of a program around the model.
  [[nodiscard]] std::string memory(bool inputs = true) const {
    std::string text;
    each([&](const Port& port, const std::string& which, bool input) {
      const auto count = std::to_string(core::element_count(port.shape));
      if (inputs || !input) text += "static " + model_type(port) + " " + which + "_data[" + count + "];\n";
      if (!inside_) text += "static " + c_type(port) + " " + which + "_levels[" + count + "] RDQ_ALIGNED;\n";
    });
    return text + "\n";
  }

  [[nodiscard]] std::string steps(const std::string& from) const {
    std::string text, arguments;
    each([&](const Port& port, const std::string& which, bool input) {
      const std::string ours = which + "_levels";
      if (input)
        text += "  " + name_ + "_write_" + which + "((const " + model_type(port) + " *)(const void *)" +
                which + from + (inside_ ? "" : ", " + ours) + ");\n";
      arguments += (arguments.empty() ? "" : ", ") + ours;
    });
    text += "  " + name_ + "_run(" + (inside_ ? "" : arguments) + ");\n";
    each([&](const Port&, const std::string& which, bool input) {
      if (!input)
        text += "  " + name_ + "_read_" + which + "(" + (inside_ ? "" : which + "_levels, ") + which +
                "_data);\n";
    });
    return text;
  }

  const Network& network_;
  std::string name_;
  bool inside_;
  std::int64_t arena_;
};

}  // namespace

void write(const Network& network, const Options& options, Firmware& firmware) {
  const Writer writer(network, options, firmware.arena);
  firmware.header = writer.header();
  firmware.source = writer.source();
  firmware.host = writer.host();
  firmware.main = writer.main();
}

}  // namespace rdquant::emit
