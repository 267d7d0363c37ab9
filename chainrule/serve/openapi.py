"""The description of the service in the format OpenAPI 3.1, from the columns of its run.

Source: the OpenAPI Specification 3.1.0, whose schemas are those of JSON Schema 2020-12.

Read next: :mod:`chainrule.serve.form_page`.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np

from chainrule.data.encode import NumericEncoder
from chainrule.data.target import Target
from chainrule.serve.array_rows import ArrayRows
from chainrule.serve.column_cells import ColumnCells
from chainrule.serve.limits import Limits
from chainrule.serve.predicting import Predicting
from chainrule.train.saved_files import versions

__all__ = ["column_schema", "example_of", "openapi", "title_of"]

Schema = dict[str, Any]
MOST_WORDS = 1000  # known words listed for a column


def title_of(ready: Predicting) -> str:
    """Return what the service does, in a few words."""
    if ready.target is None:
        return "Predictions of a network"
    return f"Predictions of {' and '.join(ready.target.names)}"


def openapi(ready: Predicting, limits: Limits) -> Schema:
    """Return the description of the service, a dict for JSON."""
    rows = {"type": "array", "items": _ref("Row"), "minItems": 1, "maxItems": limits.rows}
    wrapped = {
        "type": "object",
        "properties": {"rows": rows},
        "required": ["rows"],
        "additionalProperties": False,
    }
    example = {"rows": [example_of(ready)]}
    content: Schema = {
        "application/json": {"schema": {"oneOf": [rows, wrapped]}, "example": example}
    }
    if ready.columns:
        content["text/csv"] = {
            "schema": {"type": "string", "description": "A header with the names of the columns, "
                       "and a line for each row.  An empty cell is a missing value."},
        }  # fmt: skip
    refused = {
        "400": "the body is neither JSON nor CSV",
        "408": f"the body did not arrive within {limits.seconds:g} s",
        "413": f"the body has more than {limits.bytes:,} bytes",
        "415": "the content type is another one",
        "422": f"a row does not fit, or there are more than {limits.rows:,}; see row and column",
        "503": "the service is busy; try again",
    }
    answers: Schema = {
        "200": {"description": "a prediction for each row", "content": _json(_ref("Answer"))},
    }
    for status, why in refused.items():
        answers[status] = {"description": why, "content": _json(_ref("Error"))}
    predict: Schema = {
        "summary": title_of(ready),
        "operationId": "predict",
        "requestBody": {"required": True, "content": content},
        "responses": answers,
    }
    if _numbers(ready):
        predict["parameters"] = [{
            "name": "interval", "in": "query", "required": False,
            "description": "Add an interval that contains this share of the targets.",
            "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        }]  # fmt: skip
    return {
        "openapi": "3.1.0",
        "info": {"title": title_of(ready), "version": versions()["chainrule"]},
        "paths": {
            "/predict": {"post": predict},
            "/health": {"get": {
                "summary": "Whether the service is up", "operationId": "health",
                "responses": {"200": {"description": "it is", "content": _json({
                    "type": "object", "properties": {"status": {"const": "ok"}},
                })}},
            }},
        },
        "components": {"schemas": {
            "Row": _row_schema(ready), "Answer": _answer_schema(ready), "Error": _error_schema(),
        }},
    }  # fmt: skip


def column_schema(cells: ColumnCells) -> Schema:
    """Return the schema of a cell: its type, the words that are known, and the training range."""
    encoder = cells.encoder
    told = "had missing values in training" if cells.had_missing else ""
    if cells.kind in ("category", "order"):
        words = encoder.levels[:MOST_WORDS]
        listed: Schema = {"enum": [*words, None]}
        if cells.takes_others or len(words) < len(encoder.levels):
            listed = {"type": ["string", "number", "boolean", "null"], "examples": list(words)}
        order = "in this order" if cells.kind == "order" else ""
        others = "other words count as one category" if cells.takes_others else ""
        return _said(listed, order, others, told)
    low, high = cells.range
    assert isinstance(encoder, NumericEncoder)
    if cells.kind == "date":
        form = encoder.date_format
        written = f"year first, or {form}" if form not in ("", "iso") else "year first"
        known = ""
        if math.isfinite(low):
            ends = [np.datetime64(math.floor(day), "D") for day in (low, high)]
            known = f"{ends[0]} to {ends[1]} in training"
        return _said({"type": ["string", "null"]}, written, known, told)
    kinds = ["number", "string", "null"] if encoder.spelling else ["number", "null"]
    written = f"a number, or text in the format {encoder.spelling}" if encoder.spelling else ""
    if (low, high) == (0, 1):
        kinds.insert(1, "boolean")
    known = f"{low:g} to {high:g} in training" if math.isfinite(low) else ""
    return _said({"type": kinds}, written, known, told)


def _said(schema: Schema, *told: str) -> Schema:
    words = "; ".join(text for text in told if text)
    return schema | ({"description": words} if words else {})


def _row_schema(ready: Predicting) -> Schema:
    if isinstance(ready.rows, ArrayRows):
        pixels = ready.rows.dtype == np.uint8
        number: Schema = (
            {"type": "integer", "minimum": 0, "maximum": 255} if pixels else {"type": "number"}
        )
        sizes = reversed(ready.rows.shape)
        return reduce(lambda inner, n: _list(inner, n), sizes, number)
    return {
        "type": "object",
        "properties": {cells.name: column_schema(cells) for cells in ready.columns},
        "required": [cells.name for cells in ready.columns],
    }


def _list(items: Schema, size: int) -> Schema:
    return {"type": "array", "items": items, "minItems": size, "maxItems": size}


def example_of(ready: Predicting) -> Any:
    """Return a row that the service takes: medians and most common words, or zeros."""
    if isinstance(ready.rows, ArrayRows):
        return ready.rows.usual().reshape(ready.rows.shape).tolist()
    return {cells.name: cells.usual for cells in ready.columns}


def _answer_schema(ready: Predicting) -> Schema:
    row: Schema = {"row": {"type": "integer", "minimum": 1}}
    target = ready.target
    if target is None:
        row["prediction"] = {}
        row["probabilities"] = _list_of_numbers()
    elif not target.parts:
        row |= _target_schema(target)
    else:
        each = {part.name: _target_schema(part) for part in target.parts}
        for name in ("prediction", "probabilities", "quantiles", "interval"):
            own = {part: schema[name] for part, schema in each.items() if name in schema}
            if own:
                row[name] = {"type": "object", "properties": own}
    note = {
        "type": "object",
        "properties": {"row": {"type": "integer"}, "column": {"type": "string"},
                       "note": {"type": "string"}},
    }  # fmt: skip
    return {
        "type": "object",
        "properties": {
            "predictions": {
                "type": "array",
                "items": {
                    "type": "object", "properties": row, "required": ["row", "prediction"],
                },
            },
            "notes": {
                "type": "array", "items": note,
                "description": "cells that differ from those of training",
            },
            "more_notes": {"type": "integer", "description": "notes that are left out"},
        },
        "required": ["predictions"],
    }  # fmt: skip


def _target_schema(target: Target) -> Schema:
    if target.task == "regression":
        number = {"type": "number"}
        shares = {"type": "object", "additionalProperties": number}
        return {
            "prediction": number,
            "quantiles": shares,
            "interval": _list_of_numbers(),
        }
    chances = {str(name): {"type": "number"} for name in target.classes}
    return {
        "prediction": {"enum": list(target.classes)},
        "probabilities": {"type": "object", "properties": chances},
    }


def _error_schema() -> Schema:
    return {
        "type": "object",
        "properties": {
            "error": {"type": "string"},
            "row": {"type": "integer", "description": "of the request, from 1"},
            "column": {"type": "string"},
        },
        "required": ["error"],
    }


def _numbers(ready: Predicting) -> bool:
    """Whether the run has a target of numbers, from a table, and so intervals."""
    if ready.target is None or not ready.columns:
        return False
    return any(part.task == "regression" for part in ready.target.parts or (ready.target,))


def _list_of_numbers() -> Schema:
    return {"type": "array", "items": {"type": "number"}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}
