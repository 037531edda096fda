#include "rdquant/codec/tensor.hpp"

#include <algorithm>
#include <bit>
#include <variant>

#include "codec/format/bytes.hpp"

namespace rdquant::codec {
namespace {

constexpr std::uint64_t kMostQuantizers = std::uint64_t{1} << 24;
constexpr std::uint64_t kMostElements = std::uint64_t{1} << 40;
constexpr std::uint32_t kOnnxFloat = 1, kOnnxFloat16 = 10, kOnnxDouble = 11, kOnnxBfloat16 = 16;

FloatType float_type(const std::string& name, std::uint32_t element_type) {
  switch (element_type) {
    case kOnnxFloat:
      return FloatType::f32;
    case kOnnxFloat16:
      return FloatType::f16;
    case kOnnxBfloat16:
      return FloatType::bf16;
    case kOnnxDouble:
      return FloatType::f64;
    default:
      throw core::CorruptFile("section " + printable(name) + ", offset 1: element type " +
                              std::to_string(element_type) + " is not a float type");
  }
}

void put(Writer& out, double value) { out.u64(std::bit_cast<std::uint64_t>(value)); }
[[nodiscard]] double get(Reader& in) { return std::bit_cast<double>(in.u64()); }

Writer start(Coding coding, std::uint32_t element_type, std::span<const std::uint64_t> shape) {
  Writer out;
  out.byte(static_cast<std::uint8_t>(coding));
  out.varint(element_type);
  out.varint(shape.size());
  for (const std::uint64_t d : shape) out.varint(d);
  return out;
}

struct WriteQuantizer {
  Writer& out;
  void operator()(const quant::Uniform& q) const {
    put(out, q.step);
    put(out, q.delta);
  }
  void operator()(const quant::MuLaw& q) const {
    put(out, q.mu);
    put(out, q.range);
    put(out, q.step);
  }
  void operator()(const quant::Minifloat& q) const {
    out.byte(static_cast<std::uint8_t>(q.exponent));
    out.byte(static_cast<std::uint8_t>(q.mantissa));
    out.zigzag(q.bias);
    out.byte(q.ieee ? 1 : 0);
  }
  void operator()(const quant::Codebook& q) const {
    out.varint(q.values.size());
    for (const float v : q.values) out.u32(std::bit_cast<std::uint32_t>(v));
  }
};

quant::Quantizer read_quantizer(Reader& in, std::uint8_t family) {
  switch (family) {
    case 0: {
      const double step = get(in);
      return quant::Uniform{.step = step, .delta = get(in)};
    }
    case 1: {
      const double mu = get(in), range = get(in);
      return quant::MuLaw{.mu = mu, .range = range, .step = get(in)};
    }
    case 2: {
      const int exponent = in.byte(), mantissa = in.byte();
      const int bias = in.zigzag32("bias");
      return quant::Minifloat{
          .exponent = exponent, .mantissa = mantissa, .bias = bias, .ieee = in.byte() != 0};
    }
    case 3: {
      quant::Codebook book;
      book.values.resize(static_cast<std::size_t>(in.bounded(65536, "codebook of")));
      for (float& v : book.values) v = std::bit_cast<float>(in.u32());
      return book;
    }
    default:
      in.fail("unknown family of quantizers " + std::to_string(family));
  }
}

void read_quantizers(Reader& in, TensorHeader& tensor) {
  const std::uint64_t count = in.bounded(kMostQuantizers, "number of quantizers");
  const std::uint64_t inner = in.bounded(kMostElements, "elements between channels");
  const std::uint8_t family = in.byte();
  if (count == 0) in.fail("number of quantizers 0, at least 1 expected");
  if (inner == 0) in.fail("elements between channels 0, at least 1 expected");
  // Of a tensor without elements every number of channels is right. The division keeps the product small.
  const bool fits = tensor.size == 0 || (inner <= tensor.size / count && tensor.size % (count * inner) == 0);
  if (count > 1 && !fits) {
    in.fail(std::to_string(count) + " quantizers of " + std::to_string(inner) +
            " elements each do not fit a tensor of " + std::to_string(tensor.size));
  }
  tensor.inner = static_cast<std::size_t>(inner);
  for (std::uint64_t c = 0; c < count; ++c) {
    const std::size_t at = in.offset();
    tensor.quantizers.push_back(read_quantizer(in, family));
    try {
      quant::validate(tensor.quantizers.back());
    } catch (const core::InvalidArgument& error) {
      throw core::CorruptFile("section " + printable(in.section()) + ", offset " + std::to_string(at) + ": " +
                              error.what());
    }
  }
  tensor.payload = in.block();
  in.finish();
}

void check_levels(const Reader& in, TensorHeader& tensor) {
  const LevelsHeader header = levels_header(tensor.payload);
  if (header.shape != tensor.shape) in.fail("levels of another shape than the tensor");
  tensor.levels = header.type;
}

}  // namespace

std::vector<std::uint8_t> encode_quantized(std::span<const std::int32_t> levels,
                                           std::span<const std::uint64_t> shape, std::uint32_t element_type,
                                           std::span<const quant::Quantizer> quantizers, std::size_t inner,
                                           Profile profile, int threads, Trellis trellis) {
  core::require(!quantizers.empty(), "a quantized tensor needs a quantizer");
  for (const auto& q : quantizers) {
    core::require(q.index() == quantizers[0].index(), "the quantizers of a tensor are of one family");
  }
  Writer out = start(Coding::quantized, element_type, shape);
  out.varint(quantizers.size());
  out.varint(inner);
  out.byte(static_cast<std::uint8_t>(quantizers[0].index()));
  for (const auto& q : quantizers) std::visit(WriteQuantizer{out}, q);
  out.block(encode_levels(levels, shape, LevelType::i32, profile, threads, trellis));
  return out.take();
}

std::vector<std::uint8_t> encode_float_tensor(std::span<const std::uint8_t> values,
                                              std::span<const std::uint64_t> shape,
                                              std::uint32_t element_type, FloatType type, Profile profile,
                                              int threads) {
  Writer out = start(Coding::floats, element_type, shape);
  out.append(encode_floats(values, shape, type, profile, threads));
  return out.take();
}

std::vector<std::uint8_t> encode_integers(std::span<const std::int32_t> levels,
                                          std::span<const std::uint64_t> shape, std::uint32_t element_type,
                                          LevelType type, Profile profile, int threads) {
  Writer out = start(Coding::integers, element_type, shape);
  out.append(encode_levels(levels, shape, type, profile, threads));
  return out.take();
}

std::vector<std::uint8_t> encode_raw(std::span<const std::uint8_t> bytes,
                                     std::span<const std::uint64_t> shape, std::uint32_t element_type) {
  Writer out = start(Coding::raw, element_type, shape);
  out.append(bytes);
  return out.take();
}

TensorHeader tensor_header(std::span<const std::uint8_t> bytes, const std::string& name) {
  Reader in(bytes, name);
  TensorHeader tensor;
  const std::uint8_t coding = in.byte();
  if (coding > static_cast<int>(Coding::raw)) in.fail("unknown coding " + std::to_string(coding));
  tensor.coding = static_cast<Coding>(coding);
  tensor.element_type = static_cast<std::uint32_t>(in.bounded(255, "element type"));
  const std::uint64_t rank = in.bounded(32, "number of dimensions");
  std::uint64_t others = 1;
  bool empty = false;
  for (std::uint64_t i = 0; i < rank; ++i) {
    tensor.shape.push_back(in.bounded(kMostElements, "dimension"));
    const std::uint64_t d = tensor.shape.back();
    empty = empty || d == 0;
    if (d == 0) continue;
    if (others > kMostElements / d) in.fail("a shape of more than 2^40 elements");
    others *= d;
  }
  tensor.size = empty ? 0 : others;
  if (tensor.coding == Coding::quantized) {
    read_quantizers(in, tensor);
    check_levels(in, tensor);
    return tensor;
  }
  tensor.payload = in.rest();
  if (tensor.coding == Coding::integers) check_levels(in, tensor);
  if (tensor.coding == Coding::floats) (void)float_type(name, tensor.element_type);
  return tensor;
}

void decode_tensor_floats(const TensorHeader& tensor, std::span<std::uint8_t> values, int threads) {
  core::require(tensor.coding == Coding::floats, "this tensor is not coded as floats");
  decode_floats(tensor.payload, float_type("floats", tensor.element_type), values, threads);
}

FloatType float_type_of(const TensorHeader& tensor, const std::string& name) {
  return float_type(name, tensor.element_type);
}

}  // namespace rdquant::codec
