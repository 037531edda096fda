#pragma once

#include <memory>
#include <string>
#include <vector>

#include "graph/external.hpp"
#include "graph/wire.hpp"
#include "rdquant/graph/onnx.hpp"

/// TensorProto messages read, checked and given their bytes.
namespace rdquant::graph {

/// ONNX's name of an element type: "FLOAT"; the number where it has none.
[[nodiscard]] std::string element_type_name(std::int64_t type);

class TensorReader {
 public:
  TensorReader(const Source& source, const OnnxOptions& options)
      : source_(source), options_(options), external_(source) {}

  struct Named {
    std::string name;
    core::Tensor tensor;
  };

  /// `owner` is what messages call the tensor where it has no name.
  /// @throws CorruptFile, Unsupported, InvalidArgument  as `read_onnx`
  [[nodiscard]] Named read(Bytes message, const std::string& owner = {});

  /// The big tensors that lie in the source, so far.
  [[nodiscard]] std::vector<Payload>& payloads() noexcept { return payloads_; }

 private:
  struct Proto;

  [[nodiscard]] Proto parse(Bytes message) const;
  [[nodiscard]] core::Tensor dense(Bytes bytes, core::DType dtype, const core::Shape& shape,
                                   const std::shared_ptr<const void>& owner);
  [[nodiscard]] core::Tensor inside(const Proto& proto, core::DType dtype, std::uint64_t count,
                                    const std::string& where);
  /// Values that stand one by one, as raw_data would have them.
  [[nodiscard]] static std::vector<std::uint8_t> gathered(const Proto& proto, core::DType dtype,
                                                          const std::string& where);
  [[nodiscard]] core::Tensor outside(const Proto& proto, core::DType dtype, std::uint64_t need,
                                     const std::string& where);
  [[nodiscard]] std::shared_ptr<void> copied(Bytes bytes);

  const Source& source_;
  const OnnxOptions& options_;
  External external_;
  std::vector<Payload> payloads_;
  std::shared_ptr<void> block_;  // where copies go, as long as they fit
  std::size_t room_ = 0, used_ = 0;
};

}  // namespace rdquant::graph
