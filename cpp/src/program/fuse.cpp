#include "fuse.hpp"

#include <array>
#include <span>

#include "rewriter.hpp"

namespace rdquant::program {
namespace {

/// First what consists of pieces, before the steps around swallow them; then what joins the step before it.
/// A sum with a constant is a bias before it is anything else.
constexpr std::array<Fusion, 3> kPieces = {fuse_shape, fuse_layer, fuse_pieces};
constexpr std::array<Fusion, 5> kJoins = {fuse_layer, fuse_pad, fuse_affine, fuse_activation, fuse_residual};

/// Tries rules on every step until none applies.
void apply(Rewriter& rewriter, std::span<const Fusion> fusions) {
  for (bool changed = true; changed;) {
    changed = false;
    for (std::size_t i = 0; i < rewriter.program().steps.size(); ++i) {
      for (const Fusion fusion : fusions) {
        if (!rewriter.gone(i)) changed = fusion(rewriter, i) || changed;
      }
    }
  }
}

}  // namespace

void fuse(Program& program) {
  Rewriter rewriter(program);
  apply(rewriter, kPieces);
  apply(rewriter, kJoins);
  rewriter.finish();
}

}  // namespace rdquant::program
