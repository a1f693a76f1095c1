"""A name from a definition must not open anything outside the project, whatever it looks like and whoever moves files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline import beneath
from pipeline.beneath import Contents, Refused, plain_name, read

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = b"outside: secret\n"
NAMES = st.text(max_size=30) | st.lists(
    st.sampled_from(
        ["..", ".", "", "a.yaml", "d", "link", "~", "secret.yaml", "file:", "*", "%2e%2e", "..\\", "\0", " "]
    ),
    max_size=5,
).map("/".join)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a file, a folder, links that stay and links that leave; a secret beside it."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.yaml").write_bytes(SECRET)
    project = outside / "project"
    (project / "d").mkdir(parents=True)
    (project / "a.yaml").write_bytes(b"a\n")
    (project / "d" / "b.yaml").write_bytes(b"b\n")
    (project / "inside.yaml").symlink_to("d/b.yaml")
    (project / "inner").symlink_to("d")
    (project / "link").symlink_to("..")
    (project / "link.yaml").symlink_to(outside / "secret.yaml")
    (project / "dangling.yaml").symlink_to("nowhere.yaml")
    (project / "dead").symlink_to("nowhere")
    (project / "loop.yaml").symlink_to("loop.yaml")
    os.mkfifo(project / "pipe.yaml")
    return project


def refusal(project: Path, name: str) -> str:
    with pytest.raises(Refused) as caught:
        read(project, name, 100)
    return caught.value.message


@pytest.mark.parametrize(
    "name",
    [
        "../secret.yaml",
        "d/../../secret.yaml",
        "..",
        "/etc/passwd",
        "//etc/passwd",
        "~/secret.yaml",
        "\\\\host\\share",
        "file:///etc/passwd",
        "file:a.yaml",
        "http://example.com/a.yaml",
        "s3://bucket/a.yaml",
        "local://a.yaml",
        "zip://a.yaml::file://b.zip",
        "c:a.yaml",
        "*.yaml",
        "d/?.yaml",
        "[ab].yaml",
        "{a,b}.yaml",
        "",
        ".",
        "./a.yaml",
        "d//b.yaml",
        "d/",
        "a.yaml\0",
        "a\nb",
        "$HOME/a.yaml",
        "%2e%2e/secret.yaml",
        " a.yaml",
        "a.yaml ",
        "a.yaml?x=1",
        "a.yaml#x",
        "a|b",
    ],
)
def test_names_that_are_not_plain(name: str) -> None:
    with pytest.raises(Refused):
        plain_name(name)


@pytest.mark.parametrize(
    "name", ["a.yaml", "d/b.yaml", "größe/ü.yaml", "a b.yaml", "..a", "a..b/c", ".hidden", "a+b@1=2,3-4_5"]
)
def test_names_that_are_plain(name: str) -> None:
    assert plain_name(name) == name


@given(NAMES)
@example("link/secret.yaml")
@example("link.yaml")
def test_no_name_reads_what_is_outside(project: Path, name: str) -> None:
    """`read` holds by itself: even a name that `plain_name` would have refused gives nothing from outside."""
    try:
        contents = read(project, name, 1000)
    except Refused:
        return
    except ValueError:  # a null character: no file system takes it, and `plain_name` refuses it before
        assert "\0" in name
        return
    assert contents.data != SECRET
    assert (project / contents.name).resolve().is_relative_to(project.resolve())


@given(NAMES)
def test_a_plain_name_joined_to_a_folder_stays_below_it(name: str) -> None:
    try:
        plain = plain_name(name)
    except Refused:
        return
    assert os.path.normpath(f"/project/{plain}").startswith("/project/")
    assert Path("/project", plain).parts[1] == "project"


def test_links_inside_are_followed_and_named_by_what_they_lead_to(project: Path) -> None:
    assert read(project, "inside.yaml", 100) == Contents("d/b.yaml", b"b\n")
    assert read(project, "inner/b.yaml", 100) == Contents("d/b.yaml", b"b\n")


@pytest.mark.parametrize("name", ["link.yaml", "link/secret.yaml"])
def test_links_that_leave_are_refused(project: Path, name: str) -> None:
    assert "leads out of the project" in refusal(project, name)


def test_a_project_reached_through_a_link_is_a_project(project: Path, tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(project)
    assert read(tmp_path / "here", "a.yaml", 100).data == b"a\n"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("d", "not a regular file"),
        ("pipe.yaml", "not a regular file"),
        ("dangling.yaml", "'dangling.yaml' is a link to 'nowhere.yaml', where there is nothing"),
        ("dead/b.yaml", "'dead' is a link to 'nowhere', where there is nothing"),
        ("loop.yaml", "too many levels of symbolic links"),
        ("a.yaml/b", "not a directory"),
        ("x" * 300, "file name too long"),
    ],
)
def test_what_is_no_file_is_refused_and_not_waited_for(project: Path, name: str, message: str) -> None:
    assert message in refusal(project, name)


def test_at_most_the_limit_is_read(project: Path) -> None:
    assert read(project, "a.yaml", 2).data == b"a\n"
    with pytest.raises(Refused, match="larger than 1 bytes"):
        read(project, "a.yaml", 1)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("d/c.yaml", "Did you mean 'd/b.yaml'?"),
        ("a.yml", "Did you mean 'a.yaml'?"),
        ("dangling.yaml", "Correct the link, or put a file in its place."),
        ("unlike-any", "Names are relative to the project directory."),
    ],
)
def test_a_file_that_is_not_there_has_a_hint(project: Path, name: str, hint: str) -> None:
    with pytest.raises(Refused) as caught:
        read(project, name, 100)
    assert caught.value.hint == hint


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text("")

    def denied(*_args: object, **_kwargs: object) -> int:  # root may read everything, so a mode would not do
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(beneath, "_open", denied)
    assert refusal(tmp_path, "a.yaml") == "'a.yaml' cannot be read: permission denied"


def test_a_folder_swapped_for_a_link_while_it_is_opened_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking at a name and opening it, somebody replaces a folder by a link that leaves."""
    project = tmp_path / "project"
    (project / "d").mkdir(parents=True)
    (project / "d" / "secret.yaml").write_bytes(b"inside\n")
    (tmp_path / "secret.yaml").write_bytes(SECRET)
    real = os.path.realpath

    def swap(path: os.PathLike[str], *, strict: bool = False) -> str:
        found = real(path, strict=strict)
        if str(path).endswith("secret.yaml"):
            (project / "d").rename(project / "old")
            (project / "d").symlink_to(tmp_path)
        return found

    monkeypatch.setattr(os.path, "realpath", swap)
    assert "cannot be read" in refusal(project, "d/secret.yaml")


@pytest.fixture
def _open_files() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a list of names is all that is wanted
    yield
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - as above


@pytest.mark.usefixtures("_open_files")
def test_no_descriptor_is_left_open(project: Path) -> None:
    for name in ("a.yaml", "d", "pipe.yaml", "d/b.yaml", "a.yaml/b", "link.yaml"):
        try:
            read(project, name, 100)
        except Refused:
            continue


# Folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with a folder `d` of two files."""
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "b:1").write_bytes(b"bb")
    (tmp_path / "d" / "e" / "a").write_bytes(b"a")
    return tmp_path


def folder_refusal(project: Path, name: str, most_files: int = 9, limit_bytes: int = 9) -> Refused:
    with pytest.raises(Refused) as caught:
        beneath.read_folder(project, name, most_files, limit_bytes)
    return caught.value


def test_all_files_of_a_folder_are_read(folder: Path) -> None:
    assert beneath.read_folder(folder, "d", 2, 3) == {"d/b:1": b"bb", "d/e/a": b"a"}


def test_limits_of_a_folder(folder: Path) -> None:
    assert folder_refusal(folder, "d", most_files=1).message == "'d' has more than 1 files"
    assert folder_refusal(folder, "d", limit_bytes=2).message == "'d' has more than 2 bytes"


def test_links_in_a_folder_are_refused(folder: Path) -> None:
    """One that leads out would carry a secret into the record; one that stays would be read twice."""
    (folder / "d" / "link").symlink_to("e/a")
    assert "'d/link' is a link" in folder_refusal(folder, "d").message
    (folder / "d" / "link").unlink()
    (folder / "d" / "e" / "up").symlink_to("../..")
    assert "'d/e/up' is a link" in folder_refusal(folder, "d").message


def test_what_is_no_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    refused = folder_refusal(folder, "dd")
    assert (refused.message, refused.hint) == ("there is no folder 'dd' in the project directory", "Did you mean 'd'?")
    assert "no folder" in folder_refusal(folder, "d/e/a").message
    (folder / "empty").mkdir()
    assert "no files" in folder_refusal(folder, "empty").message
    (folder / "out").symlink_to(tmp_path_factory.mktemp("out"))
    assert "leads out" in folder_refusal(folder, "out").message
    os.mkfifo(folder / "d" / "pipe")
    assert "not a regular file" in folder_refusal(folder, "d").message
