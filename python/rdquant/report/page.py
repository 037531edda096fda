"""The page: sections of words, figures and tables in one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from .. import __version__
from . import tables
from .drawing import Drawing
from .histograms import bars, fitted
from .rows import View, loss_text, points_text
from .svg import DARK, LIGHT, SERIES, sparkline

__all__ = ["document", "figure", "headline", "links", "notes", "origin", "page", "section", "tiles"]

_GLYPHS = "●■◆▲▼✚✖◀▶⬢"  # as plots.MARKERS
_MOST_SMALL = 400  # small histograms in the page; more would make it heavy
Figures = Sequence[tuple[Drawing, str]]  # a drawing and its markup


def headline(view: View) -> str:
    """The study's answer in one plain sentence, without markup."""
    if view.reference is None or not len(view.best):
        return view.notes[0]
    first: dict[str, Any] = dict(view.best.iloc[0])
    losses = [
        f"{metric.label} {loss_text(metric.sign * first[f'loss_{metric.name}'])}"
        for metric in view.losses
        if metric.share
    ]
    text = f"{_choice(first)}: {', '.join([_size(view, first), *losses])}"
    return text[0].upper() + text[1:] if text[0].isascii() else text


def _size(view: View, row: dict[str, Any]) -> str:
    """Real bytes and ratio, the entropy beside them; of results without files the entropy alone."""
    entropy = f"entropy {row['entropy']:.2f} bits per weight"
    if not view.knows_files:
        return f"{entropy}, at best {row['cr']:.1f}\u00a0× smaller"
    return f"a file of {int(row['file_bytes']):,} bytes, {row['ratio']:.1f}\u00a0× smaller ({entropy})"


def _choice(row: dict[str, Any]) -> str:
    bits = tables.number(row["bits"], ".0f")
    return row["quantizer"] if bits == "–" else f"{row['quantizer']} with {bits} bits"


def page(view: View, curves: Figures, histograms: Figures, stems: Sequence[str], pages: Sequence[str]) -> str:
    """The whole document."""
    model = str(view.info.get("model", "model"))
    sections = [
        _header(view, model),
        notes(view.notes),
        _curves(view, curves),
        section("best", "Best choices", tables.best_html(view) if len(view.best) else ""),
        _distributions(view, histograms),
        _small(view, pages),
        section("tensor", "Tensors", tables.tensors_html(view) if len(view.tensors) else ""),
        section("all", "All points", tables.points_html(view) if len(view.points) else ""),
        _files(curves, histograms, stems, pages),
    ]
    return document(model, sections)


def document(title: str, sections: Sequence[str]) -> str:
    """A page that needs nothing else, of sections as markup; `title` as plain text."""
    assets = files(__package__)
    style = (assets / "page.css").read_text("utf-8")
    script = (assets / "page.js").read_text("utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)} · rdquant</title>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<style>{_palette()}{style}</style></head><body><main>{''.join(sections)}</main>"
        f"<script>{script}</script></body></html>\n"
    )


def _palette() -> str:
    def rules(colours: dict[str, str]) -> str:
        return "".join(f"--{name}:{value};" for name, value in colours.items())

    def paint(name: str) -> str:
        return f".{name}{{--paint:var(--{name})}}"

    return (
        f":root{{{rules(LIGHT)}--page:#f6f7f8}}"
        f"@media(prefers-color-scheme:dark){{:root{{{rules(DARK)}--page:#0e1216}}}}"
        + "".join(paint(name) for name in SERIES)
    )


def section(name: str, title: str, content: str) -> str:
    """A section with its heading; nothing without content."""
    if not content:
        return ""
    heading = f'<h2 id="{name}-title">{escape(title)}</h2>'
    return f'<section aria-labelledby="{name}-title">{heading}{content}</section>'


def _header(view: View, model: str) -> str:
    machine = view.info.get("machine") or {}
    facts = [
        ("data", view.info.get("data")),
        ("processor", machine.get("cpu")),
        ("date", str(view.info.get("created") or "")[:10]),
        ("rdquant", __version__),
    ]
    answer = ""
    if len(view.best):
        answer = (
            f'<p class="answer">{escape(headline(view))}</p>'
            f'<p class="rule">The {"smallest file" if view.knows_files else "least entropy"} that loses at most '
            f"{points_text(view.tolerance)} percentage points against the float model in every metric.</p>{_command(view)}"
            + _tiles(view)
        )
    return (
        f'<header><p class="kind">Rate–distortion study</p><h1>{escape(model)}</h1>'
        f"{origin(facts)}{answer}"
        f"{tables.summary_html(view)}</header>"
    )


def _command(view: View) -> str:
    """What is typed to get the file that the headline is about."""
    text = view.best.iloc[0].get("command")
    return f'<p class="command"><code>{escape(text)}</code></p>' if isinstance(text, str) and text else ""


def _tiles(view: View) -> str:
    first = view.best.iloc[0].to_dict()
    entropy = f"{first['entropy']:.2f}"
    found = [
        (entropy, "bits of entropy per weight"),
        (f"{first['cr']:.1f} ×", "smaller than float32 at best"),
    ]
    if view.knows_files:
        original = int((view.info.get("model_summary") or {})["file_bytes"])
        sizes = f"smaller: {int(first['file_bytes']):,} of {original:,} bytes"
        found = [
            (f"{first['ratio']:.1f} ×", sizes),
            (f"{first['real_bits']:.2f}", f"bits per weight in the file (entropy {entropy})"),
        ]
    for metric in view.losses:
        if metric.share:
            loss = metric.sign * first[f"loss_{metric.name}"]
            verb = "gained" if loss_text(loss).startswith("gains") else "lost"
            now = f"points of {metric.label} {verb}, now {metric.text(first[metric.name])}"
            if metric.interval(first):
                now += f" (95 % interval {metric.interval_text(first)})"
            found.append((points_text(abs(loss)), now))
    return tiles(found)


def origin(facts: Sequence[tuple[str, Any]]) -> str:
    """Labels and values in a line, those without a value left out."""
    line = "".join(f"<span>{label} <b>{escape(str(value))}</b></span>" for label, value in facts if value)
    return f'<p class="origin">{line}</p>'


def tiles(found: Sequence[tuple[str, str]]) -> str:
    """Large figures with what they are."""
    items = "".join(f"<li><b>{escape(big)}</b><span>{escape(small)}</span></li>" for big, small in found)
    return f'<ul class="tiles">{items}</ul>'


def notes(sentences: Sequence[str]) -> str:
    """What a reader must know; nothing where there is nothing."""
    items = "".join(f"<p>{escape(note)}</p>" for note in sentences)
    return f'<aside class="notes" role="note">{items}</aside>' if items else ""


def figure(drawing: Drawing, markup: str) -> str:
    """A drawing's markup with its title below."""
    caption = f"<figcaption>{escape(drawing.title[:1].upper() + drawing.title[1:])}.</figcaption>"
    return f'<figure id="figure-{drawing.name}">{markup}{caption}</figure>'


def _curves(view: View, curves: Figures) -> str:
    if not curves:
        return ""
    chips = "".join(
        f'<button type="button" aria-pressed="true" data-series="{series.slot}" '
        f'class="{SERIES[series.slot % len(SERIES)]}">'
        f'<i aria-hidden="true">{_GLYPHS[series.slot % len(_GLYPHS)]}</i>'
        f"{escape(series.label)}</button>"
        for series in view.series
    )
    words = (
        f"What every quantizer costs in {view.scale.name} and in accuracy. The dashed line is the float model, the green "
        "band the tolerance, the grey line the Pareto front: the best that any point reaches up to that size. Rings are the "
        "best choices. Point at a mark, or touch it, to read it; the buttons show and hide quantizers."
    )
    figures = "".join(figure(drawing, markup) for drawing, markup in curves)
    return section(
        "curves",
        "Rate–distortion curves",
        f'<p>{words}</p><div class="chips" role="group" aria-label="Quantizers shown">{chips}</div>'
        f'<p class="reading" role="status"></p><div class="figures">{figures}</div>',
    )


def _distributions(view: View, histograms: Figures) -> str:
    figures = "".join(figure(drawing, markup) for drawing, markup in histograms)
    if figures:
        keys = "".join(_key(label, name) for label, name, _ in fitted(view, "", [0.0]))
        words = (
            f', and the densities of least KL divergence: <span class="keys">{keys}</span>' if keys else "."
        )
        figures = f'<p>All weights and biases together{words}</p><div class="figures">{figures}</div>'
    table = tables.rankings_html(view) if len(view.fits) else ""
    return section("weights", "How the weights are distributed", figures + table)


def _key(label: str, colour: str) -> str:
    return f'<span class="key {colour}">{escape(label)}</span>'


def _small(view: View, pages: Sequence[str]) -> str:
    names = view.drawn_tensors
    if not names:
        return ""
    items = []
    for name in names[:_MOST_SMALL]:
        low, high, _ = view.histograms[name]
        edges, heights = bars(view.histograms[name])
        curves = []
        centres = (edges[:-1] + edges[1:]) / 2
        for rank, (label, colour, values) in enumerate(fitted(view, name, centres, most=2)):
            curves.append((f"{colour} rank{rank}", label, list(values)))
        drawing = sparkline(low, high, list(heights), [(c, v) for c, _, v in curves], f"histogram of {name}")
        keys = "".join(_key(label, colour) for colour, label, _ in curves)
        items.append(
            f'<li><p title="{escape(name)}">{escape(name)}</p>{drawing}<p class="keys">{keys}</p></li>'
        )
    words = "Density on a logarithmic scale, with the two families of least KL divergence."
    if len(names) > _MOST_SMALL:
        words += f" The first {_MOST_SMALL} of {len(names)} tensors; the others are in {', '.join(pages)}."
    return section("small", "Tensor by tensor", f'<p>{words}</p><ul class="small">{"".join(items)}</ul>')


def links(names: Sequence[str], kinds: Sequence[str]) -> str:
    """Items of a list of files: each name with each ending."""
    items = []
    for name in names:
        anchors = " ".join(f'<a href="{name}.{kind}">{kind}</a>' for kind in kinds)
        items.append(f"<li>{name} {anchors}</li>")
    return "".join(items)


def _files(curves: Figures, histograms: Figures, stems: Sequence[str], pages: Sequence[str]) -> str:
    figures = [drawing.name for drawing, _ in (*curves, *histograms)]
    items = links(stems, ("csv", "parquet")) + links([*figures, *pages], ("png", "svg"))
    return section("files", "Files beside this page", f'<ul class="files">{items}</ul>' if items else "")
