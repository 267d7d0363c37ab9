"""Each claim's experiment finds the direction that is known, on a reduced budget.

A table says for every effect on which side of its bound the measured mean is.  It would not be
there if the sign of the effect were reversed, which another test checks.
"""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest

import chainrule.lab.claims  # noqa: F401 - enters the claims
from chainrule.core.errors import OptionError
from chainrule.lab.claims_page import as_html, as_markdown, as_svg, as_text
from chainrule.lab.estimate import Estimate
from chainrule.lab.experiment import (
    CLAIMS,
    Budget,
    Claim,
    Effect,
    Findings,
    Result,
    claim_named,
)
from chainrule.lab.plots import Bars, Lines

QUICK = Budget(3, 0.3)
# What is known of each effect, in order: its mean is on the claimed side (+) or on the other one
# (-), and would not be there if the sign were reversed.  A limit that holds (=) or does not (!)
# bounds a size, and has no sign.  Those marked ? are too close to their bound, or a matter of the
# machine's speed.
SIDES = {
    "linear-depth": (QUICK, "+" + "=+" * 3),
    "hidden-features": (Budget(2, 0.3), "+????++?"),
    "regularizer": (Budget(6), "?++"),
    "mini-batch": (QUICK, "??+?"),
    "learning-rate": (QUICK, "+++++="),
    "backprop": (Budget(1), "+?+"),
    "random-start": (QUICK, "++++++++!!!!"),
    "wiring": (Budget(3), "=???-=?"),
    "preparation": (QUICK, "?+!?+?!+"),
    "pixels": (QUICK, "-="),
    "dead-relu": (Budget(2, 0.3), "++??"),
    "leaky-relu": (Budget(3), "=++++"),
    "elu-mean": (Budget(2, 0.2), "++"),
    "relu-faster": (Budget(2, 0.2), "-!?-!+-!+"),
    "maxout": (Budget(2, 0.2), "===+"),
    "saturation": (Budget(2), "+=++!++"),
    "deep-sigmoid": (Budget(2), "=+++"),
    "tanh-centered": (Budget(2), "=+-?+"),
    "one-sign": (Budget(2), "+=!"),
    "not-centered": (QUICK, "+++"),
}


def on_claimed_side(effect: Effect) -> bool:
    mean = effect.estimate.mean
    return mean < effect.bound if effect.less else mean > effect.bound


def turned(effect: Effect) -> Effect:
    """Return the effect with the opposite sign, as if what is compared were exchanged."""
    values = np.asarray(effect.values, np.float64)
    return replace(effect, values=1 / values if effect.ratio else -values)


def is_known(effect: Effect, sign: str) -> bool:
    """Whether the effect is as its `sign` in the table says."""
    return sign == "?" or on_claimed_side(effect) == (sign in "+=")


def test_the_table_has_every_claim() -> None:
    assert {*SIDES, "exp-cost"} == set(CLAIMS)


LONG = ("elu-mean", "linear-depth", "mini-batch", "regularizer", "relu-faster", "wiring")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.thorough if name in LONG else ()) for name in SIDES],
)
def test_the_effect_has_the_known_direction(name: str) -> None:
    budget, signs = SIDES[name]
    findings = CLAIMS[name].experiment(budget)
    pairs = list(zip(findings.effects, signs, strict=True))
    for effect, sign in pairs:
        assert is_known(effect, sign), (effect.when, effect.quantity, effect.told)
    signed = [(effect, sign) for effect, sign in pairs if sign in "+-"]
    assert all(not is_known(turned(effect), sign) for effect, sign in signed)
    assert signed
    assert findings.chart.svg(name).startswith("<svg")
    assert findings.chart.text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mini-batch", "backprop"])
def test_what_is_timed_has_the_known_direction(name: str) -> None:
    timed = [e for e in CLAIMS[name].experiment(Budget(5)).effects if "epochs" not in e.quantity]
    assert timed
    assert all(map(on_claimed_side, timed))


@pytest.mark.slow
def test_the_best_rate_of_each_batch_size_is_inside_the_grid() -> None:
    measured = CLAIMS["mini-batch"].experiment(Budget(5)).measured
    rates = [rate for name, rate in measured.items() if name.startswith("best learning rate")]
    assert len(rates) == 5
    assert 0.001 < min(rates) <= max(rates) < 10


@pytest.mark.slow
def test_exp_costs_less_in_wide_layers() -> None:
    narrow, wide = (CLAIMS["exp-cost"].experiment(Budget(3)).effects[k] for k in (1, -1))
    assert narrow.estimate.mean > max(0.02, wide.estimate.mean)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_can_be_read(name: str) -> None:
    claim = CLAIMS[name]
    assert claim.says.endswith(".")
    assert claim.how
    assert f'@claim("{name}"' in claim.code.replace("(\n    ", "(")
    assert len(inspect.getsource(claim.experiment).splitlines()) <= 60
    assert len(claim.code.splitlines()) <= 120


# --- estimates and verdicts --------------------------------------------------------------------


def test_an_interval_is_that_of_student() -> None:
    found = Estimate.of([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    half = 4.303 / np.sqrt(3)
    assert found.high - 2.0 == pytest.approx(half, rel=1e-3)
    assert 2.0 - found.low == pytest.approx(half, rel=1e-3)


def test_one_seed_decides_nothing_and_an_exact_number_does() -> None:
    assert Effect("a", "b", [5.0]).answer == "not decided"
    assert Effect("a", "b", 5.0).answer == "yes"
    assert Effect("a", "b", 0.0).answer == "no"
    with pytest.raises(OptionError, match="not finite"):
        Estimate.of([1.0, np.nan])
    with pytest.raises(OptionError, match="not positive"):
        Estimate.of([1.0, 0.0], ratio=True)


@pytest.mark.parametrize(
    ("values", "answer"),
    [([1.0, 1.1, 1.2], "yes"), ([-1.0, -1.1, -1.2], "no"), ([-1.0, 1.0, 0.5], "not decided")],
)
def test_the_whole_interval_must_be_on_one_side(values: list[float], answer: str) -> None:
    assert Effect("a", "b", values).answer == answer
    assert Effect("a", "b", [-v for v in values], less=True).answer == answer


def test_the_verdict_follows_from_the_effects() -> None:
    yes, no = Effect("it is cold", "q", 1.0), Effect("it is hot", "q", -1.0)
    open_ = Effect("it rains", "q", [1.0, -1.0])
    verdicts = [
        ((yes,), "holds"),
        ((no,), "does not hold"),
        ((open_,), "not decided"),
        ((no, open_), "does not hold when: it is hot. Not decided when: it rains"),
        ((yes, no), "holds when: it is cold. Does not hold when: it is hot"),
        ((yes, open_), "holds when: it is cold. Not decided when: it rains"),
        ((yes, replace(no, when="it is cold")), "does not hold"),
        ((yes, replace(yes, when="it snows")), "holds in each case: it is cold; it snows"),
        ((no, replace(no, when="it snows")), "does not hold in each case: it is hot; it snows"),
    ]
    for effects, verdict in verdicts:
        assert Findings(effects, Bars({})).verdict == verdict


def test_a_lower_bound_decides_only_upwards() -> None:
    assert Effect("a", "b", [5.0, 5.1], 1.0, at_least=True).answer == "yes"
    assert Effect("a", "b", [5.0, 5.1], 10.0, at_least=True).answer == "not decided"
    assert Effect("a", "b", [5.0, 5.1], 10.0, less=True, at_least=True).answer == "not decided"
    assert Effect("a", "b", [5.0, 5.1], 1.0, less=True, at_least=True).answer == "no"


def test_the_code_has_the_functions_that_the_experiment_uses() -> None:
    code = CLAIMS["saturation"].code
    assert "def weight_gradient" in code
    assert "class Scaled" in code
    assert "def deep_sigmoid" not in code


def test_a_claim_is_found_by_name() -> None:
    assert claim_named("Dead_ReLU").name == "dead-relu"
    with pytest.raises(OptionError, match="Did you mean 'dead-relu'"):
        claim_named("ded-relu")


def test_the_plots_have_the_intervals() -> None:
    bars = Bars({"a": [1.0, 2.0, 3.0], "b": 2.0})
    assert "2.0 (-0.5 to 4.5)" in bars.text()
    assert bars.svg("a").count('class="span"') == 1
    lines = Lines({"a": [[1.0, 2.0], [2.0, np.nan]], "b": [1.0, 2.0]}, [1, 2], "x", "y")
    assert lines.svg("a").count('class="span"') == 1


# --- what is shown -----------------------------------------------------------------------------


def experiment(budget: Budget) -> Findings:
    """Measure a and b | c."""
    values = np.arange(budget.seeds) + 1.0
    return Findings(
        [Effect("x < y", "a | b", values)],
        Lines({"a": [1.0, np.nan, 3.0], "b": np.ones((2, 3))}, [1, 10, 100], "x", "y", log_x=True),
        {"more": values},
    )


@pytest.fixture
def result() -> Result:
    return Claim("own", "It is so & so.", 4, experiment).run()


def test_the_text_has_claim_verdict_numbers_plot_and_code(result: Result) -> None:
    text = as_text(result)
    assert text.startswith("own: It is so & so.\n\nverdict: holds\n")
    assert "a | b: 2.5 (0.4 to 4.6), claimed > 0" in text
    assert "● a" in text
    assert "def experiment(budget: Budget)" in text
    assert "def experiment" not in as_text(result, code=False)
    assert max(map(len, as_text(result, code=False).splitlines())) <= 80


def test_the_pages_escape_and_name_the_command(result: Result) -> None:
    page = as_html(result, "9.9")
    assert "It is so &amp; so." in page
    assert "x &lt; y" in page
    assert "chainrule lab own" in page
    document = as_markdown([result], "9.9", "claims")
    assert "![own: It is so & so.](claims/own.svg)" in document
    assert "`chainrule lab own`, chainrule 9.9, seeds 0 to 3" in document
    assert r"| x < y | a \| b | 2.5 (0.4 to 4.6) | > 0 | yes |" in document
    assert as_svg(result).startswith("<svg")


def test_the_command_repeats_the_budget() -> None:
    claim = Claim("own", "So.", 4, experiment)
    assert claim.run(seeds=7).command == "chainrule lab own --seeds 7"
    assert claim.run(quick=True).command == "chainrule lab own --quick"
    assert claim.run(seeds=2, quick=True).command == "chainrule lab own --quick --seeds 2"
    assert len(claim.run(seeds=7).findings.measured["more"]) == 7


def test_each_part_of_an_experiment_is_told() -> None:
    told: list[tuple[int, int]] = []
    budget = Budget(1, advance=lambda done, total: told.append((done, total)))
    assert list(budget.each("ab")) == ["a", "b"]
    assert told == [(0, 2), (1, 2), (2, 2)]
