"""The bucket policy of docs/how-to/shared-store.md, judged by an IAM evaluator that is none of ours: the embedded AWS's."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest
from support.machine import ROOT

from stages.embedded import venv

EVALUATE = """
import json, sys
from ministack.core.iam_evaluator import EvalContext, evaluate_resource_policy
asked = json.load(sys.stdin)
def decide(role, action, key, context, tls):
    arn = "arn:aws:iam::111122223333:role/" + role
    resource = "arn:aws:s3:::records" + ("/" + key if key else "")
    about = EvalContext(arn, "AssumedRole", "111122223333", action, resource, "eu-central-1", secure_transport=tls, service_context=context)
    return evaluate_resource_policy(asked["policy"], about).decision
print(json.dumps([decide(*case) for case in asked["cases"]]))
"""
NEW = {"s3:if-none-match": "*", "s3:objectcreationoperation": "true"}
OVER = {"s3:objectcreationoperation": "true"}
PART = {"s3:objectcreationoperation": "false"}
RUN, LEDGER, INBOX, BLOB = (
    "shop/runs/r/open/00000000.json",
    "shop/ledgers/l/00000000.json",
    "shop/inbox/r/s/x.json",
    "shop/blobs/sha256/ab/x",
)
RUNNER, APPROVER, AUDITOR, OTHER = "towpath-runner", "towpath-approver", "towpath-auditor", "somebody"
CASES: list[tuple[tuple[str, str, str, dict[str, str], bool], str]] = [
    *(((who, "s3:GetObject", RUN, {}, True), "Allow") for who in (RUNNER, APPROVER, AUDITOR)),
    *(((who, "s3:ListBucketVersions", "", {}, True), "Allow") for who in (RUNNER, APPROVER, AUDITOR)),
    ((OTHER, "s3:GetObject", RUN, {}, True), "ImplicitDeny"),
    ((AUDITOR, "s3:GetObject", RUN, {}, False), "Deny"),
    *(((RUNNER, "s3:PutObject", key, NEW, True), "Allow") for key in (RUN, LEDGER, INBOX, BLOB)),
    *(((RUNNER, "s3:PutObject", key, OVER, True), "Deny") for key in (RUN, LEDGER, INBOX, BLOB)),
    ((RUNNER, "s3:PutObject", BLOB, PART, True), "Allow"),
    ((RUNNER, "s3:PutObject", RUN, NEW, False), "Deny"),
    ((APPROVER, "s3:PutObject", INBOX, NEW, True), "Allow"),
    ((APPROVER, "s3:PutObject", INBOX, OVER, True), "Deny"),
    *(((APPROVER, "s3:PutObject", key, NEW, True), "ImplicitDeny") for key in (RUN, LEDGER, BLOB)),
    ((AUDITOR, "s3:PutObject", INBOX, NEW, True), "ImplicitDeny"),
    *(
        ((who, f"s3:DeleteObject{what}", key, {}, True), "Deny")
        for who in (RUNNER, APPROVER, OTHER)
        for what in ("", "Version")
        for key in (RUN, LEDGER, INBOX, "shop/prunes/p.json", "shop/identities/i.json", "shop/format.json")
    ),
    ((RUNNER, "s3:BypassGovernanceRetention", RUN, {}, True), "Deny"),
    ((RUNNER, "s3:DeleteObject", BLOB, {}, True), "ImplicitDeny"),
]


@pytest.fixture(scope="module")
def policy() -> Any:
    page = (ROOT / "docs/how-to/shared-store.md").read_text()
    [text] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    return json.loads(text)


def test_the_policy_lets_each_role_do_what_it_is_for_and_nobody_more(policy: Any) -> None:
    asked = json.dumps({"policy": policy, "cases": [case for case, _ in CASES]})
    argv = [str(venv.interpreter(print)), "-c", EVALUATE]
    decided = json.loads(subprocess.run(argv, input=asked, capture_output=True, text=True, check=True).stdout)
    wrong = [(case, expected, got) for (case, expected), got in zip(CASES, decided, strict=True) if got != expected]
    assert wrong == []
