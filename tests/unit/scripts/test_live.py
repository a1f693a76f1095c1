from __future__ import annotations

import os
import subprocess
from pathlib import Path

import boto3
import pytest
from live.live_main_job import on_account

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({}, "no AWS account is named to run on"),
        ({"TOWPATH_LIVE_ACCOUNT": "123456789012"}, "no AWS account is named to run on"),
        ({"TOWPATH_LIVE_ACCOUNT": "12", "TOWPATH_LIVE_REGION": "eu-central-1"}, "which is no account id"),
    ],
)
def test_nothing_runs_on_an_account_that_nobody_named(named: dict[str, str], said: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOWPATH_LIVE_")}
    done = subprocess.run(
        [ROOT / "scripts/live"], env=environment | named, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stdout == ""


def test_the_examples_environments_are_all_on_the_account_that_is_named() -> None:
    text = (ROOT / "pipeline.d/environments.yaml").read_text()
    session = boto3.Session(region_name="eu-north-1")
    made = "\n".join(
        line for line in on_account(text, "123456789012", session, "towpath-live-1").splitlines() if line[:1] != "#"
    )
    assert "embedded" not in made
    assert made.count('account: "123456789012"') == made.count("region: eu-north-1") == 3
    assert "stack: towpath-live-1-staging" in made
    assert "stack: towpath-live-1-production" in made
    assert "repository: towpath-live-1" in made
    assert "demo-app-" not in made
