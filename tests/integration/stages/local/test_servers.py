"""`towpath local start-api` and `start-lambda` in front of real containers."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import boto3
import pytest
import urllib3

if TYPE_CHECKING:
    import docker

    from .conftest import Project

pytestmark = pytest.mark.engine

EVENTS = (
    "      Events:\n        Hello: {Type: Api, Properties: {Path: '/hello/{name}', Method: get}}\n"
    "        Again: {Type: HttpApi, Properties: {Path: /again, Method: get}}\n"
)


def test_an_api_in_front_of_a_container(project: Project) -> None:
    project.write(EVENTS, Timeout=10)
    with project.serve("start-api") as served, urllib3.PoolManager(retries=False) as client:
        rest, http = served.urls()
        cold = client.request("GET", f"{rest}/hello/you")
        assert (cold.status, cold.json()) == (200, {"message": "hello", "path": "/hello/you"})
        took = []
        for _ in range(20):
            begun = time.monotonic()
            assert client.request("GET", f"{rest}/hello/you").status == 200
            took.append(time.monotonic() - begun)
        assert min(took) < 0.02, "a warm container answers at once"
        assert client.request("GET", f"{http}/again").json() == {"message": "hello", "path": None}
        with ThreadPoolExecutor(20) as threads:
            answers = list(threads.map(lambda _: client.request("GET", f"{rest}/hello/you").status, range(200)))
        assert answers == [200] * 200
        log = served.wait_for("GET /again Hello 200")
    assert "GET     /hello/{name}  Hello" in log
    assert log.count("Init Duration") <= 10, "containers are used again"


def test_boto3_calls_a_function(project: Project) -> None:
    with project.serve("start-lambda", "--containers", "1") as served:
        client = boto3.client(
            "lambda",
            endpoint_url=served.urls()[0],
            region_name="eu-west-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )
        done = client.invoke(FunctionName="Hello", Payload=b'{"do": "fail"}', LogType="Tail")
        assert done["FunctionError"] == "Unhandled"
        assert json.loads(done["Payload"].read())["errorType"] == "ValueError"
        client.invoke(FunctionName="Hello", Payload=b'{"do": "count"}', InvocationType="Event")
        served.wait_for("END RequestId", times=2)
        assert json.loads(client.invoke(FunctionName="Hello", Payload=b'{"do": "count"}')["Payload"].read()) == 2
        client.close()


def test_what_changes_is_built_and_swapped_and_what_cannot_be_is_not(
    project: Project, engine: docker.DockerClient
) -> None:
    context = project.folder / "src"
    context.mkdir()
    (context / "Dockerfile").write_text(f'FROM {project.image}\nCOPY app.py /var/task/\nCMD ["app.handler"]\n')
    code = 'def handler(event, context): return {"statusCode": 200, "body": "%s"}\n'
    (context / "app.py").write_text(code % "one")
    (project.folder / "template.yaml").write_text(
        "Transform: AWS::Serverless-2016-10-31\nParameters: {Stage: {Type: String}}\n"
        "Resources:\n  Hello:\n    Type: AWS::Serverless::Function\n"
        "    Properties:\n      PackageType: Image\n      Timeout: 10\n      FunctionUrlConfig: {AuthType: NONE}\n"
        "    Metadata: {Dockerfile: Dockerfile, DockerContext: src}\n"
    )
    try:
        argv = ("start-api", "--watch", "--parameter-overrides", "Stage=x")
        with project.serve(*argv) as served, urllib3.PoolManager(retries=False) as client:
            [url] = served.urls()
            assert client.request("GET", url).data == b"one"
            (context / "app.py").write_text(code % "two")
            served.wait_for("Hello has been swapped")
            assert client.request("GET", url).data == b"two"
            (context / "app.py").write_text("import gone\n")
            served.wait_for("Hello does not start, so what ran before still does")
            assert client.request("GET", url).data == b"two"
            (context / "Dockerfile").write_text("FROM scratch\nCOPY gone /\n")
            served.wait_for("the build failed")
            assert client.request("GET", url).data == b"two"
        changed = project.local("invoke")
        assert "note: Hello has changed since run" in changed.stderr
    finally:
        project.towpath("prune", "--images", "--keep", "0")
