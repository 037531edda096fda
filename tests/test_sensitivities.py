"""Second moments of the gradients at layers' outputs, against formulas of the Fisher information."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

import models
import rdquant as rdq
from rdquant import InvalidArgument
from rdquant.calibrate import layers_of, sensitivities

Array = NDArray[Any]


def weights(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def classifier(*tail: onnx.NodeProto, batch: int | str = "N", **convolution: Any) -> rdq.Model:
    """A convolution of 4 channels to 6, ReLU, global pooling, Gemm to the 3 scores "s", and what follows these."""
    group = convolution.get("group", 1)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", **convolution),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "v"], ["s"], "gemm"),
        *tail,
    ]
    tensors = {"w": weights(6, 4 // group, 3, 3), "b": weights(6, seed=1), "v": weights(6, 3, seed=2)}
    last = nodes[-1].output[0]
    ports: dict[str, list[int | str]] = {last: [batch, 3, *([1] if last == "wide" else [])]}
    return rdq.load(models.build(nodes, tensors, {"x": [batch, 4, 7, 6]}, ports, 18))


def expected(model: rdq.Model, x: Array) -> dict[str, Array]:
    """G of both layers, from the classifier's formula, without draws: Σ over positions of Jᵀ·(diag(p) − p·pᵀ)·J."""
    values = rdq.Session(model.with_outputs(["c", "s"])).run({"x": x})
    shares = np.exp(values["s"].astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)
    fisher = np.einsum("nk,kl->nkl", shares, np.eye(3)) - np.einsum("nk,nl->nkl", shares, shares)
    matrix = model.weights()["v"].astype(np.float64)
    open_ = (values["c"] > 0).reshape(len(x), 6, -1).astype(np.float64)
    places = open_.shape[2]
    inner = np.einsum("nkl,ck,dl->ncd", fisher, matrix, matrix)
    both = np.einsum("nci,ndi->ncd", open_, open_) / places**2
    return {"w": (inner * both).mean(axis=0), "v": fisher.mean(axis=0)}


@pytest.mark.parametrize("group", [1, 2])
def test_moments_are_those_of_the_fisher_information(group: int) -> None:
    model = classifier(group=group, pads=[1, 1, 1, 1])
    x = weights(2, 4, 7, 6, seed=9)
    found = sensitivities(model, [np.tile(x, (500, 1, 1, 1))], layers_of(model), draws=2, seed=3)
    wanted = expected(model, x)
    assert found["v"].moments.shape == (1, 3, 3)
    assert found["v"].images == 1000
    np.testing.assert_allclose(found["v"].moments[0], wanted["v"], atol=0.04 * wanted["v"].max())
    blocks = wanted["w"].reshape(group, 6 // group, group, 6 // group)
    blocks = np.stack([blocks[g, :, g] for g in range(group)])
    assert found["w"].moments.dtype == np.float64
    np.testing.assert_allclose(found["w"].moments, blocks, atol=0.05 * blocks.max())


def test_outputs_lean_to_where_errors_matter() -> None:
    model = classifier()
    x = weights(60, 4, 7, 6, seed=9)
    found = sensitivities(model, [np.tile(x, (20, 1, 1, 1))], layers_of(model), seed=3)
    values = rdq.Session(model.with_outputs(["c", "s"])).run({"x": x})
    shares = np.exp(values["s"].astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)
    fisher = np.einsum("nk,kl->nkl", shares, np.eye(3)) - np.einsum("nk,nl->nkl", shares, shares)
    matrix = model.weights()["v"].astype(np.float64)
    inner = np.einsum("nkl,ck,cl->nc", fisher, matrix, matrix)[..., np.newaxis, np.newaxis]
    for name, y, squares in (
        ("w", values["c"], inner * (values["c"] > 0)),
        ("v", values["s"], np.einsum("nkk->nk", fisher)),
    ):
        over = tuple(axis for axis in range(y.ndim) if axis != 1)
        standard = (y - y.mean(axis=over, keepdims=True)) / y.std(axis=over, keepdims=True)
        assert found[name].lean == pytest.approx(np.average(standard, weights=squares), abs=0.03)
    assert found["w"].lean > 0.3, "a ReLU follows"


def test_outputs_beyond_float32_lean_nowhere() -> None:
    model = classifier()
    huge = model.replace_weights({"w": np.full((6, 4, 3, 3), 1e30, np.float32)})
    found = sensitivities(huge, [weights(5, 4, 7, 6, seed=9) * np.float32(1e9)], layers_of(huge))
    assert all(np.isfinite(each.lean) for each in found.values())


def test_moments_are_sums_over_all_positions_of_which_few_are_sampled() -> None:
    model = classifier()
    x = weights(600, 4, 7, 6, seed=9)
    whole, few = (sensitivities(model, [x], layers_of(model), positions=p)["w"].moments[0] for p in (512, 5))
    assert np.trace(few) == pytest.approx(np.trace(whole), rel=0.05)


def test_moments_are_seeded_and_independent_of_batches() -> None:
    model = classifier()
    x = weights(7, 4, 7, 6, seed=9)
    told: list[int] = []
    one = sensitivities(model, [x], layers_of(model), seed=1, done=told.append)
    two = sensitivities(model, [x[:3], x[3:]], layers_of(model), seed=1)
    other = sensitivities(model, [x], layers_of(model), seed=2)
    assert told[-1] == 7
    for name in ("w", "v"):
        np.testing.assert_allclose(one[name].moments, two[name].moments, rtol=1e-5)
        assert one[name].lean == pytest.approx(two[name].lean, rel=1e-5)
        assert not np.allclose(one[name].moments, other[name].moments, rtol=1e-3)


@pytest.mark.parametrize(
    "tail",
    [
        [helper.make_node("Softmax", ["s"], ["y"], axis=1)],
        [helper.make_node("LogSoftmax", ["s"], ["y"])],
        [helper.make_node("Softmax", ["s"], ["m"]), helper.make_node("Unsqueeze", ["m", "two"], ["wide"])],
    ],
    ids=["softmax", "log softmax", "reshaped"],
)
def test_a_softmax_at_the_end_changes_nothing(tail: list[onnx.NodeProto]) -> None:
    two = helper.make_node("Constant", [], ["two"], value_ints=[2])
    plain, ended = classifier(), classifier(two, *tail)
    x = weights(5, 4, 7, 6, seed=9)
    wanted, found = (sensitivities(m, [x], layers_of(m)) for m in (plain, ended))
    for name in ("w", "v"):
        np.testing.assert_allclose(found[name].moments, wanted[name].moments, rtol=1e-5)
        assert found[name].lean == pytest.approx(wanted[name].lean, rel=1e-5)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch(batch: int) -> None:
    x = weights(6, 4, 7, 6, seed=9)
    wanted, found = (sensitivities(m, [x], layers_of(m)) for m in (classifier(), classifier(batch=batch)))
    for name in ("w", "v"):
        np.testing.assert_allclose(found[name].moments, wanted[name].moments, rtol=1e-5)
        assert found[name].lean == pytest.approx(wanted[name].lean, rel=1e-5)


def blocked(*nodes: onnx.NodeProto) -> set[str]:
    """Names of the weights with moments in a chain of three products with `nodes` between the first, "h", and "i"."""
    chain = [
        helper.make_node("MatMul", ["x", "w0"], ["h"]),
        *nodes,
        helper.make_node("MatMul", ["i", "w1"], ["j"]),
        helper.make_node("MatMul", ["j", "w2"], ["y"]),
    ]
    tensors = {"w0": weights(5, 5), "w1": weights(5, 4), "w2": weights(4, 3)}
    model = rdq.load(models.build(chain, tensors, {"x": ["N", 5]}, {"y": ["N", 3]}))
    return set(sensitivities(model, [weights(3, 5)], layers_of(model)))


def test_layers_before_an_operator_without_a_rule_are_left_out() -> None:
    assert blocked(helper.make_node("Relu", ["h"], ["i"])) == {"w0", "w1", "w2"}
    assert blocked(helper.make_node("Floor", ["h"], ["i"])) == {"w1", "w2"}
    # known along one of two ways only: that part alone would be wrong
    beside = [
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("Floor", ["h"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["i"]),
    ]
    assert blocked(*beside) == {"w1", "w2"}


def test_networks_that_are_no_classifiers_have_no_moments() -> None:
    scores = [helper.make_node("Relu", ["c"], ["y"])]
    maps = models.build(
        [helper.make_node("Conv", ["x", "w"], ["c"]), *scores],
        {"w": weights(3, 4, 1, 1)},
        {"x": ["N", 4, 7, 6]},
        {"y": ["N", 3, 7, 6]},
    )
    model = rdq.load(maps)
    assert sensitivities(model, [weights(1, 4, 7, 6)], layers_of(model)) == {}
    half = rdq.load(models.cnn(np.float16))
    assert sensitivities(half, [weights(1, 3, 8, 8)], layers_of(half)) == {}


def test_moments_need_images_that_fit() -> None:
    model = classifier()
    with pytest.raises(InvalidArgument, match="at least one image"):
        sensitivities(model, [], layers_of(model))
    with pytest.raises(InvalidArgument, match="draws: expected at least 1, got 0"):
        sensitivities(model, [weights(2, 4, 7, 6)], layers_of(model), draws=0)
    with pytest.raises(InvalidArgument, match="got shape"):
        sensitivities(model, [weights(2, 4, 7, 7)], layers_of(model))
