from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from stages.aws.lambda_ import LiveFunction
from stages.contract import Proposal, Request
from stages.deploy import fresh

ARN = "arn:aws:lambda:eu-central-1:111122223333:function:shop-Fn-1"
READY = LiveFunction("shop-Fn-1", ARN, "Active", "", "Successful", "", "app@sha256:1", None, "r1")
STACK = {"StackId": "arn:stack", "CreationTime": datetime(2026, 11, 1, tzinfo=UTC)}
UPDATED = {**STACK, "LastUpdatedTime": datetime(2026, 11, 2, tzinfo=UTC)}
DIGESTS = {"original": "sha256:1", "processed": "sha256:2"}


def request(seen: Any, *, is_fresh: bool = True) -> Request:
    base = {"stack_id": "arn:stack", "template": DIGESTS, "functions": {"Fn": {"image": "app@sha256:1"}}}
    subject = {"base": base, "template": {"original": "sha256:3", "processed": "sha256:4"}}
    return Request("deploy", "apply", "a", proposal=Proposal(subject, {"seen": seen}, ""), fresh=is_fresh)


def test_a_function_is_what_it_was_seen_to_be() -> None:
    assert fresh.functions(request(fresh.seen(UPDATED, {"Fn": READY}))) == {"Fn": READY}


def test_only_functions_that_were_ready_are_known_by_their_revision() -> None:
    others = {
        "Gone": None,
        "Pending": replace(READY, state="Pending"),
        "Updating": replace(READY, last_update="InProgress"),
        "Failed": replace(READY, last_update="Failed"),
        "Unknown": replace(READY, revision=None),
    }
    assert fresh.seen(UPDATED, others)["functions"] == {}


def test_what_comes_out_of_the_record_is_not_believed() -> None:
    seen = fresh.seen(UPDATED, {"Fn": READY})
    old = request(seen, is_fresh=False)
    assert (fresh.functions(old), fresh.standing(old, UPDATED), fresh.becomes(old)) == ({}, None, None)
    assert old.proposal is not None
    taken_up = replace(request(seen), proposal=fresh.stale(old.proposal))
    assert (fresh.functions(taken_up), fresh.standing(taken_up, UPDATED), fresh.becomes(taken_up)) == ({}, None, None)


def test_a_stack_that_was_updated_since_is_read_again() -> None:
    asked = request(fresh.seen(STACK, {}))
    assert fresh.standing(asked, STACK) == DIGESTS
    assert fresh.standing(asked, UPDATED) is None
    assert fresh.standing(asked, {**STACK, "StackId": "arn:another"}) is None
