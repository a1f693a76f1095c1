from __future__ import annotations

import io
import os
import socket
import tarfile
from typing import TYPE_CHECKING

import pytest

from stages.contract import StageError
from stages.images import context

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "app.py").write_text("print(1)\n")
    (tmp_path / "sub" / "data").write_text("x")
    (tmp_path / "link").symlink_to("app.py")
    return tmp_path


def _pack(root: Path, **files: bytes) -> tuple[str, dict[str, tarfile.TarInfo]]:
    """The digest and what is in the archive; the digest of reading alone must be the same."""
    listed = context.entries(root, context.ignored(root))
    out, stream, digest = io.BytesIO(), context.stream(root, listed, files), ""
    try:
        while True:
            out.write(next(stream))
    except StopIteration as end:
        digest = end.value
    assert digest == context.digest(listed, lambda entry: context.sha256_of(root, entry)[0])
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        members = {member.name: member for member in archive}
        for entry in listed:
            if members[entry.name].isreg():
                content = archive.extractfile(members[entry.name])
                assert content is not None
                assert content.read() == (root / entry.name).read_bytes()
        return digest, members


def test_links_stay_links_and_owners_are_root(root: Path) -> None:
    _, members = _pack(root)
    assert sorted(members) == ["Dockerfile", "app.py", "link", "sub", "sub/data"]
    assert (members["link"].issym(), members["link"].linkname) == (True, "app.py")
    assert {(member.uid, member.gid, member.uname) for member in members.values()} == {(0, 0, "")}


@pytest.mark.parametrize("ignored", [None, "!.towpath\n", "*\n!app.py\n!.towpath/**\n"])
def test_our_own_record_is_never_part_of_it(root: Path, ignored: str | None) -> None:
    """It changes with every run, so nothing would ever be found built."""
    if ignored is not None:
        (root / ".dockerignore").write_text(ignored)
    (root / "sub" / ".towpath").mkdir()  # is none of ours
    before, members = _pack(root)
    assert ("sub/.towpath" in members) is (ignored is None or "*" not in ignored)
    (root / ".towpath" / "store" / "runs").mkdir(parents=True)
    (root / ".towpath" / "store" / "runs" / "1").write_text("x")
    after, members = _pack(root)
    assert [name for name in members if name.startswith(".towpath")] == []
    assert after == before


def test_a_link_out_of_the_context_is_not_followed(root: Path) -> None:
    (root / "secret").symlink_to("/etc/passwd")
    _, members = _pack(root)
    assert members["secret"].issym()
    assert members["secret"].size == 0


def test_hard_links_are_files_of_their_own(root: Path) -> None:
    before = _pack(root)[0]
    (root / "sub" / "data").unlink()
    os.link(root / "app.py", root / "sub" / "data")
    digest, members = _pack(root)
    assert members["sub/data"].isreg()
    (root / "sub" / "data").unlink()
    (root / "sub" / "data").write_text("print(1)\n")
    assert _pack(root)[0] == digest != before


def test_what_is_left_out_is_not_there_and_what_is_sent_beside_is_not_in_the_digest(root: Path) -> None:
    (root / ".dockerignore").write_text("# comment\n*\n!app.py\n!sub/d*\n")
    digest, members = _pack(root)
    assert sorted(members) == ["app.py", "sub", "sub/data"]
    beside, members = _pack(root, Dockerfile=b"FROM scratch\n")
    assert members["Dockerfile"].size == 13
    assert beside == digest


def test_a_folder_in_which_nothing_is_let_through_is_not_there(root: Path) -> None:
    (root / ".dockerignore").write_text("sub\n!sub/other\n")
    assert "sub" not in _pack(root)[1]


def test_a_pattern_that_is_none_is_told_with_its_file(root: Path) -> None:
    (root / ".dockerignore").write_text("a\n[\n")
    with pytest.raises(StageError, match="line 2: ") as caught:
        context.ignored(root)
    assert caught.value.where == str(root / ".dockerignore")


def test_sizes_that_need_no_padding_and_long_names(root: Path) -> None:
    (root / "full").write_bytes(b"x" * 1024)
    (root / "empty").write_bytes(b"")
    (root / ("l" * 200)).write_text("long")
    (root / "link2").symlink_to("t" * 150)
    _, members = _pack(root)
    assert {"full", "empty", "l" * 200} <= set(members)
    assert members["link2"].linkname == "t" * 150


def test_times_do_not_change_the_digest(root: Path) -> None:
    before = _pack(root)[0]
    os.utime(root / "app.py", (1, 1))
    assert _pack(root)[0] == before


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "app.py").write_text("print(2)\n"),
        lambda root: (root / "app.py").chmod(0o755),
        lambda root: (root / "app.py").rename(root / "other.py"),
        lambda root: (root / "empty").mkdir(),
        lambda root: ((root / "link").unlink(), (root / "link").symlink_to("sub")),
    ],
)
def test_whatever_the_image_could_see_changes_the_digest(root: Path, change: Callable[[Path], object]) -> None:
    before = _pack(root)[0]
    change(root)
    assert _pack(root)[0] != before


def test_names_cannot_be_shifted_into_contents(tmp_path: Path) -> None:
    """Catches a digest of values that are joined without their borders."""
    digests = set()
    for name, content in (("ab", "c"), ("a", "bc")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "Dockerfile").write_text("FROM scratch\n")
        (folder / name).write_text(content)
        digests.add(_pack(folder)[0])
    assert len(digests) == 2


def test_an_odd_file_name_is_no_obstacle(root: Path) -> None:
    (root / os.fsdecode(b"caf\xe9 \n")).write_text("x")
    assert len(_pack(root)[1]) == 6


def test_a_socket_is_left_out_and_a_pipe_is_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "s"))
        _, members = _pack(root)
    assert members["pipe"].isfifo()
    assert "s" not in members


def test_a_file_that_becomes_shorter_while_it_is_sent_is_told(root: Path) -> None:
    (root / "app.py").write_bytes(b"x" * (3 << 20))
    listed = context.entries(root, context.ignored(root))
    stream = context.stream(root, [entry for entry in listed if entry.name == "app.py"], {})
    next(stream)
    next(stream)
    os.truncate(root / "app.py", 100)
    with pytest.raises(StageError, match=r"app\.py became shorter while it was read"):
        list(stream)


def test_a_file_that_cannot_be_read_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(root: Path, name: str) -> object:
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(context, "_open", refuse)  # root may read everything, and tests run as root in containers
    with pytest.raises(StageError, match="Dockerfile of the build context cannot be read: Permission denied"):
        _pack(root)


def test_a_copy_has_all_that_an_archive_has(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (root / "run").write_text("x")
    (root / "run").chmod(0o755)
    (root / "locked").mkdir()
    (root / "locked" / "f").write_text("x")
    (root / "locked").chmod(0o555)
    folder = tmp_path_factory.mktemp("copy")
    listed = context.entries(root, context.ignored(root))
    assert context.stage(root, listed, folder) == _pack(root)[0]
    copied = context.entries(folder, context.ignored(folder))
    assert [(entry.name, entry.about.st_mode, entry.link) for entry in copied] == [
        (entry.name, entry.about.st_mode, entry.link) for entry in listed
    ]
    assert _pack(folder)[0] == _pack(root)[0]


def test_a_copys_time_says_what_is_in_it(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Catches a builder that goes by size and time: it would take the old content of what was changed without another."""
    times = []
    for content in ("aaaa", "bbbb", "aaaa"):
        (root / "app.py").write_text(content)
        os.utime(root / "app.py", (1_700_000_000, 1_700_000_000))
        folder = tmp_path_factory.mktemp("copy")
        context.stage(root, context.entries(root, context.ignored(root)), folder)
        times.append((folder / "app.py").stat().st_mtime_ns)
    assert times[0] == times[2] != times[1]
    assert {time_ns // 10**9 for time_ns in times} == {1_700_000_000}
