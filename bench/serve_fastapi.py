"""The service that `bench/serve.py` compares with: an ONNX model behind FastAPI, as one writes it.

Takes the file of a model and a port.  The model is one that ``run.export`` wrote: an input ``x`` of
shape (n, numbers), or an input of shape (n,) for each column of a table.

Read next: `bench/serve.py`.
"""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, create_model

KINDS = {"tensor(double)": float, "tensor(string)": str, "tensor(int64)": datetime}
EPOCH = datetime(1970, 1, 1)


def column(cells: list[Any], kind: str) -> Any:
    """Return the cells of a column as the model takes them."""
    if kind == "tensor(string)":
        return np.array(["" if cell is None else cell for cell in cells], object)
    if kind == "tensor(double)":
        return np.array([np.nan if cell is None else cell for cell in cells], np.float64)
    return np.array(cells, "datetime64[us]").astype(np.int64)


def service(path: str) -> FastAPI:
    """Return the application."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = {given.name: given.type for given in session.get_inputs()}
    outputs = [given.name for given in session.get_outputs()]
    names = [name for name in ("prediction", "probabilities") if name in outputs]
    app = FastAPI()
    if list(inputs) == ["x"]:
        fields: Any = list[float]
    else:
        kinds = {name: (KINDS[kind] | None, ...) for name, kind in inputs.items()}
        fields = create_model("Row", **kinds)  # type: ignore[call-overload]
    asked: Any = create_model("Asked", rows=(list[fields], ...), __base__=BaseModel)

    async def predict(given: Any) -> Any:
        if list(inputs) == ["x"]:
            arrays = {"x": np.array(given.rows, np.float32)}
        else:
            arrays = {
                name: column([getattr(row, name) for row in given.rows], kind)
                for name, kind in inputs.items()
            }
        found = [told.tolist() for told in session.run(names, arrays)]
        return {
            "predictions": [
                {"row": i, **dict(zip(names, told, strict=True))}
                for i, told in enumerate(zip(*found, strict=True), 1)
            ]
        }

    predict.__annotations__["given"] = asked  # a type that is made here
    app.post("/predict")(predict)
    return app


if __name__ == "__main__":
    uvicorn.run(service(sys.argv[1]), port=int(sys.argv[2]), log_level="warning", access_log=False)
