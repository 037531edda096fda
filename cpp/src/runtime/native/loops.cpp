#include "runtime/native/loops.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/layout.hpp"

namespace rdquant::runtime::native {
namespace {

class NativeKernel final : public Kernel, public std::enable_shared_from_this<NativeKernel> {
 public:
  NativeKernel(std::string name, Supplier supplier, std::size_t operands, Work work)
      : name_(std::move(name)), supplier_(supplier), operands_(operands), work_(std::move(work)) {}
  [[nodiscard]] std::unique_ptr<Bound> bind() const override {
    return std::make_unique<BoundNative>(work_, operands_);
  }
  [[nodiscard]] std::string name() const override { return name_; }
  [[nodiscard]] Supplier supplier() const override { return supplier_; }

 private:
  class BoundNative final : public Bound {
   public:
    BoundNative(const Work& work, std::size_t operands) : work_(work), addresses_(operands) {}
    void set(std::size_t i, void* address) override { addresses_[i] = address; }
    void run() override { work_(addresses_.data()); }

   private:
    const Work& work_;  // of the kernel, which outlives its contexts
    std::vector<void*> addresses_;
  };

  std::string name_;
  Supplier supplier_;
  std::size_t operands_;
  Work work_;
};

/// Drops axes of one entry and joins neighbours that both arrays step through evenly.
StridedCopy simplify(const StridedCopy& copy) {
  StridedCopy result{{}, {}, {}, copy.element};
  for (std::size_t i = 0; i < copy.shape.size(); ++i) {
    if (copy.shape[i] == 1) continue;
    const bool joins = !result.shape.empty() &&
                       result.from_strides.back() == copy.from_strides[i] * copy.shape[i] &&
                       result.to_strides.back() == copy.to_strides[i] * copy.shape[i];
    if (joins) {
      result.shape.back() *= copy.shape[i];
      result.from_strides.back() = copy.from_strides[i];
      result.to_strides.back() = copy.to_strides[i];
    } else {
      result.shape.push_back(copy.shape[i]);
      result.from_strides.push_back(copy.from_strides[i]);
      result.to_strides.push_back(copy.to_strides[i]);
    }
  }
  return result;
}

template <typename T>
void copy_row(const T* from, T* to, std::int64_t n, std::int64_t from_stride, std::int64_t to_stride) {
  if (from_stride == 1 && to_stride == 1) {
    std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(T));
  } else if (from_stride == 0 && to_stride == 1) {
    std::fill_n(to, n, *from);
  } else {
    for (std::int64_t i = 0; i < n; ++i) to[i * to_stride] = from[i * from_stride];
  }
}

constexpr std::int64_t kShortRow = 16;  // bytes; a call of memcpy would cost more than the copy

/// Rows of a few contiguous elements: the channels of a pixel.
template <typename T, std::int64_t N>
void copy_pixels(const T* from, T* to, std::int64_t rows, std::int64_t from_stride, std::int64_t to_stride) {
  for (std::int64_t r = 0; r < rows; ++r, from += from_stride, to += to_stride)
    std::memcpy(to, from, N * sizeof(T));
}

template <typename T>
void copy_short_rows(const T* from, T* to, const StridedCopy& c, std::size_t axis) {
  const std::int64_t rows = c.shape[axis], from_stride = c.from_strides[axis], to_stride = c.to_strides[axis];
  switch (c.shape[axis + 1]) {
    case 2:
      return copy_pixels<T, 2>(from, to, rows, from_stride, to_stride);
    case 3:
      return copy_pixels<T, 3>(from, to, rows, from_stride, to_stride);
    case 4:
      return copy_pixels<T, 4>(from, to, rows, from_stride, to_stride);
    case 8:
      return copy_pixels<T, 8>(from, to, rows, from_stride, to_stride);
    default:
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t i = 0; i < c.shape[axis + 1]; ++i)
          to[r * to_stride + i] = from[r * from_stride + i];
      }
  }
}

/// Two innermost axes, in tiles: where one array is contiguous along the first and the other along the
/// second, a tile stays in the cache.
template <typename T>
void copy_plane(const T* from, T* to, const StridedCopy& c, std::size_t axis) {
  constexpr std::int64_t kTile = 16;
  const std::int64_t rows = c.shape[axis];
  const std::int64_t columns = c.shape[axis + 1];
  const bool along = c.from_strides[axis + 1] == 1 && c.to_strides[axis + 1] == 1;
  if (along && columns * static_cast<std::int64_t>(sizeof(T)) <= kShortRow) {
    copy_short_rows(from, to, c, axis);
    return;
  }
  if (along || (c.to_strides[axis + 1] == 1 && c.from_strides[axis] != 1)) {
    for (std::int64_t r = 0; r < rows; ++r) {
      copy_row(from + r * c.from_strides[axis], to + r * c.to_strides[axis], columns,
               c.from_strides[axis + 1], c.to_strides[axis + 1]);
    }
    return;
  }
  if constexpr (sizeof(T) == sizeof(float)) {
    const auto* const x = reinterpret_cast<const float*>(from);
    auto* const y = reinterpret_cast<float*>(to);
    if (c.from_strides[axis] == 1 && c.to_strides[axis + 1] == 1)
      return float_kernels().transpose(x, c.from_strides[axis + 1], y, c.to_strides[axis], columns, rows);
    if (c.from_strides[axis + 1] == 1 && c.to_strides[axis] == 1)
      return float_kernels().transpose(x, c.from_strides[axis], y, c.to_strides[axis + 1], rows, columns);
  }
  for (std::int64_t r0 = 0; r0 < rows; r0 += kTile) {
    for (std::int64_t c0 = 0; c0 < columns; c0 += kTile) {
      for (std::int64_t r = r0; r < std::min(rows, r0 + kTile); ++r) {
        copy_row(from + r * c.from_strides[axis] + c0 * c.from_strides[axis + 1],
                 to + r * c.to_strides[axis] + c0 * c.to_strides[axis + 1], std::min(kTile, columns - c0),
                 c.from_strides[axis + 1], c.to_strides[axis + 1]);
      }
    }
  }
}

template <typename T>
void copy_axes(const T* from, T* to, const StridedCopy& c, std::size_t axis) {
  if (axis == c.shape.size()) {
    *to = *from;
  } else if (axis + 1 == c.shape.size()) {
    copy_row(from, to, c.shape[axis], c.from_strides[axis], c.to_strides[axis]);
  } else if (axis + 2 == c.shape.size()) {
    copy_plane(from, to, c, axis);
  } else {
    for (std::int64_t i = 0; i < c.shape[axis]; ++i) {
      copy_axes(from + i * c.from_strides[axis], to + i * c.to_strides[axis], c, axis + 1);
    }
  }
}

template <typename T>
Work copy_work(const StridedCopy& copy, int threads) {
  return [copy, threads](void* const* operands) {
    const auto* from = static_cast<const T*>(operands[0]);
    auto* to = static_cast<T*>(operands[1]);
    if (copy.shape.empty()) {
      *to = *from;
      return;
    }
    std::int64_t inner = 1;
    for (std::size_t i = 1; i < copy.shape.size(); ++i) inner *= copy.shape[i];
    if (inner == 0) return;
    share(copy.shape[0], std::max<std::int64_t>(1, 8192 / inner), threads,
          [&](std::int64_t begin, std::int64_t end) {
            StridedCopy part = copy;
            part.shape[0] = end - begin;
            copy_axes(from + begin * copy.from_strides[0], to + begin * copy.to_strides[0], part, 0);
          });
  };
}

}  // namespace

std::shared_ptr<const Kernel> make_native(std::string name, std::size_t operands, Work work) {
  return std::make_shared<NativeKernel>(std::move(name), Supplier::native, operands, std::move(work));
}

std::shared_ptr<const Kernel> make_reference(std::size_t operands, Work work) {
  return std::make_shared<NativeKernel>("reference", Supplier::reference, operands, std::move(work));
}

std::shared_ptr<const Kernel> make_memcpy(std::size_t bytes) {
  return make_native("memcpy", 2,
                     [bytes](void* const* operands) { std::memcpy(operands[1], operands[0], bytes); });
}

std::shared_ptr<const Kernel> make_copy(StridedCopy copy, int threads) {
  const StridedCopy simple = simplify(copy);
  switch (simple.element) {
    case 1:
      return make_native("copy", 2, copy_work<std::uint8_t>(simple, threads));
    case 2:
      return make_native("copy", 2, copy_work<std::uint16_t>(simple, threads));
    case 4:
      return make_native("copy", 2, copy_work<std::uint32_t>(simple, threads));
    default:
      return make_native("copy", 2, copy_work<std::uint64_t>(simple, threads));
  }
}

std::shared_ptr<const Kernel> make_plain(const core::Shape& shape, int threads) {
  const std::int64_t area = shape[2] * shape[3];
  return make_plain(shape, shape[1] * area, area, threads);
}

std::shared_ptr<const Kernel> make_blocked(const core::Shape& shape, int threads) {
  const kernels::Kernels& own = float_kernels();
  const kernels::Index c = shape[1], area = shape[2] * shape[3];
  const kernels::Index blocks = kernels::divide(c, own.block);
  return make_native("blocked " + std::string(core::isa_name(own.isa)), 2,
                     [&own, c, area, blocks, items = shape[0] * blocks, threads](void* const* operand) {
                       share(items, 1, threads, [&](kernels::Index begin, kernels::Index end) {
                         own.to_blocked(static_cast<const float*>(operand[0]), c * area,
                                        static_cast<float*>(operand[1]), blocks * area * own.block, c, area,
                                        begin, end);
                       });
                     });
}

namespace {

constexpr kernels::Index kRowsGrain = 8192;  // floats that are worth a thread

/// Images of one pixel, as the rows of a product are, lie in blocks as they do plain, but for what fills the last.
std::shared_ptr<const Kernel> make_rows_plain(kernels::Index rows, kernels::Index c, std::int64_t image,
                                              int threads) {
  const kernels::Index wide = kernels::divide(c, block_size()) * block_size();
  return make_native("rows", 2, [rows, c, wide, image, threads](void* const* operand) {
    const auto* from = static_cast<const float*>(operand[0]);
    auto* to = static_cast<float*>(operand[1]);
    share(rows, std::max<kernels::Index>(1, kRowsGrain / wide), threads,
          [&](kernels::Index begin, kernels::Index end) {
            for (kernels::Index i = begin; i < end; ++i)
              std::memcpy(to + i * image, from + i * wide, static_cast<std::size_t>(c) * sizeof(float));
          });
  });
}

}  // namespace

std::shared_ptr<const Kernel> make_plain(const core::Shape& shape, std::int64_t image, std::int64_t row,
                                         int threads) {
  const kernels::Kernels& own = float_kernels();
  const kernels::Index c = shape[1], area = shape[2] * shape[3];
  if (area == 1 && row == 1) return make_rows_plain(shape[0], c, image, threads);
  const kernels::Index blocks = kernels::divide(c, own.block);
  return make_native(
      "plain " + std::string(core::isa_name(own.isa)), 2,
      [&own, c, area, image, row, blocks, items = shape[0] * blocks, threads](void* const* operand) {
        share(items, 1, threads, [&](kernels::Index begin, kernels::Index end) {
          own.to_plain(static_cast<const float*>(operand[0]), blocks * area * own.block,
                       static_cast<float*>(operand[1]), image, row, c, area, begin, end);
        });
      });
}

}  // namespace rdquant::runtime::native
