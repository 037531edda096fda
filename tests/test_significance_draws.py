"""Significance maps around an allocation, of some of their images, and how much of a shift they show is noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rdquant as rdq
from classifier import classifier
from rdquant.demo import digits_model
from rdquant.errors import InvalidArgument
from rdquant.significance import SignificanceMap, allocate, compare, open_map, significance
from rdquant.significance.losses import cross_entropy, divergence, share_of_shift

GROUPS = [[1, 8], [3, 9]]


@pytest.fixture(scope="module")
def digits() -> rdq.Model:
    return rdq.load(digits_model())


@pytest.fixture(scope="module")
def train() -> rdq.Dataset:
    return rdq.Digits("train")


@pytest.fixture(scope="module")
def found(digits: rdq.Model, train: rdq.Dataset) -> SignificanceMap:
    return significance(digits, train, GROUPS)


def scores_of(model: rdq.Model, data: rdq.Dataset) -> np.ndarray:
    session = rdq.Session(model)
    return np.concatenate(
        [session.run({session.inputs[0].name: x})[session.outputs[0].name] for x, _ in data]
    )


def test_a_map_around_an_allocation_changes_layers_of_its_network(
    digits: rdq.Model, train: rdq.Dataset, found: SignificanceMap, tmp_path: Path
) -> None:
    """S of a layer at a width: the allocation's network with that layer so, less the one with it in float."""
    from rdquant.calibrate import layers_of

    few, i, k = train, 1, 0
    chosen = allocate(digits, found, mean_bits=3, classes=[1, 8], channels=False)
    around = significance(
        digits, few, GROUPS, (2, 3), rounding="nearest", around=chosen, store=tmp_path / "a"
    )
    base, layer, weights = chosen.apply(), layers_of(digits)[i], digits.weights()
    names = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
    whole = scores_of(base.replace_weights({name: weights[name] for name in names}), few)
    narrow = scores_of(base.replace_weights(around.rounded[i][around.bits[k]].tensors(layer)), few)
    own, reference = np.isin(few.labels, (1, 8)), scores_of(digits, few)
    for loss, rise in (("cross-entropy", cross_entropy), ("kl", divergence)):
        one, two = (rise(z[own], few.labels[own], reference[own]) for z in (narrow, whole))
        mean, noise = around.measured([1, 8], loss)
        assert mean.shape == (len(around.components), 2)
        assert mean[i, k] == pytest.approx((one - two).mean(), abs=1e-5)
        assert noise[i, k] == pytest.approx((one - two).std() / np.sqrt(own.sum()), abs=1e-5)
    again = open_map(tmp_path / "a")
    assert again.around == chosen.bits
    assert allocate(digits, again, mean_bits=3, classes=[1, 8]).mean_bits <= 3
    with pytest.raises(InvalidArgument, match="around"):
        significance(digits, few, GROUPS, (2, 3), rounding="nearest", store=tmp_path / "a")
    with pytest.raises(InvalidArgument, match="another network"):
        significance(classifier(), train, [1, 8], around=chosen)


def test_a_shift_is_believed_as_far_as_it_stands_above_its_noise(
    train: rdq.Dataset, found: SignificanceMap
) -> None:
    random = np.random.default_rng(5)
    noise = np.full((30, 4), 0.1)
    assert share_of_shift(random.normal(0, 0.1, (30, 4)), noise) < 0.25
    assert share_of_shift(random.normal(0, 1.0, (30, 4)), noise) == pytest.approx(1 - 0.01 / 1.01, abs=0.01)
    assert share_of_shift(np.zeros((2, 2)), np.full((2, 2), np.nan)) == 0
    share = found.share_of_shift([1, 8])
    assert 0 < share < 1
    few = found.take(np.flatnonzero(np.isin(train.labels, (1, 8)))[:2])
    assert few.share_of_shift([1, 8]) < share
    ends = [found.measured([1, 8], loss)[0] for loss in ("kl", "cross-entropy")]
    assert np.allclose(found.measured([1, 8], "shrunk")[0], ends[0] + share * (ends[1] - ends[0]), atol=1e-6)


def test_a_stored_map_takes_other_classes_without_measuring_again(
    digits: rdq.Model, train: rdq.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"bits": (2, 3), "component": "channel", "rounding": "nearest", "store": tmp_path / "map"}
    first = significance(digits, train, [[1, 8]], **given)
    fresh = significance(digits, train, [[3, 9]], **(given | {"store": tmp_path / "fresh"}))
    monkeypatch.setattr("rdquant.significance.making.fill", lambda store, *rest: store.flush())
    second = significance(digits, train, [[3, 9]], **given)
    assert (
        (first.groups, second.groups)
        == (((1, 8),), ((3, 9),))
        == (first.groups, open_map(tmp_path / "map").groups)
    )
    one, two = (allocate(digits, found, mean_bits=2.5).bits for found in (second, fresh))
    assert one == two  # with the group's own gradients
    with pytest.raises(InvalidArgument, match="different in rounding;"):
        significance(digits, train, [[3, 9]], **(given | {"rounding": "feedback"}))
    with pytest.raises(InvalidArgument, match="different in data, calibration;"):
        significance(digits, train.head(1000), [[3, 9]], **given)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgument, match="is a file"):
        significance(digits, train, [[3, 9]], **(given | {"store": tmp_path / "file"}))


def test_some_images_of_a_map_are_what_they_alone_measure(
    digits: rdq.Model, train: rdq.Dataset, found: SignificanceMap
) -> None:
    some = np.arange(0, len(train), 3)
    part = found.take(some)
    with pytest.warns(UserWarning, match="mostly noise"):
        own = significance(digits, train.take(some), GROUPS, calibration=train.calibration(1000))
    assert np.allclose(part.measured([1, 8])[0], own.measured([1, 8])[0], atol=1e-5)
    assert np.array_equal(part.labels, train.labels[some])
    assert allocate(digits, part, mean_bits=3, classes=[1, 8]).mean_bits <= 3
    with pytest.raises(InvalidArgument, match="images"):
        found.take([len(train)])


def test_costs_never_fall_below_0_nor_rise_with_bits(found: SignificanceMap) -> None:
    costs = found.costs([1, 8])
    assert found.widths == (2, 3, 4, 5, 6, 8, 16)
    assert costs.shape == (len(found.components), 7)
    assert (costs >= 0).all()
    assert (np.diff(costs, axis=1) <= 0).all()
    assert costs[:, 4] == pytest.approx(costs[:, 3] / 4)
    assert costs[:, 5] == pytest.approx(costs[:, 3] / 64)


def test_allocations_that_differ_in_a_last_number_are_one_curve(
    digits: rdq.Model, found: SignificanceMap
) -> None:
    named = {f"all {b}": allocate(digits, found, mean_bits=b, method="all", channels=False) for b in (2.5, 3)}
    named["own"] = allocate(digits, found, mean_bits=3, classes=[1, 8])
    figure = compare(digits, named, "digits", [[1, 8]], resamples=4).plot("f1")
    curves = {line.get_label(): len(line.get_xdata()) for line in figure.axes[0].lines}
    assert curves == {"all": 2, "own": 1}


def test_priority_takes_the_shrunk_loss_unless_told_otherwise(
    digits: rdq.Model, found: SignificanceMap
) -> None:
    def critical(method: str, loss: str | None) -> float:
        return allocate(digits, found, mean_bits=2.75, classes=[1, 8], method=method, loss=loss).critical

    for method, default, other in (("priority", "shrunk", "kl"), ("paper", "cross-entropy", "shrunk")):
        assert critical(method, None) == critical(method, default) != critical(method, other)
