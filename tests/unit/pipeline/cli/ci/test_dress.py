from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from support.github_log import read

from pipeline.cli import common
from pipeline.cli.ci import buildkite, files, github, gitlab
from pipeline.cli.ci.dress import DRESSES, Place, Told, choose, place
from pipeline.cli.ci.grouped import Grouped

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = "sha256:" + "7" * 64
IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop@sha256:" + "1" * 64


def stage(state: str, **more: Any) -> dict[str, Any]:
    return {"state": state, "attempt": 1, "took_s": 1.25, "outputs": {}, "facts": {}, "failure": None, **more}


def told() -> Told:
    facts = {"release": RELEASE, "functions": {"Hello": {"image": IMAGE, "config": "sha256:…"}}}
    failure = {
        "class": "terminal",
        "message": "it | broke\n<b>[x](http://y)</b> `z`",
        "where": "a.yaml:3",
        "hint": "mend",
    }
    stages = {
        "package": stage("succeeded", facts=facts),
        "smoke": stage("succeeded", facts={"requests": [{"name": "GET /", "time_s": 0.5}]}),
        "deploy": stage("waiting"),
        "check": stage("failed", failure=failure),
        "last": stage("pending", attempt=None, took_s=None),
    }
    state = {"run": "20261123-114219-k7p3", "name": "shop", "state": "failed", "opened_at": "2026-11-23T11:42:19.123Z"}
    gate = {
        "run": state["run"],
        "stage": "deploy",
        "state": "waiting",
        "reasons": ["0 of 1 approved"],
        "view": "</pre>Add  F",
    }
    return Told({**state, "stages": stages}, [gate])


def test_each_system_is_known_by_its_variable() -> None:
    assert choose("auto", {"GITHUB_ACTIONS": "true"}) is github
    assert choose("auto", {"GITLAB_CI": "true"}) is gitlab
    assert choose("auto", {"BUILDKITE": "true"}) is buildkite
    assert choose("auto", {}) is None
    assert choose("none", {"GITHUB_ACTIONS": "true"}) is None
    assert choose("gitlab", {}) is gitlab


def test_the_option_offers_every_dress() -> None:
    def command() -> None: ...

    [option] = common.dress(command).__click_params__  # type: ignore[attr-defined]
    assert set(option.type.choices) == {"auto", "none", *DRESSES}


def test_outputs_are_one_line_each() -> None:
    expected = ["run=20261123-114219-k7p3", "state=failed", f"release={RELEASE}", "waiting=deploy"]
    assert github.outputs(told()).splitlines() == expected


def test_a_release_that_is_no_digest_is_not_told() -> None:
    lying = told()
    lying.state["stages"]["package"]["facts"]["release"] = "x\nstate=succeeded"
    assert github.values(lying.state)["release"] == ""


def test_a_stage_whose_name_is_no_name_adds_no_output() -> None:
    forged = Told(told().state, [{**told().gates[0], "stage": "x\nstate=succeeded"}])
    assert github.outputs(forged).splitlines()[1:] == [
        "state=failed",
        f"release={RELEASE}",
        "waiting=x state=succeeded",
    ]


def test_the_summary_says_what_ran_what_waits_and_what_to_do() -> None:
    text = github.summary(told())
    assert "| <code>package</code> | succeeded | 1 | 1.2 s |  |" in text
    assert f"| <code>package</code> | <code>Hello</code> | <code>{IMAGE}</code> |" in text
    assert "### <code>deploy</code> waits for approval: nothing is deployed" in text
    assert "towpath approve 20261123-114219-k7p3 deploy --reason" in text
    assert "<pre>&lt;/pre&gt;Add  F</pre>" in text


def test_what_a_stage_says_is_text_in_the_summary() -> None:
    row = next(line for line in github.summary(told()).splitlines() if "<code>check</code>" in line)
    assert row.count("|") == 6
    assert not re.search(r"<b>|\[x\]|http://|`", row)


def test_an_annotation_has_its_place_and_cannot_say_more() -> None:
    text = github.problem("error", "100% broken\n::error::two", Place("a,b.yaml", 3, 5))
    [command] = read(text).acted
    assert command.properties == {"file": "a,b.yaml", "line": "3", "col": "5", "title": "Towpath"}
    assert command.data == "100% broken\n::error::two"


@pytest.mark.parametrize("name", DRESSES)
def test_every_dress_has_all_that_is_asked_for(name: str) -> None:
    worn = DRESSES[name]
    for text in (worn.begin("build", "ab" * 16), worn.end("build", "ab" * 16)):
        assert text == "" or text.endswith("\n")
    worn.problem("error", "x", Place())
    worn.leave(told(), {})


def test_sections_of_gitlab_open_and_close() -> None:
    mark = "0123456789abcdef"
    start, end = gitlab.begin("build:app", mark), gitlab.end("build:app", mark)
    opened = re.fullmatch(r"\x1b\[0Ksection_start:\d+:([\w.-]+)\r\x1b\[0Kbuild:app\n", start)
    closed = re.fullmatch(r"\x1b\[0Ksection_end:\d+:([\w.-]+)\r\x1b\[0K\n", end)
    assert opened
    assert closed
    assert opened[1] == closed[1] == "towpath_build_app_01234567"


def test_dotenv() -> None:
    expected = ["TOWPATH_RUN=20261123-114219-k7p3", "TOWPATH_STATE=failed", f"TOWPATH_RELEASE={RELEASE}"]
    assert files.dotenv(told()).splitlines() == expected


def test_junit_counts_what_happened() -> None:
    bad = told()
    bad.state["stages"]["check"]["failure"]["message"] = "bad \x00\x1b[31m\ud800\ufffe end"
    [suite] = ET.fromstring(files.junit(bad))  # noqa: S314 - we wrote it
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6", "failures": "1", "errors": "0", "skipped": "2",
    }  # fmt: skip
    cases = {(case.get("classname"), case.get("name")): case for case in suite}
    failure = cases["shop", "check"].find("failure")
    assert failure is not None
    assert failure.get("type") == "terminal"
    assert str(failure.text).startswith("bad  end")
    assert cases["shop.smoke", "GET /"].get("time") == "0.500"


def test_a_place_is_one_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / "repo/app").mkdir(parents=True)
    (tmp_path / "repo/app/pipeline.yaml").write_text("")
    (tmp_path / "outside.yaml").write_text("")
    root, folder = tmp_path / "repo", tmp_path / "repo/app"
    assert place("pipeline.yaml:3:5", folder, root) == Place("app/pipeline.yaml", 3, 5)
    assert place("pipeline.yaml", folder, root) == Place("app/pipeline.yaml")
    for where in (None, "", "runs/x/open", "../../outside.yaml:1", "/etc/passwd:1", "missing.yaml:1:1", "a:b:c:d"):
        assert place(where, folder, root) == Place()


def test_stages_side_by_side_have_groups_one_after_the_other(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    shown = Grouped(github)
    shown.stage_started("a", 1)
    shown.stage_started("b", 1)
    shown.line("b", "b1", {})
    shown.line("a", "a1", {})
    shown.note("about the run")
    shown.line("b", "::endgroup::", {})
    shown.stage_started("c", 2)
    shown.close()
    log = read(capfdbinary.readouterr().err.decode())
    assert log.shown[:-1] == [
        ("a", "a | started"),
        ("a", "a | a1"),
        ("a", "about the run"),
        ("b", "b | started"),
        ("b", "b | b1"),
        ("b", "b | ::endgroup::"),
        ("c", "c | started, attempt 2"),
    ]
