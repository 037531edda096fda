// Resizes of levels that take the nearest pixels.
#include <cstring>
#include <string>
#include <utility>

#include "rdquant/program/evaluate.hpp"
#include "runtime/native/int8/int8.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using kernels::Index;
using program::Step;
using program::ValueId;

/// Nearest pixels of levels, wherever they are.
struct NearestLevels {
  std::vector<std::int64_t> rows, columns;
  Index images, from_rows, from_columns, channels, from_pixel, to_pixel;
  int threads;

  void operator()(void* const* operand) const {
    const auto lines = std::ssize(rows), length = std::ssize(columns);
    share(images * lines, 1, threads, [&](Index begin, Index end) {
      for (Index line = begin; line < end; ++line) {
        const Index row = line / lines * from_rows + rows[static_cast<std::size_t>(line % lines)];
        const auto* const from =
            static_cast<const std::uint8_t*>(operand[0]) + row * from_columns * from_pixel;
        auto* to = static_cast<std::uint8_t*>(operand[1]) + line * length * to_pixel;
        if (channels == 1) {
          for (const std::int64_t column : columns) {
            *to = from[column * from_pixel];
            to += to_pixel;
          }
          continue;
        }
        for (const std::int64_t column : columns) {
          std::memcpy(to, from + column * from_pixel, static_cast<std::size_t>(channels));
          to += to_pixel;
        }
      }
    });
  }
};

/// How often each pixel is repeated along an axis; 0 where not all are as often.
Index repeats(const std::vector<std::int64_t>& places, std::int64_t from) {
  const std::int64_t to = std::ssize(places);
  if (to % from != 0) return 0;
  for (std::int64_t i = 0; i < to; ++i) {
    if (places[static_cast<std::size_t>(i)] != i / (to / from)) return 0;
  }
  return to / from;
}

/// Of plain levels, whose images each have one channel.
bool build_plain_resize(Builder& builder, const Step& step) {
  const ValueId x = step.inputs[0], y = step.outputs[0];
  const core::Shape &from = builder.value(x).shape, &to = builder.value(y).shape;
  const auto& resize = std::get<program::Resize>(step.operation);
  builder.emit(make_native("nearest", 2,
                           NearestLevels{program::nearest_places(resize, from, to, 2),
                                         program::nearest_places(resize, from, to, 3), from[0] * from[1],
                                         from[2], from[3], 1, 1, 1, builder.threads()}),
               {builder.read(x, Layout::plain), builder.write(y, Layout::plain)}, Layout::plain);
  return true;
}

}  // namespace

bool build_int8_resize(Builder& builder, const Step& step) {
  const ValueId x = step.inputs[0], y = step.outputs[0];
  if (!is_int8_resize(builder.program(), step)) return false;
  if (builder.layout(y) != Layout::channels_last) return build_plain_resize(builder, step);
  const core::Shape &from = builder.value(x).shape, &to = builder.value(y).shape;
  const auto& resize = std::get<program::Resize>(step.operation);
  const Index pixel = builder.pixel(x), to_pixel = builder.pixel(y);
  std::vector<std::int64_t> row_places = program::nearest_places(resize, from, to, 2),
                            column_places = program::nearest_places(resize, from, to, 3);
  const Index rows = repeats(row_places, from[2]), columns = repeats(column_places, from[3]);
  Work work = NearestLevels{
      std::move(row_places), std::move(column_places), from[0], from[2], from[3], from[1], pixel, to_pixel,
      builder.threads()};
  if (rows != 0 && columns != 0) {
    work = [&kernels = int8_kernels(), from, pixel, to_pixel, rows, columns,
            threads = builder.threads()](void* const* operand) {
      const Index area = from[2] * from[3];
      share(from[0] * from[2], 1, threads, [&](Index begin, Index end) {
        kernels.resize(static_cast<const std::uint8_t*>(operand[0]), area * pixel, pixel,
                       static_cast<std::uint8_t*>(operand[1]), area * rows * columns * to_pixel, to_pixel,
                       from[1], from[2], from[3], rows, columns, begin, end);
      });
    };
  }
  builder.emit(make_native(std::string("nearest ") + int8_kernels().name, 2, std::move(work)),
               {builder.read(x, Layout::channels_last), builder.write(y, Layout::channels_last)},
               Layout::channels_last);
  return true;
}

}  // namespace rdquant::runtime::native
