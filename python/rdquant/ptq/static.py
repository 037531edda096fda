"""Static quantization: ranges of activations known beforehand, from calibration images without labels."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

from tqdm import tqdm

from ..data import Data, Dataset, open_dataset
from ..errors import InvalidArgument, Unsupported, called, count, flag
from ..graph import AnyModel, Model, load
from ..graph.halves import widened
from ..metrics.feeding import fitted
from .balance import EVERYWHERE, Balanced, balanced
from .choice import choose_grid, pays
from .curves import curve_of
from .damage import Damage, Judge, output_bytes, signal_to_noise
from .equalize import equalized
from .export import LayerLevels, write
from .fold import folded
from .grids import Grid
from .images import Images
from .network import Network, warn_of_levels
from .observe import observe, portions
from .observed import Observed
from .obstacles import nothing_left
from .options import Options
from .placement import Placement, place
from .report import LayerReport, QuantizedModel, Report, StepReport, for_ports_of
from .rounds import Rounding
from .tails import Tails
from .weights import check_finite, recurrent_levels

__all__ = ["Images", "Static", "calibration_of", "quantize_static"]

_MEASURED = 128, 1 << 27  # images that steps are measured on, and bytes of their outputs, at most
_RANKED = 16, 1 << 25  # the same, that each layer alone is measured on
_FITTED = 128  # images that weights are rounded by, at most
_BALANCED = 128, 1 << 27  # images that mean outputs are taken of, and bytes of them, at most; but at least 16
Levels = dict[str, LayerLevels]


def quantize_static(
    model: AnyModel,
    calibration: Data,
    *,
    images: int = 128,
    activations: str = "u8",
    symmetric: bool = False,
    per_channel: bool = True,
    ranges: str = "mse",
    percentile: float = 99.999,
    equalize: float = 0.5,
    rounding: str = "feedback",
    correct_bias: bool = True,
    max_kl: float = 0.1,
    max_noise: float = 0.012,
    threads: int | None = None,
    progress: bool = False,
) -> QuantizedModel[Report]:
    """`model` with activations and weights of 8 bits, as ONNX in the form QDQ, which runs anywhere.

    Convolutions over up to three axes, products with weights, also those of recurrent layers with their inputs, and what lies
    between two of them compute with levels; what follows the last layer, and recurrent layers' states, stay in float.

    Args:
        model: what `rdquant.load` takes; one input of float32, float16 or bfloat16. What is not quantized becomes float32.
        calibration: images like those the network will see: what `rdquant.data.open_dataset` takes; labels are
            not used. 100 to 300 are enough. They are streamed: memory does not depend on their number.
        images: how many of them are used at most, spread over the classes.
        activations: "u8" (0 … 255) or "s8" (−128 … 127) levels, one scale for each value.
        symmetric: the middle level stands for 0.
        per_channel: weights (levels −127 … 127, zero in the middle) have a scale for each output; else one.
        ranges: how far levels of activations reach, one of `rdquant.ptq.METHODS`: "minmax" (all that was seen),
            "average" (moving averages of the images' extremes), "percentile", "mse" (least squared error, in which
            clipped values count more), "kl" (least divergence of histograms).
        percentile: share of values, in percent, that "percentile" keeps.
        equalize: strength of cross-layer equalization: channels that use a share u of their value's range are scaled
            by u^-equalize, where that pays on images that ranges were not taken from; 0: not at all.
        rounding: "nearest"; "feedback": weights that are rounded later compensate for what rounding a weight does to the
            layer's outputs (as in GPTQ; layers of more than 4608 inputs take the nearest levels); "order": the same,
            and layer after layer, each compensating for the levels of all before it.
        correct_bias: biases take up the mean error of their layer's outputs: at first what rounding the weights gives,
            at last, layer after layer, what is left of it in the quantized network.
        max_kl, max_noise: what may be lost on the calibration images: mean KL divergence of a classifier's outputs
            to the float network's, nats; for a detector whose head `rdquant.detection` knows, the share of noise in
            its predicted boxes (see `rdquant.ptq.Damage`); for any other network the mean share of noise in the
            channels of its worst output (0.012: 19 dB). Where it is more, the layers that alone do most damage stay
            in float, until it is not.
        threads: of inference; None or 0: all cores.
        progress: show bars on stderr.

    Returns:
        A `Model` whose attribute `report` says what every step bought, ranks the layers by the damage each does alone,
        and names those that stay in float, with the reason.

    Raises:
        InvalidArgument: an argument that is not allowed; images that do not fit; a weight that is not finite (named); a
            network with nothing to quantize, or whose values become NaN. Unsupported: several inputs, or another type.
    """
    options = Options(
        activations,
        symmetric,
        per_channel,
        ranges,
        percentile,
        equalize,
        rounding,
        correct_bias,
        max_kl,
        max_noise,
        threads,
    )
    count("images", images)
    flag("progress", progress)
    loaded = load(model)
    if len(loaded.inputs) != 1:
        found = ", ".join(port.name for port in loaded.inputs)
        raise Unsupported(
            f"{loaded.name}: quantization with images needs one input, found {len(loaded.inputs)} ({found}); "
            "quantize_dynamic takes any number"
        )
    wide = widened(loaded)
    check_finite(wide)
    few = Images(calibration_of(calibration, wide, images))
    return for_ports_of(loaded, Static(wide, few, options, progress).run())


def calibration_of(data: Data, model: Model, images: int) -> Dataset:
    """The images that `calibration` means, at most so many, spread over the classes."""
    found = open_dataset(data, model=model, labelled=False, name="calibration")
    if len(model.inputs) == 1:  # refuse what does not fit in the caller's words, before any work
        with called("data", "calibration"):
            fitted(model.inputs[0], found.name, found.get([0])[0])
    return found if len(found) <= images else found.calibration(int(images))


class Static:
    """One quantization, step by step."""

    def __init__(self, model: Model, images: Images, options: Options, progress: bool) -> None:
        self._name, self._file_bytes = model.name, model.summary()["file_bytes"]
        self._images, self._options, self._progress = images, options, progress
        float_model = folded(model)
        self._bytes = output_bytes(float_model, images.first(1), options.threads)
        self._few = self._share(*_MEASURED)
        self._network = Network(float_model)
        self._all = sorted((*self._network.layers, *self._network.recurrent))
        if not self._all:
            raise InvalidArgument(f"{model.name}: {nothing_left(float_model)}")
        warn_of_levels(model)
        self._judge = Judge(float_model, self._few, options.threads)
        self._placement = self._placed(self._all)
        self._limit = options.max_kl if self._judge.classifies else options.max_noise
        self._steps: list[StepReport] = []
        self._begun: list[str] = []  # titles of the stages so far
        self._observed: dict[str, Observed] = {}
        self._grids: dict[str, Grid] = {}

    def run(self) -> QuantizedModel[Report]:
        """The quantized network."""
        self._observed = self._observe()
        levels = self._round(self._equalize())
        model, damage = self._written(self._all, levels)
        alone = self._rank(levels)
        kept: dict[int, str] = {}
        if damage.score > self._limit:
            model, damage, kept = self._keep(levels, alone, damage)
        nodes = [i for i in self._all if i not in kept]
        if self._options.rounding == "order":
            model, damage, levels = self._in_order(model, damage, nodes, levels)
        if self._options.correct_bias:
            model, damage = self._balance(model, damage, nodes, levels)
        layers = self._layer_reports(model, alone, kept)
        report = Report(
            self._images.count,
            self._few.count,
            tuple(self._steps),
            layers,
            damage,
            self._limit,
            damage.score <= self._limit,
        )
        return QuantizedModel(model, report, self._file_bytes)

    def _share(self, count: int, size: int) -> Images:
        """At most `count` images spread over all, and so few that their outputs take `size` bytes at most."""
        return self._images.spread(min(count, max(1, size // max(1, self._bytes))))

    def _observe(self) -> dict[str, Observed]:
        values = list(self._placement.roots)
        model = self._network.model
        passes = sum(1 for _ in portions(model, values))
        title = "ranges" if passes == 1 else f"ranges, {passes} passes"
        with self._bar(title, self._images.count * passes, "image") as bar:
            return observe(model, self._images, values, self._options.threads, bar.update)

    def _equalize(self) -> Levels:
        """Levels to the nearest, of the network as it is and then equalized where that is worth it."""
        levels = self._nearest()
        self._measure("levels", levels)
        strength = self._options.equalize
        if strength == 0 or not pays(self._network, self._placement, self._few.halves(), self._options):
            return levels
        values = list(self._placement.roots)
        model, _ = equalized(self._network, self._observed, values, strength)
        self._network = Network(model)
        self._observed, self._grids = self._observe(), {}
        scaled = self._nearest()
        self._measure("equalize", scaled)
        return scaled

    def _nearest(self) -> Levels:
        weights = self._network.model.weights()
        recurrent = {
            layer.weight: recurrent_levels(layer, weights, self._options.per_channel)
            for layer in self._network.recurrent.values()
        }
        return self._rounding().nearest() | recurrent

    def _round(self, levels: Levels) -> Levels:
        options = self._options
        if options.rounding == "nearest" and not options.correct_bias:
            return levels
        with self._bar("rounding", len(self._all), "layer") as bar:
            rounding = self._rounding(bar.update)
            plain, corrected = rounding.alone()
            plain, corrected = levels | plain, levels | corrected
            if options.rounding != "nearest":
                levels = plain
                self._measure("rounding", levels)
            if options.correct_bias:
                levels = corrected
                self._measure("bias", levels)
        return levels

    def _in_order(
        self, model: Model, damage: Damage, nodes: list[int], levels: Levels
    ) -> tuple[Model, Damage, Levels]:
        """Layers of `nodes` rounded to what makes up for all before them; the better of that and what there was.

        It comes after the choice of layers that stay in float: what a collapsed layer does cannot be made up for.
        """
        with self._bar("order", len(nodes), "layer") as bar:
            rounding = self._rounding(bar.update, nodes)
            found = rounding.in_order(levels, lambda known: self._write(nodes, known))
        ordered, after = self._written(nodes, found)
        self._steps.append(StepReport("order", after))
        return (ordered, after, found) if after.score < damage.score else (model, damage, levels)

    def _balance(
        self, model: Model, damage: Damage, nodes: list[int], levels: Levels
    ) -> tuple[Model, Damage]:
        """Biases of `nodes` with what is left of mean errors; the better of that and what there was."""
        size = next(iter(self._images.first(1)())).nbytes
        count = max(16, min(_BALANCED[0], _BALANCED[1] // max(1, size)))
        with self._bar("balance", len(nodes), "layer") as bar:
            found = balanced(
                self._network.model,
                [self._to_balance(i) for i in nodes if i in self._network.layers],
                levels,
                lambda known: self._write(nodes, known),
                self._images.spread(count),
                self._options.threads,
                bar.update,
            )
        even, after = self._written(nodes, found)
        self._steps.append(StepReport("balance", after))
        return (even, after) if after.score < damage.score else (model, damage)

    def _to_balance(self, i: int) -> Balanced:
        output = self._network.given(i)[0]
        reader = self._network.next_activation(output)
        bounds = EVERYWHERE if reader is None else self._network.bounds(reader)
        return Balanced(output, self._network.layers[i], bounds)

    def _rounding(self, done: Any = lambda n: None, nodes: Collection[int] | None = None) -> Rounding:
        layers = [
            self._network.layers[i]
            for i in (self._all if nodes is None else nodes)
            if i in self._network.layers
        ]
        scales = {layer.weight: self._grid(self._placement.roots[layer.input]).scale for layer in layers}
        return Rounding(self._network.model, layers, scales, self._images.first(_FITTED), self._options, done)

    def _grid(self, value: str) -> Grid:
        if value not in self._grids:
            self._grids[value] = choose_grid(self._network, value, self._observed[value], self._options)
        return self._grids[value]

    def _placed(self, nodes: Collection[int]) -> Placement:
        return place(self._network, nodes, exact=not self._judge.classifies)

    def _write(self, nodes: Collection[int], levels: Levels) -> Model:
        placement = self._placed(nodes)
        grids = {value: self._grid(value) for value in placement.values}
        return write(self._network, placement, grids, levels, f"{self._name}.int8")

    def _written(self, nodes: Collection[int], levels: Levels) -> tuple[Model, Damage]:
        model = self._write(nodes, levels)
        return model, self._judge.damage(model)

    def _measure(self, step: str, levels: Levels) -> Damage:
        _, damage = self._written(self._all, levels)
        self._steps.append(StepReport(step, damage))
        return damage

    def _rank(self, levels: Levels) -> dict[int, float]:
        """Layer → damage it does alone."""
        images, threads = self._share(*_RANKED), self._options.threads
        judge = Judge(self._network.model, images, threads)
        firsts = {i: self._first_changed(i) for i in self._all}
        tails = Tails(self._network, images, images.count, firsts.values(), threads)
        with self._bar("ranking", len(self._all), "layer") as bar:
            found = {}
            for i in self._all:
                found[i] = judge.damage(*tails.behind(firsts[i], self._write([i], levels))).score
                bar.update()
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def _first_changed(self, i: int) -> int:
        """The first node that computes something else where layer `i` alone has levels."""
        makers = [self._network.maker(value) for value in self._placed([i]).roots]
        return min([i, *(0 if maker is None else maker + 1 for maker in makers)])

    def _keep(
        self, levels: Levels, alone: dict[int, float], damage: Damage
    ) -> tuple[Model, Damage, dict[int, str]]:
        """Keeps layers in float, the worst first, until the rest is tolerated."""
        order = list(alone)
        count, step = 0, 1
        model: Model | None = None
        while damage.score > self._limit and count < len(order):
            count = min(count + step, len(order))
            step = max(1, count // 2)
            model, damage = self._written([i for i in self._all if i not in order[:count]], levels)
        assert model is not None
        self._steps.append(StepReport("keep", damage))
        what = "KL" if damage.kl is not None else "noise"
        return (
            model,
            damage,
            {
                i: f"quantized alone it costs {what} {alone[i]:.3g} of the tolerated {self._limit:g}"
                for i in order[:count]
            },
        )

    def _layer_reports(
        self, model: Model, alone: dict[int, float], kept: dict[int, str]
    ) -> tuple[LayerReport, ...]:
        network = self._network
        outputs = {}
        for i in self._all:
            value = network.given(i)[0]
            reader = network.next_activation(value)
            curved = curve_of(network, value)
            outputs[i] = curved[1] if curved is not None else value
            if reader is not None:
                outputs[i] = network.given(reader)[0]
        sqnr: dict[str, float] = {}
        few = self._share(*_RANKED)
        for portion in portions(network.model, list(outputs.values())):
            sqnr |= signal_to_noise(network.model, model, portion, few, self._options.threads)
        return tuple(
            LayerReport(
                network.label(i),
                network.nodes[i].op_type,
                score,
                sqnr.get(outputs[i]),
                i in kept,
                kept.get(i, ""),
            )
            for i, score in alone.items()
        )

    @contextlib.contextmanager
    def _bar(self, title: str, total: int, unit: str) -> Iterator[Any]:
        """A bar of a stage, which says how many stages there are; one that is repeated keeps its number."""
        options = self._options
        rounds = options.rounding != "nearest" or options.correct_bias
        # ranges and ranking always
        stages = 2 + rounds + (options.rounding == "order") + options.correct_bias
        if title not in self._begun:
            self._begun.append(title)
        name = f"{title}, stage {self._begun.index(title) + 1} of {stages}"
        with tqdm(total=total, desc=name, unit=unit, disable=not self._progress, leave=False) as bar:
            yield bar
