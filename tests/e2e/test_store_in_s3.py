"""The example on a store in S3: built here, approved from somewhere else, gone on with by another machine, audited by a third."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from support.far_away import far_away
from support.projects import commit, enrol
from support.s3 import faults

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.machine import Machine

pytestmark = [pytest.mark.engine, pytest.mark.slow]

STAGE = "deploy-production"
BUCKET = "records-of-the-example"
RTT_MS = 40
DENIED: Any = {"times": float("inf"), "status": 403, "code": "AccessDenied"}
"""As a policy refuses what a role may not do."""
PEOPLE = """
people:
  ada: {emails: [ada@example.com]}
  test: {emails: [test@example.com]}
signers: allowed_signers
"""


def prepared(machine: Machine) -> Machine:
    """The example, where ada must approve production, without the stages between package and it; its store is in S3."""
    enrol(machine.project, machine.project.parent, "ada")
    pipeline = machine.project / "pipeline.yaml"
    before, _, _ = pipeline.read_text().partition("  # Make a CloudFormation change set")
    pipeline.write_text(f"{before}  {STAGE}: {{uses: deploy, needs: [package], environment: production}}\n{PEOPLE}")
    environments = machine.project / "pipeline.d/environments.yaml"
    head, _, tail = environments.read_text().partition("\nproduction:")
    tail = tail.replace("approvals: none", "approvals: {people: 1, from: [ada]}", 1)
    environments.write_text(f"{head}\nproduction:{tail}")
    commit(machine.project, "test")
    return in_s3(machine, int(machine.json("embedded", "status")["endpoint_url"].rpartition(":")[2]))


def in_s3(machine: Machine, port: int) -> Machine:
    reach = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "777777777777",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_REGION": "eu-central-1",
        "TOWPATH_STORE": f"s3://{BUCKET}/example",
    }
    return replace(machine, variables={**machine.variables, **reach})


def elsewhere(machine: Machine, folder: Path, name: str) -> Machine:
    """Another machine with a copy of the project, and nothing of what Towpath left in the first one."""
    project = folder / name
    shutil.copytree(machine.project, project, ignore=shutil.ignore_patterns(".towpath"))
    return replace(machine, project=project)


def test_from_source_to_production_on_a_store_in_s3(example: Callable[..., Machine], tmp_path: Path) -> None:
    machine = prepared(example())
    port = int(machine.variables["AWS_ENDPOINT_URL_S3"].rpartition(":")[2])
    s3 = boto3.client(
        "s3",
        endpoint_url=machine.variables["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id="777777777777",
        aws_secret_access_key="any",
        region_name="eu-central-1",
    )
    place = {"LocationConstraint": "eu-central-1"}
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place, ObjectLockEnabledForBucket=True)  # type: ignore[arg-type] # a region

    refused = machine.towpath("run", "--store", f"s3://{BUCKET}/example?lock=governance:10d", code=2).stderr
    assert "leaves its images in this machine's engine" in refused
    assert "carrier: oci-layout" in refused
    machine.towpath("run", "-p", "carrier=oci-layout", code=75)
    assert not (machine.project / ".towpath/store").exists()

    with faults(port) as only_inbox:
        only_inbox.add("refuse", lambda asked: asked.writes and "/inbox/" not in asked.path, **DENIED)
        approver = in_s3(elsewhere(machine, tmp_path, "approver"), only_inbox.port)
        assert [each["stage"] for each in approver.json("approvals")] == [STAGE]
        signing = ("--reason", "ok", "--sign-with", str(tmp_path / "ada"))
        said = approver.towpath("approve", "latest", STAGE, *signing).stdout
        assert f"s3://{BUCKET}/example/inbox/" in said
    deployer = elsewhere(machine, tmp_path, "deployer")
    deployer.towpath("resume")
    assert deployer.json("status")["state"] == "succeeded"

    auditor = elsewhere(machine, tmp_path, "auditor")
    key = json.loads(machine.towpath("doctor", "--json").stdout)
    [line] = [each["repair"].removeprefix("for --trust FILE: ") for each in key if each["what"] == "runner's key"]
    (tmp_path / "trust").write_text(line + "\n")
    with faults(port) as only_reads:
        only_reads.add("refuse", lambda asked: asked.writes, **DENIED)
        reader = in_s3(auditor, only_reads.port)
        reader.towpath("audit", "verify", "--all", "--trust", str(tmp_path / "trust"))
        for command in ("status", "runs", "logs", "approvals"):
            reader.towpath(command)
        assert "does not let us do this" in reader.towpath("run", "-p", "carrier=oci-layout", code=1).stderr
    with far_away(port, RTT_MS) as far:
        for name, argv in {
            "status": ["status"],
            "runs": ["runs"],
            "resume": ["resume"],
            "audit verify": ["audit", "verify", "--trust", str(tmp_path / "trust")],
            "audit show": ["audit", "show"],
        }.items():
            began = time.monotonic()
            in_s3(auditor, far).towpath(*argv)
            print(f"{name} at {RTT_MS} ms a request: {time.monotonic() - began:.2f} s")

    [run] = [each["Prefix"].split("/")[2] for each in _prefixes(s3, "example/runs/")]
    locked = {key.split("/")[1] for key in _keys(s3) if "ObjectLockMode" in s3.head_object(Bucket=BUCKET, Key=key)}
    assert locked == {"format.json", "runs", "ledgers", "inbox"}

    gone = f"example/runs/{run}/{STAGE}.2/seal.json"
    s3.delete_object(Bucket=BUCKET, Key=gone)
    said = auditor.towpath("audit", "verify", "--trust", str(tmp_path / "trust"), code=4).stderr
    assert gone.removeprefix("example/") in said
    assert "was deleted at" in said


def _keys(s3: object) -> list[str]:
    answer = s3.list_objects_v2(Bucket=BUCKET, Prefix="example/")  # type: ignore[attr-defined] # a client
    assert not answer["IsTruncated"]
    return [each["Key"] for each in answer["Contents"]]


def _prefixes(s3: object, prefix: str) -> list[dict[str, str]]:
    answer = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix, Delimiter="/")  # type: ignore[attr-defined] # a client
    found: list[dict[str, str]] = answer["CommonPrefixes"]
    return found
