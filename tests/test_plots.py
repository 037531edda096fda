"""Every public function that draws does so on axes of the caller's, too."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import rdquant as rdq
from argument_measures import small_map
from classifier import classifier
from rdquant.demo import digits_model
from rdquant.metrics import Confidences
from rdquant.profile import Profile, driver
from rdquant.report import plot_confidences, plot_curves
from rdquant.report.performance import latency_figure
from rdquant.report.significance import plot_fronts, plot_significance
from rdquant.stats import FitTable
from rdquant.sweep import Study
from rdquant.train import figures
from test_profile import PROCESS, QUICK

matplotlib.use("agg")


def drawing() -> dict[str, Callable[..., Any]]:
    """Public functions and methods of the package whose signature says that they give a figure or axes, by name."""
    found: dict[str, Callable[..., Any]] = {}
    for info in pkgutil.walk_packages(rdq.__path__, "rdquant."):
        if (
            any(part.startswith("_") and part != "_core" for part in info.name.split("."))
            or "_core" in info.name
        ):
            continue
        try:
            module = importlib.import_module(info.name)
        except rdq.BackendUnavailable:  # training, without PyTorch
            continue
        places = [module, *filter(inspect.isclass, vars(module).values())]
        for place in places:
            for name, value in vars(place).items():
                home = getattr(value, "__module__", "")
                if name.startswith("_") or not inspect.isfunction(value) or home != info.name:
                    continue
                if inspect.get_annotations(value).get("return") in ("Figure", "Axes"):
                    found[value.__qualname__] = value
    return {name: f for name, f in found.items() if f.__module__ not in INNER}


INNER = ("rdquant.report.drawing",)  # works on axes that the others made


@pytest.fixture(scope="module")
def cases(study: Study) -> dict[str, Callable[..., Any]]:
    """A call of each, which takes `ax`."""
    model = rdq.load(digits_model())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "in_new_process", lambda order: dict(PROCESS))
        profile = rdq.profile({"a": model, "b": model}, **QUICK)
    counts = {"a": np.array([1, 2, 3]), "b": np.array([3, 2, 1])}
    confidences = Confidences(np.linspace(0, 1, 4), counts, {"a": 0.6, "b": 0.4}, 5)
    fits = rdq.fit(model, families=["laplace", "gaussian"])
    paper = figures.paper_runs()
    found, digits = small_map(), rdq.Digits("test").head(40)
    chosen = rdq.allocate(classifier(), found, mean_bits=3)
    compared = rdq.significance.compare(classifier(), [chosen], digits, resamples=4)
    run = {
        "point": {"gamma": 0, "bits": 32},
        "history": [{"epoch": 1, "accuracy": 0.99, "train_accuracy": 1.0}],
    }
    return {
        "FitTable.plot": lambda ax: fits.plot(ax=ax),
        "Profile.plot": lambda ax: profile.plot(ax=ax),
        "Study.plot": lambda ax: study.plot(ax=ax),
        "SignificanceMap.plot": lambda ax: found.plot(ax=ax),
        "Comparison.plot": lambda ax: compared.plot(ax=ax),
        "plot_significance": lambda ax: plot_significance({"a": np.ones(2)}, ["b", "c"], "d", ax),
        "plot_fronts": lambda ax: plot_fronts({"a": [(10.0, 90.0), (20.0, 95.0)]}, "b", "accuracy", ax),
        "plot_curves": lambda ax: plot_curves(study, "top1", ax),
        "plot_confidences": lambda ax: plot_confidences(confidences, ax=ax),
        "latency_figure": lambda ax: latency_figure(profile, ax),
        "accuracy_over_bits": lambda ax: figures.accuracy_over_bits(paper, ax=ax),
        "density_over_bits": lambda ax: figures.density_over_bits(paper, ax=ax),
        "efficiency_over_bits": lambda ax: figures.efficiency_over_bits(paper, ax=ax),
        "efficiency_map": lambda ax: figures.efficiency_map(paper, ax=ax),
        "accuracy_over_epochs": lambda ax: figures.accuracy_over_epochs([run], ax=ax),
        "train_accuracy_over_epochs": lambda ax: figures.train_accuracy_over_epochs([run], ax=ax),
    }


def test_all_of_them_are_known_and_take_axes(cases: dict[str, Callable[..., Any]]) -> None:
    found = drawing()
    assert set(found) == set(cases)
    assert [name for name, f in found.items() if "ax" not in inspect.signature(f).parameters] == []


def test_they_draw_on_the_axes_given_and_nowhere_else(cases: dict[str, Callable[..., Any]]) -> None:
    of_others = plt.get_fignums()
    for name, call in cases.items():
        figure = Figure()
        left, right = figure.subplots(1, 2)
        given = call(right)
        assert given is (right if name == "FitTable.plot" else figure), name
        assert right.has_data(), name
        assert not left.has_data(), name
    assert plt.get_fignums() == of_others


def test_they_make_axes_where_none_are_given(cases: dict[str, Callable[..., Any]]) -> None:
    for name, call in cases.items():
        given = call(None)
        axes = [given] if isinstance(given, Axes) else given.axes
        assert any(ax.has_data() for ax in axes), name
        shares = [ax for ax in axes if "%" in ax.get_ylabel()]
        assert all(ax.get_ylim()[1] <= 100 for ax in shares), name
    plt.close("all")


def test_they_refuse_what_are_no_axes(cases: dict[str, Callable[..., Any]]) -> None:
    for call in cases.values():
        for wrong in ("axes", 1, Figure()):
            with pytest.raises(rdq.InvalidArgument, match=r"^ax: expected Matplotlib axes, got "):
                call(wrong)


def test_the_names_are_those_that_users_import() -> None:
    assert {FitTable.plot, Profile.plot, Study.plot, plot_curves, plot_confidences} <= set(drawing().values())
