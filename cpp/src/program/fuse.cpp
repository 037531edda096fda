#include "fuse.hpp"

namespace rdquant::program {

void fuse(Program& program) { remove_dead(program); }

}  // namespace rdquant::program
