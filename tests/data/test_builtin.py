"""Data sets by name, IDX files, and the download that must be whole or absent."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.core.errors import DataError, OptionError
from chainrule.data import Pipeline, builtin, load, names, read_idx, read_idx_folder
from chainrule.data.download import download

SHIPPED = ("digits", "iris", "wine", "breast-cancer", "diabetes")


def idx(array: np.ndarray[Any, Any], code: int = 8) -> bytes:
    big = array.astype(array.dtype.newbyteorder(">")).tobytes()
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + big


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_sets_are_scikit_learns(name: str) -> None:
    sets = pytest.importorskip("sklearn.datasets", reason="compares with scikit-learn")
    options = {"scaled": False} if name == "diabetes" else {}
    theirs = getattr(sets, f"load_{name.replace('-', '_')}")(**options)
    ours = load(name)
    assert ours.X.dtype == np.float32
    assert np.array_equal(ours.X, theirs.data.astype(np.float32))
    assert np.array_equal(ours.y, theirs.target)
    assert len(ours.feature_names) == ours.X.shape[1]
    if ours.target_names:
        assert ours.target_names == tuple(map(str, theirs.target_names))


@pytest.mark.parametrize("name", SHIPPED)
def test_summaries_tell_the_truth(name: str) -> None:
    summary, dataset = names()[name], load(name)
    assert dataset.X.shape == (summary.rows, summary.features)
    classes = len(np.unique(dataset.y)) if dataset.task == "classification" else 0
    assert classes == summary.classes
    if dataset.image_shape:
        assert np.prod(dataset.image_shape) == summary.features


def test_a_set_is_a_table() -> None:
    pipeline = Pipeline.fit(load("iris").to_table())
    assert pipeline.classes == ("setosa", "versicolor", "virginica")
    assert len(pipeline.feature_names) == 4


def test_unknown_name_suggests() -> None:
    with pytest.raises(OptionError, match="Did you mean 'digits'"):
        load("digit")


@pytest.mark.parametrize(
    ("code", "dtype"), [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")]
)
def test_idx_types_and_gzip(tmp_path: Path, code: int, dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    (tmp_path / "a").write_bytes(idx(array, code))
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(array, code)))
    for name in ("a", "a.gz"):
        found = read_idx(tmp_path / name)
        assert found.dtype == np.dtype(dtype)
        assert np.array_equal(found, array)


GOOD = idx(np.arange(12, dtype=np.uint8).reshape(3, 4))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x00\x00", "too short"),
        (b"\x89PNG" + GOOD, "not an IDX file: its first bytes are 89 50 4e 47"),
        (b"\x00\x00\x07\x01" + GOOD, "not an IDX file"),
        (GOOD[:9], "ends inside its 2 dimensions"),
        (GOOD[:-1], r"is truncated: shape \(3, 4\) needs 12 bytes of values, but it has 11"),
        (GOOD + b"\x00", "has bytes after its last value"),
        (gzip.compress(GOOD, mtime=0)[:-9], "truncated or damaged"),
        (b"\x00\x00\x08\x04" + b"\xff" * 12 + bytes(4), "no array can have the shape"),
    ],
)
def test_faulty_idx_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"images.*{words}"):
        read_idx(path)


def write_family(folder: Path, rows: int = 6) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        images = rng.integers(0, 256, (rows, 4, 5)).astype(np.uint8)
        labels = (np.arange(rows) % 3).astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))


def test_folder_of_idx_files(tmp_path: Path) -> None:
    write_family(tmp_path / "kin")
    dataset = read_idx_folder(tmp_path / "kin")
    assert dataset.name == "kin"
    assert dataset.X.shape == (6, 20)
    assert dataset.X.dtype == np.uint8
    assert dataset.image_shape == (4, 5)
    assert dataset.target_names == ("0", "1", "2")
    assert dataset.X_test is not None
    labels = tmp_path / "kin" / "t10k-labels-idx1-ubyte"
    labels.write_bytes(idx(np.zeros(5, np.uint8)))
    with pytest.raises(DataError, match="equal rows"):
        read_idx_folder(tmp_path / "kin")
    labels.unlink()
    with pytest.raises(DataError, match="kin has no t10k-labels-idx1-ubyte"):
        read_idx_folder(tmp_path / "kin")


def test_environment_variable_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_family(tmp_path / "mnist")
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path))
    assert load("mnist").X.shape == (6, 20)
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "mnist"))
    assert load("mnist").X.shape == (6, 20)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No data set on this machine."""
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(builtin, "_DEBIAN", tmp_path / "none")
    return tmp_path


def test_without_files_or_internet_the_way_out_is_named(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtin, "_FASHION_URL", "http://127.0.0.1:9/")
    with pytest.raises(DataError) as caught:
        load("fashion-mnist")
    for word in ("dataset-fashion-mnist", "CHAINRULE_DATA", "127.0.0.1"):
        assert word in str(caught.value)
    with pytest.raises(DataError, match="CHAINRULE_DATA"):
        load("mnist")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "www"
    folder.mkdir()
    web = HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{web.server_port}/", folder
    web.shutdown()
    thread.join()
    web.server_close()


def test_download_fills_the_cache(
    nowhere: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = server
    write_family(nowhere / "kin")
    sums = {}
    for stem in builtin._FASHION_SHA256:
        content = (nowhere / "kin" / stem).with_suffix(".gz" if "images" in stem else "")
        raw = content.read_bytes()
        raw = gzip.decompress(raw) if content.suffix else raw
        (folder / f"{stem}.gz").write_bytes(gzip.compress(raw))
        sums[stem] = hashlib.sha256(raw).hexdigest()
    monkeypatch.setattr(builtin, "_FASHION_URL", url)
    monkeypatch.setattr(builtin, "_FASHION_SHA256", sums)
    assert load("fashion-mnist").X.shape == (6, 20)
    monkeypatch.setattr(builtin, "_FASHION_URL", "http://127.0.0.1:9/")
    assert load("fashion-mnist").X.shape == (6, 20)


def test_download_is_whole_or_absent(tmp_path: Path, server: tuple[str, Path]) -> None:
    url, folder = server
    whole = gzip.compress(b"content" * 1000)
    (folder / "wrong.gz").write_bytes(whole)
    (folder / "half.gz").write_bytes(whole[: len(whole) // 2])
    target = tmp_path / "to" / "file.gz"
    sha = hashlib.sha256(b"content" * 1000).hexdigest()
    for name, checksum, words in (
        ("wrong.gz", "0" * 64, "expected 0000"),
        ("half.gz", sha, "not downloaded completely"),
        ("none.gz", sha, "File not found|Not Found"),
    ):
        with pytest.raises(DataError, match=words):
            download(url + name, target, checksum)
        assert list(target.parent.iterdir()) == []
    download(url + "wrong.gz", target, sha)
    assert target.read_bytes() == whole


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
    ],
)
def test_an_answer_that_is_no_http(answer: bytes, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x.gz"
        with pytest.raises(DataError, match=r"127\.0\.0\.1"):
            download(url, tmp_path / "x.gz", "0" * 64, timeout=10)
        thread.join()
    assert os.listdir(tmp_path) == []


def test_fashion_mnist_of_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    if not builtin._DEBIAN.is_dir():
        pytest.skip(f"Debian's package dataset-fashion-mnist is not installed ({builtin._DEBIAN})")
    for stem, sha in builtin._FASHION_SHA256.items():
        content = gzip.decompress((builtin._DEBIAN / f"{stem}.gz").read_bytes())
        assert hashlib.sha256(content).hexdigest() == sha
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)
    dataset = load("fashion-mnist")
    assert dataset.X.shape == (60_000, 784)
    assert dataset.X.dtype == np.uint8
    assert dataset.X_test is not None
    assert dataset.X_test.shape == (10_000, 784)
    assert np.array_equal(np.bincount(dataset.y), [6000] * 10)
    assert dataset.target_names is not None
    assert dataset.target_names[9] == "Ankle boot"


@pytest.mark.parametrize("axes", [33, 100, 255])
def test_an_idx_file_of_many_axes_is_refused(tmp_path: Path, axes: int) -> None:
    """NumPy has no such arrays; its own error would say nothing of the file."""
    (tmp_path / "a.idx").write_bytes(bytes([0, 0, 8, axes]) + bytes(4 * axes))
    with pytest.raises(DataError, match=r"a.idx is not an IDX file"):
        read_idx(tmp_path / "a.idx")


def test_an_idx_file_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainrule.data.idx.MOST", 1000)
    (tmp_path / "a.idx.gz").write_bytes(gzip.compress(bytes(1001)))
    with pytest.raises(DataError, match="unpacks to more than the 1,000 bytes"):
        read_idx(tmp_path / "a.idx.gz")
