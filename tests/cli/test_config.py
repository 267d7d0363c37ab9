"""Options reach all of the library, a file says the same, and each run writes such a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import chainrule as cr
from chainrule import nn
from chainrule.cli.config_file import as_toml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Call = Callable[..., Result]
ALL = [
    "--preprocess", "robust,whiten", "--hidden", "8,8", "--activation", "leaky-relu", "--norm",
    "batch", "--dropout", "0.1", "--noise", "0.05", "--density", "0.5", "--residual", "--init",
    "lecun_normal", "--bias-init", "0.01", "--label-smoothing", "0.1", "--class-weight",
    "balanced", "--l1", "1e-4", "--l2", "1e-3", "--epochs", "3", "--patience", "0",
    "--batch-size", "16", "--accumulate", "2",
    "--lr", "0.01", "--schedule", "cosine", "--warmup", "1", "--optimizer", "adamw",
    "--weight-decay", "0.05", "--max-norm", "3", "--clip-norm", "1", "--clip-value", "0.5",
    "--average", "0.9",
]  # fmt: skip


def results(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    loaded: dict[str, Any] = json.loads(result.stdout)
    return loaded


def test_a_run_repeats_from_its_own_file(call: Call, place: Path) -> None:
    first = results(call("train", "iris", *ALL, "--json"))
    again = results(call("train", "--config", "runs/iris-1/config.toml", "--json"))
    assert (first["run"], again["run"]) == ("runs/iris-1", "runs/iris-2")
    for summary in (first, again):
        for varying in ("run", "seconds", "notes"):  # notes tell what was chosen, not asked
            summary.pop(varying)
    assert first == again
    files = [Path(f"runs/iris-{k}/config.toml").read_text() for k in (1, 2)]
    assert files[0] == files[1]
    assert 'optimizer = "adamw"' in files[0]
    assert "hidden = [8, 8]" in files[0]


def test_a_run_repeats_from_another_directory(
    call: Call, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "t.csv").write_text("x,y\n" + "".join(f"{i},{i % 3 * 1.5}\n" for i in range(60)))
    first = results(call("train", "t.csv", "--epochs", 2, "--json"))
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    again = results(call("train", "--config", "../runs/t-1/config.toml", "--json"))
    assert again["test"] == first["test"]


def test_the_options_make_the_network(call: Call, place: Path) -> None:
    results(call("train", "iris", *ALL, "--json"))
    model = cr.load("runs/iris-1").model
    assert isinstance(model, nn.Sequential)
    kinds = [type(layer).__name__ for layer in model.layers]
    block = ["SparseLinear", "BatchNorm", "LeakyReLU", "Dropout"]
    assert kinds == ["GaussianNoise", *block, "Residual", "Linear"]
    assert model[1].weight_init == "lecun_normal"  # type: ignore[attr-defined]
    settings = cr.load("runs/iris-1").settings
    for part in ("ClipValue", "ClipNorm", "AdamW", "Cosine", "Warmup", "MaxNorm", "Accumulate",
                 "EMA"):  # fmt: skip
        assert part in settings["optimizer"], part


def test_the_command_line_wins_over_the_file(call: Call, place: Path) -> None:
    (place / "c.toml").write_text('source = "iris"\nepochs = 2\nhidden = [5]\nlr = 0.01\n')
    summary = results(call("train", "--config", "c.toml", "--epochs", 1, "--json"))
    assert summary["epochs"] == 1
    assert summary["settings"]["hidden"] == [5]
    summary = results(call("train", "wine", "--config", "c.toml", "--json"))
    assert summary["data"] == "wine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epocs = 3", "there is no option 'epocs'. Did you mean 'epochs'?"),
        ("epochs = ", "is not a TOML file"),
        ("epochs = 'many'", "'many' is not a valid integer"),
        ("[epochs]\nn = 3", "'epochs' must be a value, not a table"),
        ("", "give SOURCE"),
        ("source = 'iris'\ndropout = 1.5", "'--dropout': must be in [0, 1), not 1.5"),
        ("source = 'iris'\noptimizer = 'adm'", "unknown optimizer 'adm'"),
        ("source = 'iris'\nschedule = 'cosin'", "unknown schedule 'cosin'"),
        ("source = 'iris'\nnorm = 'bach'", "'bach' is not one of"),
        ("source = 'iris'\ninit = 'he'", "unknown initializer 'he'"),
        ("source = 'iris'\nloss = 'mse'", "loss 'mse' does not fit classification"),
        ("source = 'iris'\npreprocess = 'pka'", "preprocessing 'pka' is unknown"),
        ("source = 'iris'\ndensity = 0.0", "density"),
        ("source = 'iris'\nl2 = -1.0", "'--l2': must be a finite number not below 0, not -1.0"),
        ("source = 'iris'\nmax-norm = 0", "'--max-norm': must be a finite number above 0"),
        ("epochs = 2.5", "'2.5' is not a valid integer"),
        ("epochs = true", "bad.toml: 'epochs' must be a value, not true"),
        ("lr = true", "bad.toml: 'lr' must be a value, not true"),
        ("lr = 2024-01-01", "'2024-01-01' is not a valid float"),
        ("residual = 3", "bad.toml: 'residual' must be true or false, not 3"),
        ("residual = 'yes'", "bad.toml: 'residual' must be true or false, not 'yes'"),
        ("role = 'petal'", "'petal' is not of the form COLUMN=ROLE"),
        ("source = 'iris'\nembedding = 3", "embedding: no column is embedded"),
        ("source = 'iris'\nrole = ['nothing=number']", "There is no feature 'nothing'"),
        ("source = 'iris'\nrole = ['petal']", "'petal' is not of the form COLUMN=ROLE"),
        ("source = 'iris'\nweight = 'petal'", "weight: 'petal' is not a feature column"),
    ],
)
def test_bad_files_are_refused_before_training(
    call: Call, place: Path, text: str, message: str
) -> None:
    (place / "bad.toml").write_text(text)
    result = call("train", "--config", "bad.toml")
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert not (place / "runs").exists()


def test_any_text_comes_back_from_a_file() -> None:
    query = "select 'é' as \"ü\"\nfrom 'a\tb.csv'\x7f\x01"
    entries = {"source": query, "hidden": [], "lr": 1e-05}
    assert tomllib.loads(as_toml(entries)) == entries


def test_a_missing_file_is_named(call: Call) -> None:
    result = call("train", "--config", "none.toml")
    assert result.exit_code == 2
    assert "can't read 'none.toml'" in result.stderr


def test_categories_can_be_embedded(call: Call, colors: Path) -> None:
    results(
        call("train", colors, "--role", "color=embedded", "--embedding", 2, "--epochs", 2, "--json")
    )
    model = cr.load("runs/colors-1").model
    assert isinstance(model, nn.Sequential)
    assert isinstance(model[0], nn.EmbedColumns)
    assert [size for _, _, size in model[0].columns] == [2]
    assert call("predict", "runs/colors-1", colors).exit_code == 0
    again = results(call("train", "--config", "runs/colors-1/config.toml", "--json"))
    assert again["settings"]["embedding"] == 2


def test_losses_for_numbers(call: Call, place: Path) -> None:
    summary = results(call("train", "diabetes", "--loss", "huber", "--activation", "maxout",
                           "--epochs", 3, "--json"))  # fmt: skip
    assert summary["test"]["r2"] > 0
    assert cr.load("runs/diabetes-1").objective.name == "huber"


def test_a_column_can_weigh_the_rows(call: Call, place: Path) -> None:
    """Rows of weight 0 teach nothing: with all of one class left out, it is never predicted."""
    lines = [f"{k % 7},{k % 2},{'a' if k % 2 else 'b'},{k % 2}" for k in range(200)]
    (place / "t.csv").write_text("\n".join(["noise,signal,kind,w", *lines]))
    new = {"noise": [1.0] * 4, "signal": [0, 1, 0, 1], "w": [1] * 4}
    shares = {}
    for words in ((), ("--weight", "w")):
        results(call("train", "t.csv", "--target", "kind", *words, "--json", "--epochs", 20))
        run = cr.load(f"runs/t-{1 + len(shares)}")
        shares[words] = np.mean(cr.tabular.predict_table(run, new)["prediction"] == "a")
    assert list(shares.values()) == [0.5, 1.0]
    assert 'weight = "w"' in Path("runs/t-2/config.toml").read_text()


def test_words_can_be_ranked(call: Call, place: Path) -> None:
    (place / "t.csv").write_text("size,y\n" + "small,1\nlarge,3\nmedium,2\n" * 20)
    results(call("train", "t.csv", "--role", "size=small<medium<large", "--epochs", 1, "--json"))
    assert cr.load("runs/t-1").pipeline.feature_names == ("size",)  # type: ignore[union-attr]
    assert 'role = ["size=small<medium<large"]' in Path("runs/t-1/config.toml").read_text()


def test_a_penalty_on_hidden_units_makes_what_they_give_smaller(call: Call, place: Path) -> None:
    sizes = {}
    for activity in ("0", "1"):
        run = f"runs/{activity}"
        call("train", "wine", "--hidden", "64", "--optimizer", "adam", "--activity", activity,
             "--patience", 0, "--epochs", 40, "--out", run)  # fmt: skip
        model = cr.load(run).model
        x = np.random.default_rng(0).normal(size=(50, 13)).astype("f4")
        sizes[activity] = float(cr.abs(model.layers[1](model.layers[0](cr.tensor(x)))).mean())
    assert sizes["1"] < 0.5 * sizes["0"]
