"""What Tab offers: asked as a shell asks, in a project and outside one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.machine import TOWPATH, Machine

from pipeline.cli.main import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

RUNS = ("20261126-034319-5jhj", "20261126-034129-hztf")
PIPELINE = """\
version: 1
environments: !include environments.yaml
stages: {build: {uses: build}, deploy-live: {uses: deploy, with: {x: !unknown y}}}
"""
TEMPLATE = """\
Resources:
  Hello: {Type: AWS::Serverless::Function, Properties: {PackageType: Image, Role: !GetAtt Role.Arn}}
  Hola: {Type: AWS::Lambda::Function, Properties: {PackageType: Image}}
  Zip: {Type: AWS::Serverless::Function, Properties: {CodeUri: .}}
  Role: {Type: AWS::IAM::Role}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.yaml").write_text(PIPELINE.replace("!unknown y", "{}"))
    (tmp_path / "environments.yaml").write_text("live: {}\nlater: {}\n")
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    for run in RUNS:
        (tmp_path / ".towpath/store/runs" / run).mkdir(parents=True)
    return tmp_path


def offered(folder: Path, line: str, **variables: str) -> list[str]:
    """What is offered for the last word of a line, by bash's way to ask."""
    words = line.split(" ")
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_TOWPATH_COMPLETE": "bash_complete"}
    machine = Machine(folder, {**asked, **variables})
    done = subprocess.run([TOWPATH], cwd=folder, env=machine.environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [each.removeprefix("plain,") for each in done.stdout.splitlines()]


def test_commands_and_options_are_offered(project: Path) -> None:
    assert offered(project, "towpath ") == list(COMMANDS)
    assert offered(project, "towpath pl") == ["plan"]
    assert set(offered(project, "towpath stage ")) == {"run", "propose", "apply"}
    assert "--json" in offered(project, "towpath plan --")
    assert offered(project, "towpath init --runtime r") == ["ruby", "rust"]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("towpath status ", ["latest", *RUNS]),
        ("towpath status 20261126-0343", [RUNS[0]]),
        ("towpath logs latest ", ["build", "deploy-live"]),
        ("towpath rerun latest --from de", ["deploy-live"]),
        ("towpath stage run b", ["build"]),
        ("towpath stage apply ", ["build", "deploy-live"]),
        ("towpath stage apply deploy-live --run l", ["latest"]),
        ("towpath lock l", ["live", "later"]),
        ("towpath init function ", []),
        ("towpath local invoke ", ["Hello", "Hola"]),
        ("towpath local invoke Ho", ["Hola"]),
        ("towpath local invoke --template gone.yaml ", []),
        ("towpath local generate-event s", ["s3", "secretsmanager", "ses", "sns", "sqs"]),
        ("towpath local generate-event sqs ", ["receive-message"]),
    ],
)
def test_names_of_the_project_are_offered(project: Path, line: str, names: list[str]) -> None:
    assert offered(project, line) == names


def test_paths_are_left_to_the_shell(project: Path) -> None:
    assert offered(project, "towpath plan --file p") == ["file,p"]
    assert offered(project, "towpath plan --project p") == ["dir,p"]
    assert offered(project, "towpath plan --parameter p") == []


def test_where_the_project_is_said_its_names_are_offered(project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert offered(elsewhere, "towpath status ") == []
    assert offered(elsewhere, "towpath logs --project .. latest ") == ["build", "deploy-live"]
    assert offered(elsewhere, "towpath status ", TOWPATH_STORE=str(project / ".towpath/store")) == ["latest", *RUNS]
    assert offered(elsewhere, "towpath status ", TOWPATH_STORE="s3://bucket/prefix") == []


def test_what_cannot_be_read_offers_nothing(project: Path) -> None:
    assert offered(project, "towpath no-such-command ") == []
    (project / "pipeline.yaml").write_text(PIPELINE)
    assert offered(project, "towpath logs latest ") == []
    (project / "pipeline.yaml").write_text("- [")
    assert offered(project, "towpath logs latest ") == []
    (project / "pipeline.yaml").unlink()
    assert offered(project, "towpath logs latest ") == []


def test_nothing_heavy_is_loaded_for_it(project: Path) -> None:
    code = (
        "import sys; from pipeline.cli.main import main\ntry: main()\nexcept SystemExit: pass\n"
        "print([each for each in ('pydantic', 'boto3', 'docker', 'rich', 'cryptography', 'jinja2') if each in sys.modules])"
    )
    asked = {"COMP_WORDS": "towpath logs latest ", "COMP_CWORD": "3", "_TOWPATH_COMPLETE": "bash_complete"}
    machine = Machine(project, asked)
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=project, env=machine.environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["plain,build", "plain,deploy-live", "[]"]


def test_bash_completes_by_the_script(project: Path) -> None:
    script = Machine(project).towpath("completion", "bash").stdout
    typed = 'COMP_WORDS=(towpath status 2026); COMP_CWORD=2; _towpath_completion "$1"; printf "%s\\n" "${COMPREPLY[@]}"'
    argv = ["bash", "-c", f"{script}\n{typed}", "bash", TOWPATH]
    done = subprocess.run(argv, cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(RUNS)
    for shell in ("zsh", "fish"):
        assert "_TOWPATH_COMPLETE" in Machine(project).towpath("completion", shell).stdout
    assert "is not one of" in Machine(project).towpath("completion", "tcsh", code=2).stderr


def test_the_version_can_be_read_by_programs(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    version = machine.towpath("--version").stdout.removeprefix("towpath, version ").strip()
    told = json.loads(machine.towpath("--version", "--json").stdout)
    assert told["towpath"] == version
    assert told == json.loads(machine.towpath("--json", "--version").stdout)
    assert "towpath COMMAND --json" in machine.towpath("--json", "runs", code=2).stderr
