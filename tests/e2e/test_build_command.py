"""`towpath build` and `towpath prune`, as they are typed."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from support.machine import Machine
from support.samconfig import SAM_INIT

from stages.images import engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker import APIClient

pytestmark = pytest.mark.engine

FUNCTION = """\
  {name}:
    Type: AWS::Serverless::Function
    Properties: {{PackageType: Image}}
    Metadata: {{Dockerfile: Dockerfile, DockerContext: {context}, DockerTag: {mark}}}
"""


class Application:
    """A project without a pipeline, whose images hold one file; they are removed at the end."""

    def __init__(self, folder: Path) -> None:
        self.machine = Machine(folder)
        self.mark = uuid.uuid4().hex
        self.built: set[str] = set()

    def write(self, **functions: str) -> None:
        """Each function's code, by its name."""
        for name, code in functions.items():
            context = self.machine.project / name.lower()
            context.mkdir(exist_ok=True)
            (context / "Dockerfile").write_text("FROM scratch\nCOPY code mark /\n")
            (context / "code").write_text(code)
            (context / "mark").write_text(self.mark)
        resources = "".join(FUNCTION.format(name=name, context=name.lower(), mark=self.mark) for name in functions)
        (self.machine.project / "template.yaml").write_text(f"Resources:\n{resources}")

    def build(self, *arguments: str) -> dict[str, Any]:
        """Build, and give the facts of each function."""
        told = json.loads(self.machine.towpath("build", "--json", *arguments).stdout)
        functions: dict[str, Any] = told["stages"]["build"]["facts"]["functions"]
        self.built |= {each["config"] for each in functions.values()}
        return functions


@pytest.fixture
def client() -> Iterator[APIClient]:
    with engine.connect() as connected:
        yield connected


@pytest.fixture
def application(tmp_path: Path, client: APIClient) -> Iterator[Application]:
    made = Application(tmp_path)
    yield made
    for image in sorted(made.built, key=lambda each: each.startswith("sha256:")):  # what was built upon ours first
        if engine.find(client, image):
            client.remove_image(image, force=True)


def _reused(functions: dict[str, Any]) -> dict[str, bool]:
    return {name: each["reused"] for name, each in functions.items()}


def test_only_what_changed_is_built_and_the_record_says_what_that_rests_on(application: Application) -> None:
    application.write(One="1", Two="2")
    first = application.build()
    assert _reused(first) == {"One": False, "Two": False}
    assert _reused(application.build()) == {"One": True, "Two": True}
    application.write(One="1", Two="changed")
    again = application.build()
    assert _reused(again) == {"One": True, "Two": False}
    assert again["One"]["config"] == first["One"]["config"]
    assert _reused(application.build("--no-cache")) == {"One": False, "Two": False}
    verified = application.machine.towpath("audit", "verify", code=7)  # no keys are pinned
    assert "consistent" in (verified.stdout + verified.stderr).lower()


def test_a_record_that_was_changed_is_not_built_upon(application: Application) -> None:
    application.write(One="1")
    application.build()
    store = application.machine.project / ".towpath" / "store"
    (outcome,) = store.glob("runs/*/build.1/00000002.json")
    outcome.chmod(0o644)
    outcome.write_bytes(outcome.read_bytes().replace(b'"status":0', b'"status":9'))
    assert _reused(application.build()) == {"One": False}


def test_the_log_of_one_function(application: Application) -> None:
    application.write(One="1", Two="2")
    shown = application.machine.towpath("build").stderr
    assert "build One | " in shown
    assert "BuildKit" in shown or "classic builder" in shown
    application.built |= {each["config"] for each in application.build().values()}
    lines = application.machine.towpath("logs", "latest", "build", "--function", "One").stdout.splitlines()
    assert lines
    assert all("build One |" in line for line in lines)


PARAMETERS = """\
Parameters:
  Context: {Type: String, Default: nowhere}
  Password: {Type: String, NoEcho: true}
  Motto: {Type: String}
"""


def test_what_sams_configuration_says_is_built_and_no_secret_of_it_is_kept(application: Application) -> None:
    """Its parameters are those of deployments as well."""
    application.write(One="1")
    project, secret = application.machine.project, uuid.uuid4().hex
    (project / "template.yaml").rename(project / "app.yaml")
    template = (project / "app.yaml").read_text()
    (project / "app.yaml").write_text(
        PARAMETERS + template.replace("DockerContext: one", "DockerContext: !Ref Context")
    )
    said = f'template_file = "app.yaml"\nparameter_overrides = "Context=one Motto=x Password={secret}"\nparallel = true'
    (project / "samconfig.toml").write_text(SAM_INIT.replace("parallel = true", said))
    assert _reused(application.build()) == {"One": False}
    kept = [
        each for each in (project / ".towpath").rglob("*") if each.is_file() and secret.encode() in each.read_bytes()
    ]
    assert kept == []


def test_mistakes_are_the_users_and_have_their_place(application: Application) -> None:
    missing = application.machine.towpath("build", code=2).stderr
    assert "there is no template.yaml in" in missing
    application.write(One="1")
    template = application.machine.project / "template.yaml"
    template.write_text(template.read_text().replace("DockerContext: one", "DockerContext: nope"))
    assert "template.yaml:5:" in application.machine.towpath("build", code=2).stderr
    assert "has no value" in application.machine.towpath("build", "--build-arg", "X", code=2).stderr


def test_a_build_that_fails_names_function_and_line(application: Application) -> None:
    application.write(One="1")
    (application.machine.project / "one" / "Dockerfile").write_text("FROM scratch\n\nCOPY nope /\n")
    error = json.loads(application.machine.towpath("build", "--json", code=1).stderr.splitlines()[-1])
    assert error["where"] == "one/Dockerfile:3"
    assert "One: the image cannot be built" in error["message"]


def test_prune_removes_what_was_built_and_nothing_else(application: Application, client: APIClient) -> None:
    """Catches an image of somebody else that goes with ours: one built upon it has its label, and names are anybody's."""
    application.write(One="1", Two="2", Three="3")
    old = application.build("--sam-tags")
    client.tag(old["Two"]["config"], f"mine-{application.mark}", "1")
    theirs = _built_upon(client, application, old["Three"]["config"])
    application.write(One="new", Two="new", Three="new")
    latest = application.build()
    dry = application.machine.towpath("prune", "--images", "--dry-run").stdout
    assert dry.count("would be removed") == 3
    pruned = json.loads(application.machine.towpath("prune", "--images", "--json").stdout)["images"]
    outcomes = {each["id"]: each["outcome"] for each in pruned}
    assert outcomes[old["One"]["config"]] == "removed"
    assert outcomes[old["Two"]["config"]] == outcomes[old["Three"]["config"]] == "kept"
    assert engine.find(client, old["One"]["config"]) is None
    assert engine.find(client, f"one:{application.mark}") is None
    assert engine.find(client, f"mine-{application.mark}:1") == old["Two"]["config"]
    assert engine.find(client, theirs) is not None
    assert all(engine.find(client, each["config"]) for each in latest.values())
    assert _reused(application.build()) == {"One": True, "Two": True, "Three": True}
    application.machine.towpath("prune", "--images", "--keep", "0")
    assert not any(engine.find(client, each["config"]) for each in latest.values())


def _built_upon(client: APIClient, application: Application, image: str) -> str:
    """An image that somebody made of ours; it has our label."""
    container = client.create_container(image, command=["none"])["Id"]
    made: Any = client.commit(container, f"theirs-{application.mark}", "1")
    client.remove_container(container)
    application.built.add(f"theirs-{application.mark}:1")
    data: Any = client.inspect_image(made["Id"])  # type: ignore[no-untyped-call]
    assert data["Config"]["Labels"]["towpath.built"] == "true"
    return str(made["Id"])


def test_prune_says_what_it_needs(application: Application) -> None:
    assert "towpath prune --images" in application.machine.towpath("prune", code=2).stderr


def test_a_template_that_is_named_is_the_one_that_is_built(tmp_path: Path) -> None:
    """Also where none has the usual name."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app/other.yaml").write_text("Resources:\n  Topic: {Type: AWS::SNS::Topic}\n")
    for command in (["build"], ["package", "--image-repository", "localhost:1/x", "--region", "eu-central-1"]):
        said = Machine(tmp_path).towpath(*command, "--template", "app/other.yaml", code=2).stderr
        assert "there is no template" not in said
    assert "Name it: --template FILE" in Machine(tmp_path).towpath("build", code=2).stderr
