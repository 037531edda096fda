"""The public Session: checks feeds, slices batches, chooses the backend."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._tables import label, short
from ..errors import (
    BackendUnavailable,
    InvalidArgument,
    MissingFile,
    MissingPackage,
    RdquantError,
    Unsupported,
    count,
    described,
    path_of,
    threads_of,
)
from ..graph import EngineModel, TensorInfo, can_load, open_for_engine, why_not
from .engine import EngineSession, engine_backends
from .feeds import check_shape, fed, fits_as_it_is, noise, slices

if TYPE_CHECKING:
    from ..graph import AnyModel, Model
    from .onnxruntime import OnnxRuntimeSession

__all__ = ["BACKENDS", "Session", "open_model"]

BACKENDS = ("auto", "native", "reference", "onnxruntime")
"""Names that `Session` takes; "auto" takes our engine's best, and ONNX Runtime for what the engine lacks."""

_Result = TypeVar("_Result")


def _chosen(backend: str) -> str:
    """The backend asked for: the argument, or RDQUANT_BACKEND where that is "auto"."""
    source, name = "backend", backend
    if isinstance(backend, str) and backend == "auto" and os.environ.get("RDQUANT_BACKEND"):
        source, name = "RDQUANT_BACKEND =", os.environ["RDQUANT_BACKEND"]
    if not isinstance(name, str):
        raise InvalidArgument(f"backend: expected one of {', '.join(BACKENDS)}, got {described(name)}")
    if name not in BACKENDS:
        raise BackendUnavailable(
            f"{source} {name!r} is unknown; allowed are {', '.join(map(repr, BACKENDS))}"
        )
    if name not in ("auto", "onnxruntime"):
        reason = engine_backends().get(name, "this build is without it")
        if reason:
            raise BackendUnavailable(f"{source} {name!r} cannot be used: {reason}")
    return name


class Session:
    """A model made ready to run; `run` may be called from several threads at once.

    model: a `Model` or what `rdquant.load` takes. backend: one of `BACKENDS`; "auto" reads the environment
    variable RDQUANT_BACKEND first. threads: threads within one run; None or 0: all cores. batch: rows that
    `plan` and `profile` make up where the model leaves the batch open. memory_limit: bytes that activations
    and packed weights of one plan may take; by default the machine's memory. ONNX Runtime has
    no limit.

    A backend named by the caller is used or refused. "auto" takes our own engine; where that lacks an
    operator, ONNX Runtime if it is installed, with a warning in the log "rdquant.runtime".

    The backend "native" runs every step on kernels of its own or on oneDNN's, whichever suits the shape;
    `plan` names the supplier. The environment variable RDQUANT_ONEDNN=0 leaves oneDNN out, RDQUANT_KERNELS
    (auto, native, onednn) prefers one of them; both are read when a plan is made.

    On our engine NaN in an input is NaN in every output that depends on it, and may be in those that a kernel computes
    together with them (neighbouring pixels, groups of a grouped convolution); a model that turns its input into
    8-bit integers refuses NaN with InvalidArgument.

    A file is read by the C++ core, straight into the engine; `model` is then made when asked for, or when reader or
    engine refuse it: `rdquant.load` upgrades and simplifies what it can, and names what is wrong.

    Raises BackendUnavailable for an unknown or missing backend, Unsupported for a model that it cannot run:
    the message names operator and node. Plans are made when shapes are known, so an operator's refusal may
    come with the first run.
    """

    def __init__(
        self,
        model: AnyModel,
        backend: str = "auto",
        threads: int | None = None,
        batch: int = 1,
        memory_limit: int | None = None,
    ) -> None:
        limit = 0 if memory_limit is None else count("memory_limit", memory_limit)
        self._limit = min(limit, sys.maxsize)
        self._threads = threads_of(threads)
        self._batch = count("batch", batch)
        self._wanted = _chosen(backend)
        self._model, self._inner = self._opened(model)
        self._direct = isinstance(self._model, EngineModel)

    @property
    def model(self) -> Model:
        """The model with the weights now in use."""
        if isinstance(self._model, _Closed):
            self._model.refuse()
        if isinstance(self._model, EngineModel):
            self._model = self._model.full()
        return self._model

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._model.name

    @property
    def backend(self) -> str:
        """Name of the backend in use."""
        return self._inner.backend

    @property
    def inputs(self) -> list[TensorInfo]:
        """The inputs that `run` expects."""
        return self._model.inputs

    @property
    def outputs(self) -> list[TensorInfo]:
        """The outputs that `run` returns."""
        if isinstance(self._model, EngineModel) and not self._model.outputs_are_fixed and can_load():
            return self._inferred_outputs()
        return self._model.outputs

    def run(self, feeds: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        """Outputs by name for inputs by name.

        feeds: arrays by name, in the shapes of `inputs`. Real numbers of another float type are converted to the model's; all
        else must match in dtype, rank and size. Where the model's batch (axis 0 of every input and output) is fixed and the
        feeds hold more rows, the model runs on slices, the last one filled up with its last row, and the outputs are joined:
        as many rows as fed. Raises InvalidArgument for feeds that do not fit.
        """
        if type(feeds) is dict and fits_as_it_is(feeds, self.inputs):
            return self._run(feeds)
        arrays = fed(feeds, self.inputs, self._model.name)
        rows = slices([*self.inputs, *self._model.outputs], arrays)
        if rows is None and self._may_slice(arrays):
            rows = slices([*self.inputs, *self._inferred_outputs()], arrays)
        for info in self.inputs:
            check_shape(info, arrays[info.name].shape, sliced=rows is not None)
        return self._run(arrays) if rows is None else self._run_sliced(arrays, *rows)

    def set_weights(self, tensors: Mapping[str, ArrayLike]) -> None:
        """Use `tensors` from now on; weights not named stay as they are. Runs under way end with the old
        ones.

        Names, shapes and dtypes as `Model.replace_weights`, errors as there; the arrays are kept, not copied: do not change
        them later. The engine repacks these weights and keeps its plans; ONNX Runtime prepares the model anew.
        """
        model = self.model.replace_weights(tensors)
        if isinstance(self._inner, EngineSession):
            stored = model.tensors()
            self._inner.set_weights({name: stored[name][1] for name in tensors if name in stored})
        else:
            self._inner.replace(model)
        self._model = model

    def plan(self, feeds: Mapping[str, ArrayLike] | None = None) -> list[dict[str, Any]]:
        """The steps that the backend runs, after fusion, in order.

        feeds: inputs as for `run`, numbers of the shapes to plan for; by default made up as by `profile`. Rows: step (0, 1, …),
        op ("convolution", …; ONNX's names on ONNX Runtime), node, backend, inputs and outputs (names); from our
        engine also kernel, supplier (whose code runs it: native, onednn or reference), layout (of the output),
        macs, and bytes (read and written once). Errors as `run`.
        """
        if not isinstance(self._inner, EngineSession):
            return self._inner.plan()
        shapes = [a.shape for a in self._arrays(feeds).values()]
        return self._tried(
            lambda inner: inner.plan(shapes) if isinstance(inner, EngineSession) else inner.plan()
        )

    def profile(self, feeds: Mapping[str, ArrayLike] | None = None, runs: int = 10) -> list[dict[str, Any]]:
        """Time of every step, measured over `runs` runs after one that warms up.

        feeds: as for `run`, numbers of the inputs' shapes, without slicing; by default seeded noise, which needs a model whose
        sizes are fixed but for the batch. Rows in order of execution: step, op, node, backend, best_us and mean_us
        (microseconds), share (of the sum of means, a fraction); from our engine also kernel, supplier,
        layout, macs and bytes as `plan`. Raises InvalidArgument for runs below 1, and as `run`.
        """
        runs = count("runs", runs)
        arrays = self._arrays(feeds)
        self._run(arrays)  # makes plans, and falls back if it must
        return self._inner.profile(arrays, runs)

    def close(self) -> None:
        """Free what the session holds; it runs no more. Leaving a `with` block does the same."""
        self._inner = self._model = _Closed(self._model.name)  # type: ignore[assignment]

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if isinstance(self._inner, _Closed):
            return short(self, f"of {label(self._model.name)}, closed")
        shown = f"of {label(self._model.name)} on {self.backend}, threads {self._threads or 'all'}"
        return short(self, shown)

    def _opened(self, model: Any) -> tuple[Model | EngineModel, EngineSession | OnnxRuntimeSession]:
        """The model and what runs it; a file that the core reads goes to the engine as it is."""
        peer = self._wanted == "onnxruntime"
        direct = None if peer or not isinstance(model, (str, os.PathLike)) else open_for_engine(model)
        if direct is not None:
            names = [o.name for o in direct.outputs]
            try:
                return direct, EngineSession(direct.graph, names, self._wanted, self._threads, self._limit)
            except RdquantError:
                if not can_load():
                    raise
        loaded = _loaded(model)
        return loaded, self._prepared(loaded)

    def _prepared(self, model: Model) -> EngineSession | OnnxRuntimeSession:
        if self._wanted == "onnxruntime":
            return _on_onnxruntime(model, self._threads)
        from ..graph import native_graph

        try:
            names = [o.name for o in model.outputs]
            return EngineSession(native_graph(model), names, self._wanted, self._threads, self._limit)
        except Unsupported as lacking:
            return self._fallback(model, lacking)

    def _fallback(self, model: Model, lacking: Unsupported) -> OnnxRuntimeSession:
        """ONNX Runtime in place of the engine, where the caller left the choice to us and it is installed."""
        if self._wanted != "auto":
            raise _naming(model.name, lacking)
        try:
            fallback = _on_onnxruntime(model, self._threads)
        except BackendUnavailable:
            raise _naming(model.name, lacking) from None
        import logging

        logging.getLogger("rdquant.runtime").warning(
            "%s runs on ONNX Runtime, for our engine lacks something: %s", model.name, lacking
        )
        return fallback

    def _tried(self, call: Callable[[EngineSession | OnnxRuntimeSession], _Result]) -> _Result:
        """`call` on what runs the model; where that is refused, on what the careful loader makes of it, then
        on ONNX Runtime."""
        inner = self._inner
        if isinstance(inner, _Closed):
            inner.refuse()
        try:
            return call(inner)
        except RdquantError as error:
            refusal = error
        if self._careful():
            return self._tried(call)
        if not isinstance(refusal, Unsupported) or not isinstance(inner, EngineSession):
            raise _naming(self._model.name, refusal)
        if self._direct and not can_load():
            raise _naming(self._model.name, refusal)
        self._inner = self._fallback(self.model, refusal)
        return call(self._inner)

    def _careful(self) -> bool:
        """Goes from what the core read to what `load` makes of the file; False where that has been done."""
        if not self._direct or not can_load():
            return False
        self._inner = self._prepared(self.model)
        self._direct = False
        return True

    def _inferred_outputs(self) -> list[TensorInfo]:
        """With what `load` finds of them; as the core knows them where it refuses the model."""
        try:
            return self.model.outputs
        except Unsupported:
            return self._model.outputs

    def _may_slice(self, arrays: Mapping[str, NDArray[Any]]) -> bool:
        """Whether inputs have more rows than the model's, and inference might find that outputs have as many as it."""
        if not isinstance(self._model, EngineModel) or self._model.batch_is_known or not can_load():
            return False
        return slices(self.inputs, arrays) is not None

    def _run(self, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return self._tried(lambda inner: inner.run(arrays))

    def _arrays(self, feeds: Mapping[str, ArrayLike] | None) -> dict[str, NDArray[Any]]:
        if feeds is None:
            return noise(self.inputs, self._batch)
        arrays = fed(feeds, self.inputs, self._model.name)
        for info in self.inputs:
            check_shape(info, arrays[info.name].shape, sliced=False)
        return arrays

    def _run_sliced(
        self, arrays: Mapping[str, NDArray[Any]], rows: int, size: int
    ) -> dict[str, NDArray[Any]]:
        parts = []
        for start in range(0, rows, size):
            part = {name: array[start : start + size] for name, array in arrays.items()}
            short = size - min(size, rows - start)
            if short:
                part = {n: np.concatenate([a, np.repeat(a[-1:], short, axis=0)]) for n, a in part.items()}
            parts.append(self._run(part))
        return {o.name: np.concatenate([p[o.name] for p in parts])[:rows] for o in self.outputs}


def open_model(model: AnyModel) -> Model | EngineModel:
    """The model as `rdquant.load` gives it; where the package onnx is missing, a file as the C++ core reads it."""
    direct = None if can_load() or not isinstance(model, (str, os.PathLike)) else open_for_engine(model)
    return direct or _loaded(model)


def _naming(name: str, refusal: RdquantError) -> RdquantError:
    """`refusal` with the model's name in front, where a node is refused."""
    said = str(refusal)
    if " node " not in said or f"{name}: " in said or f"{name}." in said:
        return refusal
    return type(refusal)(f"{name}: {refusal}")


def _loaded(model: AnyModel) -> Model:
    """As `load` gives it; where the package onnx is missing, the error says why it is needed."""
    try:
        from ..graph import load
    except MissingPackage as lacking:
        if not isinstance(model, (str, os.PathLike)):
            raise
        path = path_of("model", model)
        if not path.is_file():
            raise MissingFile(f"model file {str(path)!r}: there is no such file") from None
        raise MissingPackage(
            f"{path}: {why_not(path)}; another look at it: {lacking}", name=lacking.name
        ) from None
    return load(model)


def _on_onnxruntime(model: Model, threads: int) -> OnnxRuntimeSession:
    from .onnxruntime import OnnxRuntimeSession

    return OnnxRuntimeSession(model, threads)


class _Closed:
    """In place of a session's model and of what runs it, once it is closed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def refuse(self) -> NoReturn:
        raise RdquantError(f"the session of {self.name} is closed; expected one that is open")

    def __getattr__(self, name: str) -> Any:
        self.refuse()
