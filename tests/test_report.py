"""The report: its files, its words when pieces are missing, and the page in a real browser."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import xml.etree.ElementTree as ET
from contextlib import closing
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.stats import laplace

from rdquant.errors import InvalidArgument, RdquantError
from rdquant.metrics import wilson
from rdquant.report import best_rows, plot_curves, summary, write_report
from rdquant.report.curves import close_up, rate_distortion
from rdquant.report.histograms import fitted
from rdquant.report.rows import arrange, loss_text
from rdquant.report.svg import DARK, LIGHT
from rdquant.report.tables import breakable, number
from rdquant.sweep import Study
from synthetic_study import FIGURES, FLOAT, write_study

TABLES = ["best", "points", "ranking-sse", "ranking-kl", "fits", "tensors", "histograms"]


def test_page_needs_no_other_file(page: Path) -> None:
    text = page.read_text("utf-8")
    assert page.name == "report.html"
    assert len(text) < 3_000_000
    assert not re.search(r'(src|xlink:href)="(?!#)', text)  # only marks of the same drawing
    assert not re.search(r"@import|url\((?!#)|<link|<iframe|<img", text)
    assert all(
        re.fullmatch(r"[a-z0-9-]+\.(csv|parquet|png|svg)", link)
        for link in re.findall(r' href="([^"#]+)"', text)
    )


def test_links_lead_to_files(page: Path) -> None:
    links = set(re.findall(r'<a href="([^"]+)"', page.read_text("utf-8")))
    expected = {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    expected |= {f"{name}.{kind}" for name in TABLES for kind in ("csv", "parquet")}
    assert links == expected | {"histograms-tensors-1.png", "histograms-tensors-1.svg"}
    assert all((page.parent / link).stat().st_size > 200 for link in links)


def test_pictures_are_not_blank(page: Path) -> None:
    for name in [*FIGURES, "histograms-tensors-1"]:
        pixels = matplotlib.image.imread(page.parent / f"{name}.png")
        assert pixels.shape[0] > 500
        assert pixels[..., :3].std() > 0.03, name
        ET.parse(page.parent / f"{name}.svg")


def test_tables_hold_the_rows_of_the_study(page: Path, study: Study) -> None:
    for name in TABLES:
        text, binary = (
            pd.read_csv(page.parent / f"{name}.csv"),
            pd.read_parquet(page.parent / f"{name}.parquet"),
        )
        assert list(text.columns) == list(binary.columns), name
        assert len(text) == len(binary) > 0, name
    points = pd.read_parquet(page.parent / "points.parquet")
    pd.testing.assert_frame_equal(points, study.to_pandas(), check_dtype=False)
    best = pd.read_csv(page.parent / "best.csv")
    assert list(best["quantizer"]) == list(study.best()["quantizer"])


def test_rankings_order_families_by_each_criterion(page: Path, study: Study) -> None:
    for criterion in ("kl", "sse"):
        ranked = pd.read_csv(page.parent / f"ranking-{criterion}.csv", keep_default_na=False).set_index(
            "tensor"
        )
        whole = study.fits().query("tensor == ''").sort_values(criterion)["family"].head(3)
        names = {"laplace": "Laplace", "gaussian": "Gaussian", "cauchy": "Cauchy", "logistic": "logistic"}
        assert list(ranked.loc[""]) == [names[family] for family in whole]
        assert len(ranked) == 9


def test_headline_states_the_first_best_choice(study: Study) -> None:
    first = study.best().iloc[0]
    text = summary(study)["headline"].replace("\u00a0", " ")
    size = f"a file of {first['file_bytes']:,} bytes, {first['ratio']:.1f} × smaller"
    entropy = f"(entropy {first['entropy']:.2f} bits per weight)"
    assert text.startswith(f"Dead zone δ=0.7 with {first['bits']} bits: {size} {entropy}")
    assert f"top-1 {loss_text(first['loss_top1'])}" in text
    head, rows = best_rows(study)
    assert rows[0][:2] == ["dead zone δ=0.7", str(first["bits"])]
    assert head[2:5] == ["file bytes", "× smaller", "bits per weight"]
    assert rows[0][2:4] == [f"{first['file_bytes']:,}", f"{first['ratio']:.2f}"]
    assert (head[-1], rows[0][-1]) == ("ideal CR", f"{first['cr']:.2f}")


def test_shares_of_images_have_their_intervals(page: Path, study: Study) -> None:
    head, rows = best_rows(study)
    low, high = wilson(study.best()["top1"].iloc[0], 1000)
    assert rows[0][head.index("top-1") + 1] == f"{100 * low:.1f}–{100 * high:.1f}"
    assert head.count("95 % interval") == 2  # top-1 and top-5; KL is no share
    assert f"(95 % interval {100 * low:.1f}–{100 * high:.1f})" in page.read_text("utf-8")


def test_the_command_stands_below_every_best_choice(page: Path, study: Study) -> None:
    table = re.search(r'<table id="table-best">.*?</table>', page.read_text("utf-8"), re.DOTALL)
    assert table is not None
    written = re.findall(r'<tr class="made"><td colspan="\d+"><code>([^<]+)</code>', table[0])
    assert len(written) > 5
    assert written == list(study.best()["command"])
    assert f'<p class="command"><code>{written[0]}</code>' in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (0.006, "loses 0.6 points"),
        (0.00538, "loses 0.54 points"),
        (-0.1, "gains 10.0 points"),
        (0.0, "loses nothing"),
        (-1e-9, "loses nothing"),
        (4e-5, "loses nothing"),
    ],
)
def test_losses_are_said_in_words(loss: float, text: str) -> None:
    assert loss_text(loss) == text


@pytest.mark.parametrize(
    ("value", "text"), [(-1e-9, "0.00"), (-0.5, "−0.50"), (None, "–"), (-100, "−100.00")]
)
def test_numbers_have_no_negative_zero(value: float | None, text: str) -> None:
    assert number(value, ".2f") == text


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("conv1.weight", ["conv1.", "weight"]),
        ("squeezeNet_v1/fire-2:bias", ["squeeze", "Net_", "v1/", "fire-2:", "bias"]),
        ("99.3–99.7", ["99.3–99.7"]),
        ("<b>&", ["&lt;b&gt;&amp;"]),
    ],
)
def test_names_may_break_where_their_words_end(name: str, parts: list[str]) -> None:
    assert breakable(name).split("<wbr>") == parts


def test_one_image_worth_more_than_the_tolerance_is_noted(tmp_path: Path) -> None:
    study = _edit(write_study(tmp_path, layers=1, metrics=("top1",)), "UPDATE points SET images = 40")
    words = "40 images: one image is 2.5 points, more than the tolerance of 0.8 points;"
    assert summary(study)["notes"][-1].startswith(words)
    assert words in write_report(study, tmp_path / "report").read_text("utf-8")
    assert not summary(study, max_loss=2.5)["notes"]


def test_float_model_has_no_compression_ratio(page: Path) -> None:
    row = re.search(r'<tr><th scope="row">float32</th>.*?</tr>', page.read_text("utf-8"))
    assert row is not None
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", row[0])
    assert cells[:6] == ["–", "–", "–", "–", "20.221", "–"]
    assert (
        "entropy of its distinct values (Tonin, “Codificação de redes neurais sem retreino”, 2021, section 3)"
        in page.read_text("utf-8")
    )


def test_close_up_holds_the_best_choice_of_every_line(study: Study) -> None:
    view = arrange(study, 0.8)
    drawing = close_up(view, view.metrics[0])
    assert drawing is not None
    axes = drawing.figure.axes[0]
    rings = next(line for line in axes.lines if line.get_label() == "best choices")
    best = study.best()
    rows = best[(best["family"] != "minifloat") | (best["family"].eq("minifloat").cumsum() == 1)]
    assert sorted(1e6 * rings.get_xdata()) == pytest.approx(sorted(rows["file_bytes"]))
    assert len(rows) == len(view.series)
    for values, (low, high) in ((rings.get_xdata(), axes.get_xlim()), (rings.get_ydata(), axes.get_ylim())):
        assert all(low < value < high for value in values)


@pytest.mark.parametrize("name", ["points.csv", "fits.parquet", "rd-top1.png", "report.html"])
def test_full_disk_names_the_file_and_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    study = Study.open(write_study(tmp_path / "study", layers=1, metrics=("top1",)))
    (tmp_path / name).write_text("old")
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if target == tmp_path / name:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    words = f"{name}: no space left on device; the results in results.sqlite are kept"
    with pytest.raises(RdquantError, match=re.escape(words)):
        write_report(study, tmp_path)
    assert (tmp_path / name).read_text() == "old"
    assert not list(tmp_path.glob(".*"))


def test_names_are_escaped(page: Path) -> None:
    text = page.read_text("utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;$\\frac" in text


def test_ids_are_unique_and_referenced_ones_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    identities = re.findall(r'\bid="([^"]+)"', text)
    assert len(identities) == len(set(identities))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= set(identities)


def test_every_drawn_point_has_a_tooltip(page: Path, study: Study) -> None:
    figure = re.search(r'<figure id="figure-rd-kl">.*?</figure>', page.read_text("utf-8"), re.DOTALL)
    assert figure is not None
    tips = re.findall(r'class="mark" role="img" aria-label="([^"]+)"', figure[0])
    rows = study.to_pandas().query("family != 'float' and kl >= 1e-6")
    assert len(tips) == len(rows)
    chosen = rows.query("quantizer == 'midtread' and bits == 8").iloc[0]
    size = f"{chosen['file_bytes']:,} bytes, {chosen['ratio']:.1f} × smaller, entropy {chosen['entropy']:.3f}"
    assert any(tip.startswith(f"midtread, 8 bits: {size} bits per weight") for tip in tips)


def test_same_study_gives_the_same_page(tmp_path: Path) -> None:
    study = Study.open(write_study(tmp_path, layers=1, metrics=("top1",)))
    first, second = (write_report(study, tmp_path / name).read_bytes() for name in ("first", "second"))
    assert first == second


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_colours_have_contrast(theme: dict[str, str]) -> None:
    def luminance(colour: str) -> float:
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    def ratio(first: str, second: str) -> float:
        low, high = sorted((luminance(theme[first]), luminance(theme[second])))
        return (high + 0.05) / (low + 0.05)

    assert len(set(theme.values())) == len(theme)
    assert all(ratio(name, "surface") >= 4.5 for name in ("ink", "muted"))  # WCAG 1.4.3
    assert all(ratio(name, "surface") >= 3 for name in theme if re.fullmatch(r"s\d", name))  # WCAG 1.4.11


def test_drawn_densities_are_those_of_the_stored_parameters(study: Study) -> None:
    x = np.linspace(-1, 1, 101)
    label, _, values = fitted(arrange(study, 0.8), "", x, most=1)[0]
    stored = study.fits().query("tensor == '' and family == 'laplace'").iloc[0]["parameters"]
    assert label == "Laplace"
    np.testing.assert_allclose(values, laplace.pdf(x, stored["loc"], stored["scale"]), rtol=1e-12)


def _edit(folder: Path, *statements: str) -> Study:
    with closing(sqlite3.connect(folder / "results.sqlite")) as store, store:
        for statement in statements:
            store.execute(statement)
    return Study.open(folder)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM points", "The study has no points yet"),
        ("DELETE FROM points WHERE family = 'float'", "The float model has not been evaluated yet"),
        ("DELETE FROM points WHERE family != 'float'", "Only the float model has been evaluated so far"),
        (
            "UPDATE points SET state = 'stopped' WHERE family = 'float'",
            "The float model has not been evaluated yet",
        ),
        ("DELETE FROM points WHERE bits > 4", "No finished point stays within 0.8 percentage points"),
        ("DELETE FROM fits", "No distributions were fitted"),
        ("UPDATE fits SET family = 'unheard of'", "1st by SSE"),
        ('UPDATE fits SET parameters = \'{"loc": 0, "scale": 0}\'', "1st by SSE"),
        ("UPDATE fits SET parameters = '{}'", "1st by SSE"),
        ("DELETE FROM histograms", "The study holds no histograms"),
        ("DELETE FROM tensors", "Best choices"),
        ("UPDATE studies SET machine = '{}', model_summary = '{}', created = ''", "Best choices"),
        ("UPDATE tensors SET kurtosis = NULL, std = 0", "Best choices"),
        (
            "UPDATE histograms SET high = low WHERE tensor = 'fire0/squeeze_bias'",
            "are equal: fire0/squeeze_bias.",
        ),
        ("UPDATE histograms SET counts = '[0, 0]'", "are equal: the whole model, fire0/squeeze_weight,"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, statement: str, words: str) -> None:
    study = _edit(write_study(tmp_path, layers=1, metrics=("top1",)), statement)
    assert words in write_report(study, tmp_path / "report").read_text("utf-8")


def test_study_without_kl_and_with_several_scopes(tmp_path: Path) -> None:
    folder = write_study(tmp_path, layers=1, metrics=("top1",))
    study = _edit(folder, "UPDATE points SET scope = 'channel' WHERE bits % 2 = 1")
    text = write_report(study, tmp_path / "report").read_text("utf-8")
    assert not (tmp_path / "report" / "rd-kl.png").exists()
    assert "midtread, per channel" in text
    assert "midtread, per model" in text


def test_stopped_points_are_drawn_hollow_and_counted(tmp_path: Path) -> None:
    study = Study.open(write_study(tmp_path, layers=1, adaptive=True, metrics=("top1", "kl")))
    text = write_report(study, tmp_path / "report").read_text("utf-8")
    rows = study.to_pandas()
    stopped = rows[rows["state"] == "stopped"]
    assert f"{len(stopped)} of {len(rows)} points were stopped early" in text
    drawn = re.search(r'<figure id="figure-rd-kl">.*?</figure>', text, re.DOTALL)
    assert drawn is not None
    tips = re.findall(r"stopped after (\d+) images", drawn[0])
    assert tips
    assert {int(tip) for tip in tips} <= set(stopped["images"])


def test_plot_curves_draws_one_line_per_quantizer(study: Study) -> None:
    figure = plot_curves(study, "top5")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:3] == ["tolerance", "float32", "Pareto front"]
    assert labels[3:11] == [*study.to_pandas()["quantizer"].unique()[1:8], "minifloats"]
    with pytest.raises(InvalidArgument, match=r"f1.*top1, top5, kl"):
        plot_curves(study, "f1")


def test_curves_are_drawn_on_given_axes(study: Study) -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert study.plot("top1", ax=right) is figure
    assert right.get_legend() is not None
    assert not left.lines
    with pytest.raises(InvalidArgument, match="ax: expected Matplotlib axes, got 'left'"):
        study.plot(ax="left")


def test_axes_of_shares_end_at_all_images(tmp_path: Path) -> None:
    study = _edit(
        write_study(tmp_path, layers=1, metrics=("top1",)),
        """UPDATE points SET metrics = '{"top1": 1.0}' WHERE family = 'float'""",
        """UPDATE points SET metrics = '{"top1": 0.995}' WHERE bits > 6""",
    )
    view = arrange(study, 0.8)
    near = close_up(view, view.metrics[0])
    assert near is not None
    for drawing in (rate_distortion(view, view.metrics[0]), near):
        assert drawing.axes.get_ylim()[1] == 100


def test_a_family_has_one_colour_all_over_the_page(study: Study) -> None:
    view = arrange(study, 0.8)
    seen: dict[str, set[str]] = {}
    for name in view.histograms:
        for label, colour, _ in fitted(view, name, np.zeros(1)):
            seen.setdefault(label, set()).add(colour)
    assert len(seen) > 2
    assert all(len(colours) == 1 for colours in seen.values())
    assert len(set.union(*seen.values())) == len(seen)


def test_tolerance_decides_the_best_choices(tmp_path: Path) -> None:
    study = Study.open(write_study(tmp_path, layers=1, metrics=("top1",)))
    text = write_report(study, tmp_path, max_loss=5).read_text("utf-8")
    assert "at most 5.0 percentage points" in text
    best = pd.read_csv(tmp_path / "best.csv")
    assert best["entropy"].iloc[0] < study.best(0.008)["entropy"].iloc[0]
    assert (FLOAT["top1"] - best["top1"]).max() <= 0.05
