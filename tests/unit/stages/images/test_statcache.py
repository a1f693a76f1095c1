"""A cache that is wrong means wrong code deployed: most of these try to make it so."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest

from stages.images import context, statcache
from stages.images.statcache import SETTLED_NS, StatCache

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_text("aaaa")
    (folder / "sub" / "b").write_text("b")
    (folder / "link").symlink_to("a")
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read, as they are read."""
    seen: list[str] = []
    real = context.sha256_of

    def read(root: Path, entry: context.Entry) -> tuple[str, os.stat_result | None]:
        seen.append(entry.name)
        return real(root, entry)

    monkeypatch.setattr(context, "sha256_of", read)
    return seen


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all was written long ago: the clock is ahead."""
    monkeypatch.setattr(StatCache, "_now_ns", lambda _: (1 << 62) + SETTLED_NS)


def _digest(root: Path, what: str = "") -> str:
    listed = context.entries(root, context.ignored(root))
    return StatCache(root.parent / "cache", root, what).digest(listed)


def _truth(root: Path) -> str:
    listed = context.entries(root, context.ignored(root))
    return context.digest(listed, lambda entry: hashlib.sha256((root / entry.name).read_bytes()).hexdigest())


@pytest.mark.usefixtures("settled")
def test_what_nobody_touched_is_not_read_again(root: Path, reads: list[str]) -> None:
    first = _digest(root)
    assert reads == ["a", "sub/b"]
    assert _digest(root) == first == _truth(root)
    assert reads == ["a", "sub/b"]


@pytest.mark.usefixtures("settled")
def test_only_what_was_touched_is_read_again(root: Path, reads: list[str]) -> None:
    _digest(root)
    reads.clear()
    (root / "sub" / "b").write_text("c")
    assert _digest(root) == _truth(root)
    assert reads == ["sub/b"]


def _same_size_and_time(root: Path) -> None:
    about = (root / "a").stat()
    (root / "a").write_text("AAAA")
    os.utime(root / "a", ns=(about.st_atime_ns, about.st_mtime_ns))


def _replaced(root: Path) -> None:
    about = (root / "a").stat()
    (root / "new").write_text("AAAA")
    os.utime(root / "new", ns=(about.st_atime_ns, about.st_mtime_ns))
    (root / "new").replace(root / "a")


def _by_another_name(root: Path) -> None:
    about = (root / "a").stat()
    os.link(root / "a", root.parent / "elsewhere")
    (root.parent / "elsewhere").write_text("AAAA")
    os.utime(root / "a", ns=(about.st_atime_ns, about.st_mtime_ns))


def _swapped(root: Path) -> None:
    """Two files of the same size and time change places."""
    (root / "sub" / "b").write_text("bbbb")
    about = (root / "a").stat()
    os.utime(root / "sub" / "b", ns=(about.st_atime_ns, about.st_mtime_ns))
    (root / "a").rename(root / "x")
    (root / "sub" / "b").rename(root / "a")
    (root / "x").rename(root / "sub" / "b")


def _executable(root: Path) -> None:
    (root / "a").chmod(0o755)


def _another_link(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("sub")


def _file_for_link(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").write_text("a")


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "change",
    [_same_size_and_time, _replaced, _by_another_name, _swapped, _executable, _another_link, _file_for_link],
)
def test_whatever_is_changed_is_noticed(root: Path, change: Any) -> None:
    before = _digest(root)
    change(root)
    assert _digest(root) == _truth(root) != before
    assert _digest(root) == _truth(root)


def test_a_file_just_written_is_read_again(root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a tick of the clock it could be written again and look the same. Here the tick is made as long as it takes."""
    frozen = (root / "a").stat()

    def as_it_was(about: os.stat_result) -> tuple[int, ...]:
        return (frozen.st_mode, frozen.st_size, frozen.st_mtime_ns, frozen.st_ctime_ns, frozen.st_ino, frozen.st_dev)

    _digest(root)
    (root / "a").write_text("AAAA")
    monkeypatch.setattr(context, "state", as_it_was)
    reads.clear()
    assert _digest(root) == _truth(root)
    assert "a" in reads


def test_a_clock_of_the_file_system_that_is_behind_decides(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches trust in our own clock: over a network, files are stamped by another one."""
    cache = StatCache(root.parent / "cache", root)
    probed = cache._now_ns()
    monkeypatch.setattr(time, "time_ns", lambda: probed + 3600 * 10**9)
    assert abs(cache._now_ns() - probed) < 60 * 10**9


def test_a_file_written_to_while_it_is_read_is_not_kept(
    root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, settled: None
) -> None:
    real = hashlib.file_digest

    def slow(file: Any, name: str) -> Any:
        found = real(file, name)
        with (root / "a").open("a") as more:
            more.write("x")
        return found

    monkeypatch.setattr(hashlib, "file_digest", slow)
    _digest(root)
    monkeypatch.undo()
    assert _digest(root) == _truth(root)


@pytest.mark.usefixtures("settled")
def test_a_copy_of_the_cache_is_of_no_use_to_another_checkout(root: Path) -> None:
    _digest(root)
    other = root.parent / "other" / "context"
    shutil.copytree(root, other, symlinks=True)
    shutil.copytree(root.parent / "cache", other.parent / "cache")
    (other / "a").write_text("AAAA")
    shutil.copystat(root / "a", other / "a")
    assert _digest(other) == _truth(other) != _digest(root)


@pytest.mark.usefixtures("settled")
def test_a_folder_put_in_the_place_of_another_is_another(root: Path) -> None:
    _digest(root)
    shutil.copytree(root, root.parent / "new", symlinks=True)
    (root.parent / "new" / "a").write_text("AAAA")
    shutil.copystat(root / "a", root.parent / "new" / "a")
    shutil.rmtree(root)
    (root.parent / "new").rename(root)
    assert _digest(root) == _truth(root)


def _flip(data: bytes) -> bytes:
    at = data.rindex(b'"digest":"sha256:') + 20 if b'"digest"' in data else len(data) // 2
    return data[:at] + (b"0" if data[at : at + 1] != b"0" else b"1") + data[at + 1 :]


def _other_version(data: bytes) -> bytes:
    value = json.loads(data.partition(b"\n")[2]) | {"v": statcache.VERSION + 1, "digest": "sha256:0", "files": {}}
    text = json.dumps(value).encode()
    return hashlib.sha256(text).hexdigest().encode() + b"\n" + text


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "damage", [lambda _: b"", lambda data: data[:-5], _flip, _other_version, lambda _: b"\xff\n\xff", lambda _: b"[]"]
)
def test_a_cache_that_is_damaged_is_as_none(root: Path, damage: Any) -> None:
    before = _digest(root)
    paths = list((root.parent / "cache").iterdir())
    assert len(paths) == 2
    for path in paths:
        path.write_bytes(damage(path.read_bytes()))
    assert _digest(root) == before
    (root / "a").write_text("AAAA")
    assert _digest(root) == _truth(root)


@pytest.mark.usefixtures("settled")
def test_other_patterns_have_a_digest_of_their_own(root: Path) -> None:
    before = _digest(root)
    (root / ".dockerignore").write_text("sub\n.dockerignore\n")
    assert _digest(root, "sub") == _truth(root) != before


def test_without_a_place_for_it_all_is_read(root: Path, reads: list[str]) -> None:
    listed = context.entries(root, context.ignored(root))
    for _ in range(2):
        assert StatCache(None, root).digest(listed) == _truth(root)
    assert reads == ["a", "sub/b"] * 2


def test_a_place_that_cannot_be_written_is_as_none(root: Path) -> None:
    (root.parent / "cache").write_text("in the way")
    assert _digest(root) == _truth(root)
