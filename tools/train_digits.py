"""Train the small CNN that `rdquant demo` studies, on scikit-learn's digits, and write it as ONNX.

Needs PyTorch beside rdquant (`pip install torch`); nothing of it remains in the file, which is built with
onnx.helper. Run from the repository root: python tools/train_digits.py The seed and one thread make a run
repeatable on one machine and PyTorch version.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from rdquant.data import Digits

_EPOCHS = 120
_BATCH = 64
_OPSET = 13


class Net(nn.Module):
    """Three 3×3 convolutions (16, 32, 32 channels), two poolings, one dense layer: 15,338 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)
        self.dense = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(self.conv2(self.conv1(x).relu()).relu(), 2)
        x = nn.functional.max_pool2d(self.conv3(x).relu(), 2)
        return self.dense(x.flatten(1))


def train(seed: int) -> Net:
    """A network trained on `Digits("train")`, images shifted by up to one pixel at random."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    data = Digits("train")
    x, y = (torch.from_numpy(array) for array in data.get(np.arange(len(data))))
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.02)
    steps = _EPOCHS * -(-len(x) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    for _ in range(_EPOCHS):
        for chosen in torch.randperm(len(x)).split(_BATCH):
            down, right = torch.randint(-1, 2, (2,)).tolist()
            padded = nn.functional.pad(x[chosen], (1, 1, 1, 1))
            shifted = padded[:, :, 1 + down : 9 + down, 1 + right : 9 + right]
            loss = nn.functional.cross_entropy(net(shifted), y[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def accuracy(net: Net, split: str) -> float:
    data = Digits(split)
    x, y = data.get(np.arange(len(data)))
    with torch.no_grad():
        return float(np.mean(net(torch.from_numpy(x)).argmax(1).numpy() == y))


def to_onnx(net: Net) -> onnx.ModelProto:
    """The trained network as an ONNX model: input "image" [N, 1, 8, 8], output "logits" [N, 10]."""
    weights = [numpy_helper.from_array(tensor.numpy(), name) for name, tensor in net.state_dict().items()]

    def conv(name: str, source: str) -> list[onnx.NodeProto]:
        inputs = [source, f"{name}.weight", f"{name}.bias"]
        return [
            helper.make_node("Conv", inputs, [name], name, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [name], [f"{name}.relu"], f"{name}.relu"),
        ]

    def pool(name: str, source: str) -> onnx.NodeProto:
        return helper.make_node("MaxPool", [source], [name], name, kernel_shape=[2, 2], strides=[2, 2])

    nodes = [
        *conv("conv1", "image"),
        *conv("conv2", "conv1.relu"),
        pool("pool1", "conv2.relu"),
        *conv("conv3", "pool1"),
        pool("pool2", "conv3.relu"),
        helper.make_node("Flatten", ["pool2"], ["features"], "features"),
        helper.make_node("Gemm", ["features", "dense.weight", "dense.bias"], ["logits"], "dense", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        weights,
        doc_string="CNN trained on scikit-learn's digits by tools/train_digits.py",
    )
    opset = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, producer_name="rdquant", opset_imports=opset, ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("python/rdquant/assets/digits.onnx"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    net = train(arguments.seed)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(to_onnx(net), arguments.out)
    shares = ", ".join(f"{split} {accuracy(net, split):.4f}" for split in ("train", "test"))
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes; accuracy: {shares}")


if __name__ == "__main__":
    main()
