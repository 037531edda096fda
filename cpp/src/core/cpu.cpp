#include "rdquant/core/cpu.hpp"

#if __has_include(<unistd.h>)
#include <unistd.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#endif
#if defined(__aarch64__) && __has_include(<sys/auxv.h>)
#include <sys/auxv.h>
#endif

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "rdquant/core/error.hpp"

namespace rdquant::core {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"baseline", "avx2", "avx512"};
constexpr std::array<std::string_view, 7> kFeatures = {"pclmul",   "vnni",    "vbmi", "vpopcntdq",
                                                       "amx_int8", "dotprod", "i8mm"};
constexpr std::string_view kAllOfAvx512 = "avx512vnni";

Cpu detect() noexcept {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  Cpu cpu(avx512 ? Isa::avx512 : (avx2 ? Isa::avx2 : Isa::baseline));
  if (avx2 && __builtin_cpu_supports("pclmul")) cpu.add(Feature::pclmul);
  if (!avx512) return cpu;
  if (__builtin_cpu_supports("avx512vnni")) cpu.add(Feature::vnni);
  if (__builtin_cpu_supports("avx512vbmi")) cpu.add(Feature::vbmi);
  if (__builtin_cpu_supports("avx512vpopcntdq")) cpu.add(Feature::vpopcntdq);
  std::uint32_t eax = 7, ebx = 0, ecx = 0, edx = 0;  // compilers of 2022 do not know amx-int8 by name
  asm("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  const bool tiles = (edx >> 24 & 1) != 0 && (edx >> 25 & 1) != 0;
  asm("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));  // what the operating system keeps of a thread
  constexpr std::uint32_t kTileState = 3U << 17;
  if (tiles && (eax & kTileState) == kTileState) cpu.add(Feature::amx_int8);
  return cpu;
#elif defined(__aarch64__) && defined(AT_HWCAP) && defined(AT_HWCAP2)
  Cpu cpu(Isa::baseline);
  if ((getauxval(AT_HWCAP) >> 20 & 1) != 0) cpu.add(Feature::dotprod);  // HWCAP_ASIMDDP
  if ((getauxval(AT_HWCAP2) >> 13 & 1) != 0) cpu.add(Feature::i8mm);    // HWCAP2_I8MM
  return cpu;
#else
  return Cpu(Isa::baseline);
#endif
}

std::string joined(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all.append(all.empty() ? "" : ", ").append(name);
  return all;
}

[[noreturn]] void refuse(std::string_view name, const Cpu& available, const std::string& why) {
  throw InvalidArgument("RDQUANT_ISA=" + std::string(name) + ": " + why + "; this processor offers " +
                        joined(cpu_names(available)) + ", with features " + cpu_name(available));
}

bool goes_with(Isa isa, Feature feature) {
  switch (feature) {
    case Feature::pclmul:
      return isa >= Isa::avx2;
    case Feature::dotprod:
    case Feature::i8mm:
      return isa == Isa::baseline;
    default:
      return isa == Isa::avx512;
  }
}

Feature parse_feature(std::string_view name, std::string_view all, const Cpu& available) {
  for (std::size_t i = 0; i < kFeatures.size(); ++i) {
    if (kFeatures[i] == name) return static_cast<Feature>(i);
  }
  std::string allowed;
  for (const std::string_view feature : kFeatures) allowed.append(", ").append(feature);
  std::string why = "no feature is called '";
  why.append(name).append("', allowed behind a set and + are ").append(allowed, 2);
  refuse(all, available, why);
}

Cpu choose() {
  const char* const requested = std::getenv("RDQUANT_ISA");
  if (requested == nullptr || *requested == '\0') return available_cpu();
  return parse_cpu(requested, available_cpu());
}

bool choose_gathers() {
  const char* const asked = std::getenv("RDQUANT_GATHER");
  const std::string_view name = asked == nullptr ? "" : asked;
  if (name == "vector" || name == "scalar") return name == "vector";
  if (!name.empty()) {
    throw InvalidArgument("RDQUANT_GATHER=" + std::string(name) + ": allowed are vector, scalar");
  }
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_is("intel") != 0;
#else
  return false;
#endif
}

}  // namespace

const Cpu& available_cpu() noexcept {
  static const Cpu cpu = detect();
  return cpu;
}

bool request_amx() noexcept {
#if defined(__x86_64__) && defined(__linux__)
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool granted =
      available_cpu().has(Feature::amx_int8) && syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  return granted;
#else
  return false;
#endif
}

Isa available_isa() noexcept { return available_cpu().isa(); }

Cpu parse_cpu(std::string_view name, const Cpu& available) {
  const std::string_view set = name.substr(0, name.find('+'));
  std::size_t isa = 0;
  while (isa < kNames.size() && kNames[isa] != set) ++isa;
  const bool all = set == kAllOfAvx512;
  if (all) isa = static_cast<std::size_t>(Isa::avx512);
  if (isa == kNames.size() || (all && set != name)) {
    refuse(name, available,
           "allowed are baseline, avx2, avx512, avx512vnni, and the first three with +features behind them");
  }
  if (static_cast<Isa>(isa) > available.isa() || (all && !available.has(Feature::vnni))) {
    refuse(name, available, "not available");
  }
  if (all) return available;
  Cpu cpu(static_cast<Isa>(isa));
  if (cpu.isa() >= Isa::avx2 && available.has(Feature::pclmul)) cpu.add(Feature::pclmul);
  for (std::size_t at = set.size(); at < name.size();) {
    const std::size_t end = std::min(name.find('+', at + 1), name.size());
    const Feature feature = parse_feature(name.substr(at + 1, end - at - 1), name, available);
    if (!available.has(feature) || !goes_with(cpu.isa(), feature)) {
      refuse(name, available,
             std::string(kFeatures[static_cast<std::size_t>(feature)]) + " is not available with " +
                 std::string(set));
    }
    cpu.add(feature);
    at = end;
  }
  return cpu;
}

std::vector<std::string> cpu_names(const Cpu& available) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i <= static_cast<std::size_t>(available.isa()); ++i) names.emplace_back(kNames[i]);
  if (available.isa() == Isa::avx512 && available.has(Feature::vnni)) names.emplace_back(kAllOfAvx512);
  return names;
}

const Cpu& selected_cpu() {
  static const Cpu cpu = choose();
  return cpu;
}

Isa selected_isa() { return selected_cpu().isa(); }

bool has(Feature feature) { return selected_cpu().has(feature); }

bool gathers_in_vectors() {
  static const bool in_vectors = choose_gathers();
  return in_vectors;
}

std::string_view isa_name(Isa isa) noexcept { return kNames[static_cast<std::size_t>(isa)]; }

std::string cpu_name(const Cpu& cpu) {
  std::string name(isa_name(cpu.isa()));
  for (std::size_t i = 1; i < kFeatures.size(); ++i) {
    if (cpu.has(static_cast<Feature>(i))) name.append("+").append(kFeatures[i]);
  }
  return name;
}

std::size_t physical_memory() noexcept {
#if defined(_SC_PHYS_PAGES)
  const long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
  if (pages > 0 && bytes > 0) return static_cast<std::size_t>(pages) * static_cast<std::size_t>(bytes);
#endif
  return SIZE_MAX;
}

}  // namespace rdquant::core
