"""Inference: a Session runs a model on a backend. This version has one: ONNX Runtime on the CPU."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import BackendUnavailable, InvalidArgument, Unsupported
from .graph import Model, TensorInfo, load, read_structure, suggestion

__all__ = ["BACKENDS", "Session"]

BACKENDS = ("auto", "onnxruntime")
"""Names that `Session` takes; "auto" takes the best that is installed."""

_PROVIDERS = ["CPUExecutionProvider"]
_ERRORS_ONLY = 3  # ONNX Runtime's severity scale


def _onnxruntime(backend: str) -> Any:
    if backend not in BACKENDS:
        raise BackendUnavailable(
            f"backend {backend!r} is unknown; allowed are {', '.join(map(repr, BACKENDS))}"
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailable(
            f"backend {backend!r} needs ONNX Runtime, which does not import ({error}); "
            "'pip install onnxruntime' brings it"
        ) from error
    return onnxruntime


class Session:
    """A model made ready to run; `run` may be called from several threads at once.

    model: a `Model` or what `rdquant.load` takes. backend: one of `BACKENDS`. threads: threads within one
    operator, all cores by default. batch: rows that `profile` makes up where the model leaves the batch open.

    The weights are handed to ONNX Runtime as they are, without a serialised copy; models beyond 2 GB run too.
    Raises BackendUnavailable for an unknown or missing backend, Unsupported where it refuses the model.
    """

    def __init__(
        self,
        model: Model | str | os.PathLike[str],
        backend: str = "auto",
        threads: int | None = None,
        batch: int = 1,
    ) -> None:
        self._ort = _onnxruntime(backend)
        for name, value in (("threads", threads), ("batch", batch)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InvalidArgument(f"{name}: expected an integer ≥ 1, got {value!r}")
        self._threads = threads or 0
        self._batch = batch
        self._model = load(model)
        self._inner = self._session()

    @property
    def model(self) -> Model:
        """The model with the weights now in use."""
        return self._model

    @property
    def backend(self) -> str:
        """Name of the backend in use."""
        return "onnxruntime"

    @property
    def inputs(self) -> list[TensorInfo]:
        """What `run` must be fed with."""
        return self._model.inputs

    @property
    def outputs(self) -> list[TensorInfo]:
        """What `run` gives."""
        return self._model.outputs

    def run(self, feeds: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        """Outputs by name for inputs by name.

        Real numbers of another float type are converted to the model's; all else must match in dtype, rank
        and size. Where the model's batch (axis 0 of every input and output) is fixed and the feeds hold more
        rows, the model runs on slices, the last one filled up with its last row, and the outputs are joined:
        as many rows as fed. Raises InvalidArgument for feeds that do not fit.
        """
        infos = {i.name: i for i in self.inputs}
        for name in feeds:
            if name not in infos:
                raise InvalidArgument(
                    f"{self._model.name} has no input {name!r}{suggestion(name, infos)} "
                    f"(inputs: {_list(infos)})"
                )
        missing = [name for name in infos if name not in feeds]
        if missing:
            raise InvalidArgument(f"input {missing[0]!r} is not fed; {self._model.name} needs {_list(infos)}")
        arrays = {name: _converted(info, feeds[name]) for name, info in infos.items()}
        rows = self._slices(arrays)
        for name, info in infos.items():
            _check_shape(info, arrays[name].shape, sliced=rows is not None)
        inner = self._inner
        return self._run(inner, arrays) if rows is None else self._run_sliced(inner, arrays, *rows)

    def set_weights(self, tensors: Mapping[str, ArrayLike]) -> None:
        """Use `tensors` from now on; weights not named stay as they are. Runs under way end with the old
        ones.

        Names, shapes and dtypes as `Model.replace_weights`. The backend prepares the model anew.
        """
        before = self._model
        self._model = before.replace_weights(tensors)
        try:
            self._inner = self._session()
        except BaseException:
            self._model = before
            raise

    def plan(self) -> list[dict[str, Any]]:
        """The steps that the backend runs, after its own fusion, in order.

        Rows: step (0, 1, …), op ("domain:op" outside the standard domain), node, backend, inputs and outputs
        (names). ONNX Runtime tells them by writing the optimised model, weights included, to a temporary
        folder.
        """
        with tempfile.TemporaryDirectory(prefix="rdquant-") as folder:
            path = Path(folder) / "plan.onnx"
            self._session(optimized_model_filepath=str(path))
            graph = read_structure(path).graph
        return [
            {
                "step": step,
                "op": f"{node.domain}:{node.op_type}" if node.domain else node.op_type,
                "node": node.name,
                "backend": self.backend,
                "inputs": list(node.input),
                "outputs": list(node.output),
            }
            for step, node in enumerate(graph.node)
        ]

    def profile(self, feeds: Mapping[str, ArrayLike] | None = None, runs: int = 10) -> list[dict[str, Any]]:
        """Time of every step, measured over `runs` runs after one that warms up.

        feeds: as for `run`, without slicing; by default seeded noise, which needs a model whose sizes are
        fixed but for the batch. Rows in order of execution: step, op, node, backend, best_us and mean_us
        (microseconds), share (of the sum of means, a fraction).
        """
        if isinstance(runs, bool) or not isinstance(runs, int) or runs < 1:
            raise InvalidArgument(f"runs: expected an integer ≥ 1, got {runs!r}")
        arrays = (
            self._noise() if feeds is None else {i.name: _converted(i, feeds[i.name]) for i in self.inputs}
        )
        for info in self.inputs:
            _check_shape(info, arrays[info.name].shape, sliced=False)
        with tempfile.TemporaryDirectory(prefix="rdquant-") as folder:
            inner = self._session(enable_profiling=True, profile_file_prefix=str(Path(folder) / "profile"))
            for _ in range(runs + 1):
                self._run(inner, arrays)
            events = json.loads(Path(inner[0].end_profiling()).read_text(encoding="utf-8"))
        times: dict[tuple[str, str, str], list[float]] = {}
        for event in sorted((e for e in events if e.get("cat") == "Node"), key=lambda e: e["ts"]):
            node, end, _ = event["name"].rpartition("_kernel_time")
            if end:
                key = (node, event["args"]["op_name"], event["args"]["provider"])
                times.setdefault(key, []).append(float(event["dur"]))
        return _rows(times)

    def __repr__(self) -> str:
        return f"<rdquant.Session of {self._model.name} on {self.backend}, threads {self._threads or 'all'}>"

    def _session(self, **settings: Any) -> tuple[Any, Any]:
        """An ONNX Runtime session, and the values it refers to: they must live as long."""
        options = self._ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = self._threads
        for name, value in settings.items():
            setattr(options, name, value)
        values = {
            name: self._ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, data_type)
            for name, (data_type, array) in self._model.tensors().items()
        }
        options.add_external_initializers(list(values), list(values.values()))
        try:
            blob = self._model.skeleton.SerializeToString()
            return self._ort.InferenceSession(blob, options, providers=_PROVIDERS), values
        except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
            raise Unsupported(f"{self._model.name}: ONNX Runtime refuses the model: {error}") from error

    def _run(self, inner: tuple[Any, Any], arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        names = [o.name for o in self.outputs]
        try:
            return dict(zip(names, inner[0].run(names, dict(arrays)), strict=True))
        except Exception as error:
            shapes = ", ".join(f"{name} {list(a.shape)}" for name, a in arrays.items())
            raise InvalidArgument(
                f"{self._model.name}: ONNX Runtime cannot run the feeds {shapes}: {error}"
            ) from error

    def _slices(self, arrays: Mapping[str, NDArray[Any]]) -> tuple[int, int] | None:
        """(rows of the feeds, rows of a slice) where `run` must slice, else None."""
        ports = [*self.inputs, *self.outputs]
        sizes = {p.shape[0] if p.shape else None for p in ports}
        fed = {a.shape[0] if a.ndim else None for a in arrays.values()}
        size, rows = next(iter(sizes), None), next(iter(fed), None)
        if len(sizes) != 1 or len(fed) != 1 or not isinstance(size, int) or not rows or rows == size:
            return None
        return rows, size

    def _run_sliced(
        self, inner: tuple[Any, Any], arrays: Mapping[str, NDArray[Any]], rows: int, size: int
    ) -> dict[str, NDArray[Any]]:
        parts = []
        for start in range(0, rows, size):
            part = {name: array[start : start + size] for name, array in arrays.items()}
            short = size - min(size, rows - start)
            if short:
                part = {n: np.concatenate([a, np.repeat(a[-1:], short, axis=0)]) for n, a in part.items()}
            parts.append(self._run(inner, part))
        return {o.name: np.concatenate([p[o.name] for p in parts])[:rows] for o in self.outputs}

    def _noise(self) -> dict[str, NDArray[Any]]:
        random = np.random.default_rng(0)
        out = {}
        for info in self.inputs:
            shape = tuple(
                self._batch if i == 0 and not isinstance(d, int) else d for i, d in enumerate(info.shape)
            )
            if not all(isinstance(d, int) for d in shape) or info.dtype.kind not in "fiub":
                raise InvalidArgument(f"input {_port(info)} leaves sizes open; profile needs feeds")
            noise = random.random(shape)  # type: ignore[arg-type]
            out[info.name] = noise.astype(info.dtype)
        return out


def _rows(times: Mapping[tuple[str, str, str], list[float]]) -> list[dict[str, Any]]:
    """Rows of `Session.profile` from microseconds per step; the first run is left out."""
    kept = {key: values[1:] or values for key, values in times.items()}
    total = sum(sum(v) / len(v) for v in kept.values()) or 1.0
    return [
        {
            "step": step,
            "op": op,
            "node": node,
            "backend": f"onnxruntime:{provider.removesuffix('ExecutionProvider')}",
            "best_us": min(values),
            "mean_us": sum(values) / len(values),
            "share": sum(values) / len(values) / total,
        }
        for step, ((node, op, provider), values) in enumerate(kept.items())
    ]


def _port(info: TensorInfo) -> str:
    shape = ", ".join("?" if d is None else str(d) for d in info.shape)
    return f"{info.name!r} ({info.dtype} [{shape}])"


def _list(infos: Mapping[str, TensorInfo]) -> str:
    return ", ".join(_port(i) for i in infos.values())


def _converted(info: TensorInfo, values: ArrayLike) -> NDArray[Any]:
    """`values` in the input's dtype, C-contiguous."""
    array = np.asarray(values)
    if array.dtype != info.dtype and not (array.dtype.kind == info.dtype.kind == "f"):
        raise InvalidArgument(f"input {_port(info)}: got dtype {array.dtype}; convert it first")
    return np.ascontiguousarray(array, info.dtype).reshape(array.shape)


def _check_shape(info: TensorInfo, shape: tuple[int, ...], sliced: bool) -> None:
    wanted = info.shape[1:] if sliced else info.shape
    given = shape[1:] if sliced else shape
    fits = len(shape) == len(info.shape) and all(
        not isinstance(w, int) or w == g for w, g in zip(wanted, given, strict=True)
    )
    if not fits:
        raise InvalidArgument(f"input {_port(info)}: got shape {list(shape)}")
