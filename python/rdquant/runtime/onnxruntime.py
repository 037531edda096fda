"""ONNX Runtime as a backend: for models with an operator that the engine lacks, and as a peer."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .._arrays import is_floating
from ..errors import BackendUnavailable, InvalidArgument, Unsupported
from ..graph import Model, read_structure

__all__ = ["OnnxRuntimeSession"]

_PROVIDERS = ["CPUExecutionProvider"]
_ERRORS_ONLY = 3  # ONNX Runtime's severity scale


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailable(
            f"backend 'onnxruntime' needs ONNX Runtime, which does not import ({error}); "
            "'pip install onnxruntime' brings it"
        ) from error
    return onnxruntime


class OnnxRuntimeSession:
    """One model on ONNX Runtime; `run` may be called from several threads at once.

    Float weights are handed over as they are, without a serialised copy; models beyond 2 GB run too.
    """

    backend = "onnxruntime"

    def __init__(self, model: Model, threads: int) -> None:
        self._ort = _onnxruntime()
        self._threads = threads
        self._model = model
        self._inner = self._session()

    def run(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name for inputs by name, of the model's dtypes and sizes."""
        return self._run(self._inner, arrays)

    def replace(self, model: Model) -> None:
        """Use the weights of `model`, which has the same graph: the model is prepared anew."""
        before = self._model
        self._model = model
        try:
            self._inner = self._session()
        except BaseException:
            self._model = before
            raise

    def plan(self) -> list[dict[str, Any]]:
        """Steps after ONNX Runtime's own fusion, which it reports by writing the optimised model, weights
        included, to a temporary folder.
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

    def profile(self, arrays: Mapping[str, NDArray[Any]], runs: int) -> list[dict[str, Any]]:
        """Times of every step over `runs` runs after one that warms up."""
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

    def _session(self, **settings: Any) -> tuple[Any, Any]:
        """An ONNX Runtime session, and the values it refers to: they must live as long."""
        options = self._ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = self._threads
        for name, value in settings.items():
            setattr(options, name, value)
        skeleton, tensors = self._model.skeleton, self._model.tensors()
        values = {}
        for initializer in skeleton.graph.initializer:
            if initializer.name not in tensors:
                continue
            data_type, array = tensors[initializer.name]
            if is_floating(array.dtype):
                value = self._ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, data_type)
                values[initializer.name] = value
            else:  # bytes, two elements in each for types of four bits
                initializer.ClearField("external_data")
                initializer.ClearField("data_location")
                initializer.raw_data = array.tobytes()
        options.add_external_initializers(list(values), list(values.values()))
        try:
            blob = skeleton.SerializeToString()
            return self._ort.InferenceSession(blob, options, providers=_PROVIDERS), values
        except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
            raise Unsupported(f"{self._model.name}: ONNX Runtime refuses the model: {error}") from error

    def _run(self, inner: tuple[Any, Any], arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        names = [o.name for o in self._model.outputs]
        try:
            return dict(zip(names, inner[0].run(names, dict(arrays)), strict=True))
        except Exception as error:
            shapes = ", ".join(f"{name} {list(a.shape)}" for name, a in arrays.items())
            raise InvalidArgument(
                f"{self._model.name}: ONNX Runtime cannot run the feeds {shapes}: {error}"
            ) from error


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
