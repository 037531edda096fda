"""Functions of C++ sources and how long they are: braces matched in code freed of comments, literals and directives.

A scanner, no parser: it knows what this codebase writes (and what its test in test_architecture.py shows).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

# What is not code, in the order in which it must be tried. A quote between digits separates them.
_NOT_CODE = re.compile(
    r"""
    //[^\n]* | /\*.*?\*/                                         # comments
    | (?:\b(?:u8|[uUL]))? R"(?P<mark>[^()\\\s]*)\(.*?\)(?P=mark)"     # raw strings
    | "(?:\\.|[^"\\\n])*"                                        # strings
    | (?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'                         # characters
    | ^[ \t]*\#(?:\\\n|/\*.*?\*/|//[^\n]*|[^\n])*                  # directives, with the lines that they go on
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_PREFIX = re.compile(
    r"\s*(?:\[\[[^\]]*\]\]|__attribute__\s*\(\([^()]*(?:\([^()]*\)[^()]*)*\)\)|(?:public|protected|private)\s*:(?!:)"
    r"|(?:typedef|static|inline|constexpr|const)\b|alignas\s*\([^()]*\)|requires\s*\([^()]*(?:\([^()]*\)[^()]*)*\))"
)
_LAMBDA = re.compile(
    r"\[[^\[\]]*\]\s*(?:<[^()]*>\s*)?(?:\((?:[^()]|\([^()]*\))*\)\s*)?(?:(?:mutable|constexpr|noexcept)\s*)*"
    r"(?:->[^;{}()]*)?$"
)
_NAME = re.compile(
    r"((?:~\s*)?(?:\w+\s*(?:<[^()]*>)?\s*::\s*)*(?:~?\w+|operator\s*(?:\(\)|[^\s\w(]+|\w+)))\s*\("
)


class Function(NamedTuple):
    name: str
    line: int  # of its first token, a template's included
    lines: int  # down to the closing brace


def code_only(text: str, directives: bool = False) -> str:
    """The text with comments and literals blanked, directives too unless they are wanted; a token for a literal."""

    def blank(match: re.Match[str]) -> str:
        found = match.group()
        if directives and found.lstrip().startswith("#"):
            return found
        literal = found.lstrip("uUL8R")[:1] in ("'", '"')
        return ("0" if literal else " ") + "\n" * found.count("\n")

    return _NOT_CODE.sub(blank, text)


def _closing(code: str, opening: int) -> int:
    depth = 0
    for match in re.finditer(r"[{}]", code[opening:]):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return opening + match.start()
    raise ValueError(f"no brace closes the one in line {code.count(chr(10), 0, opening) + 1}")


def _after_angles(head: str) -> str:
    """What follows the parameters of a template; a comparison among them stands in parentheses."""
    angles = parentheses = 0
    for i, c in enumerate(head):
        parentheses += (c == "(") - (c == ")")
        if parentheses == 0:
            angles += (c == "<") - (c == ">" and head[i - 1] != "-")
            if angles == 0 and c == ">":
                return head[i + 1 :]
    return head


def _declaration(head: str) -> str:
    """A declaration without what may stand before it: templates, attributes, specifiers, access labels."""
    while True:
        rest = head.lstrip()
        if re.match(r"template\s*<", rest):
            rest = _after_angles(rest)
        elif match := _PREFIX.match(rest):
            rest = rest[match.end() :]
        if rest == head:
            return rest
        head = rest


@dataclass
class _Scan:
    code: str
    found: list[Function]

    def add(self, start: int, end: int, name: str) -> None:
        start += len(self.code[start:end]) - len(self.code[start:end].lstrip())
        line = self.code.count("\n", 0, start) + 1
        self.found.append(Function(name, line, self.code.count("\n", start, end) + 1))

    def initializer(self, opening: int, end: int) -> None:
        """Lambdas of a table are functions too."""
        at = opening + 1
        while (at := self.code.find("{", at, end)) >= 0:
            if _LAMBDA.search(self.code[opening + 1 : at]):
                close = _closing(self.code, at)
                self.add(self.code.rfind("[", opening, at), close, "lambda")
                at = close
            at += 1

    def scope(self, at: int, end: int) -> None:
        """Declarations of a namespace or a class."""
        start, depth = at, 0  # of the declaration that is being read; of its parentheses
        while at < end:
            c = self.code[at]
            depth += (c == "(") - (c == ")")
            if c == ";" and depth == 0:
                start = at + 1
            elif c == "{":
                close = _closing(self.code, at)
                if depth == 0 and self.block(start, at, close):
                    start = close + 1
                at = close
            at += 1

    def block(self, start: int, opening: int, close: int) -> bool:
        """Takes up one block; True if a declaration ends with it."""
        head = _declaration(self.code[start:opening])
        first = re.match(r"\w+", head)
        keyword = first.group() if first else ""
        if keyword in ("namespace", "class", "struct", "union", "extern"):
            self.scope(opening + 1, close)
            return True
        if keyword == "enum":
            return True
        if _LAMBDA.search(head) and not head.endswith("operator[]"):
            named = re.search(r"(\w+)\s*=", head)
            self.add(start, close, named[1] if named else "lambda")
            return False
        name = _NAME.search(head)
        if name is None or re.search(r"(?<!operator)(?<![=!<>])=(?!=)\s*(?!default)", head[: name.start()]):
            self.initializer(opening, close)
            return False
        listed = re.search(r"\)\s*(?:noexcept\s*)?:(?!:)", head)
        if listed and re.search(r"[\w>]\s*$", head):
            return False  # a member's initializer in braces
        self.add(start, close, re.sub(r"\s+", "", name[1]))
        return True


def functions(text: str) -> list[Function]:
    """Every function of a source, members and lambdas of tables too; what stands inside one is part of it."""
    scan = _Scan(code_only(text), [])
    scan.scope(0, len(scan.code))
    return scan.found
