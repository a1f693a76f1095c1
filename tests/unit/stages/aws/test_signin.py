"""What is said when a role cannot be assumed, by answers of STS as it gives them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from stages.aws import signin
from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROLE = "arn:aws:iam::333333333333:role/apply"
TOKEN = "a.secret-token.b"
MADE = """<{0}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{0}Result><Credentials><AccessKeyId>ASIA</AccessKeyId>
<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2026-11-26T12:00:00Z</Expiration></Credentials>
</{0}Result></{0}Response>"""


@pytest.fixture
def sts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, str], list[bytes]]]:
    """An STS that answers this to everything; gives the bodies that it was asked with."""
    answer: list[Any] = []
    asked: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = answer[0]
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")

    def answers(status: int, body: str) -> list[bytes]:
        answer[:] = [(status, body.encode())]
        return asked

    yield answers
    server.shutdown()
    server.server_close()


def refusal(code: str, message: str) -> str:
    return f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"


def by_token() -> signin.Credentials:
    return signin.by_token(ROLE, "eu-central-1", TOKEN, session="a-run-deploy-1", claims="sub repo:octo/shop:ref:x")


def test_a_role_by_a_token_is_asked_for_without_any_other_credentials(sts: Callable[[int, str], list[bytes]]) -> None:
    asked = sts(200, MADE.format("AssumeRoleWithWebIdentity"))
    made = by_token()
    assert (made.key_id, made.expires_at) == ("ASIA", datetime(2026, 11, 26, 12, tzinfo=UTC))
    [body] = asked
    assert b"RoleSessionName=a-run-deploy-1" in body
    assert b"Tags" not in body


def test_a_role_by_credentials_is_asked_for_with_the_runs_tags(sts: Callable[[int, str], list[bytes]]) -> None:
    asked = sts(200, MADE.format("AssumeRole"))
    signin.by_role(ROLE, "eu-central-1", None, session="a-run-deploy-1", tags={"towpath:run": "a-run"})
    assert b"Tags.member.1.Key=towpath%3Arun&Tags.member.1.Value=a-run" in asked[0]


@pytest.mark.parametrize(
    ("code", "status", "hint"),
    [
        ("AccessDenied", 403, "The token says: sub repo:octo/shop:ref:x."),
        ("InvalidIdentityToken", 400, "and its account know the issuer"),
        ("ExpiredTokenException", 400, "Begin the job again"),
    ],
)
def test_why_a_token_is_not_taken_is_said_and_the_token_is_not(
    sts: Callable[[int, str], list[bytes]], code: str, status: int, hint: str
) -> None:
    sts(status, refusal(code, "Not so."))
    with pytest.raises(StageError) as caught:
        by_token()
    assert caught.value.message == f"the role {ROLE} cannot be assumed: Not so."
    assert hint in (caught.value.hint or "")
    assert TOKEN not in f"{caught.value.message}{caught.value.hint}{caught.value.__cause__}"


def test_what_is_no_matter_of_rights_is_explained_as_everywhere(sts: Callable[[int, str], list[bytes]]) -> None:
    sts(400, refusal("ValidationError", "1 validation error detected"))
    with pytest.raises(StageError, match=r"AWS refused \(ValidationError\) while assuming the role"):
        by_token()
