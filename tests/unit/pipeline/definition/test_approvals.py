from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.approvers import SigningKey

from pipeline.gates.freezes import Freeze
from pipeline.gates.rules import NOBODY
from pipeline.gates.rules import problems as rule_problems

if TYPE_CHECKING:
    from unit.pipeline.definition.conftest import Load, Problems

BASE = """
people:
  alice: {emails: [Alice@Example.com], logins: [alice-gh]}
  bob: {emails: [bob@example.com]}
  carol: {}
groups:
  release: [alice, bob]
signers: pipeline.d/signers
environments:
  s: {account: "111122223333", region: eu-central-1, stack: demo, approvals: {people: 2, from: [release, alice]}}
stages: {tidy: {uses: command, with: {run: [make]}}}
"""
SIGNERS = "".join(
    f'{each} namespaces="towpath-approval" {SigningKey(each).line}\n' for each in ("alice", "bob", "carol")
)
FILES = {"pipeline.d/signers": SIGNERS}


def messages(found: Problems, old: str = "", new: str = "", files: dict[str, str] | None = None) -> list[str]:
    return [each.message for each in found(BASE.replace(old, new, 1), FILES if files is None else files)]


def test_the_rules_of_an_environment(load: Load) -> None:
    loaded = load(BASE, FILES)
    rules = loaded.rules["s"]
    assert (rules.people, rules.expires_s, rules.scan) == (2, 86_400, "none")
    assert rules.approvers == {each: (SigningKey(each).line,) for each in ("alice", "bob")}
    assert rules.identities == {"alice@example.com": "alice", "alice-gh": "alice", "bob@example.com": "bob"}
    assert rule_problems(rules) == []


def test_the_keys_are_recorded_with_the_definition(load: Load) -> None:
    assert load(BASE, FILES).files["pipeline.d/signers"] == SIGNERS.encode()


def test_every_environment_has_rules(load: Load) -> None:
    text = BASE.replace(
        "stages:", '  none: {account: "111122223333", region: eu-central-1, stack: x, approvals: none}\nstages:'
    )
    text = text.replace("stages:", '  silent: {account: "111122223333", region: eu-central-1, scan: required}\nstages:')
    rules = load(text, FILES).rules
    assert rules["none"] == NOBODY
    assert (rules["silent"].people, rules["silent"].scan) == (0, "required")


def test_how_long_an_approval_counts(load: Load) -> None:
    assert load(BASE.replace("alice]}}", "alice], expires: 90m}}"), FILES).rules["s"].expires_s == 5_400
    assert load(BASE.replace("alice]}}", "alice], expires: 720h}}"), FILES).rules["s"].expires_s == 2_592_000


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (", approvals: {people: 2, from: [release, alice]}", "", "environment 's' does not say who must approve what is deployed to it"),
        ("{people: 2, from: [release, alice]}", "no", "environments.s.approvals must be `none` or a map, not 'no'"),
        ("{people: 2, from: [release, alice]}", "[]", "environments.s.approvals must be `none` or a map, not a list"),
        ("{people: 2, from: [release, alice]}", "true", "environments.s.approvals must be `none` or a map, not true"),
        ("{people: 2, from: [release, alice]}", "", "environments.s.approvals is empty"),
        ("{people: 2, from: [release, alice]}", "{people: none, from: [alice]}", "environments.s.approvals.people must be a whole number, not 'none'"),
        ("people: 2,", "people: 0,", "environments.s.approvals.people must be at least 1"),
        ("people: 2, ", "", "environments.s.approvals lacks 'people'"),
        (", from: [release, alice]", "", "environments.s.approvals lacks 'from'"),
        ("from: [release, alice]", "from: []", "environments.s.approvals.from is empty: it needs at least 1"),
        ("people: 2,", "people: 3,", "3 people must approve, and only 2 may: alice, bob"),
        ("[release, alice]", "[carol, mallory]", "there is no person or group 'mallory'"),
        ("[alice, bob]", "[alice, mallory]", "there is no person 'mallory'"),
        ("[alice, bob]", "[]", "groups.release is empty: it needs at least 1"),
        ("bob@example.com", "alice@example.COM", "'alice@example.COM' is both 'alice' and 'bob'"),
        ("bob@example.com", "ALICE-GH", "'ALICE-GH' is both 'alice' and 'bob'"),
        ("signers: pipeline.d/signers", "signers: pipeline.d/signer", "there is no file 'pipeline.d/signer' in the project directory"),
        ("signers: pipeline.d/signers", "signers: ../signers", "'../signers' leads upwards"),
        ("signers: pipeline.d/signers", "signers: 7", "signers must be text, not the number 7"),
        ("  carol: {}\n", "", "there is no person 'carol'"),
        ("carol: {}", "Carol: {}", "'Carol' is no name for a person"),
        ("release: [", "bob: [", "'bob' is both a person and a group"),
    ],
)  # fmt: skip
def test_what_is_wrong(problems: Problems, old: str, new: str, message: str) -> None:
    assert message in messages(problems, old, new)


def test_one_mistake_is_told_once(problems: Problems) -> None:
    """What follows from a misspelt key is no mistake of its own."""
    assert messages(problems, "approvals:", "aprovals:") == ["unknown key 'aprovals' in environments.s"]
    assert messages(problems, "[alice, bob]", "[alice, mallory]") == ["there is no person 'mallory'"]
    assert messages(problems, "emails: [bob@example.com]", "emails: 7") == [
        "people.bob.emails must be a list, not the number 7"
    ]
    assert messages(problems, "people: 2", "people: two") == [
        "environments.s.approvals.people must be a whole number, not 'two'"
    ]


def test_without_keys_nobody_can_approve(problems: Problems) -> None:
    found = problems(BASE.replace("signers: pipeline.d/signers\n", ""), {})
    assert [each.message for each in found] == [
        "'alice' may approve, and has no key",
        "'bob' may approve, and has no key",
    ]
    assert "signers: FILE" in str(found[0].hint)


def test_lines_of_the_keys_are_named(problems: Problems) -> None:
    found = problems(BASE, {"pipeline.d/signers": SIGNERS + "x\n"})
    assert [each.where for each in found] == ["pipeline.d/signers:4"]


def test_keys_that_are_no_text(problems: Problems, load: Load) -> None:
    assert messages(problems, files={"pipeline.d/signers": SIGNERS.replace("carol", "carol\x00")}) != []


def test_expressions_are_not_taken_where_rules_stand(problems: Problems) -> None:
    """Who may give a run its parameters must not thereby choose its gate."""
    text = BASE.replace("people: 2", 'people: "${{ parameters.people }}"') + "parameters: {people: {type: integer}}\n"
    assert "environments.s.approvals.people takes no expressions" in [each.message for each in problems(text, FILES)]
    text = BASE.replace("[release, alice]", '["${{ parameters.who }}"]') + "parameters: {who: {type: string}}\n"
    assert "environments.s.approvals.from[0] takes no expressions" in [each.message for each in problems(text, FILES)]


# Freezes

FREEZE = "approvals: {people: 2, from: [release, alice]}, freeze: [{name: weekend, from: fri 16:00, to: mon 08:00, zone: Europe/Berlin}]"
FROZEN = BASE.replace("approvals: {people: 2, from: [release, alice]}", FREEZE)


def test_the_freezes_of_an_environment(load: Load) -> None:
    rules = load(FROZEN, FILES).rules["s"]
    assert rules.freezes == (Freeze("weekend", "fri 16:00", "mon 08:00", "Europe/Berlin"),)
    assert rule_problems(rules) == []
    nobody = FROZEN.replace("approvals: {people: 2, from: [release, alice]}", "approvals: none")
    assert load(nobody, FILES).rules["s"].freezes == rules.freezes


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fri 16:00", "friday 16:00", "freeze[0].from must be a moment, such as 2026-12-18 18:00, fri 16:00 or 18:00"),
        ("fri 16:00", "16:00", "not written in the same way"),
        ("Europe/Berlin", "Europe/Berlim", "there is no time zone 'Europe/Berlim'"),
        ("Europe/Berlin", "CET", "must be a time zone, such as Europe/Berlin or UTC"),
        (", zone: Europe/Berlin", "", "lacks 'zone'"),
        ("to: mon", "until: mon", "unknown key 'until'"),
        ("[{name", "[{name: weekend, from: 2027-01-01 00:00, to: 2026-01-01 00:00, zone: UTC}, {name", "two freezes"),
        (
            "[{name",
            "[{name: other, from: 2027-01-01 00:00, to: 2026-01-01 00:00, zone: UTC}, {name",
            "ends before it begins",
        ),
        ("[{name: weekend, from: fri 16:00, to: mon 08:00, zone: Europe/Berlin}]", "weekend", "must be a list"),
    ],
)
def test_what_is_wrong_with_a_freeze(problems: Problems, old: str, new: str, message: str) -> None:
    found = problems(FROZEN.replace(old, new, 1), FILES)
    assert any(message in each.message for each in found), [each.message for each in found]
    assert all(each.line for each in found)


# Breaking the glass

MAY = BASE.replace(
    "approvals: {people: 2, from: [release, alice]}",
    "approvals: {people: 2, from: [release, alice]}, break-glass: {from: [carol, bob]}",
)
GLASS = "".join(
    f'{each} namespaces="towpath-break-glass" {SigningKey(f"{each}-glass").line}\n' for each in ("carol", "bob")
)
MAY_FILES = {"pipeline.d/signers": SIGNERS + GLASS}


def test_who_may_break_the_glass(load: Load) -> None:
    rules = load(MAY, MAY_FILES).rules["s"]
    assert rules.glass == {each: (SigningKey(f"{each}-glass").line,) for each in ("bob", "carol")}
    assert rules.approvers["bob"] == (SigningKey("bob").line,)
    assert rule_problems(rules) == []
    assert load(BASE, FILES).rules["s"].glass == {}


def test_one_key_may_be_for_both(load: Load) -> None:
    both = SIGNERS.replace("towpath-approval", "towpath-approval,towpath-break-glass")
    rules = load(MAY, {"pipeline.d/signers": both}).rules["s"]
    assert rules.glass["bob"] == rules.approvers["bob"]
    assert rule_problems(rules) == []


def test_what_is_wrong_with_who_may_break_the_glass(problems: Problems) -> None:
    def messages(text: str, files: dict[str, str]) -> list[str]:
        return [each.message for each in problems(text, files)]

    assert messages(MAY, FILES) == [
        "'bob' may break the glass, and has no key for it", "'carol' may break the glass, and has no key for it",
    ]  # fmt: skip
    assert messages(MAY.replace("[carol, bob]", "[carl]"), MAY_FILES) == ["there is no person or group 'carl'"]
    alone = MAY.replace("approvals: {people: 2, from: [release, alice]}", "approvals: none").replace(
        "[carol, bob]", "[carol]"
    )
    assert messages(alone, MAY_FILES) == ["only 'carol' may break the glass of 's', and nobody could review it"]
    assert any("lacks 'from'" in each for each in messages(MAY.replace("{from: [carol, bob]}", "{}"), MAY_FILES))
