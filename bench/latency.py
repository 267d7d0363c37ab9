"""Compare the latency of predicting 1 row and 32 rows with onnxruntime, PyTorch and scikit-learn.

All have the same weights, and their outputs must agree; chainrule takes part twice, as
`run.outputs` and as the `outputs` of its predictor.  Prints medians in microseconds as JSON, and
each as a multiple of the predictor's.

Read next: `bench/costs.py`.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from workloads import MARKED, Workload

ROUNDS, CALLS = 30, 50
BATCHES = 1, 32
Predict = Callable[[Any], Any]


def with_run(workload: Workload) -> Predict:
    return trained(workload).outputs


def with_predictor(workload: Workload) -> Predict:
    return trained(workload).predictor().outputs


def trained(workload: Workload) -> Any:
    from contestants.ours import network, set_weights

    import chainrule as cr

    X, y = workload.data()
    model = network(workload)
    run = cr.fit(model, (X[:64], y[:64]), loss=workload.loss, epochs=1, progress=False)
    set_weights(model, workload.weights())
    return run


def with_onnxruntime(workload: Workload) -> Predict:
    import onnxruntime
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, constants, name = [], [], "x"
    weights = workload.weights()
    for place, (weight, bias) in enumerate(weights):
        constants.append(numpy_helper.from_array(weight, f"w{place}"))
        constants.append(numpy_helper.from_array(bias, f"b{place}"))
        nodes.append(helper.make_node("Gemm", [name, f"w{place}", f"b{place}"], [f"z{place}"]))
        name = f"z{place}"
        if place < len(weights) - 1:
            nodes.append(helper.make_node("Relu", [name], [f"h{place}"]))
            name = f"h{place}"
    ends = [
        helper.make_tensor_value_info(end, TensorProto.FLOAT, ["n", size])
        for end, size in (("x", workload.sizes[0]), (name, workload.sizes[-1]))
    ]
    graph = helper.make_graph(nodes, "mlp", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the fastest for one row
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(None, {"x": x})[0]


def with_pytorch(workload: Workload) -> Predict:
    import torch
    from contestants.pytorch import Eager

    model = Eager(workload, 1).model.eval()

    def predict(x: Any) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(x)).numpy()

    return predict


def with_scikit_learn(workload: Workload) -> Predict:
    from contestants.scikit_learn import Perceptron

    model = Perceptron(workload, 1).model
    return model.predict_proba


def as_probabilities(outputs: Any) -> Any:
    exponents = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def prepared(workload: Workload, rows: Any) -> dict[str, Predict]:
    """Return the installed contestants, after checking that their outputs agree."""
    makers = {
        "predictor": with_predictor, "chainrule": with_run,
        "onnxruntime": with_onnxruntime, "PyTorch": with_pytorch, "scikit-learn": with_scikit_learn,
    }  # fmt: skip
    calls: dict[str, Predict] = {}
    for who, make in makers.items():
        try:
            calls[who] = make(workload)
        except ImportError:
            continue
    answers = {who: call(rows) for who, call in calls.items()}
    answers = {
        who: found if who == "scikit-learn" else as_probabilities(found)
        for who, found in answers.items()
    }
    for who, found in answers.items():
        if not np.allclose(found, answers["chainrule"], atol=1e-4):
            raise SystemExit(f"{who} predicts {found}, chainrule {answers['chainrule']}")
    return calls


def medians_of(workload: Workload, batch: int) -> list[dict[str, Any]]:
    rows = workload.data()[0][:batch].copy()
    calls = prepared(workload, rows)
    times: dict[str, list[float]] = {who: [] for who in calls}
    for _ in range(ROUNDS):
        for who, call in calls.items():
            for _ in range(CALLS):
                began = time.perf_counter()
                call(rows)
                times[who].append(time.perf_counter() - began)
    medians = {who: 1e6 * statistics.median(taken) for who, taken in times.items()}
    network = "-".join(map(str, workload.sizes))
    return [
        {
            "network": network,
            "rows": batch,
            "who": who,
            "value": value,
            "ratio": value / medians["predictor"],
        }
        for who, value in medians.items()
    ]


def main() -> None:
    found = [
        line
        for workload in MARKED[1:4]
        for batch in BATCHES
        for line in medians_of(workload, batch)
    ]
    print(json.dumps({"medians": found}))


if __name__ == "__main__":
    main()
