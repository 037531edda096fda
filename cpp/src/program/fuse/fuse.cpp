#include "program/fuse/fuse.hpp"

#include <array>
#include <span>

#include "program/fuse/rewriter.hpp"

namespace rdquant::program {
namespace {

/// Before lines become images, which reshapes between them would end.
constexpr std::array<Fusion, 1> kGroups = {fuse_group};
/// Then what consists of pieces, before the steps around swallow them; then what joins the step before it.
/// A sum with a constant is a bias before it is anything else.
constexpr std::array<Fusion, 3> kPieces = {fuse_shape, fuse_layer, fuse_pieces};
constexpr std::array<Fusion, 10> kJoins = {fuse_group,      fuse_shape,   fuse_layer,    fuse_power,
                                           fuse_pad,        fuse_affine,  fuse_branches, fuse_scale,
                                           fuse_activation, fuse_residual};

/// Tries rules on every step; says whether any applied.
bool pass(Rewriter& rewriter, std::span<const Fusion> fusions) {
  bool changed = false;
  for (std::size_t i = 0; i < rewriter.program().steps.size(); ++i) {
    for (const Fusion fusion : fusions) {
      if (!rewriter.gone(i)) changed = fusion(rewriter, i) || changed;
    }
  }
  return changed;
}

/// Until no rule applies. What a pass leaves unread goes before the next, which counts readers.
void exhaust(Program& program, std::span<const Fusion> fusions) {
  for (bool changed = true; changed;) {
    Rewriter rewriter(program);
    changed = pass(rewriter, fusions);
    rewriter.finish();
  }
}

}  // namespace

void fuse(Program& program) {
  exhaust(program, kGroups);
  widen_lines(program);
  flatten_resizes(program);
  cut_patches(program);
  drop_taps(program);
  exhaust(program, kPieces);
  exhaust(program, kJoins);
}

}  // namespace rdquant::program
