"""`invoke` against real HTTP: a small endpoint that misbehaves as it is told, and Lambda's protocol."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from integration.stages.deploy.scripted_aws import ACCOUNT, REGION, Invoked, ScriptedAws

from stages.contract import Access, InvalidInput, Request, Result, StageError, Target
from stages.invoke import apply, check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TARGET = Target("staging", ACCOUNT, REGION, embedded=True, stack="demo")
OURS = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/app@sha256:{'a' * 64}"
THEIRS = OURS.replace("a" * 64, "b" * 64)


class Endpoint:
    """An endpoint that gives its answers one after another, the last one for ever; None closes the connection."""

    def __init__(self, answers: list[tuple[int, str] | None]) -> None:
        self.answers = answers
        self.seen: list[tuple[str, str, str, str]] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                endpoint.seen.append((self.command, self.path, body, self.headers.get("Content-Type", "")))
                answer = endpoint.answers.pop(0) if len(endpoint.answers) > 1 else endpoint.answers[0]
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(answer[0])
                if answer[0] == 302:
                    self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.end_headers()
                self.wfile.write(answer[1].encode())

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/Prod/hello/"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint([(200, '{"message": "hello world"}')])
    yield made
    made.server.shutdown()
    made.server.server_close()


class Invoker:
    def __init__(self, work: Path, aws: ScriptedAws, url: str) -> None:
        self.work = work
        self.aws = aws
        self.deployment: dict[str, Any] = {
            "v": 1,
            "target": {"partition": "aws", "account": ACCOUNT, "region": REGION, "stack": "demo"},
            "outputs": {
                "Api": {"value": "https://id.execute-api.eu-central-1.amazonaws.com/Prod/hello/", "url": url},
                "Arn": {"value": "arn:aws:x", "url": None},
            },
            "functions": {"Fn": {"name": "demo-Fn-1", "image": OURS}},
        }
        aws.function_image = OURS

    def request(self, text: str, phase: str = "apply") -> Request:
        (self.work / "source").mkdir(exist_ok=True)
        (self.work / "source/smoke.yaml").write_text(text)
        (self.work / "inputs/deployment").mkdir(parents=True, exist_ok=True)
        (self.work / "inputs/deployment/deployment.json").write_text(json.dumps(self.deployment))
        return Request(
            "invoke",
            "apply" if phase == "apply" else "check",
            "run-smoke-1",
            options={"requests": "smoke.yaml"},
            inputs={"deployment": "inputs/deployment"},
            source="source",
            target=TARGET,
            access=Access(endpoint_url=self.aws.url),
        )

    def apply(self, text: str) -> Result:
        return apply(self.request(text), self.work)


@pytest.fixture
def invoker(tmp_path: Path, aws: ScriptedAws, endpoint: Endpoint) -> Invoker:
    return Invoker(tmp_path, aws, endpoint.url)


def test_endpoints_and_functions(invoker: Invoker, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    result = invoker.apply(
        """\
- {name: hello, endpoint: Api, path: more?x=1, expect: {json: {message: hello world}}}
- {name: post, endpoint: Api, method: POST, body: {a: 1}}
- {name: direct, function: Fn, event: {who: me}, expect: {json: {name: demo-Fn-1, event: {who: me}}}}
"""
    )
    assert [each["name"] for each in result.facts["requests"]] == ["hello", "post", "direct"]
    assert endpoint.seen == [
        ("GET", "/Prod/hello/more?x=1", "", ""),
        ("POST", "/Prod/hello/", '{"a": 1}', "application/json"),
    ]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["message"].split("  ")[:2] for line in lines] == [["ok", "hello"], ["ok", "post"], ["ok", "direct"]]


def test_every_failure_is_told_with_what_was_expected_and_what_came(invoker: Invoker) -> None:
    invoker.aws.answers = [Invoked('{"errorType": "ValueError", "errorMessage": "no name"}', "Unhandled")]
    with pytest.raises(StageError) as caught:
        invoker.apply(
            """\
- {name: a, endpoint: Api, expect: {json: {message: goodbye}}}
- {name: b, endpoint: Api}
- {name: c, function: Fn}
"""
        )
    assert caught.value.message.splitlines() == [
        "2 of 3 requests were not answered as expected:",
        "  a (smoke.yaml:1:3)",
        '    json.message: expected "goodbye", got "hello world"',
        "  c (smoke.yaml:3:3)",
        "    error: expected none, got ValueError: no name",
    ]


def test_a_fresh_deployment_may_settle(invoker: Invoker, endpoint: Endpoint) -> None:
    endpoint.answers = [(502, "not yet"), None, (200, "ok")]
    invoker.apply("- {endpoint: Api, expect: {text: ok}}")
    assert len(endpoint.seen) == 3


@pytest.mark.parametrize("answer", [(502, "broken"), None])
def test_what_may_have_done_something_is_not_sent_twice(
    invoker: Invoker, endpoint: Endpoint, answer: tuple[int, str] | None
) -> None:
    endpoint.answers = [answer, (200, "ok")]
    with pytest.raises(StageError):
        invoker.apply("- {endpoint: Api, method: POST}")
    assert len(endpoint.seen) == 1


@pytest.mark.parametrize("status", [403, 404, 429])
def test_an_answer_is_an_answer(invoker: Invoker, endpoint: Endpoint, status: int) -> None:
    endpoint.answers = [(status, ""), (200, "ok")]
    with pytest.raises(StageError, match=f"expected 200, got {status}"):
        invoker.apply("- {endpoint: Api}")
    assert len(endpoint.seen) == 1


def test_a_redirect_is_not_followed(invoker: Invoker, endpoint: Endpoint) -> None:
    """It could lead to a host that is no part of the stack."""
    endpoint.answers = [(302, "")]
    invoker.apply("- {endpoint: Api, expect: {status: 302}}")
    assert len(endpoint.seen) == 1


def test_an_endpoint_that_never_settles_ends(
    invoker: Invoker, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.invoke.calls.SETTLE_S", 1.0)
    endpoint.answers = [(503, "down")]
    with pytest.raises(StageError, match='status: expected 200, got 503 with "down"'):
        invoker.apply("- {endpoint: Api}")
    endpoint.answers = [None]
    with pytest.raises(StageError, match="gave no answer"):
        invoker.apply("- {endpoint: Api}")


def test_an_expected_error_is_not_waited_away(invoker: Invoker, endpoint: Endpoint) -> None:
    endpoint.answers = [(503, "down"), (200, "up")]
    invoker.apply("- {endpoint: Api, expect: {status: 503}}")
    assert len(endpoint.seen) == 1


def test_a_function_that_is_not_ready_is_waited_for(invoker: Invoker) -> None:
    invoker.aws.fail("Invoke", "ResourceConflictException", status=409, times=2, message="state: Pending")
    invoker.aws.fail("Invoke", "TooManyRequestsException", status=429)
    invoker.apply("- function: Fn")
    assert invoker.aws.count("Invoke") == 4


@pytest.mark.parametrize("when", ["instead", "after"])
def test_a_function_is_not_called_twice_when_its_answer_is_lost(invoker: Invoker, when: str) -> None:
    invoker.aws.fail("Invoke", when=when)
    with pytest.raises(StageError, match="AWS gave no usable answer while calling the function Fn"):
        invoker.apply("- function: Fn")
    assert invoker.aws.count("Invoke") == 1


def test_only_what_the_stack_has_can_be_called(invoker: Invoker, endpoint: Endpoint) -> None:
    with pytest.raises(InvalidInput) as caught:
        invoker.apply("- endpoint: Apii\n- endpoint: Arn\n- function: Fnn\n- endpoint: Api\n")
    found = [(each.line, each.message, each.hint) for each in caught.value.problems]
    assert found == [
        (1, "the stack has no output 'Apii'", "Did you mean Api?"),
        (2, "the output Arn is 'arn:aws:x', which is no URL", None),
        (3, "the stack has no function 'Fnn'", "Did you mean Fn?"),
    ]
    assert endpoint.seen == []


def test_the_deployment_of_another_environment_is_not_called(invoker: Invoker, endpoint: Endpoint) -> None:
    invoker.deployment["target"]["stack"] = "production"
    with pytest.raises(StageError, match="its stack is production, not demo"):
        invoker.apply("- endpoint: Api")
    assert endpoint.seen == []


def test_another_runs_code_is_not_asked(invoker: Invoker, endpoint: Endpoint) -> None:
    """Else a run goes on to production with an image that nobody ever called."""
    invoker.aws.function_image = THEIRS
    with pytest.raises(StageError) as caught:
        invoker.apply("- endpoint: Api")
    assert caught.value.cls == "blocked"
    assert caught.value.message.splitlines() == [
        f"before the first call, the stack demo in account {ACCOUNT}, {REGION} does not run what this run deployed:",
        f"  Fn (demo-Fn-1): expected {OURS}, found {THEIRS}",
    ]
    assert "Start a new run" in str(caught.value.hint)
    assert endpoint.seen == []


@pytest.mark.parametrize("expected", ["{name: demo-Fn-1}", "{name: another}"])
def test_code_that_came_between_the_calls_is_noticed(
    invoker: Invoker, monkeypatch: pytest.MonkeyPatch, expected: str
) -> None:
    """Whether the answers were as expected or not: they may be those of the code that came."""
    invoke = invoker.aws.Invoke

    def deployed_meanwhile(parameters: Any) -> Any:
        invoker.aws.function_image = THEIRS
        return invoke(parameters)

    monkeypatch.setattr(invoker.aws, "Invoke", deployed_meanwhile)
    with pytest.raises(StageError, match=r"^after the last call, .*\n.*found .*bbb$") as caught:
        invoker.apply(f"- {{function: Fn, expect: {{json: {expected}}}}}")
    assert caught.value.cls == "blocked"


def test_a_deployment_that_says_no_images_is_not_called(invoker: Invoker, endpoint: Endpoint) -> None:
    del invoker.deployment["functions"]["Fn"]["image"]
    with pytest.raises(StageError, match="not of format version 1") as caught:
        invoker.apply("- endpoint: Api")
    assert caught.value.cls == "mismatch"
    assert endpoint.seen == []


def test_check_needs_no_deployment(invoker: Invoker, tmp_path: Path) -> None:
    request = invoker.request("- endpoint: Api\n", "check")
    assert check(request, tmp_path).facts == {"requests": 1}
    with pytest.raises(InvalidInput):
        check(invoker.request("- endpont: Api\n", "check"), tmp_path)
    assert invoker.aws.calls == []
