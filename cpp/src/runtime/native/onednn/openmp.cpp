#include "runtime/native/onednn/openmp.hpp"

#include <utility>

#include "rdquant/core/parallel.hpp"
#include "runtime/native/onednn/memory.hpp"

namespace rdquant::runtime::native::onednn {
namespace {

thread_local int wanted = 0;  // threads of the next region; 0: all processors
thread_local int asked = 0;   // how often the library has asked on this thread

}  // namespace

OpenMpThreads::OpenMpThreads(int threads) noexcept : before_(std::exchange(wanted, threads)) {}
OpenMpThreads::~OpenMpThreads() { wanted = before_; }

int openmp_threads() noexcept {
  ++asked;
  return core::resolve_threads(wanted);
}

bool openmp_is_ours() {
  static const bool ours = []() -> bool {
    const int before = asked;
    using dnnl::memory;
    try {
      const memory::desc from({16, 16}, memory::data_type::f32, memory::format_tag::ab);
      const memory::desc to({16, 16}, memory::data_type::f32, memory::format_tag::ba);
      const dnnl::reorder reorder(dnnl::reorder::primitive_desc(engine(), from, engine(), to));
    } catch (const dnnl::error&) {
      return false;  // the library is not there
    }
    return asked != before;
  }();
  return ours;
}

}  // namespace rdquant::runtime::native::onednn
