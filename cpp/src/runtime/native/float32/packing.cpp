#include "runtime/native/float32/packing.hpp"

#include <algorithm>
#include <memory>

#include "runtime/native/loops.hpp"

namespace rdquant::runtime::native {

using kernels::Index;
using program::ValueId;

void FilterPacker::pack(const void* from, void* to) const {
  const auto* weights = static_cast<const float*>(from);
  const kernels::ConvShape& s = plan_.shape;
  const Index wanted = s.c / s.groups;
  std::vector<float> widened;
  if (channels_ != wanted) {
    const Index area = s.kh * s.kw;
    widened.assign(static_cast<std::size_t>(s.k * wanted * area), 0.0F);
    for (Index k = 0; k < s.k; ++k) {
      std::copy_n(weights + k * channels_ * area, channels_ * area, widened.data() + k * wanted * area);
    }
    weights = widened.data();
  }
  share(plan_.pack_items, 1, threads_,
        [&](Index begin, Index end) { kernels_.pack(plan_, weights, static_cast<float*>(to), begin, end); });
}

void WinogradPacker::pack(const void* from, void* to) const {
  share(kernels::divide(plan_.shape.k, plan_.block), 1, threads_, [&](Index begin, Index end) {
    kernels_.pack(plan_, static_cast<const float*>(from), static_cast<float*>(to), begin, end);
  });
}

namespace {

class VectorPacker final : public Packer {
 public:
  VectorPacker(std::int64_t given, std::int64_t channels, std::int64_t padded)
      : given_(given), channels_(channels), padded_(padded) {}
  void pack(const void* from, void* to) const override {
    const auto* source = static_cast<const float*>(from);
    auto* target = static_cast<float*>(to);
    std::fill_n(target, padded_, 0.0F);
    for (std::int64_t i = 0; i < channels_; ++i) target[i] = source[given_ == 1 ? 0 : i];
  }

 private:
  std::int64_t given_, channels_, padded_;
};

}  // namespace

Place pack_vector(Builder& builder, ValueId id, std::int64_t channels) {
  const std::int64_t padded = (channels + block_size() - 1) / block_size() * block_size();
  const std::int64_t given = core::element_count(builder.value(id).shape);
  if (given == padded) return builder.read(id, Layout::plain);
  return builder.packed(id, static_cast<std::size_t>(padded) * sizeof(float),
                        std::make_shared<VectorPacker>(given, channels, padded));
}

std::optional<kernels::ConvPlan> plan_of(const kernels::ConvShape& shape, kernels::ConvMethod method) {
  return float_kernels().plan(shape, method);
}

}  // namespace rdquant::runtime::native
