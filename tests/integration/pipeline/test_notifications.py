"""A topic of SNS, with a queue of SQS behind it, in the AWS that runs on this machine."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import boto3
import pytest
from support.plans import House, command

from pipeline import engine
from pipeline.errors import StageFailed
from pipeline.plan import Channel
from pipeline.record import artifacts, runs
from pipeline.standings import Wish
from stages.contract import Target

REGION, ACCOUNT = "eu-west-1", "111122223333"


def client(service: str, port: int) -> Any:
    make: Any = boto3.client  # its overloads know only literal names
    return make(
        service,
        region_name=REGION,
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=ACCOUNT,
        aws_secret_access_key="any",
    )


def failing(house: House, topic: str) -> str:
    """Open a run that fails, of which a topic wants to know."""
    run_id = house.open(command("build", "exit 3"))
    target = Target("tools", ACCOUNT, REGION, embedded=True)
    channel = Channel("sns", ["failed"], topic=topic, target=target)
    plan = dataclasses.replace(house.plans[run_id], notifications=[channel])
    run_id = runs.open_run(house.store, {"plan": artifacts.put_json(house.store, plan.as_json())}, house.key)
    house.plans[run_id] = plan
    return run_id


def test_a_topic_is_told(house: House, server: int) -> None:
    sns, sqs = client("sns", server), client("sqs", server)
    topic = sns.create_topic(Name="deployments")["TopicArn"]
    queue = sqs.create_queue(QueueName="deployments")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    run_id = failing(house, topic)
    with pytest.raises(StageFailed):
        house.drive(run_id, endpoint=f"http://127.0.0.1:{server}")
    [message] = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5)["Messages"]
    told = json.loads(json.loads(message["Body"])["Message"])
    assert (told["event"], told["run"], told["stage"]) == ("failed", run_id, "build")
    assert told["command"] == f"towpath logs {run_id} build"
    assert json.loads(message["Body"])["Subject"] == "test: build failed"


def test_a_topic_that_is_not_there_fails_nothing(house: House, server: int) -> None:
    run_id = failing(house, f"arn:aws:sns:{REGION}:{ACCOUNT}:nowhere")
    context = house.context(run_id)
    context._endpoint += [f"http://127.0.0.1:{server}"]
    with pytest.raises(StageFailed, match="exit code 3"):
        engine.drive(context, Wish(), 1)
    assert any("sns could not be told of failed" in each for each in context.reporter.notes)  # type: ignore[attr-defined]
