"""The main job of the end-to-end tests on a real AWS account: `make live`. It is never collected by itself.

It makes one repository and two stacks, all named by chance, and removes them in the end, whatever happened.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from e2e.test_main_job import check_main_job
from support.machine import Machine, copy_example

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture
def account() -> str:
    return os.environ["TOWPATH_LIVE_ACCOUNT"]


@pytest.fixture
def session() -> boto3.Session:
    return boto3.Session(
        profile_name=os.environ.get("TOWPATH_LIVE_PROFILE"), region_name=os.environ["TOWPATH_LIVE_REGION"]
    )


@pytest.fixture
def name(session: boto3.Session) -> Iterator[str]:
    """What the stacks and the repository are named after."""
    name = f"towpath-live-{secrets.token_hex(4)}"
    yield name
    client: Any = session.client("cloudformation")
    for stack in (f"{name}-staging", f"{name}-production"):
        client.delete_stack(StackName=stack)
    for stack in (f"{name}-staging", f"{name}-production"):
        client.get_waiter("stack_delete_complete").wait(StackName=stack)
    ecr: Any = session.client("ecr")
    with contextlib.suppress(ecr.exceptions.RepositoryNotFoundException):
        ecr.delete_repository(repositoryName=name, force=True)


def test_from_source_to_production_on_a_real_account(
    tmp_path: Path, account: str, session: boto3.Session, name: str
) -> None:
    project, region = tmp_path / "project", str(session.region_name)
    copy_example(project, "1001", own_registry=True)
    environments = project / "pipeline.d/environments.yaml"
    environments.write_text(on_account(environments.read_text(), account, session, name))
    image = re.escape(f"{account}.dkr.ecr.{region}.amazonaws.com/{name}")
    check_main_job(Machine(project), image, "--parameter", "on-incomplete=warn")


def on_account(text: str, account: str, session: boto3.Session, name: str) -> str:
    """The example's environments on one account: no longer embedded, and named so that they meet nothing that is there."""
    profile = f"  profile: {session.profile_name}\n" if os.environ.get("TOWPATH_LIVE_PROFILE") else ""
    text = re.sub(r"^  aws: embedded\n", profile, text, flags=re.MULTILINE)
    text = re.sub(r'^  account: "\d{12}"', f'  account: "{account}"', text, flags=re.MULTILINE)
    text = re.sub(r"^  region: \S+", f"  region: {session.region_name}", text, flags=re.MULTILINE)
    text = re.sub(r"^  stack: demo-app-", f"  stack: {name}-", text, flags=re.MULTILINE)
    return re.sub(r"^  repository: demo-app", f"  repository: {name}", text, flags=re.MULTILINE)
