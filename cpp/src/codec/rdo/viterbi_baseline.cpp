#include "codec/rdo/viterbi_vectors.hpp"

namespace rdquant::codec {
namespace {

inline Ints gather(const std::uint32_t* cells, Ints at) {
  std::int32_t found[kWide];
  for (std::size_t l = 0; l < kWide; ++l)
    found[l] = static_cast<std::int32_t>(cells[element(at, static_cast<int>(l))]);
  return load<Ints>(found);
}

}  // namespace
}  // namespace rdquant::codec

#include "codec/rdo/viterbi.inl"

namespace rdquant::codec {

void choose_levels_baseline(const TapTask& task) { choose_any(task); }
double coded_bits_baseline(const BitsTask& task) { return bits_of_all(task); }

}  // namespace rdquant::codec
