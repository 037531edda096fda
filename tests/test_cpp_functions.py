"""The scanner of C++ functions, on what the codebase writes and on what deceives brace counters."""

from __future__ import annotations

import pytest

from cpp_functions import Function, code_only, functions

PLAIN = """\
#define LOOP(x) \\
  for (;;) {
#include <vector>
namespace a {
namespace {  // } not code
struct P {
  int x = 1;
  int get() const { return x; }
  std::vector<int> list{1, 2};
  P& operator=(const P& other) {
    return *this;
  }
};
enum class Kind { one, two };
constexpr std::array<int, 2> kTable = {{{1}, {2}}};
constexpr int kLarge = 1'000'000 + sizeof("}{");
}  // namespace

template <typename T, int n = (1 > 0)>
requires(n > 0)
[[nodiscard]] T sum(const std::vector<T>& all,
                    T first = {}) {
  const auto add = [&](T x) {
    first += x;
  };
  for (const T& x : all) { add(x); }
  return first;
}

P::P(int x) : x(x), list{1, 2} {
  const char brace = '{';
  const auto text = R"x(}}} ")" )x";
}

bool operator==(const P& l, const P& r) { return l.x == r.x; }

const std::map<std::string, Rule> kRules = {
    {"Add", [](Node& node) {
       return node.a();
     }},
};
const auto kLast = [](int x) -> std::vector<int> {
  return {x};
};
extern "C" {
int plain(void) { return 0; }
}
}  // namespace a
TEST_CASE("braces } in names") {
  CHECK(true);
}
"""


def test_functions_are_found_with_their_lines() -> None:
    assert functions(PLAIN) == [
        Function("get", 8, 1),
        Function("operator=", 10, 3),
        Function("sum", 19, 10),
        Function("P::P", 30, 4),
        Function("operator==", 35, 1),
        Function("lambda", 38, 3),
        Function("kLast", 42, 3),
        Function("plain", 46, 1),
        Function("TEST_CASE", 49, 3),
    ]


def test_what_is_no_code_is_blanked_in_place() -> None:
    text = 'a /* {\n */ b // }\nc "{" d\n#if x \\\n  {\ne 1\'000'
    assert code_only(text) == "a  \n b  \nc 0 d\n \n\ne 1'000"


def test_an_unclosed_brace_is_named() -> None:
    with pytest.raises(ValueError, match="line 2"):
        functions("int x;\nint f() {")
