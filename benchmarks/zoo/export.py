"""Writes the zoo's networks as ONNX files, for bench_zoo.py.

    python benchmarks/zoo/export.py FOLDER [--only resnet18 …]

Needs PyTorch, torchvision, timm, transformers, onnxscript. Beside NAME.onnx lies NAME.npz: the inputs, by name.
Networks that the installed libraries do not have, or that the exporter refuses, are said and left out.
"""

from __future__ import annotations

import argparse
import gc
import sys
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from zoo.networks import NETWORKS, Network


def export(network: Network, folder: Path) -> None:
    """Builds one network and writes it with its inputs."""
    import torch

    torch.manual_seed(0)
    module, inputs = network.build()
    module.eval()
    if network.precision == "float16":
        module = module.half()
        inputs = tuple(x.half() if x.is_floating_point() else x for x in inputs)
    names = [f"input{i}" if i else "input" for i in range(len(inputs))]
    path = folder / f"{network.name}.onnx"
    with torch.no_grad():
        if network.exporter == "dynamo":
            torch.onnx.export(
                module,
                inputs,
                str(path),
                input_names=names,
                opset_version=network.opset,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        else:
            torch.onnx.export(
                module,
                inputs,
                str(path),
                input_names=names,
                opset_version=network.opset,
                dynamo=False,
                dynamic_axes={names[0]: {0: "n"}} if network.dynamic else None,
            )
    if network.precision == "bfloat16":
        shorten_weights(path)
    np.savez(folder / f"{network.name}.npz", **{n: x.numpy() for n, x in zip(names, inputs, strict=True)})


def shorten_weights(path: Path) -> None:
    """Stores the float32 weights of several axes as bfloat16, with a Cast behind each."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    graph = model.graph
    nodes = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        wide = tensor.name
        bits = numpy_helper.to_array(tensor).view(np.uint32)
        rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
        tensor.CopyFrom(
            TensorProto(
                name=f"{wide}.bfloat16",
                data_type=TensorProto.BFLOAT16,
                dims=rounded.shape,
                raw_data=rounded.tobytes(),
            )
        )
        nodes.append(helper.make_node("Cast", [tensor.name], [wide], to=TensorProto.FLOAT))
    nodes += list(graph.node)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", help="names of networks; all if not given")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    unknown = set(options.only or ()) - {n.name for n in NETWORKS}
    if unknown:
        parser.error(f"--only: no such networks: {', '.join(sorted(unknown))}")
    warnings.filterwarnings("ignore")
    for network in NETWORKS:
        if (options.only and network.name not in options.only) or (
            options.folder / f"{network.name}.npz"
        ).exists():
            continue
        try:
            export(network, options.folder)
            print(f"{network.name}: exported", flush=True)
        except Exception as error:  # whatever a library says of its own network
            (options.folder / f"{network.name}.onnx").unlink(missing_ok=True)
            print(
                f"{network.name}: left out, {type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}",
                flush=True,
            )
        gc.collect()


if __name__ == "__main__":
    main()
