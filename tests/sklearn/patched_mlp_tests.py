"""Run scikit-learn's own tests of its MLP on chainrule's classes; see `test_patched_mlp.py`."""

from __future__ import annotations

import sys

import pytest
from sklearn import neural_network

from chainrule import sklearn as ours

if __name__ == "__main__":
    neural_network.MLPClassifier = ours.MLPClassifier
    neural_network.MLPRegressor = ours.MLPRegressor
    left_out = ["-k", " and ".join(f"not {name}" for name in sys.argv[2:])]
    tests = ["--pyargs", "sklearn.neural_network.tests.test_mlp", f"--junitxml={sys.argv[1]}"]
    sys.exit(pytest.main([*tests, *left_out, "-q", "--tb=short", "-p", "no:cacheprovider"]))
