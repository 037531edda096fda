#include "stats/sample.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <mutex>
#include <numeric>
#include <utility>

#include "rdquant/core/parallel.hpp"
#include "stats/kernels.hpp"

namespace rdquant::stats {
namespace {

constexpr std::int64_t kExactCount = 16384;
constexpr std::size_t kSample = 2048;
constexpr std::size_t kCoarse = 384;
constexpr double kMostOctaves = 40.0;

struct Cell {
  double sum = 0.0;  // of x - centre
  double count = 0.0;
};
using Cells = std::vector<Cell>;

void indices(std::span<const float> x, const FineMap& map, std::int32_t* out) {
  kernels().fine_f32(x.data(), x.size(), map, out);
}
void indices(std::span<const double> x, const FineMap& map, std::int32_t* out) {
  kernels().fine_f64(x.data(), x.size(), map, out);
}

// Every k-th value, about kSample of them, in ascending order.
std::vector<double> probe(const Values& values) {
  const std::size_t stride = std::max<std::size_t>(1, total_size(values) / kSample);
  std::vector<double> result;
  std::size_t next = 0;
  for (const NamedValues& part : values) {
    std::visit(
        [&](auto data) {
          for (; next < data.size(); next += stride) result.push_back(static_cast<double>(data[next]));
          next -= data.size();
        },
        part.data);
  }
  std::sort(result.begin(), result.end());
  return result;
}

// Centre and resolution from quartiles of a probe: the standard deviation would be led astray by far
// outliers.
FineMap make_map(const Values& values, const Moments& m) {
  const std::vector<double> some = probe(values);
  const auto quantile = [&](double q) { return some[static_cast<std::size_t>(q * double(some.size() - 1))]; };
  const double centre = quantile(0.5);
  const double reach = std::max(m.max - centre, centre - m.min);
  double spread = 0.0;
  for (double q = 0.25; q > 1e-3 && spread == 0.0; q *= 0.5) spread = quantile(1.0 - q) - quantile(q);
  if (spread == 0.0) spread = m.std();
  const double unit = std::max(0.25 * spread, std::ldexp(reach, -static_cast<int>(kMostOctaves)));
  const double octaves = std::floor(std::log2(reach / unit + 1.0)) + 2.0;
  return {centre, 1.0 / unit, static_cast<std::int64_t>(octaves) << kFineBits};
}

template <typename T>
void fill(std::span<const T> data, const FineMap& map, const Histogram& histogram, Cells& cells,
          Histogram::Counts& counts) {
  std::array<std::int32_t, kBlock> index;
  for (std::size_t i = 0; i < data.size(); i += kBlock) {
    const std::span<const T> block = data.subspan(i, std::min(kBlock, data.size() - i));
    indices(block, map, index.data());
    for (std::size_t j = 0; j < block.size(); ++j) {
      Cell& cell = cells[static_cast<std::size_t>(index[j])];
      cell.sum += static_cast<double>(block[j]) - map.centre;
      cell.count += 1.0;
    }
    histogram.count(block, counts);
  }
}

// Upper edge of a fine bin: the inverse of FineMap.
double upper_edge(const FineMap& map, std::int64_t bin) {
  const auto start = [&](std::int64_t k) {
    const std::int64_t bits = (k + (std::int64_t{1023} << kFineBits)) << (52 - kFineBits);
    return (std::bit_cast<double>(bits) - 1.0) / map.scale;
  };
  const std::int64_t k = bin - map.half;
  return k >= 0 ? map.centre + start(k + 1) : map.centre - start(-k - 1);
}

Atoms to_atoms(const Cells& cells, const FineMap& map, std::vector<std::int32_t>& bins) {
  Atoms atoms;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (cells[i].count == 0.0) continue;
    atoms.x.push_back(map.centre + cells[i].sum / cells[i].count);
    atoms.count.push_back(cells[i].count);
    atoms.upper.push_back(upper_edge(map, static_cast<std::int64_t>(i)));
    bins.push_back(static_cast<std::int32_t>(i));
  }
  return atoms;
}

Cells binned(const Values& values, const FineMap& map, Histogram& histogram, int threads) {
  Cells cells(static_cast<std::size_t>(2 * map.half));
  for (const NamedValues& part : values) {
    std::visit(
        [&](auto data) {
          if (threads == 1 || data.size() < 2 * kGrain) {
            Histogram::Counts counts = histogram.no_counts();
            fill(data, map, histogram, cells, counts);
            histogram.add(counts);
            return;
          }
          std::mutex mutex;
          std::vector<std::pair<std::size_t, Cells>> parts;
          core::parallel_for(data.size(), kGrain, threads, [&](std::size_t begin, std::size_t end) {
            Cells local(cells.size());
            Histogram::Counts counts = histogram.no_counts();
            fill(data.subspan(begin, end - begin), map, histogram, local, counts);
            const std::lock_guard lock(mutex);
            histogram.add(counts);
            parts.emplace_back(begin, std::move(local));
          });
          // In the order of the values, so that rounding does not depend on which thread was first.
          std::sort(parts.begin(), parts.end(),
                    [](const auto& a, const auto& b) { return a.first < b.first; });
          for (const auto& [begin, local] : parts) {
            for (std::size_t i = 0; i < cells.size(); ++i) {
              cells[i].sum += local[i].sum;
              cells[i].count += local[i].count;
            }
          }
        },
        part.data);
  }
  return cells;
}

Atoms exact_atoms(const Values& values) {
  std::vector<double> all;
  all.reserve(total_size(values));
  for (const NamedValues& part : values) {
    std::visit([&](auto data) { all.insert(all.end(), data.begin(), data.end()); }, part.data);
  }
  std::sort(all.begin(), all.end());
  Atoms atoms;
  for (const double x : all) {
    if (atoms.x.empty() || x != atoms.x.back()) {
      atoms.x.push_back(x);
      atoms.count.push_back(0.0);
    }
    atoms.count.back() += 1.0;
  }
  atoms.upper = atoms.x;
  return atoms;
}

// Groups of neighbours with nearly equal counts; the first and last sixteen atoms stay as they are, since
// one-sided families are sensitive to them.
Atoms thin(const Atoms& atoms) {
  if (atoms.x.size() <= kCoarse) return atoms;
  const double total = std::accumulate(atoms.count.begin(), atoms.count.end(), 0.0);
  constexpr std::size_t kEnds = 16;
  const double share = total / static_cast<double>(kCoarse - 2 * kEnds);
  Atoms result;
  double filled = share;
  for (std::size_t i = 0; i < atoms.x.size(); ++i) {
    const bool end = i < kEnds || i + kEnds >= atoms.x.size();
    if (end || filled >= share) {
      result.x.push_back(0.0);
      result.count.push_back(0.0);
      result.upper.push_back(0.0);
      filled = 0.0;
    }
    const double n = result.count.back() + atoms.count[i];
    result.x.back() += (atoms.x[i] - result.x.back()) * atoms.count[i] / n;
    result.count.back() = n;
    result.upper.back() = atoms.upper[i];
    filled = i + 1 < kEnds ? share : filled + atoms.count[i];
  }
  return result;
}

// Values whose fine bin lies in [first, last].
template <typename T>
void collect(std::span<const T> data, const FineMap& map, std::int32_t first, std::int32_t last,
             std::vector<double>& out) {
  constexpr std::size_t kGroup = 32;
  const unsigned width = static_cast<unsigned>(last - first);
  std::array<std::int32_t, kBlock> index;
  for (std::size_t i = 0; i < data.size(); i += kBlock) {
    const std::span<const T> block = data.subspan(i, std::min(kBlock, data.size() - i));
    indices(block, map, index.data());
    std::fill(index.begin() + static_cast<std::ptrdiff_t>(block.size()), index.end(), first - 1);
    for (std::size_t j = 0; j < block.size(); j += kGroup) {  // few groups hold one
      unsigned hits = 0;
      for (std::size_t l = j; l < j + kGroup; ++l) hits |= static_cast<unsigned>(index[l] - first) <= width;
      if (hits == 0) continue;
      for (std::size_t l = j; l < j + kGroup; ++l) {
        if (static_cast<unsigned>(index[l] - first) <= width) out.push_back(static_cast<double>(block[l]));
      }
    }
  }
}

// Where the values of an atom are: itself, or a fine bin.
struct Grid {
  FineMap map;
  std::vector<std::int32_t> bins;  // of each atom
};

// Median of the values that `atoms` counts: of all, or of the non-zero ones.
double median(const Values& values, const Atoms& atoms, const Grid& grid, bool exact, bool nonzero) {
  const double total = std::accumulate(atoms.count.begin(), atoms.count.end(), 0.0);
  const double low_rank = std::floor((total - 1.0) / 2.0);
  const double high_rank = std::floor(total / 2.0);
  std::size_t first = 0;
  double before = 0.0;
  while (before + atoms.count[first] <= low_rank) before += atoms.count[first++];
  std::size_t last = first;
  for (double until = before + atoms.count[first]; until <= high_rank;) until += atoms.count[++last];
  if (exact) return 0.5 * (atoms.x[first] + atoms.x[last]);
  std::vector<double> pool;
  for (const NamedValues& part : values) {
    std::visit([&](auto data) { collect(data, grid.map, grid.bins[first], grid.bins[last], pool); },
               part.data);
  }
  if (nonzero) std::erase(pool, 0.0);
  std::sort(pool.begin(), pool.end());
  const auto at = [&](double rank) { return pool[static_cast<std::size_t>(rank - before)]; };
  return 0.5 * (at(low_rank) + at(high_rank));
}

// The atoms less `zeros` values of 0, which are in atom `i`.
void remove_zeros(Atoms& atoms, Grid& grid, std::size_t i, double zeros) {
  const double rest = atoms.count[i] - zeros;
  if (rest > 0.0) {
    atoms.x[i] *= atoms.count[i] / rest;
    atoms.count[i] = rest;
    return;
  }
  const auto at = static_cast<std::ptrdiff_t>(i);
  atoms.x.erase(atoms.x.begin() + at);
  atoms.count.erase(atoms.count.begin() + at);
  atoms.upper.erase(atoms.upper.begin() + at);
  if (!grid.bins.empty()) grid.bins.erase(grid.bins.begin() + at);
}

std::size_t atom_of_zero(const Atoms& atoms, const Grid& grid, bool exact) {
  if (exact)
    return static_cast<std::size_t>(std::find(atoms.x.begin(), atoms.x.end(), 0.0) - atoms.x.begin());
  const double zero = 0.0;
  std::int32_t bin = 0;
  indices(std::span(&zero, 1), grid.map, &bin);
  return static_cast<std::size_t>(std::lower_bound(grid.bins.begin(), grid.bins.end(), bin) -
                                  grid.bins.begin());
}

}  // namespace

Sample take_sample(const Values& values, const Moments& moments, const Histogram& empty, int threads) {
  Sample s{moments, empty, {}, {}, {}, moments.count <= kExactCount, 0.0, 0.0};
  Grid grid{};
  if (s.exact) {
    s.atoms = exact_atoms(values);
    s.histogram.add(values);
  } else {
    grid.map = make_map(values, moments);
    s.atoms = to_atoms(binned(values, grid.map, s.histogram, threads), grid.map, grid.bins);
  }
  s.coarse = thin(s.atoms);
  s.median = median(values, s.atoms, grid, s.exact, false);
  s.median_nonzero = s.median;
  if (moments.zeros > 0 && moments.zeros < moments.count) {
    s.nonzero = s.atoms;
    remove_zeros(s.nonzero, grid, atom_of_zero(s.atoms, grid, s.exact), static_cast<double>(moments.zeros));
    s.median_nonzero = median(values, s.nonzero, grid, s.exact, true);
  }
  return s;
}

}  // namespace rdquant::stats
