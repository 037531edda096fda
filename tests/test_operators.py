"""Every operator that the engine claims, against ONNX's own node tests, on every backend of the engine."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest

import node_cases
from rdquant._core import program
from rdquant.runtime.engine import engine_backends

BACKENDS = [name for name, reason in engine_backends().items() if not reason]
# Tests of claimed operators that are left out: pattern → why. `test_what_is_left_out_fails` holds them to it.
LEFT_OUT: dict[str, str] = {}


def left_out(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in LEFT_OUT)


@pytest.mark.parametrize("everything", [False, True], ids=["fed", "constants"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("operator", program.operators())
def test_operator(operator: str, backend: str, everything: bool) -> None:
    names = [n for n in node_cases.claimed().get(operator, ()) if not left_out(n)]
    found = node_cases.failures(names, backend, everything)
    assert not found, f"{len(found)} of {len(names)} tests fail:\n" + "\n".join(
        f"{name}: {why}" for name, why in found.items()
    )


def test_every_claimed_operator_has_a_test() -> None:
    names = [n for group in node_cases.claimed().values() for n in group if not left_out(n)]
    tested: set[str] = set().union(*(node_cases.operators_of(n) for n in names))
    assert set(program.operators()) - tested == set()


@pytest.mark.parametrize("pattern", LEFT_OUT)
def test_what_is_left_out_fails(pattern: str) -> None:
    names = [n for group in node_cases.claimed().values() for n in group if fnmatch(n, pattern)]
    assert names, f"no test is called {pattern}"
    found = node_cases.failures(names, "reference", everything=False)
    assert set(names) - set(found) == set(), "these pass: leave them out no longer"
