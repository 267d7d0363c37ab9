"""Write houses.csv: a made-up table as untidy as real ones, with a price to predict.

Leaves 360 rows with numbers, words, dates, missing cells, quoted cells, an id and a
constant column.  The same seed gives the same file.

Run: python examples/make_houses.py
"""

from __future__ import annotations

import csv
from datetime import date, timedelta
from pathlib import Path

import numpy as np

ROWS = 360
NAMES = (
    *("id", "area", "rooms", "built", "district", "heating", "garage", "sold"),
    *("country", "remarks", "price"),
)
DISTRICTS = {"Harbor": 1.35, "Old Town": 1.2, "Hill, North": 1.0, "Hill, South": 0.95, "Mills": 0.8}
HEATING = {"heat pump": 18_000, "gas": 5_000, "oil": -6_000}
REMARKS = ("", "", 'the "blue" house', "quiet, sunny", "needs work,\nbut solid")


def make_rows(rng: np.random.Generator) -> list[list[object]]:
    """Return the rows; price depends on all but id, country and remarks, plus 5 % noise."""
    rows: list[list[object]] = []
    for number in range(ROWS):
        area = round(float(rng.gamma(9.0, 13.0)) + 30, 1)
        rooms = max(1, round(area / 28 + float(rng.normal(0, 0.7))))
        built = int(rng.integers(1890, 2022))
        district = str(rng.choice(list(DISTRICTS)))
        heating = str(rng.choice(list(HEATING)))
        garage = bool(rng.random() < 0.45)
        sold = date(2019, 1, 1) + timedelta(days=int(rng.integers(0, 5 * 365)))
        years = (sold - date(2019, 1, 1)).days / 365
        base = 1_900 * area * DISTRICTS[district] + 9_000 * rooms + 350 * (built - 1950)
        price = (base + HEATING[heating] + 22_000 * garage) * 1.04**years
        price *= float(np.exp(rng.normal(0, 0.05)))
        rows.append(
            [
                f"H-{number * 7 + 1000}",
                area,
                rooms if rng.random() > 0.04 else "NA",
                built if rng.random() > 0.08 else "",
                district,
                heating if rng.random() > 0.05 else "?",
                "true" if garage else "false",
                sold.isoformat(),
                "Freedonia",
                str(rng.choice(REMARKS)),
                round(price),
            ]
        )
    return rows


def main() -> None:
    """Write the table next to this file."""
    path = Path(__file__).with_name("houses.csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(NAMES)
        writer.writerows(make_rows(np.random.default_rng(7)))


if __name__ == "__main__":
    main()
