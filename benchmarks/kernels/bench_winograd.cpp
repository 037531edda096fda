// Times 3×3 convolutions of stride 1 layer by layer: F(2×2), F(4×4) and oneDNN's direct sum.
//
//     bench_winograd SHAPES THREADS ISA [REPEATS]
//
// SHAPES has a line "n c h w k kh kw sh sw top left bottom right groups" for each layer; other kernels than
// 3×3 of stride 1 are passed over. The layers run one after the other, as in their net (so that weights are
// found where a net finds them), the three methods in turn; the medians are in microseconds. Differences are
// to oneDNN's answer, in 1e-6 of the range of the layer's output. ISA: baseline, avx2, avx512.
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <oneapi/dnnl/dnnl.hpp>
#include <random>
#include <sstream>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/kernels/float32/winograd/winograd.hpp"

namespace {

using namespace rdquant::runtime::kernels;
using rdquant::core::Isa;
using Tag = dnnl::memory::format_tag;
using Type = dnnl::memory::data_type;

constexpr int kMethods = 3;
const char* const kNames[kMethods] = {"F(2×2)", "F(4×4)", "oneDNN"};

// Zeros that start on a page.
struct Floats {
  explicit Floats(Index n)
      : data(static_cast<float*>(std::aligned_alloc(
            std::size_t{1} << 12, (static_cast<std::size_t>(n) * 4 + 4095) / 4096 * 4096))) {
    std::fill(data, data + n, 0.0f);
  }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  Floats(Floats&& other) noexcept : data(std::exchange(other.data, nullptr)) {}
  ~Floats() { std::free(data); }
  float* data;
};

std::vector<ConvShape> read_shapes(const char* path) {
  std::ifstream file(path);
  std::vector<ConvShape> shapes;
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    ConvShape s;
    words >> s.n >> s.c >> s.h >> s.w >> s.k >> s.kh >> s.kw >> s.sh >> s.sw >> s.top >> s.left >> s.bottom >>
        s.right >> s.groups;
    if (words && s.kh == 3 && s.kw == 3 && s.sh == 1 && s.sw == 1 && s.groups == 1) shapes.push_back(s);
  }
  return shapes;
}

struct Ours {
  WinogradPlan plan;
  Floats weights;
  double pack_us;
};

struct Layer {
  ConvShape shape;
  std::vector<Ours> ours;
  dnnl::convolution_forward direct;
  std::unordered_map<int, dnnl::memory> args;
  Floats bias;
  std::vector<double> times[kMethods];
  double difference[kMethods] = {};
};

double microseconds(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

Layer make_layer(const ConvShape& s, Isa isa, int threads, const dnnl::engine& engine, std::mt19937& random) {
  std::normal_distribution<float> normal;
  const Winograd& kernels = winograd(isa);
  const Index out_blocks = divide(s.k, kernels.block);
  std::vector<float> weights(static_cast<std::size_t>(s.k * s.c * 9));
  for (float& w : weights) w = normal(random) / std::sqrt(4.5f * static_cast<float>(s.c));
  Layer layer{s, {}, {}, {}, Floats(out_blocks * kernels.block), {}, {}};
  for (Index i = 0; i < s.k; ++i) layer.bias.data[i] = 0.1f * normal(random);
  for (const Index tile : {2, 4}) {
    const WinogradPlan plan = plan_winograd(s, tile, isa, threads);
    Ours ours{plan, Floats(plan.weights), 0.0};
    ours.pack_us =
        microseconds([&] { kernels.pack(plan, weights.data(), ours.weights.data, 0, out_blocks); });
    ours.pack_us =
        microseconds([&] { kernels.pack(plan, weights.data(), ours.weights.data, 0, out_blocks); });
    layer.ours.push_back(std::move(ours));
  }
  const dnnl::memory::desc src({s.n, s.c, s.h, s.w}, Type::f32, Tag::any);
  const dnnl::memory::desc dst({s.n, s.k, s.oh(), s.ow()}, Type::f32, Tag::any);
  const dnnl::memory::desc any({s.k, s.c, 3, 3}, Type::f32, Tag::any);
  const dnnl::memory::desc bias({s.k}, Type::f32, Tag::x);
  dnnl::primitive_attr attributes;
  dnnl::post_ops after;
  after.append_eltwise(dnnl::algorithm::eltwise_relu, 0, 0);
  attributes.set_post_ops(after);
  const dnnl::convolution_forward::primitive_desc desc(
      engine, dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, src, any, bias, dst,
      {1, 1}, {s.top, s.left}, {s.bottom, s.right}, attributes);
  layer.direct = dnnl::convolution_forward(desc);
  dnnl::memory plain({{s.k, s.c, 3, 3}, Type::f32, Tag::oihw}, engine, weights.data());
  dnnl::memory packed(desc.weights_desc(), engine);
  dnnl::stream stream(engine);
  dnnl::reorder(plain, packed).execute(stream, plain, packed);
  stream.wait();
  layer.args = {{DNNL_ARG_WEIGHTS, packed},
                {DNNL_ARG_BIAS, dnnl::memory(bias, engine, layer.bias.data)},
                {DNNL_ARG_SRC, dnnl::memory(desc.src_desc(), engine, nullptr)},
                {DNNL_ARG_DST, dnnl::memory(desc.dst_desc(), engine, nullptr)}};
  return layer;
}

class Net {
 public:
  Net(const std::vector<ConvShape>& shapes, Isa isa, int threads)
      : kernels_(winograd(isa)), threads_(threads), engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    std::mt19937 random(1);
    Index most = 0;
    Index scratch = 0;
    for (const ConvShape& s : shapes) {
      layers.push_back(make_layer(s, isa, threads, engine_, random));
      most = std::max({most, s.n * round(s.c) * s.h * s.w, s.n * round(s.k) * s.oh() * s.ow()});
      for (const Ours& ours : layers.back().ours) scratch = std::max(scratch, ours.plan.scratch);
    }
    std::normal_distribution<float> normal;
    for (int i = 0; i < 2; ++i) buffers_.emplace_back(most);
    for (Index i = 0; i < most; ++i) buffers_[0].data[i] = std::max(0.0f, normal(random));
    for (int i = 0; i < threads; ++i) scratch_.emplace_back(scratch);
  }

  void run(Layer& layer, int method, const float* src, float* dst) {
    const ConvShape& s = layer.shape;
    if (method == 2) {
      layer.args.at(DNNL_ARG_SRC).set_data_handle(const_cast<float*>(src));
      layer.args.at(DNNL_ARG_DST).set_data_handle(dst);
      layer.direct.execute(stream_, layer.args);
      stream_.wait();
      return;
    }
    const Ours& ours = layer.ours[static_cast<std::size_t>(method)];
    ConvArgs args;
    args.src = src;
    args.src_image = round(s.c) * s.h * s.w;
    args.weights = ours.weights.data;
    args.bias = layer.bias.data;
    args.dst = dst;
    args.dst_image = round(s.k) * s.oh() * s.ow();
    args.activation.function = Function::relu;
    if (threads_ == 1) {
      kernels_.run(ours.plan, args, scratch_[0].data, 0, ours.plan.items);
      return;
    }
#pragma omp parallel num_threads(threads_)
    {
      const Index t = omp_get_thread_num();
      kernels_.run(ours.plan, args, scratch_[static_cast<std::size_t>(t)].data,
                   t * ours.plan.items / threads_, (t + 1) * ours.plan.items / threads_);
    }
  }

  // All answers to the same input, against oneDNN's.
  void compare() {
    for (Layer& layer : layers) {
      const ConvShape& s = layer.shape;
      const Index n = s.n * round(s.k) * s.oh() * s.ow();
      const std::vector<float> want = answer(layer);
      const float range = *std::max_element(want.begin(), want.end());
      for (int method = 0; method < 2; ++method) {
        run(layer, method, buffers_[0].data, buffers_[1].data);
        for (Index i = 0; i < n; ++i) {
          const double d = std::abs(double{want[static_cast<std::size_t>(i)]} - buffers_[1].data[i]) / range;
          layer.difference[method] = std::max(layer.difference[method], d);
        }
      }
    }
  }

  void time(int repeats) {
    for (int i = -3; i < repeats; ++i) {
      for (int method = 0; method < kMethods; ++method) {
        std::size_t at = 0;
        for (Layer& layer : layers) {
          const float* const src = buffers_[at].data;
          float* const dst = buffers_[1 - at].data;
          const double t = microseconds([&] { run(layer, method, src, dst); });
          if (i >= 0) layer.times[method].push_back(t);
          at = 1 - at;
        }
      }
    }
  }

  std::vector<Layer> layers;

 private:
  // oneDNN's answer in our layout; it chooses its own.
  std::vector<float> answer(Layer& layer) {
    const ConvShape& s = layer.shape;
    const Tag blocked = kernels_.block == 16 ? Tag::nChw16c : Tag::nChw8c;
    dnnl::memory src({{s.n, s.c, s.h, s.w}, Type::f32, blocked}, engine_, buffers_[0].data);
    dnnl::memory their_src(layer.args.at(DNNL_ARG_SRC).get_desc(), engine_);
    dnnl::memory their_dst(layer.args.at(DNNL_ARG_DST).get_desc(), engine_);
    std::vector<float> out(static_cast<std::size_t>(s.n * round(s.k) * s.oh() * s.ow()));
    dnnl::memory dst({{s.n, s.k, s.oh(), s.ow()}, Type::f32, blocked}, engine_, out.data());
    dnnl::reorder(src, their_src).execute(stream_, src, their_src);
    run(layer, 2, static_cast<float*>(their_src.get_data_handle()),
        static_cast<float*>(their_dst.get_data_handle()));
    dnnl::reorder(their_dst, dst).execute(stream_, their_dst, dst);
    stream_.wait();
    return out;
  }

  [[nodiscard]] Index round(Index channels) const {
    return divide(channels, kernels_.block) * kernels_.block;
  }

  const Winograd& kernels_;
  int threads_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::vector<Floats> buffers_, scratch_;
};

double median(std::vector<double> x) {
  std::nth_element(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2), x.end());
  return x[x.size() / 2];
}

void print(const Net& net) {
  double sums[kMethods] = {};
  double best = 0.0;
  double chosen = 0.0;
  double packs[2] = {};
  std::printf("%-22s", "c h×w k");
  for (const char* name : kNames) std::printf("%10s", name);
  std::printf("  best/oneDNN  chosen  Δ2 Δ4  items group×groups parts (2, 4)\n");
  for (const Layer& layer : net.layers) {
    const ConvShape& s = layer.shape;
    double t[kMethods];
    for (int i = 0; i < kMethods; ++i) sums[i] += t[i] = median(layer.times[i]);
    for (int i = 0; i < 2; ++i) packs[i] += layer.ours[static_cast<std::size_t>(i)].pack_us;
    const Index pays = winograd_pays(s);
    best += *std::min_element(t, t + kMethods);
    chosen += pays == 4 ? t[1] : pays == 2 ? t[0] : t[2];
    char name[64];
    std::snprintf(name, sizeof name, "%td %tdx%td %td", s.c, s.h, s.w, s.k);
    std::printf("%-22s%9.1f %9.1f %9.1f  %10.2f %8td  %.1f %.1f ", name, t[0], t[1], t[2],
                *std::min_element(t, t + kMethods) / t[2], pays, layer.difference[0] * 1e6,
                layer.difference[1] * 1e6);
    for (const Ours& ours : layer.ours)
      std::printf(" %td:%td×%td:%td", ours.plan.items, ours.plan.group, ours.plan.groups, ours.plan.parts);
    std::printf("\n");
  }
  std::printf("%-22s%9.1f %9.1f %9.1f  best %.1f (%.2f)  chosen %.1f (%.2f)  pack %.0f %.0f\n", "sum",
              sums[0], sums[1], sums[2], best, best / sums[2], chosen, chosen / sums[2], packs[0], packs[1]);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: bench_winograd SHAPES THREADS baseline|avx2|avx512 [REPEATS]\n");
    return 2;
  }
  const int threads = std::atoi(argv[2]);
  const std::string name = argv[3];
  const Isa isa = name == "avx512" ? Isa::avx512 : name == "avx2" ? Isa::avx2 : Isa::baseline;
  omp_set_num_threads(threads);
  Net net(read_shapes(argv[1]), isa, threads);
  net.compare();
  net.time(argc > 4 ? std::atoi(argv[4]) : 100);
  print(net);
  return 0;
}
