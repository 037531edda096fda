"""ONNX models loaded: checked, simplified, their weights taken out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from .._core.graph import Source
from ..codec.container import MAGIC
from ..errors import CorruptFile, InvalidArgument, described, needed, path_of
from .checks import check_model, check_text, sort_nodes
from .foreign import spell_out
from .model import Model, Origin
from .sources import AnySource, External, KeptSource, ProtoSource, opened
from .surgery import operate
from .tensors import lift_constants, take_out

with needed():
    import onnx
    import onnx.inliner

__all__ = ["AnyModel", "load", "load_kept", "read_structure"]

AnyModel: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto | Model"
"""What a model argument may be; `load` turns it into a model."""

_SIGNATURES = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"PK\x03\x04": "a zip archive (PyTorch's .pt files are)",
    b"\x1f\x8b": "a gzip file",
    b"%PDF": "a PDF",
    b"version https://git-lfs": "a Git LFS pointer; fetch the file itself with 'git lfs pull'",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
}


def load(model: AnyModel) -> Model:
    """Load an ONNX model, or one that `rdquant.compress` made, and make it ready for study.

    model: path of an .onnx file (external data beside it is found) or a .rdq file, the bytes of either, an
    onnx.ModelProto (which stays as it is), or a Model, which is returned: the one coercion of models, which every
    function of the package uses. The first bytes of a file decide what it holds.

    The model is checked, upgraded to opset ≥ 13 (`summary()["opset_note"]` says so where that is impossible),
    its shapes are inferred and its constants folded. Its weights stay exactly as stored: names, values,
    order, count. Each is read once, straight into its array.

    Raises MissingFile where there is no such file; InvalidArgument for a path that cannot be read, external data
    outside the model's folder and cyclic graphs; CorruptFile for what is no valid ONNX model; Unsupported
    for opsets, operators and types beyond this version.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, onnx.ModelProto):
        return _build(ProtoSource(model, "<ModelProto>"), External(None, "<ModelProto>"), model.graph.name)
    if isinstance(model, (bytes, bytearray, memoryview)):
        if bytes(model[:8]) == MAGIC:
            return _decompress(bytes(model), "")
        return _build(Source.of(bytes(model), "<bytes>"), External(None, "<bytes>"), "")
    if not isinstance(model, (str, os.PathLike)):
        raise InvalidArgument(
            f"model: expected a path, bytes, an onnx.ModelProto or a Model, got {described(model)}"
        )
    path = path_of("model", model)
    file = opened(path, f"model file {str(path)!r}")
    if file.size >= len(MAGIC) and file.read(0, len(MAGIC)) == MAGIC:
        return _decompress(path, path.stem)
    return _build(file, External(path.parent, file.name), path.stem)


def load_kept(source: KeptSource, name: str) -> Model:
    """The model of a file of which `source` keeps what was read; `name` as `load` would call it."""
    return _build(source, External(None, source.name), name)


def _decompress(source: Path | bytes, name: str) -> Model:
    from ..codec.container import CompressedFile, naming
    from ..codec.lossless import DEFAULT_LIMIT
    from .compressed import build

    with naming(source):
        return build(CompressedFile(source), name, os.cpu_count() or 1, DEFAULT_LIMIT)


def read_structure(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """The graph in the ONNX file at `path` as it stands there, unchecked and without the data of big tensors.

    Raises as `load` does.
    """
    return _parse(opened(path, f"model file {os.fspath(path)!r}"))


def _build(source: AnySource, external: External, name: str) -> Model:
    model = _parse(source)
    spell_out(model)
    check_model(model, source.name)
    sort_nodes(model.graph, source.name)
    if model.functions:
        model = _inlined(model, source.name)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    nodes = len(model.graph.node)
    lift_constants(model)
    tensors, parameters = take_out(model, source, external)
    skeleton, notes = operate(model, tensors, source.name)
    origin = Origin(
        source.name, name or model.graph.name or "model", source.size + external.bytes, opset, nodes, notes
    )
    return Model(skeleton, tensors, parameters, origin)


def _parse(source: AnySource) -> onnx.ModelProto:
    if source.size == 0:
        raise CorruptFile(f"{source.name}: it is empty (0 bytes)")
    if not isinstance(source, ProtoSource):
        head = source.read(0, min(32, source.size))
        for signature, kind in _SIGNATURES.items():
            if head.startswith(signature):
                raise CorruptFile(f"{source.name}: not an ONNX file but {kind}")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(source.skeleton())
    except Exception as error:  # DecodeError, or RuntimeError from other protobuf implementations
        reason = str(error).removeprefix(f"{source.name}: ")
        if not isinstance(source, ProtoSource) and _is_text(head):
            raise CorruptFile(
                f"{source.name}: not an ONNX file but text, which begins {head[:16]!r}"
            ) from None
        raise CorruptFile(f"{source.name}: not an ONNX file, or a damaged one ({reason})") from None
    check_text(model, source.name)
    return model


def _is_text(head: bytes) -> bool:
    return head.isascii() and head.translate(None, b"\t\r\n").decode().isprintable()


def _inlined(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model with its own functions put in place of the nodes that call them."""
    try:
        flat: onnx.ModelProto = onnx.inliner.inline_local_functions(model)
    except Exception as error:  # the inliner throws bare RuntimeErrors
        raise CorruptFile(f"{name}: field functions: they cannot be inlined ({error})") from None
    check_model(flat, name)
    return flat
