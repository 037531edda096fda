"""Significance maps: what they measure, their store, allocation against brute force, files as promised, comparison."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import rdquant as rdq
from classifier import classifier
from rdquant.cli import app
from rdquant.demo import digits_model
from rdquant.errors import InvalidArgument, Unsupported
from rdquant.significance import (
    MEASURES,
    SignificanceMap,
    allocate,
    compare,
    confused_groups,
    open_map,
    refit,
    significance,
)
from rdquant.significance.effects import Images, effects
from rdquant.significance.losses import cross_entropy, divergence, standard_error
from rdquant.significance.solver import choose
from rdquant.significance.stray import without_stray_lines

GROUPS = [[1, 8], [3, 9]]


@pytest.fixture(scope="module")
def digits() -> rdq.Model:
    return rdq.load(digits_model())


@pytest.fixture(scope="module")
def train() -> rdq.Dataset:
    return rdq.Digits("train")


@pytest.fixture(scope="module")
def found(digits: rdq.Model, train: rdq.Dataset, tmp_path_factory: pytest.TempPathFactory) -> SignificanceMap:
    store = tmp_path_factory.mktemp("maps") / "digits"
    return significance(digits, train, GROUPS, component="channel", store=store)


def scores_of(model: rdq.Model, data: rdq.Dataset) -> np.ndarray:
    session = rdq.Session(model)
    return np.concatenate(
        [session.run({session.inputs[0].name: x})[session.outputs[0].name] for x, _ in data]
    )


# --- the map ------------------------------------------------------------------------------------


def test_a_map_is_what_the_network_loses_with_one_layer_changed(
    digits: rdq.Model, train: rdq.Dataset, found: SignificanceMap
) -> None:
    """Equation 2 of paper 003, by running the whole network with one layer at a width."""
    from rdquant.calibrate import layers_of

    before = scores_of(digits, train)
    for i, layer in enumerate(layers_of(digits)):
        for k, bits in enumerate(found.bits):
            changed = digits.replace_weights(found.rounded[i][bits].tensors(layer))
            after = scores_of(changed, train)
            for group in (None, (1, 8)):
                own = np.ones(len(train), bool) if group is None else np.isin(train.labels, group)
                for loss, rise in (("cross-entropy", cross_entropy), ("kl", divergence)):
                    wanted = rise(after[own], train.labels[own], before[own])
                    mean, noise = found.measured(group, loss)
                    assert mean[i, k] == pytest.approx(wanted.mean(), abs=2e-5)
                    assert noise[i, k] == pytest.approx(wanted.std() / np.sqrt(own.sum()), abs=2e-5)


def test_a_stored_map_is_the_same_and_is_gone_on_with(
    digits: rdq.Model, train: rdq.Dataset, found: SignificanceMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found.store is not None
    again = open_map(found.store)
    assert np.array_equal(again.measured([1, 8])[0], found.measured([1, 8])[0])
    assert again.groups == found.groups == ((1, 8), (3, 9))
    runs: list[int] = []
    run = rdq.Session.run
    monkeypatch.setattr(rdq.Session, "run", lambda self, feeds: runs.append(1) or run(self, feeds))
    significance(digits, train, GROUPS, component="channel", store=found.store)
    batches = -(-len(train) // train.batch_size)
    assert len(runs) == batches + 2  # the float network once, and shapes; nothing is measured again
    with pytest.raises(InvalidArgument, match="rounding"):
        significance(digits, train, GROUPS, component="channel", store=found.store, rounding="nearest")


def test_an_interrupted_map_keeps_what_it_has(
    digits: rdq.Model, train: rdq.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, store, run = train.head(800), tmp_path / "map", rdq.Session.run
    whole = significance(digits, few, [[1, 8, 3]], bits=(2, 3), rounding="nearest")
    left, partly = [0], 0

    def stop(self: Any, feeds: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return run(self, feeds)

    monkeypatch.setattr(rdq.Session, "run", stop)
    for attempt in range(40):
        left[0] = 20 + 10 * attempt
        try:
            got = significance(digits, few, [[1, 8, 3]], bits=(2, 3), rounding="nearest", store=store)
            break
        except KeyboardInterrupt:
            marks = store / "done.npy"
            partly += marks.exists() and bool(np.load(marks).any())
            with pytest.raises(InvalidArgument):
                open_map(store)
    assert partly > 0
    assert np.array_equal(got.measured([1, 8, 3])[0], whole.measured([1, 8, 3])[0])


def test_few_critical_images_give_a_warning(digits: rdq.Model, train: rdq.Dataset) -> None:
    with pytest.warns(UserWarning, match="fewer than 200"):
        significance(digits, train.head(100), [1, 8], bits=2)


def test_a_table_and_a_picture_of_a_map(found: SignificanceMap) -> None:
    table = found.to_pandas()
    assert list(table) == ["classes", "component", "bits", "significance", "all_classes", "standard_error"]
    assert len(table) == 2 * len(found.components) * 4
    axes = found.plot(bits=3).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["1, 8", "3, 9", "all classes"]
    with pytest.raises(InvalidArgument, match="bits"):
        found.plot(bits=7)


def test_classes_by_confusion() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 50)
    scores = 10.0 * np.eye(6)[labels] + random.standard_normal((300, 6))
    scores[:20, 4] += 20  # 20 images of class 0 are called 4
    scores[100:110, 5] += 20  # 10 of class 2 are called 5
    assert confused_groups(scores, labels) == [(0, 4), (2, 5)]
    assert confused_groups(scores, labels, groups=1, size=3) == [(0, 4)]
    assert confused_groups(scores, labels, least=0.15) == [(0, 4)]
    scores[20:24, 3] += 20
    assert confused_groups(scores, labels, groups=1, size=3) == [(0, 3, 4)]
    assert (0, 4) in confused_groups(scores, labels, soft=True)


# --- allocation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_the_solver_finds_what_brute_force_finds(seed: int) -> None:
    random = np.random.default_rng(seed)
    costs = np.sort(random.random((5, 4)), axis=1)[:, ::-1]
    every = np.sort(random.random((5, 4)), axis=1)[:, ::-1]
    loads = random.integers(1, 9, (5, 1)) * np.array([[2.0, 3, 4, 8]])
    most = float(loads.sum(axis=0)[1:3].mean())
    places = np.arange(5)
    fitting = [
        np.array(c) for c in itertools.product(range(4), repeat=5) if loads[places, list(c)].sum() <= most
    ]
    least = min(every[places, c].sum() for c in fitting)
    for slack in (None, 1.05, 1.5):
        limits = [] if slack is None else [(every, slack * least)]
        allowed = [c for c in fitting if all(t[places, c].sum() <= m for t, m in limits)]
        best = min(costs[places, c].sum() for c in allowed)
        got = choose(costs, loads, most, limits)
        assert got is not None
        assert loads[places, got].sum() <= most * (1 + 1e-9)
        assert all(t[places, got].sum() <= m * (1 + 1e-6) for t, m in limits)
        assert costs[places, got].sum() == pytest.approx(best, abs=1e-7)
    assert choose(costs, loads, 1.0) is None


@pytest.mark.parametrize("method", ["priority", "paper", "all", "hawq", "weights", "uniform", "search"])
def test_allocations_keep_to_their_budget(
    digits: rdq.Model, train: rdq.Dataset, found: SignificanceMap, method: str
) -> None:
    data = train.head(100) if method == "search" else None
    chosen = allocate(digits, found, mean_bits=3.5, classes=[1, 8], method=method, channels=False, data=data)
    sizes = dict(zip(found.components, found.sizes, strict=True))
    mean = sum(sizes[name] * bits for name, bits in chosen.bits.items()) / found.sizes.sum()
    assert chosen.mean_bits == pytest.approx(mean)
    assert mean <= 3.5 + 1e-9
    if method != "uniform":
        assert len(set(chosen.bits.values())) > 1 or method == "search"


def test_priority_keeps_all_classes(digits: rdq.Model, found: SignificanceMap) -> None:
    every = allocate(digits, found, mean_bits=3, classes=[1, 8], method="all", channels=False)
    bare = allocate(digits, found, mean_bits=3, classes=[1, 8], method="paper", channels=False)
    for keep in (1.0, 1.1, 1.5):
        own = allocate(digits, found, mean_bits=3, classes=[1, 8], keep_all=keep, channels=False)
        assert own.all_classes <= keep * every.all_classes * (1 + 1e-6)
        assert bare.critical - 1e-9 <= own.critical <= every.critical + 1e-9


def test_bytes_promised_are_bytes_on_disk(digits: rdq.Model, found: SignificanceMap, tmp_path: Path) -> None:
    for channels, budget in ((False, 11_000), (True, 11_000), (False, 14_000)):
        chosen = allocate(digits, found, bytes=budget, classes=[3, 9], channels=channels)
        written = chosen.save(tmp_path / "a.rdq")
        assert (tmp_path / "a.rdq").stat().st_size == written.bytes == chosen.bytes <= budget
        assert chosen.bytes >= 0.9 * budget
        back = rdq.load(tmp_path / "a.rdq").weights()
        assert all(np.array_equal(back[name], w) for name, w in chosen.apply().weights().items())


def test_channels_have_widths_of_their_own(digits: rdq.Model, found: SignificanceMap) -> None:
    chosen = allocate(digits, found, mean_bits=2.5, classes=[1, 8])
    layers = allocate(digits, found, mean_bits=2.5, classes=[1, 8], channels=False)
    assert any(isinstance(bits, tuple) and len(set(bits)) > 1 for bits in chosen.bits.values())
    assert chosen.mean_bits <= 2.5 + 1e-9
    assert chosen.critical <= layers.critical + 1e-9  # more freedom
    assert found.rows == found.components[-len(found.rows) :]


def test_milliseconds_are_a_budget_too(digits: rdq.Model, found: SignificanceMap) -> None:
    loose = allocate(digits, found, milliseconds=1000, classes=[1, 8], channels=False)
    assert set(loose.bits.values()) == {16}
    assert loose.milliseconds is not None
    assert 0 < loose.milliseconds <= 1000
    with pytest.raises(InvalidArgument, match="milliseconds"):
        allocate(digits, found, milliseconds=1e-9, classes=[1, 8])


def test_what_does_not_fit_is_refused(digits: rdq.Model, found: SignificanceMap) -> None:
    with pytest.raises(InvalidArgument, match="another network"):
        allocate(classifier(), found, mean_bits=3, classes=[1, 8])
    for wrong in ({}, {"mean_bits": 3, "bytes": 9000}, {"mean_bits": 1.5}, {"bytes": 100}):
        with pytest.raises(InvalidArgument, match=r"mean_bits|bytes"):
            allocate(digits, found, classes=[1, 8], **wrong)
    with pytest.raises(InvalidArgument, match="classes"):
        allocate(digits, found, mean_bits=3)  # the map has two groups
    with pytest.raises(InvalidArgument, match="data"):
        allocate(digits, found, mean_bits=3, method="search")


# --- comparison ---------------------------------------------------------------------------------


def test_measures_are_those_of_the_definition() -> None:
    random = np.random.default_rng(3)
    labels = random.integers(0, 5, 400)
    scores = random.standard_normal((400, 5)) + 1.5 * np.eye(5)[labels]
    got = dict(zip(MEASURES, Images(labels, scores, resamples=2).measured(scores, (1, 3))[0], strict=True))
    top, inside = scores.argmax(1), np.isin(labels, (1, 3))
    assert got["recall"] == pytest.approx(100 * (top == labels)[inside].mean(), abs=1e-4)
    within = np.array([1, 3])[scores[:, [1, 3]].argmax(1)] == labels
    assert got["within"] == pytest.approx(100 * within[inside].mean(), abs=1e-4)
    assert got["false_positives"] == pytest.approx(100 * np.isin(top, (1, 3))[~inside].mean(), abs=1e-4)
    precision = rdq.metrics.precision(labels, top, 5)
    f1 = rdq.metrics.f1(labels, top, 5)
    assert got["precision"] == pytest.approx(100 * np.mean([precision[c] for c in (1, 3)]), abs=1e-4)
    assert got["f1"] == pytest.approx(100 * np.mean([f1[c] for c in (1, 3)]), abs=1e-4)
    assert got["all_classes"] == pytest.approx(100 * (top == labels).mean(), abs=1e-4)


def test_a_shift_of_the_group_is_undone_at_equal_false_positives() -> None:
    """Recall bought with false positives is no gain: the trap of a bar on recall alone."""
    random = np.random.default_rng(4)
    labels = random.integers(0, 5, 4000)
    scores = random.standard_normal((4000, 5)) + 1.5 * np.eye(5)[labels]
    shifted = scores.copy()
    shifted[:, [1, 3]] += 1.0
    methods = {"plain": {(1, 3): scores}, "shifted": {(1, 3): shifted}}
    images = Images(labels, scores, resamples=50)
    gap = {
        (e.variant, e.measure): e.difference
        for e in effects(images, methods, "plain")
        if e.method == "shifted" and e.classes is not None
    }
    assert gap["as is", "recall"] > 10
    assert gap["as is", "false_positives"] > 10
    assert abs(gap["equal false positives", "recall"]) < 0.1
    assert abs(gap["refitted", "recall"]) < 1.0


def test_a_comparison_has_every_figure(digits: rdq.Model, found: SignificanceMap) -> None:
    named = {
        "all": allocate(digits, found, mean_bits=2.5, method="all"),
        "own": allocate(digits, found, mean_bits=2.5, classes=[1, 8]),
    }
    got = compare(digits, named, "digits", [[1, 8]], resamples=100)
    table = got.to_pandas("as is")
    assert set(table["method"]) == {"float", "all", "own"}
    assert set(table["measure"]) == set(MEASURES)
    assert (table[table["method"] == "all"]["difference"] == 0).all()
    assert ((table["low"] <= table["difference"]) & (table["difference"] <= table["high"])).all()
    top1 = rdq.evaluate(named["own"].apply(), "digits")["top1"]
    own = table[(table["method"] == "own") & (table["measure"] == "all_classes")]
    assert own["value"].to_numpy() == pytest.approx(100 * top1, abs=1e-4)
    got.plot("recall")
    test, after = rdq.Digits("test"), scores_of(named["own"].apply(), rdq.Digits("test")).argmax(1)
    recall = [(after[test.labels == c] == c).mean() for c in range(10)]
    wanted = {"recall": recall, "f1": rdq.metrics.f1(test.labels, after, 10)}
    wanted["precision"] = rdq.metrics.precision(test.labels, after, 10)
    for measure, values in wanted.items():
        per_class = got.per_class(measure)
        assert list(per_class) == ["class", "images", "float", "all", "own"]
        assert per_class["images"].sum() == len(test)
        assert per_class["own"].to_numpy() == pytest.approx(100 * np.array(values), abs=1e-6)


def test_refit_finds_the_biases_that_were_lost(digits: rdq.Model, train: rdq.Dataset) -> None:
    clean = scores_of(digits, train)
    lost = np.linspace(-3, 3, 10).astype(np.float32)
    fitted = refit(clean + lost, train.labels)
    plain = refit(clean, train.labels)
    assert fitted.biases + (lost - lost.mean()) == pytest.approx(plain.biases, abs=0.05)
    random = np.random.default_rng(0)
    noisy = clean + 6 * random.standard_normal(clean.shape).astype(np.float32)
    whole = refit(noisy, train.labels, temperature=True).factor
    assert refit(4 * noisy, train.labels, temperature=True).factor == pytest.approx(whole / 4, rel=0.02)
    scaled = refit(4 * clean, train.labels, temperature=True)
    changed = scaled.apply(digits)
    assert scores_of(changed, train.head(50)) == pytest.approx(scaled.scores(clean[:50]), abs=1e-3)
    with pytest.raises(Unsupported, match="refit"):
        plain.apply(digits.with_outputs([digits.skeleton.graph.node[0].output[0]]))


# --- detectors and the command line -----------------------------------------------------------------


def test_a_detector_s_map_is_of_its_matched_boxes() -> None:
    """On COCO's photos: the scores of a box are read at the anchor that the float network matched it with."""
    data = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not data.exists():
        pytest.skip("no shared/data beside the clone")
    model = rdq.load(data / "models" / "yolox_nano.onnx")
    photos = rdq.CocoFolder(data / "images" / "coco-val2017", "yolox", batch_size=4).head(8)
    with pytest.warns(UserWarning, match="fewer than 200"):
        found = significance(model, photos, [0], bits=2, rounding="nearest", calibration=photos.head(4))
    assert found.reference.shape == (len(found.labels), 81)
    assert len(found.labels) > 20
    right = (found.reference[:, :80].argmax(axis=1) == found.labels).mean()
    assert right > 0.8  # a matched box is one of its object's class, as a rule
    chosen = allocate(model, found, mean_bits=6, channels=False)
    changed = chosen.apply()
    assert changed.outputs[0].name == model.outputs[0].name
    assert found.measured([0])[0].max() > 0.01


def test_the_commands_do_what_the_functions_do(digits: rdq.Model, tmp_path: Path) -> None:
    digits.save(tmp_path / "d.onnx")
    x, y = rdq.Digits("train").get(np.arange(1198))
    np.savez(tmp_path / "train.npz", x=x, y=y)

    def run(*words: object, code: int = 0) -> Any:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == code, result.output
        return result.stdout

    store, model = tmp_path / "map", tmp_path / "d.onnx"
    made = ["significance", model, "--data", tmp_path / "train.npz", "--bits", "2,3", "--store", store]
    shown = json.loads(run(*made, "--classes", "1,8", "--plot", tmp_path / "map.png", "--json"))
    assert len(shown["rows"]) == 2 * len(open_map(store).components)
    assert (tmp_path / "map.png").stat().st_size > 1000
    told = ["allocate", model, store, "--mean-bits", "3"]
    got = json.loads(run(*told, "-o", tmp_path / "a.rdq", "--data", "digits", "--json"))
    own = allocate(rdq.load(model), open_map(store), mean_bits=3)  # the name is in the file
    assert got["bytes"] == own.bytes == (tmp_path / "a.rdq").stat().st_size
    assert [row["bits"] for row in got["components"]] == list(own.bits.values())
    assert {row["method"] for row in got["effects"]} == {"float", "all classes", "priority"}
    assert {tuple(row) for row in got["classes"]} == {("class", "images", "float", "all classes", "priority")}
    assert "F1 by class" in run(*told, "--data", "digits")
    run(*told, "-o", tmp_path / "a.txt", code=2)
    run(*told, "--classes", "1,,/", code=2)


def test_the_solver_prints_nothing_and_keeps_what_others_print(capfd: pytest.CaptureFixture[str]) -> None:
    libc = ctypes.CDLL(None)
    with without_stray_lines():
        libc.puts(b"HighsMipSolverData::transformNewIntegerFeasibleSolution tmpSolver.run();")
        libc.puts(b"from C")
        print("from Python")
        os.write(1, b"at once\n")
    print("after")
    assert sorted(capfd.readouterr().out.splitlines()) == ["after", "at once", "from C", "from Python"]


def test_one_image_has_no_standard_error() -> None:
    assert np.isnan(standard_error(np.array([0.5])))
    assert standard_error(np.array([0.5, 0.5])) == 0
