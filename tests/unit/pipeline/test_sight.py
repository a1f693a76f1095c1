from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import StageFailed
from pipeline.sight import sight
from stages.contract import Request
from stages.kinds import KINDS

if TYPE_CHECKING:
    from pipeline.executors import Sight

SOCKET = Path("/var/run/docker.sock")


def seen(
    kind: str,
    work: Path,
    handed: dict[str, str] | None = None,
    options: dict[str, Any] | None = None,
    *,
    source: Path | None = None,
    cache: Path | None = None,
    ours: dict[str, str] | None = None,
) -> Sight:
    request = Request(
        kind, "apply", "h", options or {}, source=str(source) if source else None, cache=str(cache) if cache else None
    )
    return sight(request, KINDS[kind].needs, {"HOME": str(work), **(handed or {})}, ours or {}, work)


def test_only_kinds_that_need_it_see_the_source_and_never_the_record_in_it(tmp_path: Path) -> None:
    work, project = tmp_path / "work", tmp_path / "project"
    command = seen("command", work, source=project)
    assert (command.read, command.hidden, command.write) == ((project,), (project / ".towpath",), ())
    assert seen("scan", work, source=work / "source").read == ()
    assert seen("deploy", work).read == ()


def test_only_kinds_that_need_it_see_the_engine(tmp_path: Path) -> None:
    assert {kind for kind in KINDS if SOCKET in seen(kind, tmp_path).write} == {"build", "scan", "package"}
    assert seen("build", tmp_path, {"DOCKER_HOST": "unix:///x/y.sock"}).write[-1] == Path("/x/y.sock")
    elsewhere = seen("build", tmp_path, {"DOCKER_HOST": "tcp://engine:2376", "DOCKER_CERT_PATH": "/certs"})
    assert (elsewhere.read, elsewhere.write) == ((Path("/certs"),), ())


def test_a_file_that_a_variable_names_is_seen(tmp_path: Path) -> None:
    handed = {
        "SSL_CERT_FILE": "/ca.pem",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/run/token",
        "DOCKER_CONFIG": "/d",
        "TZ": "/x",
    }
    assert seen("package", tmp_path, handed).read == (Path("/ca.pem"), Path("/run/token"), Path("/d"))
    assert Path("/d/buildx") in seen("package", tmp_path, handed).write
    assert Path("/d/buildx") not in seen("deploy", tmp_path, handed).write


def test_the_configuration_of_aws_is_seen_with_what_it_names_only_by_who_has_our_home(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text(
        "[profile a]\nweb_identity_token_file = /tokens/a\ncredential_process = /opt/helper --now\nregion = eu-central-1\n"
    )
    mine = seen("deploy", tmp_path / "work", {"HOME": str(tmp_path)})
    assert set(mine.read) == {tmp_path / ".aws", Path("/tokens/a"), Path("/opt/helper")}
    assert tmp_path / ".aws/sso/cache" in mine.write
    assert seen("deploy", tmp_path / "work").read == ()


@pytest.mark.parametrize("text", ["[broken", "\x00\xff", "[a]\n[a]\nca_bundle\n"])
def test_a_broken_configuration_of_aws_is_no_reason_to_stop(tmp_path: Path, text: str) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text(text, encoding="latin-1")
    assert seen("deploy", tmp_path / "work", {"HOME": str(tmp_path)}).read == (tmp_path / ".aws",)


def test_keys_and_caches_that_options_of_build_name(tmp_path: Path) -> None:
    options = {
        "ssh": ["default", "git=/keys/a,b"],
        "cache-from": ["type=local,src=/from", "type=registry,ref=x"],
        "cache-to": ["type=local,dest=to,mode=max", "type=inline"],
    }
    build = seen("build", tmp_path / "work", options=options, source=tmp_path, cache=tmp_path / ".towpath/cache/build")
    assert {Path("/keys/a"), tmp_path / "b", Path("/from")} <= set(build.read)
    assert {tmp_path / "to", tmp_path / ".towpath/cache/build"} <= set(build.write)
    assert (tmp_path / "to").is_dir()


def test_what_people_add(tmp_path: Path) -> None:
    assert seen("scan", tmp_path, ours={"TOWPATH_VISIBLE": "/a:relative::/b"}).read == (Path("/a"), Path("/b"))


def test_what_a_program_may_change_is_in_the_project(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "dist").mkdir(parents=True)
    (project / "out").symlink_to(tmp_path)
    assert seen("command", tmp_path / "w", options={"writes": ["dist", "."]}, source=project).write == (
        project / "dist",
        project,
    )
    with pytest.raises(StageFailed, match="leads out of the project"):
        seen("command", tmp_path / "w", options={"writes": ["out"]}, source=project)
    seen("command", tmp_path / "w", options={"writes": ["build/lib"]}, source=project)
    assert (project / "build/lib").is_dir()


@pytest.mark.parametrize(
    "name", [".git", "./.git/hooks", ".towpath", ".towpath/store", "link", "link/store", "../x", "/etc"]
)
def test_the_record_and_what_git_runs_are_nobodys_to_write(tmp_path: Path, name: str) -> None:
    """What stands in a project's .git says what programs Git runs, and the runner runs Git."""
    project = tmp_path / "project"
    (project / ".towpath/store").mkdir(parents=True)
    (project / "link").symlink_to(".towpath")
    with pytest.raises(StageFailed, match="the stage may write"):
        seen("command", tmp_path / "w", options={"writes": [name]}, source=project)
    assert project / ".git" in seen("command", tmp_path / "w", options={"writes": ["."]}, source=project).read
