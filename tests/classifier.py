"""A small classifier that works, made without training: random features of scikit-learn's digits and least squares."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

import models
import rdquant as rdq

Array = NDArray[Any]


@cache
def classifier() -> rdq.Model:
    """Random features of the digits and least squares on the first 1198: right on about nine tenths."""
    train = rdq.Digits("train")
    random = np.random.default_rng(0)
    w = (random.standard_normal((48, 1, 3, 3)) / 3).astype(np.float32)
    b = (random.standard_normal(48) / 4).astype(np.float32)

    def model(v: Array, h: Array) -> onnx.ModelProto:
        nodes = [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv"),
            helper.make_node("Relu", ["c"], ["r"], "relu"),
            helper.make_node("MaxPool", ["r"], ["m"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Flatten", ["m"], ["f"], "flatten"),
            helper.make_node("Gemm", ["f", "v", "h"], ["y"], "gemm", transB=1),
        ]
        tensors = {"w": w, "b": b, "v": v.astype(np.float32), "h": h.astype(np.float32)}
        return models.build(nodes, tensors, {"x": ["N", 1, 8, 8]}, {"y": ["N", len(v)]})

    x, labels = train.get(np.arange(len(train)))
    features = rdq.Session(rdq.load(model(np.eye(432), np.zeros(432)))).run({"x": x})["y"].astype(np.float64)
    mean = features.mean(axis=0)
    centred = features - mean
    v = np.linalg.solve(centred.T @ centred + np.eye(432), centred.T @ (10 * (np.eye(10)[labels] - 0.1))).T
    return rdq.load(model(v, -v @ mean))
