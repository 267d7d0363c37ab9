"""scikit-learn's own tests of its MLP pass with chainrule's classes in their place.

`SKIPPED` is all that is left out, each with its reason; docs/scikit-learn.md lists it, too.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

# Each reads an attribute that begins with an underscore, and so is no promise to users.
SKIPPED = {
    "test_gradient": "calls `_loss_grad_lbfgs`, which has the buffers of scikit-learn's loop",
    "test_learning_rate_warmstart": "reads `_optimizer.learning_rate`; here it is `learning_rate_`",
    "test_adaptive_learning_rate": "reads `_optimizer.learning_rate`; here it is `learning_rate_`",
}
# These skip themselves where pandas is not installed.
NEEDS_PANDAS = {"test_preserve_feature_names"}


def test_only_private_attributes_are_left_out(repository: Path) -> None:
    page = (repository / "docs" / "scikit-learn.md").read_text("utf-8")
    told = dict(re.findall(r"^\| `(test_\w+)` \| (.*) \|$", page, re.MULTILINE))
    assert told == SKIPPED


@pytest.mark.thorough
def test_scikit_learns_tests_pass(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", "1.7")  # the first whose MLP takes sample_weight
    report = tmp_path / "report.xml"
    script = Path(__file__).with_name("patched_mlp_tests.py")
    answer = subprocess.run(
        [sys.executable, str(script), str(report), *SKIPPED],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(repository), *sys.path[1:]])},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    cases = ElementTree.parse(report).getroot().iter("testcase")
    run = {case.get("name", ""): case.find("skipped") is not None for case in cases}
    names = {name.partition("[")[0] for name in run}
    assert not names & SKIPPED.keys()
    assert len(names) > 30
    assert {name.partition("[")[0] for name, skipped in run.items() if skipped} <= NEEDS_PANDAS
