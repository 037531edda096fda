#include "core/processors.hpp"

#include <cstddef>

#ifdef __linux__
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace rdquant::core {

#ifdef __linux__
namespace {

static_assert(sizeof(cpu_set_t) == sizeof(ProcessorSet));

}  // namespace

int current_processor() noexcept { return sched_getcpu(); }

int current_thread() noexcept { return static_cast<int>(syscall(SYS_gettid)); }

ProcessorSet allowed_processors() noexcept {
  ProcessorSet set{};
  if (sched_getaffinity(0, sizeof set, reinterpret_cast<cpu_set_t*>(set.data())) != 0) return {};
  return set;
}

void may_run_on(int thread, const ProcessorSet& processors) noexcept {
  // a hint: where the system refuses it, threads run where they are put
  (void)sched_setaffinity(thread, sizeof processors, reinterpret_cast<const cpu_set_t*>(processors.data()));
}
#else
int current_processor() noexcept { return -1; }
int current_thread() noexcept { return 0; }
ProcessorSet allowed_processors() noexcept { return {}; }
void may_run_on(int, const ProcessorSet&) noexcept {}
#endif

void Spread::take(int processor) noexcept {
  const auto word = static_cast<std::size_t>(processor) / 64;
  if (processor >= 0 && word < taken_.size()) taken_[word] |= std::uint64_t{1} << (processor % 64);
}

bool Spread::confine(int thread, ProcessorSet& allowed) noexcept {
  allowed = allowed_processors();
  ProcessorSet free{};
  bool any = false;
  for (std::size_t i = 0; i < free.size(); ++i) {
    free[i] = allowed[i] & ~taken_[i];
    any = any || free[i] != 0;
  }
  if (any) may_run_on(thread, free);
  return any;
}

}  // namespace rdquant::core
