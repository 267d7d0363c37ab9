"""A network of 6 kB for a device without Python, by way of ONNX: `python examples/embedded.py`.

Tools for microcontrollers and accelerators read ONNX files of a few simple operators.  Here, a
network learns the classes of 8x8 images, and the file is computed by another library, one row at
a time, as a device would do it.  Needs the packages onnx and onnxruntime.

Read next: `docs/onnx.md`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime

import chainrule as cr
from chainrule import data, nn, optim

digits = data.load("digits")
train, test = data.split(digits.y, 0.2, seed=0)
X, y = (digits.X / 16).astype("float32"), digits.y

model = nn.Sequential([nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)])
run = cr.fit(
    model, (X[train], y[train]), loss="cross_entropy", optimizer=optim.Adam(0.01), epochs=60,
    progress=False,
)  # fmt: skip

with tempfile.TemporaryDirectory() as folder:
    made = run.export(Path(folder) / "digits.onnx", X[test])
    print(f"{made.size:,} bytes; largest difference on {made.rows} rows: {made.difference:.1e}")
    graph = onnx.load(made.path).graph
    operators = [node.op_type for node in graph.node]
    print("operators:", ", ".join(operators))
    device = onnxruntime.InferenceSession(made.path)
    right = 0
    for row, digit in zip(X[test], y[test], strict=True):
        prediction, probabilities = device.run(["prediction", "probabilities"], {"x": row[None]})
        right += prediction[0] == digit
share = right / len(test)
print(f"{share:.1%} of {len(test)} digits recognized, the last with {probabilities.max():.1%}")
assert set(operators) == {"MatMul", "Add", "Relu", "Softmax", "ArgMax"}
assert made.size < 6144
assert share > 0.9
