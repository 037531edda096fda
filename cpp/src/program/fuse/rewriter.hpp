#pragma once

#include <optional>
#include <vector>

#include "program/lower/builder.hpp"

namespace rdquant::program {

/// A Program being rewritten: who makes and who reads each value, kept true through every change.
class Rewriter {
 public:
  explicit Rewriter(Program& program);

  [[nodiscard]] Program& program() noexcept { return program_; }
  [[nodiscard]] Builder& builder() noexcept { return builder_; }
  [[nodiscard]] Step& step(std::size_t i) { return program_.steps[i]; }
  [[nodiscard]] const core::Shape& shape(ValueId id) const { return builder_.value(id).shape; }
  [[nodiscard]] core::DType dtype(ValueId id) const { return builder_.value(id).dtype; }
  [[nodiscard]] bool is_constant(ValueId id) const { return builder_.is_constant(id); }

  /// The step that makes `id` as its first output; nullopt for inputs and constants.
  [[nodiscard]] std::optional<std::size_t> maker(ValueId id) const;
  /// The same if its operation is an `Op` and nothing else reads the value.
  template <typename Op>
  [[nodiscard]] std::optional<std::size_t> sole_maker(ValueId id) {
    const auto found = maker(id);
    if (!found || readers(id) != 1 || !std::holds_alternative<Op>(step(*found).operation))
      return std::nullopt;
    return found;
  }
  /// How often `id` is read by steps and as an output of the program.
  [[nodiscard]] std::size_t readers(ValueId id) const;
  /// The value of a constant with one element; what it derives from is noted as baked only by `bake`.
  [[nodiscard]] std::optional<double> scalar(ValueId id) const;
  /// Notes that a step now holds the value of constant `id`.
  void bake(ValueId id) { static_cast<void>(builder_.bake(id)); }

  /// Puts `merged` in place of step `reader`, whose outputs it takes; step `made_before`, which made an input
  /// of the reader alone, goes.
  void merge(std::size_t made_before, std::size_t reader, Step merged);
  /// Puts another operation on other inputs in place of step `i`.
  void replace(std::size_t i, Operation operation, std::vector<ValueId> inputs);
  /// Lets every reader of `old` read `now` instead, and drops step `i`, which made it.
  void alias(std::size_t i, ValueId old, ValueId now);
  /// True for a step that has gone.
  [[nodiscard]] bool gone(std::size_t i) const { return program_.steps[i].outputs.empty(); }
  /// Drops what has gone.
  void finish();

 private:
  void refresh();

  Program& program_;
  Builder builder_;
  std::vector<std::int32_t> maker_;
  std::vector<std::int32_t> readers_;
};

/// A rule looks at step `i` and says whether it changed anything.
using Fusion = bool (*)(Rewriter&, std::size_t i);

/// Batch norms, and products and sums with constants per channel, into the convolution or matrix product
/// before them (or, for batch norms, after them).
bool fuse_affine(Rewriter& rewriter, std::size_t i);
/// Pads of zeros into the convolution after them.
bool fuse_pad(Rewriter& rewriter, std::size_t i);
/// Activations from their pieces: SiLU, hard-swish, GELU, Mish …
bool fuse_pieces(Rewriter& rewriter, std::size_t i);
/// Activations into the convolution, matrix product, batch norm or function of two before them.
bool fuse_activation(Rewriter& rewriter, std::size_t i);
/// Sums of convolutions and batch norms of one image into one convolution.
bool fuse_branches(Rewriter& rewriter, std::size_t i);
/// Sums of two activations into the convolution or matrix product that makes one of them.
bool fuse_residual(Rewriter& rewriter, std::size_t i);
/// Squares and inverses, written as powers.
bool fuse_power(Rewriter& rewriter, std::size_t i);
/// Numbers that multiply products of two activations, or their operands, into the product.
bool fuse_scale(Rewriter& rewriter, std::size_t i);
/// Layer normalization from its pieces; its scale and bias.
bool fuse_layer(Rewriter& rewriter, std::size_t i);
/// Group normalization of reshaped channels into one of the channels themselves, of reshaped images into one of images.
bool fuse_group(Rewriter& rewriter, std::size_t i);
/// Reshapes and transposes of one another, functions after reshapes, and expansions before functions of two.
bool fuse_shape(Rewriter& rewriter, std::size_t i);

}  // namespace rdquant::program
