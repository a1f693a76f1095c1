"""The reader of layers: what tarfile writes it reads alike; what is not plain it refuses."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.layers import FOLDER, layer

from stages.bom import tar
from stages.bom.tar import Unreadable


class Source:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)
        self.position = 0

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.position += len(data)
        return data

    def skip(self, size: int) -> None:
        if len(self.read(size)) < size:
            raise Unreadable("it ends within a file")


def read(data: bytes) -> list[tuple[str, str, bytes, str]]:
    source = Source(data)
    return [(entry.name, entry.kind, source.read(entry.size), entry.link) for entry in tar.entries(source)]


def refusal(data: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        read(data)
    return str(caught.value)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=300).map(
    lambda name: name.strip("/") or "x"
)


@given(
    st.dictionaries(NAMES, st.binary(max_size=1200), max_size=5),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_what_tarfile_writes_is_read(entries: dict[str, bytes], form: int) -> None:
    assert [(name, content) for name, _, content, _ in read(layer(entries, form))] == list(entries.items())


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_links_folders_and_long_names(form: int) -> None:
    long = "d" * 90 + "/" + "f" * 90
    got = read(layer({long: b"x", "s": f"-> {'t' * 99}", "h": "=> s", "d": FOLDER}, form))
    assert got == [
        (long, "file", b"x", ""),
        ("s", "symlink", b"", "t" * 99),
        ("h", "hardlink", b"", "s"),
        ("d/", "folder", b"", ""),
    ]


def test_content_that_nobody_reads_is_passed_over() -> None:
    source = Source(layer({"a": b"x" * 5000, "b": b"y"}))
    assert [entry.name for entry in tar.entries(source)] == ["a", "b"]


def test_the_end_without_its_two_empty_blocks_is_an_end() -> None:
    assert len(read(layer({"a": b"x"})[:1024])) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:1100], "ends within a header"),
        (lambda data: data[:700], "ends within a file"),
        (lambda data: b"y" + data[1:], "is broken"),
        (lambda data: data[:1024] + b"\0" * 512 + data[:1024], "goes on behind its end"),
        (lambda data: b"x" * 2048, "none"),
    ],
    ids=["header cut", "file cut", "checksum", "one empty block", "noise"],
)
def test_what_is_broken_is_refused(change: object, says: str) -> None:
    """tarfile takes most of these for the end, so that what stands behind would be hidden."""
    data = layer({"a": b"x" * 300})
    assert callable(change)
    assert says in refusal(change(data))


def _with_pax(records: bytes, flag: bytes = b"x", size: int | None = None) -> bytes:
    info = tarfile.TarInfo("pax")
    info.type, info.size = flag, len(records) if size is None else size
    header = info.tobuf(tarfile.USTAR_FORMAT)
    return header + records + b"\0" * (-len(records) % 512) + layer({"a": b"x"})


def test_a_global_header_changes_no_name() -> None:
    """Engines ignore it; a reader that does not would look for a database under another name."""
    assert [name for name, *_ in read(_with_pax(b"18 path=elsewhere\n", b"g"))] == ["a"]


@pytest.mark.parametrize(
    "records",
    [
        b"5 a=b\n",
        b"99 path=x\n",
        b"9 path=x\nrest",
        b"x path=y\n",
        b"1" * 600 + b" a=b\n",
        b"0 a=b\n",
        b"12 size=-10\n",
        b"\n",
    ],
)
def test_a_broken_extended_header_is_refused(records: bytes) -> None:
    assert "extended header" in refusal(_with_pax(records))


def test_an_extended_header_of_any_size_is_not_read() -> None:
    assert "8,000,000,000" in refusal(_with_pax(b"", size=8_000_000_000))


def test_a_sparse_file_is_known_as_one() -> None:
    records = b"22 GNU.sparse.major=1\n26 GNU.sparse.name=hidden\n"
    (entry,) = tar.entries(Source(_with_pax(records)))
    assert (entry.name, entry.sparse) == ("hidden", True)
    assert "sparse" in refusal(_with_pax(b"", b"S"))
