"""A function is added to a project: what was there keeps every byte."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from pipeline import definition
from pipeline.compiling import compile_plan
from pipeline.definition import parameters
from pipeline.errors import InvalidDefinition, UsageError
from pipeline.init import choices, functions, render, writing
from pipeline.init.functions import Begun
from pipeline.init.runtimes import RUNTIMES
from stages import build, invoke
from stages.contract import Request

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PYTHON = Begun(RUNTIMES["python"], "base:1")
PIPELINE = """\
version: 1
name: shop
environments:
  test: {aws: embedded, account: "111111111111", region: eu-west-1, stack: shop, repository: shop, approvals: none}
stages:
  build: {uses: build, with: {template: TEMPLATE}}
  package: {uses: package, needs: [build], environment: test}
  deploy: {uses: deploy, needs: [package], environment: test}
  smoke: {uses: invoke, needs: [deploy], environment: test, with: {requests: smoke.yaml}}
"""
SMOKE = "- {function: Hello}\n"
RESOURCE = """\
  Hello:
    Type: AWS::Serverless::Function
    Properties: {PackageType: Image, Timeout: 010} # octal
    Metadata:
      DockerContext: hello
      Dockerfile: Dockerfile"""

TEMPLATES = {
    "resources alone": f"Resources:\n{RESOURCE}\n",
    "no line end": f"Resources:\n{RESOURCE}",
    "something behind": f"Resources:\n{RESOURCE}  # the end\n\n\n# Outputs\nOutputs:\n    Old: # four\n        Value: x\n\nMappings: {{}}\n",
    "wide": "Resources:\n" + re.sub("^", "    ", RESOURCE, flags=re.MULTILINE) + "\n",
    "carriage returns": f"Transform: x\nResources:\n{RESOURCE}\nOutputs:\n  A: {{Value: |-\n  B: 1}}\n".replace(
        "{Value: |-\n  B: 1}", "{Value: 1}"
    ).replace("\n", "\r\n"),
    "byte-order mark": f"\ufeffResources:\n{RESOURCE}\n",
    "text at the end": f"Resources:\n{RESOURCE}\nOutputs:\n  A:\n    Value: |\n      some\n      text\n",
    "JSON": '{"Resources": {"Hello": {"Type": "AWS::Serverless::Function", "Properties": {"PackageType": "Image"}, "Metadata": {"DockerContext": "hello", "Dockerfile": "Dockerfile"}}}}',
    "an empty section": f"Outputs: {{}}\nResources:\n{RESOURCE}\n",
    "anchors": f"Globals: &all {{}}\nMetadata: *all\nResources:\n{RESOURCE}\n",
}


def project(folder: Path, template: str, smoke: str = SMOKE, file: str = "template.yaml") -> Path:
    base = (folder / file).parent
    (base / "hello").mkdir(parents=True)
    (base / "hello/Dockerfile").write_text("FROM scratch\n")
    (folder / file).write_bytes(template.encode())
    (folder / "smoke.yaml").write_bytes(smoke.encode())
    (folder / "pipeline.yaml").write_text(PIPELINE.replace("TEMPLATE", file))
    return folder


def add(folder: Path, name: str = "say-bye", *, file: str = "template.yaml", api: bool = True) -> functions.Plan:
    wanted = functions.plan(folder, file, "smoke.yaml", choices.function(name), PYTHON, api=api)
    functions.write(folder, wanted)
    return wanted


def check(folder: Path) -> list[str]:
    """The functions that a run would build, once nothing is wrong with the project."""
    loaded = definition.load(folder / "pipeline.yaml", folder)
    plan, _ = compile_plan(loaded, parameters.resolve(loaded, {}), folder)
    for name, look in (("build", build.check), ("smoke", invoke.check)):
        stage = plan.stages[name]
        request = Request(stage.kind, "check", name, stage.options, source=str(folder), target=stage.target)
        assert look(request, folder).problems == []
    return list(plan.stages["smoke"].files)


@pytest.mark.parametrize("api", [True, False], ids=["api", "plain"])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_nothing_is_taken_away(tmp_path: Path, template: str, *, api: bool) -> None:
    folder = project(tmp_path, template)
    add(folder, api=api)
    after = (folder / "template.yaml").read_bytes().decode()
    assert _is_in_order(template, after)
    assert "{}" in template or "\n" not in template or _is_in_order(template.splitlines(), after.splitlines())
    assert after.count("SayByeFunction") == 1
    assert after.count("SayByeUrl") == int(api)
    assert (folder / "smoke.yaml").read_text().startswith(SMOKE)
    assert "functions/say-bye/events/greet.json" in check(folder)
    if "\r\n" in template:
        assert "\n" not in after.replace("\r\n", "")


def _is_in_order(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether `after` is `before` with more between its parts."""
    rest = iter(after)
    return all(each in rest for each in before)


def test_it_looks_like_its_neighbours(tmp_path: Path) -> None:
    folder = project(tmp_path, TEMPLATES["something behind"])
    add(folder)
    text = (folder / "template.yaml").read_text()
    assert "# the end\n\n  SayByeFunction:\n    Type: AWS::Serverless::Function\n    Properties:\n" in text
    assert "        Value: x\n\n    SayByeUrl:\n      Value: !Sub" in text


def test_a_template_in_a_folder_has_its_functions_there(tmp_path: Path) -> None:
    folder = project(tmp_path, TEMPLATES["resources alone"], file="app/template.yaml")
    wanted = add(folder, file="app/template.yaml")
    assert "app/functions/say-bye/app.py" in wanted.new
    assert "app/functions/say-bye/events/greet.json" in check(folder)


def test_one_after_another(tmp_path: Path) -> None:
    folder = project(tmp_path, TEMPLATES["resources alone"])
    for name in ("a", "b", "c"):
        add(folder, name)
    check(folder)
    asked = yaml.safe_load((folder / "smoke.yaml").read_text())
    assert [each.get("function") for each in asked] == [
        "Hello",
        "AFunction",
        None,
        "BFunction",
        None,
        "CFunction",
        None,
    ]


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    folder = project(tmp_path, TEMPLATES["resources alone"])
    add(folder)
    before = {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()}
    with pytest.raises(InvalidDefinition, match="Resources has 'SayByeFunction' already"):
        add(folder)
    (folder / "template.yaml").write_bytes(TEMPLATES["resources alone"].encode())
    with pytest.raises(UsageError, match="nothing is overwritten"):
        add(folder)
    (folder / "template.yaml").write_bytes(before[folder / "template.yaml"])
    assert {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()} == before


def test_requests_that_cannot_just_be_added_are_shown(tmp_path: Path) -> None:
    folder = project(tmp_path, TEMPLATES["resources alone"], smoke="[{function: Hello}]\n")
    wanted = add(folder)
    assert (folder / "smoke.yaml").read_text() == "[{function: Hello}]\n"
    assert wanted.by_hand is not None
    assert yaml.safe_load(wanted.by_hand)[0]["function"] == "SayByeFunction"


def test_a_write_that_fails_takes_everything_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project(tmp_path, TEMPLATES["resources alone"])
    before = {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()}
    replace = functions._replace

    def full(path: Path, data: bytes) -> None:
        if path.name == "smoke.yaml" and data != SMOKE.encode():
            raise OSError(28, "No space left on device", str(path))
        replace(path, data)

    monkeypatch.setattr(functions, "_replace", full)
    with pytest.raises(UsageError, match="No space left"):
        add(folder)
    assert {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()} == before
    assert not (folder / "functions/say-bye").exists()


def test_a_function_begins_from_what_the_others_do(tmp_path: Path) -> None:
    assert functions.begun(tmp_path, "template.yaml") is None
    for name, runtime, image in (("a", "nodejs", "node:1"), ("b", "nodejs", "node:2"), ("c", "rust", "rust:1")):
        files = render.function(choices.function(name), RUNTIMES[runtime], image, api=False)
        writing.add(tmp_path, files)
        found = functions.begun(tmp_path, "template.yaml")
        assert found == (None if runtime == "rust" else Begun(RUNTIMES["nodejs"], "node:1"))


def test_whether_there_is_an_api_is_read_from_the_template(tmp_path: Path) -> None:
    for text, expected in (
        ("Type: Api\n", True),
        ('"Type": "Api"', True),
        ("Type: Apis\n", False),
        ("Type: HttpApi", False),
    ):
        (tmp_path / "t").write_text(text)
        assert functions.has_api(tmp_path, "t") is expected
