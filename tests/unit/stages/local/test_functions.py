"""What a template's properties come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stages.contract import InvalidInput, StageError
from stages.local import functions, variables
from stages.local.functions import Configured, Place

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "Transform: AWS::Serverless-2016-10-31\n"


def configured(folder: Path, template: str, name: str | None = None, given: dict[str, str] | None = None) -> Configured:
    (folder / "template.yaml").write_text(HEAD + template)
    place = Place("eu-west-1", {})
    application = functions.load(folder, "template.yaml", place)
    return functions.configure(application, functions.choose(application, name), place, given or {})


def function(properties: str, name: str = "Fn") -> str:
    lines = "".join(f"      {line}\n" for line in properties.splitlines())
    return (
        f"  {name}:\n    Type: AWS::Serverless::Function\n    Properties:\n      PackageType: Image\n"
        f"      ImageUri: fn:1\n{lines}"
    )


def test_defaults_are_lambdas(tmp_path: Path) -> None:
    found = configured(tmp_path, "Resources:\n" + function("")).runnable
    assert (found.memory_mb, found.timeout_s, found.storage_mb, found.variables) == (128, 3.0, 512, {})
    assert (found.command, found.entrypoint, found.working_directory) == (None, None, None)
    assert found.arn == "arn:aws:lambda:eu-west-1:123456789012:function:Fn"


def test_everything_that_can_be_configured(tmp_path: Path) -> None:
    properties = (
        "FunctionName: !Sub 'the-${AWS::StackName}'\nMemorySize: 1024\nTimeout: 900\nEphemeralStorage: {Size: 2048}\n"
        "ImageConfig: {Command: [a.b], EntryPoint: [/x, y], WorkingDirectory: /w}\n"
    )
    found = configured(tmp_path, "Resources:\n" + function(properties)).runnable
    assert (found.name, found.memory_mb, found.timeout_s, found.storage_mb) == ("the-local", 1024, 900.0, 2048)
    assert (found.command, found.entrypoint, found.working_directory) == (["a.b"], ["/x", "y"], "/w")


def test_globals_stand_behind_a_functions_own_and_are_merged_with_its_variables(tmp_path: Path) -> None:
    template = "Globals:\n  Function:\n    Timeout: 9\n    MemorySize: 256\n    Environment: {Variables: {AA: all, BB: all}}\nResources:\n"
    found = configured(tmp_path, template + function("MemorySize: 512\nEnvironment: {Variables: {BB: own}}"))
    assert (found.runnable.timeout_s, found.runnable.memory_mb) == (9.0, 512)
    assert found.runnable.variables == {"AA": "all", "BB": "own"}
    ignoring = function("") + "    IgnoreGlobals: [Environment]\n"
    assert configured(tmp_path, template + ignoring).runnable.variables == {}


def test_what_is_known_only_once_deployed_is_told_and_can_be_given(tmp_path: Path) -> None:
    properties = (
        "Environment:\n  Variables:\n    TABLE: !Ref Table\n    ARN: !GetAtt Table.Arn\n    LEFT: !Ref AWS::NoValue\n"
    )
    template = "Resources:\n" + function(properties) + "  Table: {Type: AWS::DynamoDB::Table}\n"
    found = configured(tmp_path, template)
    assert found.runnable.variables == {"TABLE": "Table"}
    assert [note.split()[0] for note in found.notes] == ["TABLE", "ARN"]
    assert configured(tmp_path, template, given={"TABLE": "t", "ARN": "a"}).notes == ()


def test_a_function_is_named_by_its_id_its_last_part_or_its_name(tmp_path: Path) -> None:
    (tmp_path / "child.yaml").write_text(HEAD + "Resources:\n" + function("", "Inner"))
    child = "  Child: {Type: AWS::Serverless::Application, Properties: {Location: child.yaml}}\n"
    template = "Resources:\n" + function("FunctionName: named") + function("", "Other") + child
    for name, wanted in {"Fn": "Fn", "named": "Fn", "Inner": "Child/Inner", "Child/Inner": "Child/Inner"}.items():
        assert configured(tmp_path, template, name).id == wanted
    with pytest.raises(StageError, match="there is no image function 'Othr'") as error:
        configured(tmp_path, template, "Othr")
    assert error.value.hint == "Did you mean Other?"
    with pytest.raises(StageError, match="the template has 3 functions"):
        configured(tmp_path, template)


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ("Timeout: 901", "Timeout is '901', and must be a whole number from 1 to 900"),
        ("Timeout: !GetAtt X.Y", "Timeout cannot be told"),
        ("EphemeralStorage: {Size: 100}", "must be a whole number from 512 to 10,240"),
        ("ImageConfig: {Command: a.b}", "Command must be a list of texts"),
        ("Environment: {Variables: {A: [1]}}", "the variable A must be a text"),
        ("Environment: {Variables: {a-b: x}}", "'a-b' is no variable's name"),
        ("Environment: {Variables: {_HANDLER: x, LAMBDA_TASK_ROOT: y}}", "LAMBDA_TASK_ROOT, _HANDLER"),
        (f"Environment: {{Variables: {{A: {'x' * 4096}}}}}", "its variables have 4,097 bytes"),
    ],
)
def test_what_lambda_would_refuse(tmp_path: Path, properties: str, message: str) -> None:
    with pytest.raises(InvalidInput) as error:
        configured(tmp_path, "Resources:\n" + function(properties))
    assert message in str(error.value)
    assert error.value.problems[0].file == "template.yaml"


def test_variables_of_a_file() -> None:
    given = variables.read(b'{"Parameters": {"AA": 1, "BB": true}, "Inner": {"AA": "x"}}', "f", ["Child/Inner", "Fn"])
    assert variables.given_for("Child/Inner", given) == {"AA": "x", "BB": "true"}
    assert variables.given_for("Fn", given) == {"AA": "1", "BB": "true"}


def test_variables_of_a_function_by_its_functionname() -> None:
    given = variables.read(b'{"Parameters": {"AA": 1, "BB": 1}, "the-fn": {"AA": "x"}}', "f", ["Fn", "the-fn"])
    assert variables.given_for("Fn", given, named="the-fn") == {"AA": "x", "BB": "1"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "it is no JSON"),
        (b'{"Fn": 1}', "it must map functions"),
        (b'{"Fn": {"AA": null}}', "Fn.AA is no text"),
        (b'{"Fn": {"A": "x"}}', "Fn.A: 'A' is no variable's name"),
        (b'{"Fn": {"A=B": "x"}}', "Fn.A=B: 'A=B' is no variable's name"),
        (b'{"Fn": {"AA": "x\\u0000"}}', "Fn.AA has a NUL character"),
        (b'{"Fm": {}}', "the template has no function 'Fm'"),
    ],
)
def test_mistakes_in_a_file_of_variables(data: bytes, message: str) -> None:
    with pytest.raises(StageError, match=message):
        variables.read(data, "vars.json", ["Fn"])


def test_reserved_names_cannot_be_given() -> None:
    with pytest.raises(StageError, match="Lambda reserves AWS_REGION"):
        variables.given_for("Fn", {"Fn": {"AWS_REGION": "x"}})
