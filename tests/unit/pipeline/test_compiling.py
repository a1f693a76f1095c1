"""Files and folders that options name become part of the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline import definition
from pipeline.compiling import compile_plan
from pipeline.errors import InvalidDefinition
from pipeline.plan import from_json
from pipeline.record import digest
from stages.contract import Target

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.plan import Plan

TEXT = """\
version: 1
name: demo
stages:
  build: {uses: build, with: {template: t.yaml}}
  scan: {uses: scan, needs: [build], with: {advisories: known/bad}}
"""


def compiled(project: Path) -> tuple[Plan, dict[str, bytes]]:
    (project / "pipeline.yaml").write_text(TEXT)
    (project / "t.yaml").write_text("Resources: {}\n")
    loaded = definition.load(project / "pipeline.yaml", project)
    return compile_plan(loaded, {}, project)


def test_every_file_of_a_folder_is_in_the_plan_by_digest(tmp_path: Path) -> None:
    """A later run, on another machine, sees just these: a file that is forgotten is an advisory that nobody compares."""
    (tmp_path / "known" / "bad" / "deep").mkdir(parents=True)
    (tmp_path / "known" / "bad" / "a.json").write_bytes(b"a")
    (tmp_path / "known" / "bad" / "deep" / "b.zip").write_bytes(b"b")
    plan, contents = compiled(tmp_path)
    assert plan.stages["scan"].files == {
        "known/bad/a.json": digest.of_bytes(b"a"),
        "known/bad/deep/b.zip": digest.of_bytes(b"b"),
    }
    assert {digest.of_bytes(b"a"), digest.of_bytes(b"b")} <= contents.keys()
    before = plan.digest
    (tmp_path / "known" / "bad" / "a.json").write_bytes(b"changed")
    assert compiled(tmp_path)[0].digest != before


def test_a_folder_that_is_not_there_is_told_at_its_option(tmp_path: Path) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        compiled(tmp_path)
    (problem,) = caught.value.problems
    assert problem.where == "pipeline.yaml:5:57"
    assert problem.message == "advisories: there is no folder 'known/bad' in the project directory"


def test_event_files_that_requests_name_are_in_the_plan(tmp_path: Path) -> None:
    """A stage sees just the files of its plan, so a smoke test with an event in a file of its own would not find it."""
    (tmp_path / "tests" / "events").mkdir(parents=True)
    (tmp_path / "tests" / "events" / "a.json").write_bytes(b"{}")
    asked = "- {function: A, event-file: events/a.json}\n- {function: B, event-file: none.json}\n- {function: C, event: 1}\n"
    (tmp_path / "tests" / "smoke.yaml").write_text(asked)
    (tmp_path / "pipeline.yaml").write_text(SMOKE)
    (tmp_path / "t.yaml").write_text("Resources: {}\n")
    plan, contents = compile_plan(definition.load(tmp_path / "pipeline.yaml", tmp_path), {}, tmp_path)
    assert plan.stages["smoke"].files == {
        "tests/smoke.yaml": digest.of_bytes(asked.encode()),
        "tests/events/a.json": digest.of_bytes(b"{}"),
    }
    assert digest.of_bytes(b"{}") in contents


SMOKE = """\
version: 1
name: demo
environments:
  test: {account: "111111111111", region: eu-central-1, stack: test, repository: demo, approvals: none}
stages:
  build: {uses: build, with: {template: t.yaml}}
  package: {uses: package, needs: [build], environment: test}
  deploy: {uses: deploy, needs: [package], environment: test}
  smoke: {uses: invoke, needs: [deploy], environment: test, with: {requests: tests/smoke.yaml}}
"""


DEPLOYS = """\
version: 1
name: demo
environments:
  e: {account: "111122223333", region: eu-central-1, repository: demo, stack: demo, approvals: none MORE}
stages:
  package: {uses: package, needs: [build], environment: e}
  build: {uses: build, with: {template: t.yaml}}
  deploy: {uses: deploy, needs: [package], environment: e}
"""


def planned(project: Path, more: str) -> Plan:
    (project / "pipeline.yaml").write_text(DEPLOYS.replace(" MORE", more))
    (project / "t.yaml").write_text("Resources: {}\n")
    return compile_plan(definition.load(project / "pipeline.yaml", project), {}, project)[0]


def test_how_a_deployment_is_executed_is_part_of_the_plan(tmp_path: Path) -> None:
    arn = "arn:aws:sns:eu-central-1:111122223333:told"
    more = f", service-role: 'arn:aws:iam::111122223333:role/a', notification-arns: ['{arn}']"
    plan = planned(tmp_path, f"{more}, on-failure: delete, retain-except-on-create: true")
    target = plan.stages["deploy"].target
    assert target == Target(
        "e",
        "111122223333",
        "eu-central-1",
        stack="demo",
        repository="demo",
        service_role="arn:aws:iam::111122223333:role/a",
        notification_arns=[arn],
        on_failure="delete",
        retain_except_on_create=True,
    )
    assert from_json(plan.as_json(), "it") == plan


def test_a_plan_that_says_nothing_of_newer_keys_is_what_it_was_before_them(tmp_path: Path) -> None:
    """Else no older record could be read, gone on with or audited."""
    form = planned(tmp_path, "").as_json()
    known = "environment account region partition embedded stack repository parameters tags capabilities bucket"
    assert set(form["stages"][2]["target"]) == set(known.split())
    assert from_json(form, "it").as_json() == form
