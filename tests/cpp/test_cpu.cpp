#include <doctest/doctest.h>

#include <string>

#include "rdquant/core/cpu.hpp"
#include "rdquant/core/error.hpp"

using namespace rdquant::core;

namespace {

Cpu ice_lake() {
  Cpu cpu(Isa::avx512);
  for (const Feature f : {Feature::pclmul, Feature::vnni, Feature::vbmi, Feature::vpopcntdq}) cpu.add(f);
  return cpu;
}

std::string message_of(const char* name, const Cpu& available) {
  try {
    (void)parse_cpu(name, available);
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("a set is without the features beside it, avx512vnni has all of them") {
  const Cpu best = ice_lake();
  const Cpu plain = parse_cpu("avx512", best);
  CHECK(plain.isa() == Isa::avx512);
  CHECK(plain.has(Feature::pclmul));
  for (const Feature f : {Feature::vnni, Feature::vbmi, Feature::vpopcntdq}) CHECK_FALSE(plain.has(f));
  CHECK(parse_cpu("avx512vnni", best) == best);
  CHECK(parse_cpu("avx512+vnni+vbmi+vpopcntdq", best) == best);
  const Cpu one = parse_cpu("avx512+vbmi", best);
  CHECK(one.has(Feature::vbmi));
  CHECK_FALSE(one.has(Feature::vnni));
  CHECK(cpu_name(one) == "avx512+vbmi");
  CHECK(parse_cpu("baseline", best) == Cpu(Isa::baseline));
  CHECK(parse_cpu("avx2", best).isa() == Isa::avx2);
  CHECK(cpu_names(best) == std::vector<std::string>{"baseline", "avx2", "avx512", "avx512vnni"});
  CHECK(cpu_names(Cpu(Isa::avx2)) == std::vector<std::string>{"baseline", "avx2"});
}

TEST_CASE("features of ARM go with its one set") {
  Cpu pi(Isa::baseline);
  pi.add(Feature::dotprod);
  CHECK(parse_cpu("baseline+dotprod", pi) == pi);
  CHECK(parse_cpu("baseline", pi) == Cpu(Isa::baseline));
}

TEST_CASE("what is refused, and what is said") {
  const Cpu best = ice_lake();
  for (const char* name : {"sse9", "avx512vnni+vbmi", "avx512+", "avx512+sse9", "avx2+vnni",
                           "avx512+amx_int8", "baseline+dotprod", "+vnni", "AVX2"}) {
    CAPTURE(name);
    const std::string message = message_of(name, best);
    CHECK(message.find(std::string("RDQUANT_ISA=") + name) == 0);
    CHECK(message.find("this processor offers baseline, avx2, avx512, avx512vnni") != std::string::npos);
    CHECK(message.find("avx512+vnni+vbmi+vpopcntdq") != std::string::npos);
  }
  CHECK(message_of("avx512", Cpu(Isa::avx2)).find("not available") != std::string::npos);
  CHECK(message_of("avx512vnni", Cpu(Isa::avx512)).find("not available") != std::string::npos);
}

TEST_CASE("what this machine selects is available") {
  CHECK(selected_isa() <= available_isa());
  CHECK(parse_cpu(cpu_names(available_cpu()).back(), available_cpu()).isa() == available_isa());
}
