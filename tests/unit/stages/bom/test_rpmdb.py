"""The reader of rpm's database, on databases made by hand; one made by rpm itself is in the integration tests."""

from __future__ import annotations

import contextlib

import pytest
from support.rpm import database, header, package

from stages.bom import rpmdb
from stages.bom.rpmdb import Header, Unreadable


def test_what_is_read_of_a_header() -> None:
    tags = package(
        "bash", "5.1.8", "9.el9", epoch=2, source="bash-src-5.1.8-9.el9.src.rpm", files=["/usr/bin/bash", "/etc/x"]
    )
    assert list(rpmdb.headers(database(header(tags)))) == [
        Header("bash", "2:5.1.8-9.el9", "x86_64", ("bash-src", "2:5.1.8-9.el9"), ["/usr/bin/bash", "/etc/x"])
    ]


def test_a_header_with_no_more_than_it_must_have() -> None:
    (got,) = rpmdb.headers(database(header(package("a", "1", "2"))))
    assert got == Header("a", "1-2", "x86_64", ("", ""), [])


GOOD = header(package("a", "1", "2"))


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\0" * 8,
        GOOD[:-1],
        b"\xff" * 100,
        GOOD.replace(b"\0\0\x03\xe8", b"\0\0\x03\xe7"),
        "text",
        header({1000: "a", 1001: "1", 1002: [1], 1003: "x"})[:40],
    ],
)
def test_a_broken_header_is_refused(blob: object) -> None:
    with pytest.raises(Unreadable):
        list(rpmdb.headers(database(blob)))


@pytest.mark.parametrize("damage", range(0, len(GOOD), 3))
def test_no_damage_ends_in_anything_else(damage: int) -> None:
    with contextlib.suppress(Unreadable):
        list(rpmdb.headers(database(GOOD[:damage] + b"\xff\xff" + GOOD[damage + 2 :])))


@pytest.mark.parametrize("data", [b"", b"noise" * 100, b"SQLite format 3\0", b"SQLite format 3\0" + b"\xff" * 5000])
def test_what_is_no_database_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        list(rpmdb.headers(data))


ENDLESS = "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n)"


VIEW = """
CREATE TABLE Other (blob);
CREATE VIEW Packages AS SELECT 1 AS hnum, {} AS blob FROM Other;
CREATE TRIGGER t INSTEAD OF INSERT ON Packages BEGIN SELECT 1; END;
"""


@pytest.mark.parametrize(
    "schema", [VIEW.format("blob"), VIEW.format(ENDLESS), "CREATE VIRTUAL TABLE Packages USING fts5(hnum, blob)"]
)
def test_a_database_that_computes_is_refused(schema: str) -> None:
    with pytest.raises(Unreadable):
        list(rpmdb.headers(database(GOOD, schema=schema)))
