"""ONNX's own tests of backends, run on chainrule: `python -m tests.interop.onnx_suite`.

The first part, the operators of feed-forward networks and of training, must pass whole.  The
second part has reductions, limits and the elementwise operators; it prints what does not pass.
"""

from __future__ import annotations

import re
import unittest
import warnings

TRAINING = (
    r"^test_(gemm|matmul|relu|leakyrelu|elu|selu|sigmoid|tanh|softmax|logsoftmax|softplus|softsign"
    r"|gelu|batchnorm|dropout|training_dropout|flatten|reshape|identity|sce|nllloss|adam|adagrad"
    r"|momentum|nesterov_momentum|gradient)"
)
ELEMENTWISE = (
    r"^test_(reduce|clip|abs|add|sub|mul|div|pow|neg|sqrt|exp_|log_|sin_|cos_|tan_|atan_|erf|floor"
    r"|ceil|round|sign_|max_|min_|mean_|sum_|where|equal|less|greater|and|or|not|xor|isnan|isinf"
    r"|reciprocal|hardsigmoid|hardswish|mish|swish|celu|prelu|thresholdedrelu|mod_|argmax|argmin)"
)


def results_of(pattern: str) -> tuple[int, dict[str, str]]:
    """Return the number of tests whose names match, and the last line of each that fails."""
    from onnx.backend.test import BackendTest

    from chainrule.interop.onnx_backend import ChainruleBackend

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the suite's own numbers
        suite = BackendTest(ChainruleBackend, __name__)
        suite.include(pattern)
        chosen = unittest.TestSuite(
            test
            for case in suite.test_cases.values()
            for test in unittest.defaultTestLoader.loadTestsFromTestCase(case)
            if re.match(pattern, (name := test.id().split(".")[-1])) and name.endswith("_cpu")
        )
        result = unittest.TestResult()
        chosen.run(result)
    failed = {
        test.id().split(".")[-1]: trace.strip().splitlines()[-1]
        for test, trace in (*result.failures, *result.errors)
    }
    failed |= {test.id().split(".")[-1]: f"skipped: {why}" for test, why in result.skipped}
    return result.testsRun, failed


if __name__ == "__main__":
    for part, pattern in (
        ("feed-forward and training", TRAINING),
        ("reductions and elementwise", ELEMENTWISE),
    ):
        count, failed = results_of(pattern)
        for name, why in failed.items():
            print(f"  {name}: {why:.120}")  # noqa: T201
        print(f"{part}: {count - len(failed)} of {count} pass")  # noqa: T201
