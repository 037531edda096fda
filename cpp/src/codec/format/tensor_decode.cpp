#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

#include "codec/format/level_parts.hpp"
#include "rdquant/codec/tensor.hpp"
#include "rdquant/core/parallel.hpp"

namespace rdquant::codec {
namespace {

constexpr std::size_t kPiece = 2048;   // levels that are dequantized together, in the first-level cache
constexpr std::size_t kShortRun = 64;  // least elements of one quantizer for which a call of its own pays
// Elements from which a tensor that has no parts of its own is decoded on all threads.
constexpr std::size_t kLarge = std::size_t{1} << 19;

/// x̂ of levels, the first of which is element `first` of the tensor.
void dequantize_piece(const TensorHeader& tensor, std::size_t first, std::span<const std::int32_t> levels,
                      std::span<float> values) {
  if (tensor.quantizers.size() == 1) {
    quant::dequantize(tensor.quantizers[0], levels, values, first);
    return;
  }
  for (std::size_t at = 0; at < levels.size();) {
    const std::size_t run = (first + at) / tensor.inner;
    const std::size_t n = std::min((run + 1) * tensor.inner - first - at, levels.size() - at);
    quant::dequantize(tensor.quantizers[run % tensor.quantizers.size()], levels.subspan(at, n),
                      values.subspan(at, n), first + at);
    at += n;
  }
}

/// Whether neighbouring elements have different quantizers, so that all levels are dequantized at once.
bool is_striped(const TensorHeader& tensor) {
  return tensor.coding == Coding::quantized && tensor.quantizers.size() > 1 && tensor.inner < kShortRun;
}

void check(const TensorJob& job) {
  if (job.section != nullptr) check_section(job.bytes, *job.section);
}

/// Calls `decode`; a level that a quantizer refuses means damaged bytes.
template <typename Decode>
void guarded(Decode&& decode) {
  try {
    decode();
  } catch (const core::InvalidArgument& error) {
    throw core::CorruptFile(std::string("section levels, offset 0: ") + error.what());
  }
}

template <typename T>
std::span<T> as(std::span<std::uint8_t> bytes) {
  return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
}

/// What several threads decode: tensors in a given order, and parts of those that have been opened.
class Queue {
 public:
  Queue(std::span<const TensorJob> jobs, std::vector<std::size_t> order)
      : jobs_(jobs), order_(std::move(order)) {}

  /// Decodes until nothing is left to begin.
  void work() {
    for (;;) {
      Part part;
      const TensorJob* job = nullptr;
      {
        const std::lock_guard lock(mutex_);
        if (!parts_.empty()) {
          part = std::move(parts_.front());
          parts_.pop_front();
        } else if (next_ < order_.size()) {
          job = &jobs_[order_[next_++]];
        } else {
          return;
        }
      }
      if (job != nullptr) part = opened(*job);
      if (part.coded != nullptr) decode(part);
    }
  }

 private:
  struct Part {
    const TensorJob* job = nullptr;
    std::shared_ptr<const LevelParts> coded;
    std::size_t number = 0;
  };

  /// Decodes a tensor without parts; of another returns the first part and queues the others for all threads.
  Part opened(const TensorJob& job) {
    const TensorHeader& tensor = *job.tensor;
    const bool quantized = tensor.coding == Coding::quantized;
    check(job);
    if (is_striped(tensor)) {
      decode_tensor_values(tensor, as<float>(job.to));
    } else if (quantized || tensor.coding == Coding::integers) {
      const std::shared_ptr<const LevelParts> coded = open_levels(tensor.payload, job.to.size() / 4);
      const std::lock_guard lock(mutex_);
      for (std::size_t p = 1; p < coded->parts(); ++p) parts_.push_back({&job, coded, p});
      if (coded->parts() > 0) return {&job, coded, 0};
    } else if (tensor.coding == Coding::floats) {
      decode_tensor_floats(tensor, job.to);
    } else {
      core::require(tensor.payload.size() == job.to.size(), "a raw tensor takes as many bytes as it has");
      std::copy(tensor.payload.begin(), tensor.payload.end(), job.to.begin());
    }
    return {};
  }

  /// Levels are decoded where their values go, which are as wide, and replaced piece by piece: what is
  /// written once while the streams are busy is in the cache then.
  static void decode(const Part& part) {
    const std::size_t first = part.coded->first(part.number), size = part.coded->size(part.number);
    const auto levels = as<std::int32_t>(part.job->to).subspan(first, size);
    part.coded->decode(part.number, levels);
    if (part.job->tensor->coding == Coding::integers) return;
    const auto values = as<float>(part.job->to).subspan(first, size);
    std::array<std::int32_t, kPiece> piece;
    guarded([&] {
      for (std::size_t at = 0; at < size; at += kPiece) {
        const auto some = std::span(piece).first(std::min(kPiece, size - at));
        std::memcpy(some.data(), levels.data() + at, some.size_bytes());
        dequantize_piece(*part.job->tensor, first + at, some, values.subspan(at, some.size()));
      }
    });
  }

  std::span<const TensorJob> jobs_;
  std::vector<std::size_t> order_;
  std::mutex mutex_;
  std::size_t next_ = 0;  // of `order_`
  std::deque<Part> parts_;
};

}  // namespace

void decode_tensor_levels(const TensorHeader& tensor, std::span<std::int32_t> levels, int threads) {
  core::require(tensor.coding == Coding::quantized || tensor.coding == Coding::integers,
                "this tensor is not coded as levels");
  decode_levels(tensor.payload, levels, threads);
}

void decode_tensor_values(const TensorHeader& tensor, std::span<float> values, int threads) {
  core::require(tensor.coding == Coding::quantized, "this tensor is not quantized");
  core::require(tensor.size == values.size(), "values must have as many elements as the tensor");
  guarded([&] {
    if (is_striped(tensor)) {
      std::vector<std::int32_t> levels(values.size());
      decode_levels(tensor.payload, levels, threads);
      quant::dequantize_channels(tensor.quantizers, tensor.inner, levels, values, threads);
      return;
    }
    decode_levels_into(
        tensor.payload,
        [&](std::size_t first, std::span<const std::int32_t> levels) {
          dequantize_piece(tensor, first, levels, values.subspan(first, levels.size()));
        },
        threads);
  });
}

void decode_tensors(std::span<const TensorJob> jobs, int threads, const std::function<void()>& meanwhile) {
  std::vector<std::size_t> order(jobs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return jobs[a].to.size() != jobs[b].to.size() ? jobs[a].to.size() > jobs[b].to.size() : a < b;
  });
  std::erase_if(order, [&](std::size_t i) {  // those that use all threads by themselves
    const TensorHeader& tensor = *jobs[i].tensor;
    const bool floats = tensor.coding == Coding::floats;
    if (tensor.size < kLarge || (!floats && !is_striped(tensor))) return false;
    check(jobs[i]);
    if (floats) {
      decode_tensor_floats(tensor, jobs[i].to, threads);
    } else {
      decode_tensor_values(tensor, as<float>(jobs[i].to), threads);
    }
    return true;
  });
  Queue queue(jobs, std::move(order));
  const std::size_t most = std::max<std::size_t>(1, jobs.size());
  const auto workers = std::min(static_cast<std::size_t>(core::resolve_threads(threads)), most);
  core::parallel_for(workers, 1, static_cast<int>(workers), [&](std::size_t worker, std::size_t) {
    if (worker == 0 && meanwhile) meanwhile();
    queue.work();
  });
}

}  // namespace rdquant::codec
