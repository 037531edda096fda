import sys
from pathlib import Path

from .tensors import read_file

CODINGS = ("floats", "quantized", "integers", "raw")

graph, facts, tensors = read_file(Path(sys.argv[1]).read_bytes())
print(f"graph of {len(graph)} bytes; {facts.decode()}")
for name, tensor in tensors.items():
    shown = (
        ""
        if tensor.levels is None
        else f", levels {min(tensor.levels)} … {max(tensor.levels)}"
        if tensor.levels
        else ""
    )
    print(f"{name}: {CODINGS[tensor.coding]}, shape {tensor.shape}{shown}")
