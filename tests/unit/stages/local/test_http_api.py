"""Requests over real HTTP to events, and answers to responses, as API Gateway and function URLs make them."""

from __future__ import annotations

import base64
import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import urllib3

from stages.local import http_api
from stages.local.documents import SYNCHRONOUS_BYTES
from stages.local.http import BODY_BYTES, Server
from stages.local.http_api import HttpApi
from stages.local.routes import Api, Cors, Route

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Fake

REST = Api("rest", "Rest", "Prod", {"colour": "blue"}, ("image/png",), routes=[Route("ANY", "/books/{id}", "Fn")])
HTTP = Api("http", "Http", "$default", {"colour": "red"}, routes=[Route("ANY", "/books/{id}", "Fn", "2.0")])
HTTP_1 = Api("http", "Http", "$default", routes=[Route("ANY", "/books/{id}", "Fn", "1.0")])
URL = Api("url", "Fn", "$default", routes=[Route("ANY", "$default", "Fn", "2.0")])


class Client:
    def __init__(self, url: str, fake: Fake) -> None:
        self.url, self.fake = url, fake
        self.pool = urllib3.PoolManager(retries=False)

    def ask(self, method: str = "GET", path: str = "/books/7", **more: Any) -> urllib3.BaseHTTPResponse:
        return self.pool.request(method, self.url + path, **more)

    def event(self, *arguments: Any, **more: Any) -> Any:
        """The event that a request comes to."""
        self.ask(*arguments, **more)
        return json.loads(self.fake.pool.calls[-1].payload)

    def answered(self, answer: Any, **more: Any) -> tuple[int, dict[str, str], bytes]:
        """What a handler's answer comes to."""
        self.fake.pool.answer = lambda _: answer
        response = self.ask(**more)
        return response.status, dict(response.headers), response.data


@contextmanager
def serving(api: Api, fake: Fake) -> Iterator[Client]:
    answering = HttpApi(api, fake.service)
    server = Server("127.0.0.1", 0, answering.answer)
    answering.port = server.server_address[1]
    client = Client(server.url, fake)
    yield client
    client.pool.clear()
    server.close()


@pytest.fixture
def rest(fake: Fake) -> Iterator[Client]:
    with serving(REST, fake) as client:
        yield client


@pytest.fixture
def http(fake: Fake) -> Iterator[Client]:
    with serving(HTTP, fake) as client:
        yield client


def test_an_event_of_a_rest_api(rest: Client) -> None:
    headers = urllib3.HTTPHeaderDict([("X-A", "1"), ("X-A", "2"), ("Cookie", "a=b; c=d")])
    event = rest.event("POST", "/Prod/books/a%20b?q=1&q=2&empty=", body="text", headers=headers)
    assert (event["resource"], event["path"], event["httpMethod"]) == ("/books/{id}", "/books/a b", "POST")
    assert event["pathParameters"] == {"id": "a b"}
    assert event["queryStringParameters"] == {"q": "2", "empty": ""}
    assert event["multiValueQueryStringParameters"] == {"q": ["1", "2"], "empty": [""]}
    assert (event["headers"]["X-A"], event["multiValueHeaders"]["X-A"]) == ("2", ["1", "2"])
    assert event["headers"]["Cookie"] == "a=b; c=d"
    assert (event["headers"]["X-Forwarded-For"], event["headers"]["X-Forwarded-Proto"]) == ("127.0.0.1", "http")
    assert event["stageVariables"] == {"colour": "blue"}
    assert (event["body"], event["isBase64Encoded"]) == ("text", False)
    assert "version" not in event
    context = event["requestContext"]
    assert (context["stage"], context["resourcePath"], context["path"]) == ("Prod", "/books/{id}", "/Prod/books/a b")
    assert (context["identity"]["sourceIp"], context["protocol"]) == ("127.0.0.1", "HTTP/1.1")
    assert context["requestTimeEpoch"] == pytest.approx(time.time() * 1000, abs=60_000)


def test_what_a_rest_api_leaves_empty_is_null(rest: Client) -> None:
    event = rest.event()
    empty = ("queryStringParameters", "multiValueQueryStringParameters", "body")
    assert [event[name] for name in empty] == [None, None, None]


def test_an_event_of_an_http_api(http: Client) -> None:
    headers = urllib3.HTTPHeaderDict([("X-A", "1"), ("X-A", "2"), ("Cookie", "a=b; c=d"), ("User-Agent", "me")])
    event = http.event("GET", "/books/a%20b?q=1&q=2&r=%26", headers=headers)
    assert (event["version"], event["routeKey"], event["rawPath"]) == ("2.0", "ANY /books/{id}", "/books/a b")
    assert event["rawQueryString"] == "q=1&q=2&r=%26"
    assert event["queryStringParameters"] == {"q": "1,2", "r": "&"}
    assert event["cookies"] == ["a=b", "c=d"]
    assert event["headers"]["x-a"] == "1,2"
    assert "cookie" not in event["headers"]
    assert (event["pathParameters"], event["stageVariables"]) == ({"id": "a b"}, {"colour": "red"})
    about = event["requestContext"]["http"]
    assert about == {
        "method": "GET",
        "path": "/books/a b",
        "protocol": "HTTP/1.1",
        "sourceIp": "127.0.0.1",
        "userAgent": "me",
    }
    assert (event["isBase64Encoded"], "body" in event) == (False, False)


def test_an_http_api_leaves_out_what_is_empty(http: Client) -> None:
    event = http.event()
    assert not {"cookies", "queryStringParameters", "body"} & set(event)


def test_an_http_api_whose_route_wants_the_older_form(fake: Fake) -> None:
    with serving(HTTP_1, fake) as client:
        event = client.event()
        assert (event["version"], event["resource"], event["requestContext"]["stage"]) == (
            "1.0",
            "/books/{id}",
            "$default",
        )


def test_an_event_of_a_functions_url(fake: Fake) -> None:
    with serving(URL, fake) as client:
        event = client.event("PUT", "/any/where?x=1", body=b"{}", headers={"Content-Type": "application/json"})
        assert (event["routeKey"], event["rawPath"], event["body"]) == ("$default", "/any/where", "{}")
        assert event["requestContext"]["accountId"] == "anonymous"


@pytest.mark.parametrize(
    ("api", "media_type", "encoded"),
    [
        (REST, "image/png", True),
        (REST, "image/gif", False),
        (REST, "application/octet-stream", False),
        (HTTP, "image/png", True),
        (HTTP, "application/x-www-form-urlencoded", True),
        (HTTP, "application/vnd.api+json; charset=utf-8", False),
        (HTTP, "text/csv", False),
        (HTTP_1, "image/png", True),
    ],
)
def test_which_bodies_are_binary(fake: Fake, api: Api, media_type: str, encoded: bool) -> None:  # noqa: FBT001 - a case
    with serving(api, fake) as client:
        event = client.event("POST", body=b"abc", headers={"Content-Type": media_type})
        body = base64.b64encode(b"abc").decode() if encoded else "abc"
        assert (event["isBase64Encoded"], event["body"]) == (encoded, body)


def test_an_answer_to_a_rest_api(rest: Client) -> None:
    answer = {
        "statusCode": 201,
        "headers": {"X-A": 1, "X-B": True},
        "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"]},
        "body": "made",
    }
    status, headers, body = rest.answered(answer)
    assert (status, body, headers["X-A"], headers["X-B"]) == (201, b"made", "1", "true")
    assert headers["Content-Type"] == "application/json"
    assert headers["Set-Cookie"] == "a=1, b=2"  # urllib3 joins the two


def test_a_binary_answer_to_a_rest_api_needs_an_accept_header_that_asks_for_it(rest: Client) -> None:
    body = base64.b64encode(b"\x89PNG").decode()
    answer = {"statusCode": 200, "body": body, "isBase64Encoded": True}
    assert rest.answered(answer, headers={"Accept": "image/png,*/*"})[2] == b"\x89PNG"
    assert rest.answered(answer, headers={"Accept": "text/html"})[2] == body.encode()


@pytest.mark.parametrize(
    ("answer", "status", "body", "media_type"),
    [
        ({"statusCode": 200, "body": "x", "headers": {"Content-Type": "text/plain"}}, 200, b"x", "text/plain"),
        ({"statusCode": "404"}, 404, b"", "application/json"),
        ({"message": "hello"}, 200, b'{"message": "hello"}', "application/json"),
        ("Hello from Lambda!", 200, b"Hello from Lambda!", "application/json"),
        ({"statusCode": 200, "body": "AAE=", "isBase64Encoded": True}, 200, b"\x00\x01", "application/json"),
    ],
)
def test_answers_to_an_http_api(http: Client, answer: Any, status: int, body: bytes, media_type: str) -> None:
    got = http.answered(answer)
    assert (got[0], got[2], got[1]["Content-Type"]) == (status, body, media_type)


def test_cookies_of_an_answer_to_an_http_api(http: Client) -> None:
    assert http.answered({"statusCode": 200, "cookies": ["a=1", "b=2"]})[1]["Set-Cookie"] == "a=1, b=2"


@pytest.mark.parametrize(
    ("api", "answer", "status", "message"),
    [
        (REST, {"body": "x"}, 502, "Internal server error"),
        (REST, "text", 502, "Internal server error"),
        (REST, {"statusCode": 200, "body": {"a": 1}}, 502, "Internal server error"),
        (REST, {"statusCode": 200, "cookies": []}, 502, "Internal server error"),
        (REST, {"statusCode": 200, "headers": ["x"]}, 502, "Internal server error"),
        (HTTP, {"statusCode": 200, "body": {"a": 1}}, 500, "Internal Server Error"),
        (HTTP, {"statusCode": 1000}, 500, "Internal Server Error"),
        (HTTP, {"statusCode": 200, "body": "!", "isBase64Encoded": True}, 500, "Internal Server Error"),
        (HTTP_1, {"body": "x"}, 500, "Internal Server Error"),
        (URL, {"statusCode": "x"}, 502, "Internal Server Error"),
    ],
)
def test_answers_that_are_malformed(fake: Fake, api: Api, answer: Any, status: int, message: str) -> None:
    with serving(api, fake) as client:
        got = client.answered(answer)
        assert (got[0], json.loads(got[2])) == (status, {"message": message})
        fake.wait_for("the answer is malformed")


@pytest.mark.parametrize(("api", "status"), [(REST, 502), (HTTP, 500), (URL, 502)])
def test_a_function_that_fails(fake: Fake, api: Api, status: int) -> None:
    def fail(_: Any) -> Any:
        raise ValueError("no good")

    fake.pool.answer = fail
    with serving(api, fake) as client:
        assert client.ask().status == status
        fake.wait_for("(handler-error)")


@pytest.mark.parametrize(("api", "status"), [(REST, 504), (HTTP, 503)])
def test_a_function_that_takes_longer_than_api_gateway_waits(
    fake: Fake, api: Api, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_api, "INTEGRATION_S", {"rest": 0.2, "http": 0.2})
    fake.pool.answer = lambda _: time.sleep(0.5)
    with serving(api, fake) as client:
        assert client.ask().status == status
        assert fake.pool.called.wait(5), "the function goes on all the same"


@pytest.mark.parametrize(
    ("api", "status", "message"), [(REST, 403, "Missing Authentication Token"), (HTTP, 404, "Not Found")]
)
def test_no_route(fake: Fake, api: Api, status: int, message: str) -> None:
    with serving(api, fake) as client:
        got = client.ask("GET", "/nowhere")
        assert (got.status, got.json()) == (status, {"message": message})


@pytest.mark.parametrize("size", [BODY_BYTES + 1, SYNCHRONOUS_BYTES])
def test_a_body_that_is_too_large(rest: Client, size: int) -> None:
    got = rest.ask("POST", body=b"x" * size)
    assert (got.status, got.json()) == (413, {"message": "Request Too Long"})
    assert rest.fake.pool.calls == []


def test_head_has_no_body_and_the_connection_goes_on(rest: Client) -> None:
    rest.fake.pool.answer = lambda _: {"statusCode": 200, "body": "four"}
    head = rest.ask("HEAD")
    assert (head.headers["Content-Length"], head.data) == ("4", b"")
    assert rest.ask().data == b"four"


def test_a_body_in_chunks(rest: Client) -> None:
    assert rest.event("POST", body=iter([b"ab", b"cd"]))["body"] == "abcd"


ORIGIN = {"Origin": "https://a.example"}
PREFLIGHT = {**ORIGIN, "Access-Control-Request-Method": "PUT"}


def with_cors(api: Api, cors: Cors) -> Api:
    return Api(api.kind, api.name, api.stage, cors=cors, routes=api.routes)


def test_cors_of_a_rest_api_is_an_answer_to_options_and_nothing_else(fake: Fake) -> None:
    with serving(with_cors(REST, Cors(("https://a.example",), headers=("X-A",))), fake) as client:
        got = client.ask("OPTIONS", headers=PREFLIGHT)
        assert (got.status, fake.pool.calls) == (200, [])
        assert got.headers["Access-Control-Allow-Origin"] == "https://a.example"
        assert got.headers["Access-Control-Allow-Methods"] == "DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT"
        assert got.headers["Access-Control-Allow-Headers"] == "X-A"
        assert "Access-Control-Allow-Origin" not in client.answered({"statusCode": 200}, headers=ORIGIN)[1]


@pytest.mark.parametrize(("api", "status"), [(HTTP, 204), (URL, 200)])
def test_cors_of_an_http_api_and_of_a_functions_url(fake: Fake, api: Api, status: int) -> None:
    cors = Cors(("https://a.example",), ("PUT",), ("x-a",), ("x-b",), "60", credentials=True)
    with serving(with_cors(api, cors), fake) as client:
        got = client.ask("OPTIONS", headers=PREFLIGHT)
        assert (got.status, fake.pool.calls) == (status, [])
        assert got.headers["Access-Control-Allow-Origin"] == "https://a.example"
        assert (got.headers["Access-Control-Allow-Methods"], got.headers["Access-Control-Max-Age"]) == ("PUT", "60")
        own = {"statusCode": 200, "headers": {"Access-Control-Allow-Origin": "*"}}
        headers = client.answered(own, headers=ORIGIN)[1]
        assert headers["Access-Control-Allow-Origin"] == "https://a.example"
        assert (headers["Access-Control-Expose-Headers"], headers["Vary"]) == ("x-b", "Origin")
        other = client.ask("OPTIONS", headers={**PREFLIGHT, "Origin": "https://b.example"})
        assert "Access-Control-Allow-Origin" not in other.headers
