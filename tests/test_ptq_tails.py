"""Tails of networks: what a layer alone does shows in them as in the whole network."""

from __future__ import annotations

import numpy as np
import pytest

import models
import rdquant as rdq
from networks import Net
from rdquant.ptq.choice import choose_grid
from rdquant.ptq.damage import Judge
from rdquant.ptq.export import write
from rdquant.ptq.network import Network
from rdquant.ptq.observe import observe
from rdquant.ptq.options import Options
from rdquant.ptq.placement import place
from rdquant.ptq.tails import Tails
from rdquant.ptq.weights import nearest

OPTIONS = Options("u8", False, True, "mse", 99.999, 0.5, "nearest", False, 0.1, 0.012, 1)


def network() -> Network:
    """Two residual blocks, a pool between them, a classifier."""
    net = Net()
    value = net.call("Relu", net.conv("x", 8, 3))
    for _ in range(2):
        inner = net.conv(net.call("Relu", net.conv(value, 8, 8)), 8, 8)
        value = net.call("Relu", net.call("Add", inner, value))
        value = net.call("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
    flat = net.call("Flatten", net.call("GlobalAveragePool", net.conv(value, 10, 8, size=1)))
    model = models.build(net.nodes, net.tensors, {"x": ["N", 3, 16, 16]}, {flat: ["N", 10]})
    return Network(rdq.load(model))


def test_a_layer_alone_does_the_same_damage_in_the_tail() -> None:
    found = network()
    x = np.random.default_rng(0).normal(size=(5, 3, 16, 16)).astype(np.float32)

    def images() -> list[np.ndarray]:
        return [x[:2], x[2:]]

    judge = Judge(found.model, images, 1)
    weights = found.model.weights()
    roots = list(place(found, found.layers, exact=False).roots)
    known = observe(found.model, images, roots, 1)
    changed, firsts = {}, {}
    for i, layer in found.layers.items():
        placement = place(found, [i], exact=False)
        grids = {value: choose_grid(found, value, known[value], OPTIONS) for value in placement.values}
        levels = {layer.weight: nearest(layer, weights, grids[placement.roots[layer.input]].scale, True)}
        changed[i] = write(found, placement, grids, levels)
        makers = [found.maker(value) for value in placement.roots]
        firsts[i] = min([i, *(0 if maker is None else maker + 1 for maker in makers)])
    tails = Tails(found, images, 5, firsts.values(), 1)
    sizes = []
    for i, model in changed.items():
        tail, behind = tails.behind(firsts[i], model)
        assert (behind is None) == (tail is model)
        whole, short = judge.damage(model).score, judge.damage(tail, behind).score
        assert short == pytest.approx(whole, rel=1e-3, abs=1e-9)
        assert whole > 0
        sizes.append(len(tail.skeleton.graph.node) / len(model.skeleton.graph.node))
    assert sizes[0] == 1, "nothing comes before the first layer"
    assert min(sizes) < 0.4, "most of the network comes before the last one"
    assert sizes == sorted(sizes, reverse=True)
