from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.plans import command

from pipeline import definition, secrets
from pipeline.compiling import compile_plan
from pipeline.errors import StageFailed
from pipeline.plan import SecretSource, from_json
from pipeline.signing import keys
from stages.contract import Target
from stages.limits import LIMITS

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.plan import PlannedStage

DEFINITION = """
version: 1
name: demo
environments:
  one: {account: "111122223333", region: eu-west-1, auth: {profile: ours}, parameters: {Level: "1"}}
secrets:
  TOKEN: {variable: CI_TOKEN}
  FILE: {file: some/token}
  DEEP: {secrets-manager: demo/api, key: k, environment: one}
stages:
  a: {uses: command, secrets: [TOKEN, DEEP], with: {run: [x]}}
  b: {uses: command, with: {run: [x]}}
"""


def stage(**sources: SecretSource) -> PlannedStage:
    return command("a", "true", secrets=sources)


def taken(stage: PlannedStage, project: Path | None, **ours: str) -> dict[str, bytes]:
    places = secrets.Places(project, ours, lambda: "http://127.0.0.1:1", "a-run-a-stage-1")
    return secrets.take(stage, places, b"K" * 32)


def test_the_plan_holds_names_and_places_for_the_stages_that_name_them(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(DEFINITION)
    plan, _ = compile_plan(definition.load(tmp_path / "pipeline.yaml", tmp_path), {}, tmp_path)
    assert plan.stages["a"].secrets == {
        "TOKEN": SecretSource("variable", "CI_TOKEN"),
        "DEEP": SecretSource("secrets-manager", "demo/api", "k", Target("one", "111122223333", "eu-west-1"), "ours"),
    }
    assert plan.stages["b"].secrets == {}
    assert "secrets" not in plan.stages["b"].as_json()
    assert from_json(plan.as_json(), "it") == plan


def test_values_are_taken_from_variables_and_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"of-a-file\r\n")
    (tmp_path / "lines").write_bytes(b"of several\nlines\n")
    wanted = stage(
        V=SecretSource("variable", "MINE"),
        F=SecretSource("file", "token"),
        L=SecretSource("file", "lines"),
        A=SecretSource("file", str(tmp_path / "token")),
    )
    found = taken(wanted, tmp_path, MINE="of a variable\n", OTHER="not asked for")
    assert found == {"V": b"of a variable\n", "F": b"of-a-file", "L": b"of several\nlines\n", "A": b"of-a-file"}


def test_bytes_that_are_no_text_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"\xff\xfe secret")
    found = taken(stage(F=SecretSource("file", "raw"), V=SecretSource("variable", "V")), tmp_path, V="\udcff secret")
    assert found == {"F": b"\xff\xfe secret", "V": b"\xff secret"}


def test_all_that_are_missing_are_named_with_what_to_do(tmp_path: Path) -> None:
    wanted = stage(V=SecretSource("variable", "MINE"), F=SecretSource("file", "no/token"), D=SecretSource("file", "."))
    with pytest.raises(StageFailed) as caught:
        taken(wanted, tmp_path)
    assert caught.value.message.splitlines() == [
        "the secret V is the variable MINE, which is not set",
        "the secret F is the file no/token, which cannot be read: No such file or directory",
        "the secret D is the file ., which cannot be read: Is a directory",
    ]
    assert caught.value.hint
    assert caught.value.hint.splitlines()[0] == "V: Set it for this command, where the stage runs."


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "the secret V is shorter than 6 bytes"),
        ("hunte", "the secret V is shorter than 6 bytes"),
        (" hunte \n", "the secret V is shorter than 6 bytes"),
        ("a\nb\nc\nd\ne\n", "the secret V is shorter than 6 bytes"),
        ("x" * (LIMITS.secret_bytes + 1), "the secret V is larger than 65,536 bytes"),
        ("hunter\0two", "the secret V holds a zero byte"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_not_shown(value: str, message: str) -> None:
    with pytest.raises(StageFailed) as caught:
        taken(stage(V=SecretSource("variable", "V")), None, V=value)
    assert caught.value.message.startswith(message)
    assert caught.value.hint
    assert not value.strip() or value.strip() not in f"{caught.value.message} {caught.value.hint}"


def test_the_shortest_and_the_largest_are_taken() -> None:
    for value in ("hunter", "x" * LIMITS.secret_bytes):
        assert taken(stage(V=SecretSource("variable", "V")), None, V=value) == {"V": value.encode()}


def test_no_stage_is_handed_the_key_that_seals_the_record(tmp_path: Path) -> None:
    for name in ("ours", "another"):
        keys.make(tmp_path / name)
    own = keys.load(tmp_path / "ours").public.raw
    places = secrets.Places(tmp_path, {}, str, "a-run-a-stage-1")
    found = {name: stage(K=SecretSource("file", name)) for name in ("ours", "another")}
    with pytest.raises(StageFailed, match="the secret K is the key that this runner seals records with"):
        secrets.take(found["ours"], places, own)
    assert secrets.take(found["another"], places, own)["K"] == (tmp_path / "another").read_bytes()
