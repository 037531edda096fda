// Sums and products of levels of images with levels of one pixel each, as of a squeeze and excitation, or with one
// level for each pixel, as of attention to places.
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/int8/int8.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {

using kernels::Index;
using program::Step;
using program::ValueId;

bool build_int8_gate(Builder& builder, const Step& step) {
  const ValueId a = step.inputs[0], b = step.inputs[1], y = step.outputs[0];
  if (builder.layout(y) != Layout::channels_last || !is_image_binary(builder.program(), step)) return false;
  const Int8Layout to = int8_layout_of(builder, y);
  const bool adds = std::get<program::Int8Binary>(step.operation).function == program::BinaryFunction::add;
  struct Operand {
    Index image, pixel;  // bytes from one to the next
    bool single;         // one level for all channels
  };
  const auto operand_of = [&](ValueId id) {
    const core::Shape& shape = builder.value(id).shape;
    const Index area = shape[2] * shape[3], bytes = builder.pixel(id);
    const bool one = area == 1 && to.area != 1;
    return Operand{shape[0] == 1 ? 0 : area * bytes, one ? 0 : bytes, shape[1] == 1 && to.channels != 1};
  };
  auto work = [kernel = adds ? int8_kernels().add : int8_kernels().multiply, to, threads = builder.threads(),
               from = std::array{operand_of(a), operand_of(b)},
               sum = int8_sum(std::get<program::Int8Binary>(step.operation), builder.value(a),
                              builder.value(b))](void* const* operand) {
    auto* const made = static_cast<std::uint8_t*>(operand[2]);
    share(to.images * to.area, kGrain / to.channels + 1, threads, [&](Index begin, Index end) {
      std::array<std::vector<std::uint8_t>, 2> spread;
      const auto levels_at = [&](std::size_t i, Index image, Index pixel) {
        const auto* const at =
            static_cast<const std::uint8_t*>(operand[i]) + image * from[i].image + pixel * from[i].pixel;
        if (!from[i].single) return at;
        spread[i].assign(static_cast<std::size_t>(to.channels), *at);
        return static_cast<const std::uint8_t*>(spread[i].data());
      };
      for (Index at = begin; at < end; ++at) {
        const Index image = at / to.area, pixel = at % to.area;
        kernel(sum, levels_at(0, image, pixel), levels_at(1, image, pixel), made + at * to.pixel, 0,
               to.channels);
      }
    });
  };
  builder.emit(
      make_native(std::string(adds ? "add " : "multiply ") + int8_kernels().name, 3, std::move(work)),
      {builder.read(a, Layout::channels_last), builder.read(b, Layout::channels_last),
       builder.write(y, Layout::channels_last)},
      Layout::channels_last);
  return true;
}

}  // namespace rdquant::runtime::native
