#include <pybind11/stl.h>

#include <deque>
#include <optional>

#include "arrays.hpp"
#include "bindings.hpp"
#include "rdquant/codec/container.hpp"
#include "rdquant/codec/floats.hpp"
#include "rdquant/codec/level_rates.hpp"
#include "rdquant/codec/levels.hpp"
#include "rdquant/codec/tensor.hpp"

namespace py = pybind11;

namespace rdquant::bindings {
namespace {

using Shape = std::vector<std::uint64_t>;
template <typename F>
py::bytes encoded(F&& encode) {
  std::vector<std::uint8_t> bytes;
  {
    const py::gil_scoped_release unlocked;
    bytes = encode();
  }
  return to_bytes(bytes);
}

void bind_levels(py::module_& m) {
  py::class_<codec::LevelRates>(m, "LevelRates",
                                "What levels cost under the model that given ones are coded with.")
      .def(py::init([](const py::array& levels, const Shape& shape) {
             const auto from = view<std::int32_t>(levels);
             const py::gil_scoped_release unlocked;
             return std::make_unique<codec::LevelRates>(from, shape);
           }),
           py::arg("levels"), py::arg("shape"));
  m.def(
      "levels_trellis",
      [](const py::buffer& coded) { return codec::levels_trellis(ByteView(coded).bytes()); },
      py::arg("coded"), "The trellis whose path coded levels are.");
  m.def(
      "encode_levels",
      [](const py::array& levels, const Shape& shape, codec::LevelType type, codec::Profile profile,
         int threads, codec::Trellis trellis) {
        const auto from = view<std::int32_t>(levels);
        return encoded([&] { return codec::encode_levels(from, shape, type, profile, threads, trellis); });
      },
      py::arg("levels"), py::arg("shape"), py::arg("type"), py::arg("profile"), py::arg("threads"),
      py::arg("trellis") = codec::Trellis{}, "Codes int32 levels of the given shape.");
  m.def(
      "decode_levels",
      [](const py::buffer& coded, int threads, std::uint64_t memory_limit) {
        const ByteView bytes(coded);
        const codec::LevelsHeader header = codec::levels_header(bytes.bytes());
        if (header.size > memory_limit / sizeof(std::int32_t)) {
          throw core::Unsupported("levels: " + std::to_string(header.size * sizeof(std::int32_t)) +
                                  " bytes when decoded, memory_limit allows " + std::to_string(memory_limit));
        }
        py::array_t<std::int32_t> out(std::vector<py::ssize_t>(header.shape.begin(), header.shape.end()));
        const std::span<std::int32_t> to(out.mutable_data(), static_cast<std::size_t>(header.size));
        {
          const py::gil_scoped_release unlocked;
          codec::decode_levels(bytes.bytes(), to, threads);
        }
        return std::make_pair(static_cast<int>(header.type), out);
      },
      py::arg("coded"), py::arg("threads"), py::arg("memory_limit"), "Type and values of levels, int32.");
  m.def(
      "encode_floats",
      [](const py::array& values, const Shape& shape, codec::FloatType type, codec::Profile profile,
         int threads) {
        const auto from = view<std::uint8_t>(values);
        return encoded([&] { return codec::encode_floats(from, shape, type, profile, threads); });
      },
      py::arg("values"), py::arg("shape"), py::arg("type"), py::arg("profile"), py::arg("threads"),
      "Codes floats, given as bytes.");
  m.def(
      "decode_floats",
      [](const py::buffer& coded, codec::FloatType type, py::array out, int threads) {
        const ByteView bytes(coded);
        const auto to = mutable_view<std::uint8_t>(out);
        const py::gil_scoped_release unlocked;
        codec::decode_floats(bytes.bytes(), type, to, threads);
      },
      py::arg("coded"), py::arg("type"), py::arg("out"), py::arg("threads"), "Decodes floats into bytes.");
}

/// What goes into an array, and where.
codec::TensorJob job_of(codec::TensorHeader& tensor, py::array& out) {
  codec::TensorJob job{&tensor};
  const codec::Coding coding = tensor.coding;
  const auto to = [&](auto view) {
    job.to = {reinterpret_cast<std::uint8_t*>(view.data()), view.size_bytes()};
  };
  if (coding == codec::Coding::quantized && py::isinstance<py::array_t<float>>(out)) {
    to(mutable_view<float>(out));
  } else if (coding == codec::Coding::quantized || coding == codec::Coding::integers) {
    tensor.coding = codec::Coding::integers;
    to(mutable_view<std::int32_t>(out));
  } else {
    to(mutable_view<std::uint8_t>(out));
  }
  return job;
}

using Checksum = std::optional<codec::Section>;  // of a section whose bytes are still to be checked

void decode_tensors(const std::vector<std::tuple<Checksum, py::buffer, std::string, py::array>>& tensors,
                    int threads) {
  std::deque<ByteView> sections;
  std::deque<codec::TensorHeader> headers;
  std::vector<codec::TensorJob> jobs;
  for (const auto& [checksum, buffer, name, array] : tensors) {
    const ByteView& section = sections.emplace_back(buffer);
    py::array out = array;
    jobs.push_back(job_of(headers.emplace_back(codec::tensor_header(section.bytes(), name)), out));
    jobs.back().bytes = section.bytes();
    jobs.back().section = checksum ? &*checksum : nullptr;
  }
  const py::gil_scoped_release unlocked;
  codec::decode_tensors(jobs, threads);
}

void bind_tensors(py::module_& m) {
  m.def(
      "encode_quantized",
      [](const py::array& levels, const Shape& shape, std::uint32_t element_type,
         const std::vector<quant::Quantizer>& quantizers, std::size_t inner, codec::Profile profile,
         int threads, codec::Trellis trellis) {
        const auto from = view<std::int32_t>(levels);
        return encoded([&] {
          return codec::encode_quantized(from, shape, element_type, quantizers, inner, profile, threads,
                                         trellis);
        });
      },
      py::arg("levels"), py::arg("shape"), py::arg("element_type"), py::arg("quantizers"), py::arg("inner"),
      py::arg("profile"), py::arg("threads"), py::arg("trellis") = codec::Trellis{},
      "A tensor section of quantized values.");
  m.def(
      "encode_float_tensor",
      [](const py::array& values, const Shape& shape, std::uint32_t element_type, codec::FloatType type,
         codec::Profile profile, int threads) {
        const auto from = view<std::uint8_t>(values);
        return encoded(
            [&] { return codec::encode_float_tensor(from, shape, element_type, type, profile, threads); });
      },
      py::arg("values"), py::arg("shape"), py::arg("element_type"), py::arg("type"), py::arg("profile"),
      py::arg("threads"), "A tensor section of floats, given as bytes.");
  m.def(
      "encode_integers",
      [](const py::array& levels, const Shape& shape, std::uint32_t element_type, codec::LevelType type,
         codec::Profile profile, int threads) {
        const auto from = view<std::int32_t>(levels);
        return encoded(
            [&] { return codec::encode_integers(from, shape, element_type, type, profile, threads); });
      },
      py::arg("levels"), py::arg("shape"), py::arg("element_type"), py::arg("type"), py::arg("profile"),
      py::arg("threads"), "A tensor section of integers.");
  m.def(
      "encode_raw",
      [](const py::array& values, const Shape& shape, std::uint32_t element_type) {
        const auto from = view<std::uint8_t>(values);
        return encoded([&] { return codec::encode_raw(from, shape, element_type); });
      },
      py::arg("values"), py::arg("shape"), py::arg("element_type"), "A tensor section of bytes as they are.");
  m.def(
      "tensor_header",
      [](const py::buffer& section, const std::string& name) {
        const ByteView bytes(section);
        const codec::TensorHeader t = codec::tensor_header(bytes.bytes(), name);
        return py::make_tuple(t.coding, t.element_type, t.shape, t.levels, t.quantizers, t.inner,
                              t.payload.size());
      },
      py::arg("section"), py::arg("name"),
      "Coding, element type, shape, type of the levels, quantizers, inner, bytes of the payload.");
  m.def(
      "decode_tensors", &decode_tensors, py::arg("tensors"), py::arg("threads"),
      "Decodes tensor sections (checksum or None, bytes, name, array): values (float32) or levels (int32) of "
      "quantized ones, int32 of integers, bytes of others.");
}

}  // namespace

void bind_coding(py::module_ m) {
  bind_rdo(m);
  py::enum_<codec::Profile>(m, "Profile")
      .value("fast", codec::Profile::fast)
      .value("max", codec::Profile::max);
  py::enum_<codec::LevelType>(m, "LevelType")
      .value("int32", codec::LevelType::i32)
      .value("int8", codec::LevelType::i8)
      .value("uint8", codec::LevelType::u8)
      .value("int16", codec::LevelType::i16)
      .value("uint16", codec::LevelType::u16)
      .value("int4", codec::LevelType::i4)
      .value("uint4", codec::LevelType::u4)
      .value("int64", codec::LevelType::i64)
      .value("uint32", codec::LevelType::u32)
      .value("bool", codec::LevelType::boolean)
      .value("int2", codec::LevelType::i2)
      .value("uint2", codec::LevelType::u2);
  py::enum_<codec::FloatType>(m, "FloatType")
      .value("float32", codec::FloatType::f32)
      .value("float16", codec::FloatType::f16)
      .value("bfloat16", codec::FloatType::bf16)
      .value("float64", codec::FloatType::f64);
  py::enum_<codec::Coding>(m, "Coding")
      .value("floats", codec::Coding::floats)
      .value("quantized", codec::Coding::quantized)
      .value("integers", codec::Coding::integers)
      .value("raw", codec::Coding::raw);
  bind_levels(m);
  bind_tensors(m);
  bind_container(m);
}

}  // namespace rdquant::bindings
