"""Layers on each other as an engine would mount them, and hostile ones."""

from __future__ import annotations

import gzip
import io
import tarfile
import time
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from support.layers import FOLDER, debian, digest, layer

from stages.bom import layers
from stages.bom.layers import Budget, Contents, Layer

if TYPE_CHECKING:
    from collections.abc import Iterator

STATUS = "var/lib/dpkg/status"
METADATA = "app/lib/x-1.dist-info/METADATA"
PACKAGE = "app/node_modules/x/package.json"


def read(data: bytes | Iterator[bytes], **limits: int) -> Layer:
    return layers.read(io.BytesIO(data) if isinstance(data, bytes) else data, Budget(**limits))


def stacked(*entries: dict[str, Any]) -> Contents:
    return layers.stack(read(layer(each)) for each in entries)


# Whiteouts


def test_the_upper_layer_wins() -> None:
    assert stacked({STATUS: b"old"}, {STATUS: b"new"}).files == {STATUS: b"new"}


@pytest.mark.parametrize(
    "above",
    [
        {"app/lib/x-1.dist-info/.wh.METADATA": b""},
        {"app/lib/.wh.x-1.dist-info": b""},
        {".wh.app": b""},
        {"app/.wh..wh..opq": b""},
        {".wh..wh..opq": b""},
        {"app/lib": b"a file now"},
        {"app/lib": "-> /opt"},
        {METADATA: FOLDER},
    ],
    ids=["file", "folder", "top", "opaque", "opaque root", "file for folder", "link for folder", "folder for file"],
)
def test_what_an_upper_layer_takes_away_is_gone(above: dict[str, Any]) -> None:
    assert stacked({METADATA: b"x"}, above).files == {}


@pytest.mark.parametrize(
    "above",
    [
        {"app/lib/.wh.x-2.dist-info": b""},
        {"app/lib/x-1.dist-info": FOLDER},
        {"app/li": b""},
        {"other/.wh..wh..opq": b""},
        {"app/.wh..wh.plnk": b""},
        {".wh..wh.aufs": b""},
    ],
)
def test_what_it_does_not_take_away_stays(above: dict[str, Any]) -> None:
    assert stacked({METADATA: b"x"}, above).files == {METADATA: b"x"}


def test_a_whiteout_is_for_the_layers_below_only() -> None:
    above = {METADATA: b"new", "app/.wh..wh..opq": b"", "app/lib/.wh.x-1.dist-info": b""}
    assert stacked({METADATA: b"old"}, above).files == {METADATA: b"new"}


def test_a_link_that_is_taken_away_hides_nothing() -> None:
    assert stacked({"var/lib/dpkg": "-> /opt"}, {"var/lib/.wh.dpkg": b""}).reasons == []
    assert stacked({"var/lib/dpkg": "-> /opt"}, {"var/lib/dpkg": FOLDER, STATUS: b"x"}).reasons == []


@pytest.mark.parametrize("name", [f"./{STATUS}", f"/{STATUS}", "var//lib/./dpkg/status"])
def test_names_are_the_same_however_they_are_written(name: str) -> None:
    assert read(layer({name: b"x"})).files == {STATUS: b"x"}


# What is kept


@pytest.mark.parametrize(
    "path",
    [
        STATUS,
        "var/lib/dpkg/status.d/base",
        "lib/apk/db/installed",
        "usr/lib/sysimage/rpm/rpmdb.sqlite",
        "usr/lib/os-release",
        METADATA,
        "x.egg-info",
        "x.egg-info/PKG-INFO",
        PACKAGE,
        "node_modules/@a/b/package.json",
        "a/node_modules/b/node_modules/c/package.json",
    ],
)
def test_wanted_files_are_kept(path: str) -> None:
    assert read(layer({path: b"x"})).files == {path: b"x"}


@pytest.mark.parametrize(
    "path",
    ["x/" + STATUS, "a/package.json", "node_modules/a/test/package.json", "node_modules/.bin/package.json", "METADATA"],
)
def test_others_are_not(path: str) -> None:
    assert read(layer({path: b"x"})).files == {}


@pytest.mark.parametrize(
    "packed", [lambda data: data, gzip.compress, lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:])]
)
def test_the_digest_is_of_the_content_however_it_is_packed(packed: Any) -> None:
    data = layer(debian(("a", "1")))
    got = read(packed(data))
    assert (got.diff_id, got.reasons, set(got.files)) == (digest(data), [], set(debian()))


def test_the_digest_is_of_what_stands_behind_the_archive_too() -> None:
    data = layer({}) + b"more"
    assert read(data).diff_id == digest(data)


# Links


@pytest.mark.parametrize(
    "entries",
    [
        {"lib": "-> usr/lib"},
        {"var/lib/rpm": "-> ../../usr/lib/sysimage/rpm"},
        {"etc/os-release": "-> ../usr/lib/os-release"},
        {"etc/os-release": "-> nowhere"},
        {"app/node_modules/x": "-> .store/x/node_modules/x"},
        {"app/node_modules/.bin/x": "-> ../x/cli.js"},
        {"app/node_modules": "-> ../opt/node_modules"},
        {"app/site-packages": "-> ../opt/site-packages"},
        {"var/run": "-> /run", "a": "-> b", "b": "-> a"},
    ],
)
def test_links_that_hide_nothing(entries: dict[str, Any]) -> None:
    assert stacked(entries).reasons == []


@pytest.mark.parametrize(
    "entries",
    [
        {STATUS: "-> /opt/status"},
        {"var/lib/dpkg": "-> /opt/dpkg"},
        {"var": "-> opt"},
        {"var": "-> a", "a": "-> var"},
        {"lib": "-> opt"},
        {METADATA: "-> /opt/METADATA"},
        {"app/lib/x-1.dist-info": "-> /opt/x"},
        {"app/node_modules": "-> /opt/modules"},
        {"app/node_modules/x": "-> /opt/x"},
        {STATUS: "=> opt/status"},
    ],
)
def test_links_that_hide_something_are_reasons(entries: dict[str, Any]) -> None:
    reasons = stacked(entries).reasons
    assert reasons
    assert all("link" in each for each in reasons)


def test_a_hard_link_to_what_was_read_is_read() -> None:
    """uv installs by hard links from its cache, which may come first."""
    assert (
        stacked({"cache/x-1.dist-info/METADATA": b"x", METADATA: "=> cache/x-1.dist-info/METADATA"}).files[METADATA]
        == b"x"
    )


# Hostile layers


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_device_for_a_database(kind: bytes) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo(STATUS)
        info.type = kind
        archive.addfile(info)
    assert "no plain file" in read(out.getvalue()).reasons[0]


@pytest.mark.parametrize("name", ["../etc/passwd", "a/../../b", "a/../b", "x/" * 200 + "x", "x" * 5000])
def test_a_name_that_leads_elsewhere_ends_the_reading(name: str) -> None:
    got = read(layer({name: b"", STATUS: b"x"}))
    assert "a file named" in got.reasons[0]
    assert got.diff_id is None


def test_a_root_that_is_a_file() -> None:
    assert "root" in read(layer({".": b"x"})).reasons[0]


def _bomb(size: int) -> Iterator[bytes]:
    """A gzip of a file of zeros, made as it is read."""
    info = tarfile.TarInfo("zeros")
    info.size = size
    engine = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield engine.compress(info.tobuf())
    for _ in range(size >> 20):
        yield engine.compress(b"\0" * (1 << 20))
    yield engine.flush()


def test_a_bomb_ends_at_the_limit_and_takes_no_memory() -> None:
    data = b"".join(_bomb(1 << 30))
    assert len(data) < 2 << 20
    tracemalloc.start()
    try:
        got = read(data, content_bytes=100 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "bytes when decompressed" in got.reasons[0]
    assert peak < 16 << 20


def test_a_file_that_says_it_is_huge() -> None:
    info = tarfile.TarInfo(STATUS)
    info.size = 1 << 60
    got = read(info.tobuf(tarfile.GNU_FORMAT))
    assert "1,152,921,504,606,846,976 bytes" in got.reasons[0]


def test_a_million_entries_end_at_the_limit() -> None:
    one = tarfile.TarInfo("x").tobuf()
    started = time.process_time()
    got = read(iter([one * 1000] * 50), entries=20_000)
    assert "files" in got.reasons[0]
    assert time.process_time() - started < 5


def test_databases_in_every_layer_end_at_the_limit() -> None:
    budget = Budget(kept_bytes=1500)
    got = [layers.read(io.BytesIO(layer({STATUS: b"x" * 1000})), budget) for _ in range(2)]
    assert got[0].reasons == []
    assert "package databases" in got[1].reasons[0]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x28\xb5\x2f\xfd" + b"x" * 100, "zstd"),
        (gzip.compress(layer({STATUS: b"x"}))[:-20], "too early"),
        (b"\x1f\x8b" + b"x" * 100, "cannot be read"),
        (layer({STATUS: b"x" * 600})[:700], "ends within"),
        (b"noise" * 1000, "cannot be read"),
    ],
    ids=["zstd", "cut off", "no gzip", "short", "noise"],
)
def test_what_cannot_be_read_is_a_reason(data: bytes, says: str) -> None:
    got = read(data)
    assert says in got.reasons[0]
    assert got.diff_id is None


def test_the_reasons_of_layers_are_those_of_the_image() -> None:
    assert layers.stack([read(b"noise" * 1000), read(layer({}))]).reasons
