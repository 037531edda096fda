#pragma once

#include "rdquant/model/model.hpp"

namespace rdquant::model {

[[nodiscard]] bool is_compressed(graph::Bytes file) noexcept;

/// The model in a .rdq file. @throws  as `read`
[[nodiscard]] Model read_compressed(const graph::Source& source, const std::string& name,
                                    const Options& options);

}  // namespace rdquant::model
