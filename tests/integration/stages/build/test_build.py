"""Builds by a real engine. The first three tests are faults that another tool has: it packages other code, silently."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from stages.contract import StageError
from stages.images import engine

if TYPE_CHECKING:
    from pathlib import Path

    from docker import APIClient

pytestmark = pytest.mark.engine

METADATA = "Dockerfile: Dockerfile, DockerContext: {}, DockerTag: v1"


def _log(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_two_functions_with_one_tag_each_have_their_own_code(project: Any, code_of: Any) -> None:
    """Catches images that are told apart by a name, as when root and nested template share function id and tag."""
    project.write_scratch("root", "n0")
    project.write_scratch("child/app", "n1")
    project.write_template({"QRoot": METADATA.format("root"), "QRoots": METADATA.format("child/app")})
    built = project.build()
    assert code_of(built["QRoot"]["carrier"]["image"]) == "n0"
    assert code_of(built["QRoots"]["carrier"]["image"]) == "n1"


def test_a_function_of_a_nested_template_with_the_same_id_and_tag_has_its_own_code(project: Any, code_of: Any) -> None:
    """`sam build` builds both to `qroot:v1`, and packages the root's function with the child's code."""
    for folder, code in (("app", "n0"), ("child/app", "n1"), ("child/grand/app", "n2")):
        project.write_scratch(folder, code)
    function = "  QRoot:\n    Type: AWS::Serverless::Function\n    Properties: {PackageType: Image}\n"
    function += "    Metadata: {DockerTag: v1, Dockerfile: Dockerfile, DockerContext: app}\n"
    nested = "  Child: {{Type: AWS::Serverless::Application, Properties: {{Location: {}/t.yaml}}}}\n"
    project.write("template.yaml", "Resources:\n" + function + nested.format("child"))
    project.write("child/t.yaml", "Resources:\n" + function + nested.format("./grand"))
    project.write("child/grand/t.yaml", "Resources:\n" + function)
    built = project.build()
    codes = {name: code_of(each["carrier"]["image"]) for name, each in built.items()}
    assert codes == {"QRoot": "n0", "Child/QRoot": "n1", "Child/Child/QRoot": "n2"}


def test_ids_that_differ_in_case_only_have_their_own_code(project: Any, code_of: Any) -> None:
    project.write_scratch("a", "a")
    project.write_scratch("b", "b")
    project.write_template({"QFoo": METADATA.format("a"), "QFOO": METADATA.format("b")})
    built = project.build()
    assert code_of(built["QFoo"]["carrier"]["image"]) == "a"
    assert code_of(built["QFOO"]["carrier"]["image"]) == "b"


def test_two_checkouts_on_one_engine_do_not_take_each_others_code(make_project: Any, code_of: Any) -> None:
    projects = []
    for name in ("A", "B"):
        project = make_project(name)
        project.write_scratch("app", f"code of app {name}")
        project.write_template({"QShared": METADATA.format("app")})
        projects.append((project, project.build()))
    for project, built in projects:
        assert code_of(built["QShared"]["carrier"]["image"]) == f"code of app {project.work.name}"


def test_what_is_handed_over(project: Any, client: APIClient) -> None:
    project.write_scratch("app", "x")
    project.write_template({"Fn": METADATA.format("app")})
    built = project.build()["Fn"]
    inspected: Any = client.inspect_image(built["config"])  # type: ignore[no-untyped-call]
    assert built["carrier"] == {"type": "engine", "engine": client.info()["ID"], "image": inspected["Id"]}
    assert built["config"] == inspected["Id"]  # so it is on an engine with a classic image store
    assert (built["platform"], built["size"]) == ("linux/amd64", inspected["Size"])
    assert (built["path"], built["base"], built["bases"]) == (["Resources", "Fn"], None, {})
    assert built["builder"] == project.builder
    output = project.work / "outputs" / "images"
    assert sorted(path.name for path in output.iterdir()) == ["images.json", "templates"]
    assert (output / "templates" / "template.yaml").read_bytes() == (project.source / "template.yaml").read_bytes()


def test_the_project_is_only_read(project: Any) -> None:
    project.write_scratch("app", "x")
    project.write_template({"Fn": METADATA.format("app")})
    before = {path: path.stat() for path in project.source.rglob("*")}
    for path in [*before, project.source]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    modes = {path: path.stat().st_mode for path in before}
    project.build()
    after = {path: path.stat() for path in project.source.rglob("*")}
    assert {path: stat.st_mtime_ns for path, stat in after.items()} == {
        path: stat.st_mtime_ns for path, stat in before.items()
    }
    assert {path: stat.st_mode for path, stat in after.items()} == modes
    for path in [project.source, *before]:
        path.chmod(0o755)


def test_nothing_changed_is_the_same_image_and_a_change_is_another(project: Any) -> None:
    """Catches labels, times or the engine's cache making an image new: everything would be deployed again."""
    for folder in ("a", "b", "c"):
        project.write_scratch(folder, folder)
    project.write_template({name.upper(): METADATA.format(name) for name in ("a", "b", "c")})
    first = project.build(jobs=3)
    assert project.build(jobs=3) == first
    project.write("b/code", "changed")
    changed = project.build(jobs=3)
    assert [changed[name]["config"] == first[name]["config"] for name in ("A", "B", "C")] == [True, False, True]
    assert [changed[name]["source"] == first[name]["source"] for name in ("A", "B", "C")] == [True, False, True]


@pytest.mark.parametrize("builder", ["classic"], indirect=True)
def test_equal_steps_of_another_build_do_not_make_an_image_new(project: Any, client: APIClient) -> None:
    """Catches the engine's own choice among equal cached steps, the newest: builds side by side leave them twice."""
    project.write_scratch("app", "x")
    project.write_template({"Fn": METADATA.format("app")})
    first = project.build()
    path = str(project.source / "app")
    for _ in client.build(path=path, nocache=True, labels={"towpath.built": "true"}, tag=f"aside:{project.mark}"):
        pass
    project.built.append(f"aside:{project.mark}")
    assert project.build() == first


def test_a_file_that_is_ignored_changes_nothing(project: Any) -> None:
    project.write_scratch("app", "x")
    project.write("app/.dockerignore", "*.md\n")
    project.write_template({"Fn": METADATA.format("app")})
    first = project.build()
    project.write("app/README.md", "new")
    assert project.build() == first


def test_equal_definitions_are_built_once(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    project.write_scratch("app", "x")
    project.write_template({"A": METADATA.format("app"), "B": METADATA.format("./app/"), "C": METADATA.format("app")})
    built = project.build()
    assert built["A"]["config"] == built["B"]["config"] == built["C"]["config"]
    built_lines = [line for line in _log(capsys) if line["message"].startswith("built sha256:")]
    assert [line["function"] for line in built_lines] == ["A, B, C"]


def test_build_args_reach_the_build_and_unknown_ones_do_no_harm(project: Any, code_of: Any) -> None:
    project.write_shell("app", "ARG V=0", "ARG W", 'RUN ["/bin/sh", "-c", "echo $V $W > /code"]', 'CMD ["x"]')
    project.write_template({"Fn": METADATA.format("app") + ", DockerBuildArgs: {V: 010, W: template}"})
    built = project.build(**{"build-args": {"W": "stage", "NOBODY_ASKS": "x"}})
    assert code_of(built["Fn"]["config"]) == "010 stage\n"


def test_the_target_of_a_multi_stage_dockerfile(project: Any, code_of: Any) -> None:
    project.write("app/Dockerfile", "FROM scratch AS one\nCOPY one /code\nFROM scratch\nCOPY two /code\n")
    project.write("app/one", f"one {project.mark}")
    project.write("app/two", f"two {project.mark}")
    project.write_template({
        "One": METADATA.format("app") + ", DockerBuildTarget: one",
        "Two": METADATA.format("app"),
    })  # fmt: skip
    built = project.build()
    assert code_of(built["One"]["config"]).startswith("one")
    assert code_of(built["Two"]["config"]).startswith("two")


def test_the_log_is_live_and_says_which_function(project: Any) -> None:
    """Catches a log that is held back until the image is done."""
    script = "for i in 1 2 3; do echo tick $i; sleep 1; done"
    project.write_shell("app", f'RUN ["/bin/sh", "-c", "{script}"]')
    project.write_template({"Slow": METADATA.format("app")})
    options = {"template": "template.yaml", "builder": project.builder}
    request = {
        "v": 1, "kind": "build", "phase": "apply", "handle": "run-build-1", "options": options,
        "inputs": {}, "source": "source", "target": None, "access": None, "proposal": None, "earlier": [],
    }  # fmt: skip
    (project.work / "request.json").write_text(json.dumps(request))
    seen: dict[str, float] = {}
    command = [sys.executable, "-I", "-m", "stages", "build"]
    with subprocess.Popen(command, cwd=project.work, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            entry = json.loads(line)
            if entry["message"].startswith(("tick", "built")):
                assert entry["function"] == "Slow"
                seen[entry["message"].partition(" sha256")[0]] = time.monotonic()
    assert process.returncode == 0
    assert [name for name in seen if name != "building"] == ["tick 1", "tick 2", "tick 3", "built"]
    assert seen["tick 2"] - seen["tick 1"] > 0.5
    assert seen["built"] - seen["tick 1"] > 2


def test_a_failure_names_function_line_and_last_lines(project: Any) -> None:
    project.write_shell("app", "# a comment", 'RUN ["/bin/sh", "-c", \\', '  "echo the reason; exit 3"]')
    project.write_template({"QFail": METADATA.format("app")})
    with pytest.raises(StageError) as caught:
        project.build()
    error = caught.value
    assert error.where == "app/Dockerfile:4"
    assert error.message.startswith("QFail: the image cannot be built: ")
    assert "code: 3" in error.message
    assert "\n  at: RUN " in error.message
    assert error.message.endswith("\n  | the reason")
    assert error.cls == "terminal"


@pytest.mark.parametrize(
    ("dockerfile", "line", "message"),
    [
        ("FROM scratch\n\nFOO x\n", 3, "unknown instruction: FOO"),
        ("FROM scratch\nCOPY nope /\n", 2, "nope.* not found|file not found in build context"),
        ("# nothing\n", None, "no instructions|Dockerfile cannot be empty"),
    ],
)
def test_dockerfiles_that_cannot_be_built(project: Any, dockerfile: str, line: int | None, message: str) -> None:
    project.write("app/Dockerfile", dockerfile)
    project.write_template({"Fn": METADATA.format("app")})
    with pytest.raises(StageError, match=message) as caught:
        project.build()
    assert caught.value.where == (f"app/Dockerfile:{line}" if line else "app/Dockerfile")
    assert caught.value.cls == "terminal"


def test_a_base_image_whose_registry_does_not_answer(project: Any) -> None:
    project.write("app/Dockerfile", "ARG V\nFROM 127.0.0.1:9/base:1\n")  # port 9 is nobody's
    project.write_template({"Fn": METADATA.format("app")})
    with pytest.raises(StageError, match="connection refused") as caught:
        project.build()
    assert (caught.value.where, caught.value.cls) == ("app/Dockerfile:2", "retryable")
    assert "Nothing answers at the registry's address" in (caught.value.hint or "")


def test_build_args_are_not_told_when_the_engine_refuses(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches the client's own error text, which holds the request's address and with it every build argument."""
    project.write("app/Dockerfile", "FOO\n")
    project.write_template({"Fn": METADATA.format("app")})
    with pytest.raises(StageError) as caught:
        project.build(**{"build-args": {"TOKEN": "hunter2"}})
    assert "hunter2" not in str(caught.value) + capsys.readouterr().out


def test_after_one_failure_the_others_end_soon(project: Any, client: APIClient) -> None:
    script = "i=0; while [ $i -lt 60 ]; do echo $i; i=$((i+1)); sleep 1; done"
    project.write_shell("slow", f'RUN ["/bin/sh", "-c", "{script}"]')
    project.write_shell("bad", 'RUN ["/bin/sh", "-c", "sleep 1; exit 1"]')
    project.write_template({"Slow": METADATA.format("slow"), "Bad": METADATA.format("bad")})
    start = time.monotonic()
    with pytest.raises(StageError, match=r"^Bad: the image cannot be built"):
        project.build(jobs=2)
    assert time.monotonic() - start < 20
    time.sleep(1)
    running = [each["Command"] for each in client.containers()]
    assert not [command for command in running if "-lt 60" in command]


@pytest.mark.parametrize("builder", ["classic"], indirect=True)  # BuildKit asks the registry for one that fits
def test_an_image_for_another_platform_is_refused(project: Any, make_project: Any, client: APIClient) -> None:
    """Catches a function that cannot start: on this builder a base image decides the platform."""
    base = make_project("base")
    base.write_scratch("app", "x")
    base.write_template({"Base": METADATA.format("app")})
    image = base.build()["Base"]["config"]
    name = f"base-{project.mark}:1"
    client.tag(image, f"base-{project.mark}", "1")
    project.built.append(name)
    project.write("app/Dockerfile", f"FROM {name}\nCOPY mark /\n")
    project.write("app/mark", project.mark)
    project.write_template({f"Arm{project.mark}": METADATA.format("app")})
    template = (project.source / "template.yaml").read_text()
    project.write("template.yaml", template.replace("Image}", "Image, Architectures: [arm64]}"))
    with pytest.raises(StageError, match="linux/arm64"):
        project.build()
    for left in client.images(f"towpath/arm{project.mark}", quiet=True):
        project.built.append(left)


@pytest.mark.filterwarnings("ignore:docker-credential-no-such-helper not installed")
@pytest.mark.parametrize("builder", ["classic"], indirect=True)
def test_a_credential_helper_that_is_missing_is_named(
    project: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project.write_scratch("app", "x")
    project.write_template({"Fn": METADATA.format("app")})
    (tmp_path / "config.json").write_text('{"credsStore": "no-such-helper"}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.raises(StageError, match="a credential helper that the Docker configuration names does not work"):
        project.build()


def test_no_engine_is_one_clear_message(project: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    project.write_scratch("app", "x")
    project.write_template({"Fn": METADATA.format("app")})
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(StageError, match=f"no container engine answers at unix://{tmp_path}/none.sock") as caught:
        project.build()
    assert "sudo systemctl start docker" in (caught.value.hint or "")


def test_a_name_taken_by_somebody_else_changes_nothing(project: Any, make_project: Any, client: APIClient) -> None:
    """Catches identity by tag: another image gets the name that ours has, between two builds."""
    project.write_scratch("app", "x")
    project.write_template({"Fn": METADATA.format("app")})
    built = project.build()["Fn"]
    other = make_project("other")
    other.write_scratch("app", "other")
    other.write_template({"Fn": METADATA.format("app")})
    thief = other.build()["Fn"]["config"]
    inspected: Any = client.inspect_image(built["config"])  # type: ignore[no-untyped-call]
    name = next(each for each in inspected["RepoTags"] if each.startswith("towpath/fn:"))
    client.tag(thief, name.partition(":")[0], name.partition(":")[2])
    again = project.build()["Fn"]
    assert again["config"] != thief
    assert engine.inspect(client, again["config"]) is not None
