"""The service as a client sees it: answers, errors that name the place, limits, descriptions."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data.pixels import PixelPipeline
from chainrule.data.scaling import Scaling
from chainrule.data.target import Target
from chainrule.serve.predicting import Asked, Predicting
from chainrule.serve.request_body import rows_of_csv
from chainrule.serve.request_error import RequestError
from chainrule.tabular.table_prediction import predict_table
from chainrule.train.run import Run
from tests.serve.conftest import columns
from tests.serve.test_table_rows import rows_of

Client = Callable[..., Any]
FEATURES = [name for name in columns() if name not in ("price", "kind")]


def as_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def test_predictions_and_probabilities_are_those_of_the_run(client: Client, classes: Run) -> None:
    rows = rows_of(columns())
    wanted = predict_table(classes, columns(), tell=lambda line: None)
    for answer in (
        client(classes).post("/predict", json=rows),
        client(classes).post("/predict", json={"rows": rows}),
        client(classes).post(
            "/predict", content=as_csv(rows), headers={"content-type": "text/csv"}
        ),
    ):
        assert answer.status_code == 200, answer.text
        found = answer.json()["predictions"]
        assert [row["row"] for row in found] == list(range(1, len(rows) + 1))
        assert [row["prediction"] for row in found] == wanted["prediction"].tolist()
        for name in ("flat", "house"):
            told = [row["probabilities"][name] for row in found]
            assert np.allclose(told, wanted[f"probability_{name}"], atol=1e-6)


def test_numbers_come_in_their_unit_with_intervals(client: Client, numbers: Run) -> None:
    rows = rows_of(columns())[:5]
    answer = client(numbers).post("/predict?interval=0.5", json=rows).json()
    table = {name: cells[:5] for name, cells in columns().items()}
    wanted = predict_table(numbers, table, interval=0.5, tell=lambda line: None)
    for i, row in enumerate(answer["predictions"]):
        assert row["prediction"] == pytest.approx(wanted["prediction"][i], rel=1e-5)
        assert row["interval"] == pytest.approx([wanted["low"][i], wanted["high"][i]], rel=1e-5)
        assert row["prediction"] > 1000


def test_several_targets_are_named(client: Client, both: Run) -> None:
    rows = rows_of(columns())[:2]
    found = client(both).post("/predict?interval=0.5", json=rows).json()["predictions"][1]
    assert set(found["prediction"]) == {"price", "kind"}
    assert set(found["probabilities"]) == {"kind"}
    assert found["interval"]["price"][0] < found["prediction"]["price"]


def test_arrays_and_pixels(client: Client, arrays: Run, images: Run) -> None:
    X = [[0.5, -1, 2], [1, 1, 1]]
    found = client(arrays).post("/predict", json={"rows": X}).json()["predictions"]
    assert np.allclose([row["probabilities"] for row in found],
                       arrays.predict_proba(np.array(X, "float32")), atol=1e-6)  # fmt: skip
    assert found[0]["prediction"] in (0, 1)
    pixels = [[[0, 255], [3, 4]]]
    found = client(images).post("/predict", json=pixels).json()["predictions"]
    assert found[0]["prediction"] == pytest.approx(images.predict(np.array(pixels, "uint8"))[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([[1, 2]], "row 1: must be a list of 3 numbers."),
        ([[1, 2, 3], [1, 2, None]], "row 2: number 3 is not a number."),
        ([[1, 2, True]], "number 3 is not a number"), ([[1, 2, "3"]], "number 3 is not a number"),
        ([[1, 2, 1e39]], "number 3 is too large"), ([[1, 2, 10**400]], "number 3 is too large"),
        ([[[1], [2], [3]]], "number 1 is not a number"), ([1], "row 1: must be a list"),
        ({"rows": 5}, "the rows must be a list"), ([], "there are no rows"),
        ({"row": [[1, 2, 3]]}, "Did you mean 'row'?"), ("text", "the rows must be a list"),
    ],
)  # fmt: skip
def test_rows_of_arrays_that_do_not_fit(
    client: Client, arrays: Run, content: Any, message: str
) -> None:
    answer = client(arrays).post("/predict", json=content)
    assert answer.status_code == 422
    assert message in answer.json()["error"]


def test_pixels_are_whole_and_of_one_byte(client: Client, images: Run) -> None:
    for bad in (256, -1, 0.5):
        answer = client(images).post("/predict", json=[[[0, 1], [2, bad]]])
        assert answer.json()["error"] == "row 1: number 4 is not a whole number from 0 to 255."


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        (b"", "application/json", 400, "not JSON"),
        (b"[NaN]", "application/json", 400, "JSON has no NaN"),
        (b"[" * 100_000, "application/json", 400, "nested too deeply"),
        (b"\xff", "application/json", 400, "not UTF-8"),
        (b"9" * 5000, "application/json", 400, "a number is too long"),
        (b"a=1", "application/x-www-form-urlencoded", 415, "application/json or text/csv"),
        (b"", "text/csv", 422, "the CSV is empty"), (b"size", "text/csv", 422, "no rows"),
        (b"size,size\n1,2", "text/csv", 422, "column 'size': two columns"),
        (b"size,fee\n1,2\n1", "text/csv", 422, "row 2: 1 cell, but the header has 2."),
        (b'size\n"1', "text/csv", 400, "line 2 is not valid CSV"),
    ],
)  # fmt: skip
def test_what_is_not_a_table_is_refused(
    client: Client, classes: Run, body: bytes, kind: str, status: int, message: str
) -> None:
    answer = client(classes).post("/predict", content=body, headers={"content-type": kind})
    assert answer.status_code == status
    assert message in answer.json()["error"]


def test_an_error_names_row_and_column(client: Client, classes: Run) -> None:
    rows = rows_of(columns())[:3]
    rows[1]["heating"] = "gass"
    answer = client(classes).post("/predict", json=rows)
    assert answer.status_code == 422
    told = answer.json()
    assert told.pop("error").startswith(
        "row 2, column 'heating': 'gass' is not a value known from training. Did you mean 'gas'?"
    )
    assert told == {"row": 2, "column": "heating"}
    rows[1]["heating"], rows[2]["size"] = "gas", 1e300
    answer = client(classes).post("/predict", json=rows)
    assert answer.json()["error"].startswith("row 3, column 'size': the number is too large")


def test_limits(client: Client, arrays: Run) -> None:
    row = [1.0, 2.0, 3.0]
    small = client(arrays, rows=2, bytes=1000)
    assert small.post("/predict", json=[row] * 2).status_code == 200
    answer = small.post("/predict", json=[row] * 3)
    assert (answer.status_code, "more than 2 rows" in answer.json()["error"]) == (422, True)
    answer = small.post("/predict", json=[row] * 99)
    assert (answer.status_code, "1,000 bytes" in answer.json()["error"]) == (413, True)
    assert answer.headers["connection"] == "close"

    def parts() -> Any:  # without a length in the header
        yield from [b" " * 600] * 2

    assert small.post("/predict", content=parts()).status_code == 413


@pytest.mark.parametrize(
    ("query", "message"),
    [("interval=2", "must be a share"), ("interval=x", "must be a share"), ("x=1", "no option 'x'"),
     ("interval=0.9999", "validation rows"), ("interval=nan", "must be a share")],
)  # fmt: skip
def test_options_that_are_refused(client: Client, numbers: Run, query: str, message: str) -> None:
    answer = client(numbers).post(f"/predict?{query}", json=rows_of(columns())[:1])
    assert answer.status_code == 422
    assert message in answer.json()["error"]


def test_classes_have_no_intervals(client: Client, classes: Run, arrays: Run) -> None:
    for run, rows in ((classes, rows_of(columns())[:1]), (arrays, [[1, 2, 3]])):
        answer = client(run).post("/predict?interval=0.9", json=rows)
        assert answer.status_code == 422
        assert "interval needs" in answer.json()["error"]


def test_other_addresses_and_methods(client: Client, arrays: Run) -> None:
    served = client(arrays)
    assert served.get("/health").json() == {"status": "ok"}
    assert served.get("/predict").status_code == 405
    assert served.get("/nothing").json() == {"error": "there is nothing here; see /openapi.json."}
    assert served.get("/%2e%2e/etc/passwd").status_code == 404


def test_a_bug_shows_nothing_of_the_inside(
    client: Client, arrays: Run, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    def broken(self: Predicting, asked: list[Asked]) -> Any:
        raise RuntimeError("a secret")

    served = client(arrays)
    monkeypatch.setattr(Predicting, "_described", broken)
    answer = served.post("/predict", json=[[1, 2, 3]])
    assert answer.status_code == 500
    assert answer.json() == {"error": "the service failed; its log tells why."}
    assert "a secret" in capfd.readouterr().err


def test_openapi_describes_the_columns(
    client: Client, numbers: Run, both: Run, arrays: Run
) -> None:
    found = client(numbers).get("/openapi.json").json()
    assert found["openapi"] == "3.1.0"
    row = found["components"]["schemas"]["Row"]
    assert row["required"] == FEATURES
    cells = row["properties"]
    assert sorted(cells["heating"]["enum"][:-1]) == ["gas", "oil", "wood"]
    assert cells["size"]["type"] == ["number", "null"]
    assert "in the format €1,234.5" in cells["fee"]["description"]
    assert cells["state"]["enum"] == ["poor", "fair", "good", None]
    assert "boolean" in cells["garage"]["type"]
    assert "%d/%m/%Y" in cells["sold"]["description"]
    for run in (numbers, both, arrays):
        served = client(run)
        described = served.get("/openapi.json").json()["paths"]["/predict"]["post"]
        example = described["requestBody"]["content"]["application/json"]["example"]
        assert served.post("/predict", json=example).status_code == 200


def test_the_page_has_a_field_for_each_column(client: Client, numbers: Run, arrays: Run) -> None:
    answer = client(numbers).get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for name in FEATURES:
        assert f'data-column="{name}"' in answer.text
    assert "connect-src 'self'" in answer.text
    assert "<textarea" in client(arrays).get("/").text


def test_csv_of_people() -> None:
    assert rows_of_csv('\ufeffa;b\r\n1;"x\ny"\r\n\r\n'.encode(), 5) == [{"a": "1", "b": "x\ny"}]
    with pytest.raises(RequestError, match="more than 2 rows"):
        rows_of_csv(b"a\n1\n2\n3\n", 2)


def test_a_prediction_that_is_no_number_is_an_error(arrays: Run) -> None:
    ready = Predicting(arrays)
    ready._described = lambda outputs: [{"prediction": 1.0}, {"prediction": float("inf")}]  # type: ignore[method-assign]
    (found,) = ready.answers([Asked([[1.0, 2, 3]] * 2)])
    assert isinstance(found, RequestError)
    assert str(found).startswith("row 2: the prediction is too large")


def test_nothing_is_logged_for_errors_of_clients(
    client: Client, arrays: Run, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    with caplog.at_level(logging.DEBUG):
        client(arrays).post("/predict", content=json.dumps([[1]]))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "steps", [(), (Scaling(np.zeros(4), np.ones(4), 0.5),)], ids=["", "scaled"]
)
def test_a_run_on_image_files_takes_its_pixels(client: Client, steps: tuple[Any, ...]) -> None:
    target = Target("label", "classification", ("cat", "dog"))
    pipeline = PixelPipeline(("a", "b", "c", "d"), target, steps=steps)
    pixels = np.random.default_rng(3).integers(0, 256, (40, 4)).astype("uint8")
    model = nn.Sequential([nn.Linear(4, 2)])
    labels = (pixels[:, 0] > 99).astype("int32")
    data = (pipeline.encode(pixels), labels)
    run = cr.fit(model, data, loss="cross_entropy", epochs=2, progress=False)
    run.pipeline = pipeline
    found = client(run).post("/predict", json={"rows": pixels[:3].tolist()}).json()["predictions"]
    wanted = predict_table(run, dict(zip("abcd", pixels[:3].T, strict=True)))
    assert [row["prediction"] for row in found] == wanted["prediction"].tolist()
    dogs = [row["probabilities"]["dog"] for row in found]
    assert np.allclose(dogs, wanted["probability_dog"], atol=1e-6)
    assert client(run).post("/predict", json=[[1, 2, 3, 256]]).status_code == 422


def test_codes_that_an_embedding_does_not_have(client: Client) -> None:
    X = np.random.default_rng(4).integers(0, 5, (40, 2)).astype("float32")
    model = nn.Sequential([nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 1)])
    run = cr.fit(model, (X, X.sum(axis=1)), loss="mse", epochs=1, progress=False)
    assert client(run).post("/predict", json=[[4, 0]]).status_code == 200
    answer = client(run).post("/predict", json=[[4, 5]])
    assert answer.status_code == 422, answer.text
