#include "rdquant/core/parallel.hpp"

#include <algorithm>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace rdquant::core {

int resolve_threads(int threads) noexcept {
  if (threads > 0) return threads;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void parallel_for(std::size_t n, std::size_t grain, int threads,
                  const std::function<void(std::size_t begin, std::size_t end)>& body) {
  if (n == 0) return;
  const std::size_t most = std::max<std::size_t>(1, n / std::max<std::size_t>(1, grain));
  const std::size_t workers = std::min<std::size_t>(static_cast<std::size_t>(resolve_threads(threads)), most);
  if (workers == 1) {
    body(0, n);
    return;
  }
  std::mutex mutex;
  std::exception_ptr failure;
  const auto guarded = [&](std::size_t begin, std::size_t end) {
    try {
      body(begin, end);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  std::vector<std::jthread> pool;
  pool.reserve(workers - 1);
  for (std::size_t w = 1; w < workers; ++w) {
    pool.emplace_back(guarded, n * w / workers, n * (w + 1) / workers);
  }
  guarded(0, n / workers);
  pool.clear();  // joins
  if (failure) std::rethrow_exception(failure);
}

}  // namespace rdquant::core
