from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from stages import build
from stages.build.definitions import load
from stages.contract import InvalidInput, Request

if TYPE_CHECKING:
    from pathlib import Path

FUNCTION = """\
  {name}:
    Type: AWS::Serverless::Function
    Properties: {{PackageType: Image}}
    Metadata: {{Dockerfile: {dockerfile}, DockerContext: {context}}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one function below `app/`, and something secret beside the project."""
    source = tmp_path / "source"
    (source / "app" / "hello").mkdir(parents=True)
    (source / "app" / "hello" / "Dockerfile").write_text("FROM scratch\n")
    (source / "app" / "template.yaml").write_text("Resources:\n" + FUNCTION.format(
        name="Hello", dockerfile="Dockerfile", context="hello"
    ))  # fmt: skip
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "Dockerfile").write_text("FROM secret\n")
    return tmp_path


def _request(**options: Any) -> Request:
    return Request("build", "check", "run-build-1", {"template": "app/template.yaml", **options}, source="source")


def _problems(work: Path, *functions: dict[str, str], **options: Any) -> list[str]:
    if functions:
        text = "Resources:\n" + "".join(FUNCTION.format(**each) for each in functions)
        (work / "source" / "app" / "template.yaml").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        build.check(_request(**options), work)
    return [str(problem) for problem in caught.value.problems]


def _function(dockerfile: str = "Dockerfile", context: str = "hello", name: str = "Hello") -> dict[str, str]:
    return {"name": name, "dockerfile": dockerfile, "context": context}


def test_a_good_project_passes_and_nothing_is_written(project: Path) -> None:
    before = sorted(project.rglob("*"))
    assert build.check(_request(), project).outcome == "succeeded"
    assert sorted(project.rglob("*")) == before


def test_contexts_are_relative_to_the_templates_folder(project: Path) -> None:
    (definition,) = load(_request(), project).definitions
    assert definition.context == project / "source" / "app" / "hello"
    assert (definition.dockerfile, definition.shown) == ("Dockerfile", "app/hello/Dockerfile")


def test_build_args_of_the_stage_win_over_the_templates(project: Path) -> None:
    template = project / "source" / "app" / "template.yaml"
    template.write_text(template.read_text().replace("hello}", "hello, DockerBuildArgs: {V: 3, W: 4}}"))
    (definition,) = load(_request(**{"build-args": {"V": "5", "X": "6"}}), project).definitions
    assert definition.args == {"V": "5", "W": "4", "X": "6"}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_function(context="nowhere"), "app/template.yaml:5:55: Hello: DockerContext 'nowhere' does not exist"),
        (_function(context="template.yaml"), "DockerContext 'template.yaml' is not a directory"),
        (_function(context="../../outside"), "DockerContext '../../outside' is outside the project"),
        (_function(context="/etc"), "DockerContext '/etc' is outside the project"),
        (_function(context="link-out"), "DockerContext 'link-out' is outside the project"),
        (_function("Nope"), "app/template.yaml:5:28: Hello: Dockerfile 'Nope' does not exist"),
        (_function("."), "Dockerfile '.' is not a file"),
        (_function("../../../outside/Dockerfile"), "is outside its DockerContext 'hello'"),
        (_function("../template.yaml"), "is outside its DockerContext 'hello'"),
        (_function("/etc/passwd"), "Dockerfile '/etc/passwd' is outside its DockerContext"),
        (_function("linked"), "Dockerfile 'linked' is outside its DockerContext"),
    ],
)
def test_a_mistake_has_its_place_and_a_remedy(project: Path, function: dict[str, str], message: str) -> None:
    """Catches a build that reads files outside the project: an engine would put their content into an image or a log."""
    (project / "source" / "app" / "link-out").symlink_to(project / "outside")
    (project / "source" / "app" / "hello" / "linked").symlink_to(project / "outside" / "Dockerfile")
    (problem,) = _problems(project, function)
    assert message in problem
    assert len(problem.splitlines()) == 3  # what and where, the line, what to do


def test_a_dockerfile_named_by_a_detour_is_the_same_dockerfile(project: Path) -> None:
    template = project / "source" / "app" / "template.yaml"
    template.write_text("Resources:\n" + FUNCTION.format(**_function("../hello/./Dockerfile")))
    (definition,) = load(_request(), project).definitions
    assert definition.dockerfile == "Dockerfile"


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(project: Path) -> None:
    problems = _problems(project, _function(context="a", name="A"), _function("B", name="B"), _function(name="C"))
    assert [problem.partition(":")[2][:7] for problem in problems] == ["5:55: A", "9:28: B"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope.yaml", "nope.yaml: the template nope.yaml does not exist"),
        ("../outside/Dockerfile", "the template ../outside/Dockerfile is outside the project"),
        ("/etc/passwd", "the template /etc/passwd is outside the project"),
        ("app", "the template app cannot be read: Is a directory"),
        ("app/hello/Dockerfile", "a template is expected here, but this file has no mapping"),
    ],
)
def test_a_template_that_is_none(project: Path, name: str, message: str) -> None:
    assert message in _problems(project, template=name)[0]


def test_a_template_without_image_functions_has_nothing_to_build(project: Path) -> None:
    (project / "source" / "app" / "template.yaml").write_text("Resources: {T: {Type: AWS::SNS::Topic}}\n")
    assert "so there is nothing to build" in _problems(project)[0]


def test_a_function_that_package_could_not_write_an_image_into_is_refused_before_the_build(project: Path) -> None:
    (project / "source" / "app" / "template.yaml").write_text(
        "Resources:\n"
        + FUNCTION.format(**_function()).replace("{PackageType: Image}", "{ImageUri, PackageType: Image}")
    )
    assert "Hello: found no safe place for its ImageUri" in _problems(project)[0]
