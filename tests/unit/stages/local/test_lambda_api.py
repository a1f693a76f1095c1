"""Lambda's endpoint, as boto3 sees it and beyond what boto3 would send."""

from __future__ import annotations

import base64
import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError

from stages.local.documents import ASYNCHRONOUS_BYTES, SYNCHRONOUS_BYTES
from stages.local.http import Server
from stages.local.lambda_api import LambdaApi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_lambda import LambdaClient

    from .conftest import Fake


@pytest.fixture
def server(fake: Fake) -> Iterator[Server]:
    with closing(Server("127.0.0.1", 0, LambdaApi(fake.service).answer)) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[LambdaClient]:
    client: LambdaClient = boto3.client(
        "lambda",
        endpoint_url=server.url,
        region_name="eu-west-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )
    yield client
    client.close()


def fail(_: Any) -> Any:
    raise ValueError("no good")


def test_request_response(client: LambdaClient, fake: Fake) -> None:
    fake.pool.answer = lambda event: {"got": event}
    done = client.invoke(FunctionName="Fn", Payload=b'{"a": 1}')
    assert (done["StatusCode"], done["ExecutedVersion"]) == (200, "$LATEST")
    assert json.loads(done["Payload"].read()) == {"got": {"a": 1}}
    assert "FunctionError" not in dict(done)
    assert done["ResponseMetadata"]["RequestId"] == fake.pool.calls[0].request_id


def test_a_function_error(client: LambdaClient, fake: Fake) -> None:
    fake.pool.answer, fake.pool.log = fail, "said\n"
    done = client.invoke(FunctionName="Fn", LogType="Tail")
    assert (done["StatusCode"], done["FunctionError"]) == (200, "Unhandled")
    assert json.loads(done["Payload"].read()) == {"errorType": "ValueError", "errorMessage": "no good"}
    log = base64.b64decode(done["LogResult"]).decode()
    assert [line.split()[0] for line in log.splitlines()] == ["START", "said", "END", "REPORT"]


def test_a_log_is_cut_to_its_last_4_kb(client: LambdaClient, fake: Fake) -> None:
    fake.pool.log = "x" * 10_000 + "\n"
    log = base64.b64decode(client.invoke(FunctionName="Fn", LogType="Tail")["LogResult"])
    assert len(log) == 4096
    assert b"REPORT" in log


def test_an_event_is_run_after_it_was_answered(client: LambdaClient, fake: Fake) -> None:
    done = client.invoke(FunctionName="Fn", InvocationType="Event", Payload=b'{"a":1}')
    assert (done["StatusCode"], done["Payload"].read()) == (202, b"")
    assert fake.pool.called.wait(5)
    assert fake.pool.calls[0].payload == b'{"a":1}'


def test_a_dry_run_runs_nothing(client: LambdaClient, fake: Fake) -> None:
    assert client.invoke(FunctionName="Fn", InvocationType="DryRun")["StatusCode"] == 204
    assert fake.pool.calls == []


@pytest.mark.parametrize(
    "name",
    [
        "Fn",
        "arn:aws:lambda:eu-west-1:123456789012:function:Fn",
        "123456789012:function:Fn",
        "Fn:$LATEST",
        "inner",
        "Inner",
    ],
)
def test_a_functions_names(client: LambdaClient, fake: Fake, name: str) -> None:
    assert client.invoke(FunctionName=name)["StatusCode"] == 200
    assert fake.pool.calls[0].payload == b"{}", "a call without a payload has an empty event"


def test_a_qualifier_is_in_the_arn_that_the_function_sees(client: LambdaClient, fake: Fake) -> None:
    client.invoke(FunctionName="Fn", Qualifier="live")
    assert fake.pool.calls[0].arn == "arn:aws:lambda:eu-west-1:123456789012:function:Fn:live"


def test_a_client_context_is_for_synchronous_calls_alone(client: LambdaClient, fake: Fake) -> None:
    context = base64.b64encode(b'{"custom": {"a": 1}}').decode()
    client.invoke(FunctionName="Fn", ClientContext=context)
    client.invoke(FunctionName="Fn", ClientContext=context, InvocationType="Event")
    assert fake.pool.called.wait(5)
    assert json.loads(fake.pool.calls[0].client_context) == {"custom": {"a": 1}}
    assert [call.client_context for call in fake.pool.calls[1:]] in ([], [""])


@pytest.mark.parametrize(
    ("arguments", "code", "status", "message"),
    [
        ({"FunctionName": "Gone"}, "ResourceNotFoundException", 404, "Function not found: Gone"),
        (
            {"FunctionName": "Fn:live", "Qualifier": "5"},
            "InvalidParameterValueException",
            400,
            "The derived qualifier from the function name does not match",
        ),
        (
            {"FunctionName": "Fn", "Payload": b"{"},
            "InvalidRequestContentException",
            400,
            "Could not parse request body",
        ),
        (
            {"FunctionName": "Fn", "Payload": b'{"a": NaN}'},
            "InvalidRequestContentException",
            400,
            "NaN is no value in JSON",
        ),
        (
            {"FunctionName": "Fn", "ClientContext": "e30"},
            "InvalidRequestContentException",
            400,
            "Client context must be a valid Base64-encoded JSON object",
        ),
        (
            {"FunctionName": "Fn", "Payload": b'"' + b"x" * SYNCHRONOUS_BYTES + b'"'},
            "RequestEntityTooLargeException",
            413,
            f"too large for the RequestResponse invocation type (limit {SYNCHRONOUS_BYTES} bytes)",
        ),
        (
            {"FunctionName": "Fn", "InvocationType": "Event", "Payload": b'"' + b"x" * ASYNCHRONOUS_BYTES + b'"'},
            "RequestEntityTooLargeException",
            413,
            "1048578 byte payload is too large for the Event invocation type",
        ),
    ],
)
def test_refusals(client: LambdaClient, arguments: dict[str, Any], code: str, status: int, message: str) -> None:
    with pytest.raises(ClientError) as error:
        client.invoke(**arguments)
    told = error.value.response
    assert (told["Error"]["Code"], told["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert message in told["Error"]["Message"]


def test_the_rest_of_lambdas_api_is_not_there(client: LambdaClient) -> None:
    with pytest.raises(ClientError, match="of Lambda's API there is Invoke alone"):
        client.list_functions()


def test_a_page_in_a_browser_calls_no_function(server: Server, fake: Fake) -> None:
    headers = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    url = f"{server.url}/2015-03-31/functions/Fn/invocations"
    assert urllib3.request("POST", url, body=b"{}", headers=headers).status == 403
    assert fake.pool.calls == []
