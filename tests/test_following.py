"""Layers in their order: which follow which, and rounding that makes up for the errors of those before."""

from __future__ import annotations

import numpy as np
from onnx import helper

import models
import rdquant as rdq
from classifier import classifier
from rdquant.calibrate import LayerRounder, by_input, closing, covariances, following, layers_of


def test_closing_layers_are_those_that_none_follows() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "u"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "v"], ["b"], "middle"),
        helper.make_node("Conv", ["r", "w"], ["c"], "beside"),
        helper.make_node("Sigmoid", ["b"], ["s"], "gate"),
        helper.make_node("Conv", ["s", "z"], ["d"], "last"),
        helper.make_node("Add", ["c", "d"], ["y"], "sum"),
    ]
    tensors = {name: np.ones((3, 3, 1, 1), np.float32) * k for k, name in enumerate("uvwz", 1)}
    model = rdq.load(models.build(nodes, tensors, {"x": ["N", 3, 4, 4]}, {"y": ["N", 3, 4, 4]}))
    layers = layers_of(model)
    assert closing(model, layers) == {"w", "z"}
    assert closing(model, layers[:1]) == {"u"}


def test_layers_make_up_for_those_before_them() -> None:
    model, data = classifier(), rdq.Digits("train")
    first, second = layers_of(model)
    weights = model.weights()
    (fit, _), (held, _) = data.get(np.arange(600)), data.get(np.arange(600, 1198))
    moments = covariances(model, [fit], [first, second])
    one = LayerRounder(weights["w"], weights["b"], first, moments["w"]).round(0.4)
    assert one.bias is not None
    rounded = model.replace_weights({"w": one.weight.dequantize(), "b": one.bias.dequantize()})
    wanted = rdq.Session(model).run({"x": held})["y"]
    alone = LayerRounder(weights["v"], weights["h"], second, moments["v"])
    ((layer, after),) = following(model, rounded, [second], lambda: [fit])
    assert layer is second
    errors = []
    for chosen in (alone, after):
        two = chosen.round(0.05)
        assert two.bias is not None
        tensors = {"v": two.weight.dequantize(), "h": two.bias.dequantize()}
        given = rdq.Session(rounded.replace_weights(tensors)).run({"x": held})["y"]
        errors.append(float(np.square(given - wanted).mean()))
    assert errors[1] < 0.8 * errors[0]


def test_layers_that_read_one_value_are_followed_together() -> None:
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "u"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "v"], ["b"], "wide", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "w"], ["c"], "narrow"),
        helper.make_node("Add", ["b", "c"], ["y"], "sum"),
    ]
    shapes = {"u": (4, 3, 3, 3), "v": (5, 4, 3, 3), "w": (5, 4, 1, 1)}
    tensors = {n: random.standard_normal(shape).astype(np.float32) for n, shape in shapes.items()}
    size = ["N", 3, 8, 8]
    model = rdq.load(models.build(nodes, tensors, {"x": size}, {"y": ["N", 5, 8, 8]}))
    x = random.standard_normal((40, 3, 8, 8)).astype(np.float32)
    rounded = model.replace_weights({"u": np.rint(tensors["u"] * 2) / 2})
    (first,), both = by_input(layers_of(model))
    assert first.weight == "u"
    assert [layer.weight for layer in both] == ["v", "w"]
    together = list(following(model, rounded, both, lambda: [x]))
    assert [layer for layer, _ in together] == both
    for layer, rounder in together:
        ((_, alone),) = following(model, rounded, [layer], lambda: [x])
        np.testing.assert_array_equal(rounder.matrix, alone.matrix)
        np.testing.assert_array_equal(rounder.round(0.1).weight.levels, alone.round(0.1).weight.levels)
