// Times every convolution of a list, ours and oneDNN's in turn, with ReLU, at batch 1 or what the list says.
//
//   bench_convolutions SHAPES.txt [THREADS] [REPETITIONS] [blocked]
//
// A line of the list: n c h w k kh kw sh sw top left bottom right groups. Prints one line per shape (how
// often it occurs, times in microseconds, medians), the packing of its weights, and totals. RDQUANT_ISA and
// ONEDNN_MAX_CPU_ISA choose the instruction sets.
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <sstream>
#include <string>
#include <vector>

#include "rdquant/core/error.hpp"
#include "runtime/kernels/float32/kernels.hpp"

#if defined(RDQUANT_ONEDNN)
#include <dnnl.hpp>
#endif

namespace {

using namespace rdquant::runtime::kernels;

struct FreeFloats {
  void operator()(float* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<float[], FreeFloats>;

Buffer buffer(Index n) {
  const auto bytes = static_cast<std::size_t>(divide(n * 4 + 64, 64) * 64);
  auto* p = static_cast<float*>(std::aligned_alloc(64, bytes));
  if (p == nullptr) throw std::bad_alloc();
  std::fill(p, p + n, 0.01f);
  return Buffer(p);
}

void in_parallel(Index items, const std::function<void(Index, Index)>& run) {
#pragma omp parallel
  {
    const Index threads = omp_get_num_threads();
    const Index me = omp_get_thread_num();
    run(items * me / threads, items * (me + 1) / threads);
  }
}

struct Ours {
  ConvPlan plan;
  Buffer src, plain, weights, bias, dst;
  ConvArgs args;

  Ours(const ConvShape& s, ConvMethod method) : plan(kernels().plan(s, method).value()) {
    const Index block = kernels().block;
    const Index image = divide(s.c, block) * block * s.h * s.w;
    const Index out = divide(s.k, block) * block * s.oh() * s.ow();
    src = buffer(s.n * image);
    plain = buffer(s.k * s.c / s.groups * s.kh * s.kw);
    weights = buffer(plan.weights);
    bias = buffer(divide(s.k, block) * block);
    dst = buffer(s.n * out);
    args.src = src.get();
    args.src_image = method == ConvMethod::few_channels ? s.c * s.h * s.w : image;
    args.weights = weights.get();
    args.bias = bias.get();
    args.dst = dst.get();
    args.dst_image = out;
    args.activation.function = Function::relu;
    pack();
  }
  void run() const {
    in_parallel(plan.items, [&](Index a, Index b) { kernels().convolve(plan, args, a, b); });
  }
  void pack() const { kernels().pack(plan, plain.get(), weights.get(), 0, plan.pack_items); }
};

ConvMethod method_for(const ConvShape& s) {
  if (s.groups == s.c && s.k == s.c && s.c > 1) return ConvMethod::depthwise;
  return s.c <= 4 && s.groups == 1 ? ConvMethod::few_channels : ConvMethod::dense;
}

#if defined(RDQUANT_ONEDNN)
struct Theirs {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::convolution_forward primitive;
  std::unordered_map<int, dnnl::memory> args;
  std::string name;

  Theirs(const ConvShape& s, bool blocked) {
    using dnnl::memory;
    const auto f32 = memory::data_type::f32;
    const auto any = memory::format_tag::any;
    const auto ours = kernels().block == 16 ? memory::format_tag::aBcd16b : memory::format_tag::aBcd8b;
    const auto plain = memory::format_tag::abcd;
    const memory::desc src({s.n, s.c, s.h, s.w}, f32, !blocked ? any : (s.c <= 4 ? plain : ours));
    const memory::desc weights =
        s.groups == 1 ? memory::desc({s.k, s.c, s.kh, s.kw}, f32, any)
                      : memory::desc({s.groups, s.k / s.groups, s.c / s.groups, s.kh, s.kw}, f32, any);
    const memory::desc bias({s.k}, f32, memory::format_tag::x);
    const memory::desc dst({s.n, s.k, s.oh(), s.ow()}, f32, blocked ? ours : any);
    dnnl::primitive_attr attributes;
    dnnl::post_ops after;
    after.append_eltwise(dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
    attributes.set_post_ops(after);
    const dnnl::convolution_forward::primitive_desc description(
        engine, dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, src, weights, bias,
        dst, {s.sh, s.sw}, {s.dh - 1, s.dw - 1}, {s.top, s.left}, {s.bottom, s.right}, attributes);
    primitive = dnnl::convolution_forward(description);
    name = description.impl_info_str();
    const auto filled = [&](const memory::desc& d) {
      memory m(d, engine);
      std::fill_n(static_cast<float*>(m.get_data_handle()), d.get_size() / 4, 0.01f);
      return m;
    };
    args = {{DNNL_ARG_SRC, filled(description.src_desc())},
            {DNNL_ARG_WEIGHTS, filled(description.weights_desc())},
            {DNNL_ARG_BIAS, filled(description.bias_desc())},
            {DNNL_ARG_DST, filled(description.dst_desc())}};
  }
  void run() { primitive.execute(stream, args); }
};
#endif

double microseconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> x) {
  std::nth_element(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2), x.end());
  return x[x.size() / 2];
}

struct Timed {
  double ours = 0.0, theirs = 0.0, pack = 0.0;
  std::string name = "-";
};

Timed time_shape(const ConvShape& s, int repetitions, [[maybe_unused]] bool blocked) {
  const Ours ours(s, method_for(s));
  Timed timed;
  std::vector<double> mine;
  std::vector<double> others;
  std::vector<double> packing;
#if defined(RDQUANT_ONEDNN)
  Theirs theirs(s, blocked);
  timed.name = theirs.name;
#endif
  for (int i = 0; i < repetitions; ++i) {
    // Twice each: the first brings back to the caches what the other one threw out.
    ours.run();
    mine.push_back(microseconds([&] { ours.run(); }));
#if defined(RDQUANT_ONEDNN)
    theirs.run();
    others.push_back(microseconds([&] { theirs.run(); }));
#endif
    if (i % 4 == 0) packing.push_back(microseconds([&] { ours.pack(); }));
  }
  timed.ours = median(mine);
  timed.theirs = others.empty() ? timed.ours : median(others);
  timed.pack = median(packing);
  return timed;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_convolutions SHAPES.txt [THREADS] [REPETITIONS] [blocked]\n");
    return 2;
  }
  omp_set_num_threads(argc > 2 ? std::atoi(argv[2]) : 1);
  const int repetitions = argc > 3 ? std::atoi(argv[3]) : 30;
  const bool blocked = argc > 4 && std::string(argv[4]) == "blocked";
  std::ifstream file(argv[1]);
  std::map<std::string, int> counts;
  std::vector<std::string> order;
  for (std::string line; std::getline(file, line);) {
    if (counts[line]++ == 0) order.push_back(line);
  }
  std::printf("%-44s %2s %9s %9s %6s %8s %8s  %s\n", "n c h w k kh kw sh sw t l b r groups", "x", "ours us",
              "theirs", "ratio", "GMAC/s", "pack us", "oneDNN's kernel");
  double total = 0.0, other = 0.0, best = 0.0, packing = 0.0;
  for (const std::string& line : order) {
    std::istringstream in(line);
    ConvShape s;
    in >> s.n >> s.c >> s.h >> s.w >> s.k >> s.kh >> s.kw >> s.sh >> s.sw >> s.top >> s.left >> s.bottom >>
        s.right >> s.groups;
    const Timed t = time_shape(s, repetitions, blocked);
    const int count = counts[line];
    const double macs =
        static_cast<double>(s.n * s.k * s.oh() * s.ow() * (s.c / s.groups) * s.kh * s.kw) / 1e3 / t.ours;
    std::printf("%-44s %2d %9.1f %9.1f %6.2f %8.1f %8.1f  %s\n", line.c_str(), count, t.ours, t.theirs,
                t.ours / t.theirs, macs, t.pack, t.name.c_str());
    total += count * t.ours;
    other += count * t.theirs;
    best += count * std::min(t.ours, t.theirs);
    packing += count * t.pack;
  }
  std::printf("total ms: ours %.3f, oneDNN %.3f, best of both %.3f, packing %.3f\n", total / 1e3, other / 1e3,
              best / 1e3, packing / 1e3);
  return 0;
}
