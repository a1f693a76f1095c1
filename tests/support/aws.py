"""Clients of the embedded AWS that runs for a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3

if TYPE_CHECKING:
    from support.machine import Machine


def client(machine: Machine, service: Any, account: str = "000000000000", region: str = "us-east-1") -> Any:
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=machine.json("embedded", "status")["endpoint_url"],
        aws_access_key_id=account,
        aws_secret_access_key="test",
    )


def client_where(machine: Machine, stage: str, service: Any) -> Any:
    """A client for the account and the region to which a stage of the machine's project deploys."""
    target = next(each["target"] for each in machine.json("plan")["stages"] if each["name"] == stage)
    return client(machine, service, target["account"], target["region"])
