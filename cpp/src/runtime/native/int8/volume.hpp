#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "runtime/native/builder.hpp"
#include "runtime/native/float32/convolution.hpp"

/// Windows over three axes of levels channels last, as those over two.
namespace rdquant::runtime::native {

/// How planes of a result over three axes are images for the kernels. Where windows extend along the depth and over its
/// planes, the rows that one plane of the result reads are brought together: row r of the image's plane under tap t
/// becomes row r · taps + t, with the padding at its ends, and a window's rows are those of all taps.
struct Int8Volume {
  kernels::Index images = 1, planes = 1;  ///< of x; of the result for each of them
  kernels::Index image = 0,
                 step = 0;      ///< pixels of x from one image, and from one plane's window, to the next
  kernels::Index together = 1;  ///< planes of the result that are made at once
  kernels::ConvShape shape;     ///< of those, as images; groups and filters are left to the caller
  bool gathers = false;
  // What follows is for gathered rows only.
  kernels::Index depth = 1, rows = 1, row = 1;  ///< of x: planes, their rows, the pixels of a row
  kernels::Index taps = 1, stride = 1, dilation = 1, front = 0, left = 0, right = 0, channels = 1;
  int threads = 1;

  /// Bytes from one pixel to the next of gathered rows.
  [[nodiscard]] kernels::Index pixel() const { return (channels + kChannels - 1) / kChannels * kChannels; }
  /// Bytes of the gathered rows of one plane of the result; 0: they are not.
  [[nodiscard]] kernels::Index plane_bytes() const {
    return gathers ? rows * taps * (left + row + right) * pixel() : 0;
  }
  /// Makes as many planes at once as the cache holds, of `bytes` each beside the gathered rows.
  void limit(kernels::Index bytes);
  /// Brings together what planes [first, first + together) of all results read. `from_pixel`: bytes from one pixel of x
  /// to the next; `fill`: a level of the padding.
  void gather(const std::uint8_t* x, kernels::Index from_pixel, std::uint8_t fill, kernels::Index first,
              std::uint8_t* to) const;
  /// Where in x the planes from `first` on lie that are not gathered.
  [[nodiscard]] kernels::Index offset(kernels::Index first, kernels::Index from_pixel) const {
    return (first / planes * image + first % planes * step) * from_pixel;
  }
};

/// The volume of a window over `x`, of five axes; nullopt where its planes make no images.
[[nodiscard]] std::optional<Int8Volume> int8_volume_of(const Builder& builder, program::ValueId x,
                                                       program::ValueId y, const program::Window& window);

/// Weights [k][channels][depth][rows][columns] in the order of gathered rows, then in that of a kernel.
[[nodiscard]] std::shared_ptr<const Packer> gathered_packer(std::shared_ptr<const Packer> next,
                                                            const core::Shape& weights,
                                                            const Int8Volume& volume);

/// Maxima and means under windows over three axes; false, and nothing added, for others.
bool build_int8_volume_window(Builder& builder, const program::Step& step);

}  // namespace rdquant::runtime::native
