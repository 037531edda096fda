#include "runtime/native/float32/state_product.hpp"

#include <vector>

#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/loops.hpp"

namespace rdquant::runtime::native {
namespace {

using kernels::Index;

constexpr Index kWorthThreads = Index{1} << 18U;  ///< products of one step that are worth several threads

/// Rows [first, …) of r as the packed b of a product.
class RowPacker final : public Packer {
 public:
  RowPacker(const kernels::Matmul& kernels, kernels::MatmulPlan plan, Index first, bool levels)
      : kernels_(kernels), plan_(plan), first_(first), levels_(levels) {}
  void pack(const void* from, void* to) const override {
    const Index begin = first_ * plan_.k, count = plan_.n * plan_.k;
    if (!levels_) return pack_floats(static_cast<const float*>(from) + begin, to);
    const auto* const levels = static_cast<const std::int8_t*>(from) + begin;
    pack_floats(std::vector<float>(levels, levels + count).data(), to);
  }

 private:
  void pack_floats(const float* rows, void* to) const {
    kernels_.pack(plan_, rows, 1, plan_.k, static_cast<float*>(to), 0, plan_.panels);
  }

  const kernels::Matmul& kernels_;
  kernels::MatmulPlan plan_;
  Index first_;
  bool levels_;
};

/// Rows [first, …) of levels for products by digits.
class DigitPacker final : public Packer {
 public:
  DigitPacker(const kernels::DigitKernels& kernels, Index rows, Index depth, Index first)
      : kernels_(kernels), rows_(rows), depth_(depth), first_(first) {}
  void pack(const void* from, void* to) const override {
    kernels_.pack(static_cast<const std::int8_t*>(from) + first_ * depth_, rows_, depth_,
                  static_cast<std::byte*>(to));
  }

 private:
  const kernels::DigitKernels& kernels_;
  Index rows_, depth_, first_;
};

}  // namespace

StateProduct::StateProduct(Index batch, Index rows, Index hidden, bool levels, int threads)
    : kernels_(&kernels::matmul(float_kernels().isa)),
      digits_(levels && hidden <= kernels::kMostDigitDepth ? kernels::digit_kernels(float_kernels().isa)
                                                           : nullptr),
      levels_(levels),
      threads_(batch * rows * hidden < kWorthThreads ? 1 : threads) {
  plan_ = kernels_->plan(batch, rows, hidden, threads_);
}

std::size_t StateProduct::bytes() const {
  if (digits_ != nullptr) return static_cast<std::size_t>(digits_->packed_bytes(plan_.n, plan_.k));
  return static_cast<std::size_t>(plan_.packed) * sizeof(float);
}

std::shared_ptr<const Packer> StateProduct::packer(Index first) const {
  if (digits_ != nullptr) return std::make_shared<DigitPacker>(*digits_, plan_.n, plan_.k, first);
  return std::make_shared<RowPacker>(*kernels_, plan_, first, levels_);
}

/// Of the digits of all states, whose units follow.
StateProduct::Index StateProduct::digit_floats() const {
  return kernels::divide(plan_.m * digits_->digit_bytes(plan_.k), Index{sizeof(float)});
}

StateProduct::Index StateProduct::item_scratch() const {
  return kernels::divide(plan_.scratch, kLine) * kLine;
}

StateProduct::Index StateProduct::scratch() const {
  if (digits_ != nullptr) return kernels::divide(digit_floats() + plan_.m, kLine) * kLine;
  return item_scratch() * threads_;
}

void StateProduct::operator()(const Args& args) const {
  digits_ != nullptr ? by_digits(args) : by_floats(args);
}

void StateProduct::by_digits(const Args& args) const {
  auto* const digits = reinterpret_cast<std::uint8_t*>(args.memory);
  float* const units = args.memory + digit_floats();
  for (Index b = 0; b < args.batch; ++b)
    units[b] = digits_->split(args.state + b * plan_.k, plan_.k, digits + b * digits_->digit_bytes(plan_.k));
  const kernels::DigitArgs product{static_cast<const std::byte*>(args.packed),
                                   plan_.n,
                                   plan_.k,
                                   digits,
                                   units,
                                   args.batch,
                                   args.scales,
                                   args.sum,
                                   args.y,
                                   args.y_row};
  share(kernels::divide(plan_.n, digits_->rows), 1, threads_,
        [&](Index begin, Index end) { digits_->run(product, begin, end); });
}

void StateProduct::by_floats(const Args& args) const {
  const kernels::MatmulPlan some = kernels::first_rows(plan_, args.batch);
  kernels::MatmulArgs product;
  product.a = args.state;
  product.a_row = plan_.k;
  product.b = static_cast<const float*>(args.packed);
  product.y = args.y;
  product.y_row = args.y_row;
  if (!levels_) product.residual = {args.sum, args.y_row, 1};
  share_ranked(some.items, 1, threads_, [&](Index begin, Index end, int rank) {
    kernels_->run(some, product, args.memory + rank * item_scratch(), begin, end);
  });
  if (!levels_) return;
  for (Index b = 0; b < args.batch; ++b) {
    float* const y = args.y + b * args.y_row;
    float_kernels().binary(kernels::Binary::mul, y, 1, args.scales, 1, y, 0, plan_.n);
    if (args.sum != nullptr)
      float_kernels().binary(kernels::Binary::add, y, 1, args.sum + b * args.y_row, 1, y, 0, plan_.n);
  }
}

}  // namespace rdquant::runtime::native
