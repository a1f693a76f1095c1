"""What only one builder can do, and what both must do as Docker does."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from stages.contract import StageError

if TYPE_CHECKING:
    from pathlib import Path

    from docker import APIClient

pytestmark = pytest.mark.engine

METADATA = "Dockerfile: Dockerfile, DockerContext: {}, DockerTag: v1"


def _files(client: APIClient, image: str) -> set[str]:
    """The files of an image that is from scratch, without what the engine puts into a container."""
    container = client.create_container(image, command=["none"])["Id"]
    try:
        with tarfile.open(fileobj=io.BytesIO(b"".join(client.export(container)))) as archive:
            names = {member.name for member in archive if member.isfile()}
    finally:
        client.remove_container(container)
    return {name for name in names if not name.startswith(("etc/", ".dockerenv", "dev/", "proc/", "sys/"))}


TREE = (
    "Dockerfile",
    "a",
    "ab",
    "b.md",
    "d/a",
    "d/b.md",
    "d/e/a",
    "d/e/keep",
    "d/e/f/x.md",
    "x y",
    "node_modules/m/i.js",
)

IGNORED = {
    "nothing": "",
    "a name": "a\n",
    "a name from the root": "/a\n",
    "a star": "*.md\n",
    "two stars": "**/*.md\n",
    "two stars before a name": "**/a\n",
    "two stars after a folder": "d/**\n",
    "two stars between": "d/**/x.md\n",
    "a folder with a slash": "d/e/\n",
    "a folder": "node_modules\n",
    "a question mark": "a?\n",
    "a class": "[a-b]\n",
    "all but one": "*\n!a\n",
    "all but a folder": "*\n!d/e\n",
    "a folder but one of its files": "d\n!d/e/keep\n",
    "the last one counts": "!a\na\n*.md\n!b.md\n",
    "comments and spaces": "# a\n  ab  \n\n",
    "a name with a space": "x y\n",
    "a name by a detour": "./d/../a\n",
    "the Dockerfile": "Dockerfile\n.dockerignore\n",
    "all of it": "**\n!a\n",
    "CRLF": "a\r\nab\r\n",
}


def _by_docker(context: Path, client: APIClient, builder: str, built: list[str], tmp_path: Path) -> set[str]:
    """What docker's own command sends of a context, by an image that has all of it."""
    clients = [os.path.join(folder, "docker") for folder in os.get_exec_path()]  # noqa: PTH118
    for docker in dict.fromkeys(path for path in clients if os.access(path, os.X_OK)):
        done = subprocess.run(
            [docker, "build", "--quiet", f"--iidfile={tmp_path / 'iid'}", str(context)],
            env={**os.environ, "DOCKER_BUILDKIT": "1" if builder == "buildkit" else "0"},
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            image = (tmp_path / "iid").read_text().strip()
            built.append(image)
            return _files(client, image)
    pytest.skip("no docker client here builds with this builder")


@pytest.mark.parametrize("case", IGNORED)
def test_dockerignore_is_read_as_docker_reads_it(project: Any, client: APIClient, tmp_path: Path, case: str) -> None:
    for name in TREE:
        project.write(f"app/{name}", f"{name} {project.mark}")
    project.write("app/Dockerfile", f"FROM scratch\nCOPY . /\n# {project.mark}\n")
    project.write("app/.dockerignore", IGNORED[case])
    project.write_template({"Fn": METADATA.format("app")})
    ours = _files(client, project.build()["Fn"]["config"])
    assert ours == _by_docker(project.source / "app", client, project.builder, project.built, tmp_path)


def test_an_exception_with_stars_counts_everywhere(project: Any, client: APIClient) -> None:
    """As BuildKit documents it, whatever the client: older ones do not look into folders for it."""
    for name in TREE:
        project.write(f"app/{name}", f"{name} {project.mark}")
    project.write("app/Dockerfile", "FROM scratch\nCOPY . /\n")
    project.write("app/.dockerignore", "*\n!**/keep\n")
    project.write_template({"Fn": METADATA.format("app")})
    assert _files(client, project.build()["Fn"]["config"]) == {"d/e/keep"}


@pytest.mark.parametrize("builder", ["buildkit"], indirect=True)
def test_a_secret_is_read_by_its_step_and_is_not_in_the_image(
    project: Any, client: APIClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code_of: Any
) -> None:
    mounts = "--mount=type=secret,id=two-lines.1 --mount=type=secret,id=variable"
    script = "cat /run/secrets/two-lines.1 /run/secrets/variable; read x < /run/secrets/variable; echo ${#x} > /code"
    project.write_shell("app", f'RUN {mounts} ["/bin/sh", "-c", "{script}"]')
    project.write_template({"Fn": METADATA.format("app")})
    monkeypatch.setenv("TOWPATH_SECRET_two-lines.1", "hunter2-of\ntwo lines\n")
    monkeypatch.setenv("TOWPATH_SECRET_variable", "hunter2-in-a-variable")
    built = project.build(secrets=["two-lines.1", "variable"])
    assert code_of(built["Fn"]["config"]) == "21\n"
    assert "hunter2-of" in capsys.readouterr().out  # the runner masks it: here is the log as it reaches the runner
    assert b"hunter2" not in b"".join(client.get_image(built["Fn"]["config"]))


@pytest.mark.parametrize("builder", ["classic"], indirect=True)
@pytest.mark.parametrize(
    "options", [{"secrets": ["a"]}, {"ssh": ["default"]}, {"cache-from": ["x"]}, {"cache-to": ["x"]}]
)
def test_the_classic_builder_refuses_what_it_does_not_know(project: Any, options: dict[str, Any]) -> None:
    project.write_scratch("app", "x")
    project.write_template({"Fn": METADATA.format("app")})
    with pytest.raises(StageError, match=r"needs BuildKit, and this is the .*classic builder"):
        project.build(**options)


def test_all_are_finished_if_a_failure_is_not_to_stop_them(project: Any, client: APIClient) -> None:
    project.write_shell("slow", 'RUN ["/bin/sh", "-c", "sleep 2; echo done"]')
    project.write_shell("bad", 'RUN ["/bin/sh", "-c", "exit 1"]')
    project.write_shell("worse", 'RUN ["/bin/sh", "-c", "exit 2"]')
    project.write_template({name: METADATA.format(name.lower()) for name in ("Slow", "Bad", "Worse")})
    with pytest.raises(StageError) as caught:
        project.build(jobs=1, **{"fail-fast": False})
    assert "Bad: the image cannot be built" in caught.value.message
    assert "Worse: the image cannot be built" in caught.value.message
    assert "Slow" not in caught.value.message


def test_the_name_that_sam_gives_is_an_alias_and_never_ambiguous(
    project: Any, client: APIClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches two functions under one name: whoever ran that image would run another function's code."""
    mark = project.mark[:8]
    for folder in ("a", "b", "c"):
        project.write_scratch(folder, folder)
    names = {f"Only{mark}": "a", f"Case{mark}": "b", f"CASE{mark}": "c"}
    project.write_template({name: METADATA.format(folder) for name, folder in names.items()})
    built = project.build(**{"sam-tags": True})
    inspected: Any = client.inspect_image(f"only{mark}:v1")  # type: ignore[no-untyped-call]
    project.built.append(f"only{mark}:v1")
    assert inspected["Id"] == built[f"Only{mark}"]["config"]
    assert not client.images(f"case{mark}:v1")
    assert f"case{mark}:v1 would name 2 images, so it names none" in capsys.readouterr().out
