"""Signing in for one phase: tokens of CI systems, and what a process that is lent credentials finds."""

from __future__ import annotations

import dataclasses
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import botocore.session
import pytest
from support import oidc

from pipeline import credentials
from pipeline.credentials import Lender
from pipeline.errors import StageFailed
from pipeline.plan import Auth
from stages.aws.signin import Credentials
from stages.contract import StageError
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROLE = "arn:aws:iam::111122223333:role/propose"
SUBJECT = "repo:octo/app:environment:production"


@dataclass
class Fetching:
    """Gives credentials that last as long as is said, each other ones; an error instead, where one is said."""

    lasting_s: list[float]
    error: Exception | None = None
    given: list[Credentials] = field(default_factory=list)

    def __call__(self) -> Credentials:
        if self.error:
            raise self.error
        number = len(self.given)
        until = datetime.now(UTC) + timedelta(seconds=self.lasting_s[min(number, len(self.lasting_s) - 1)])
        self.given.append(Credentials(ROLE, f"ASIA{number}", f"secret-{number}", f"token-{number}", until))
        return self.given[-1]


@pytest.fixture(autouse=True)
def _no_aws_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # of which AWS's tools ask nothing on the loopback


def found(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> tuple[str | None, str | None, str | None]:
    """What AWS's own tools find with these variables."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    got = botocore.session.Session().get_credentials()
    assert got is not None
    frozen = got.get_frozen_credentials()
    return frozen.access_key, frozen.secret_key, frozen.token


def test_awss_own_tools_find_what_is_lent_and_only_as_long_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with Lender(Fetching([3600])) as variables:
        assert found(monkeypatch, variables) == ("ASIA0", "secret-0", "token-0")
        assert found(monkeypatch, variables) == ("ASIA0", "secret-0", "token-0")  # not asked for again
    with pytest.raises(OSError, match="refused"):
        ask(variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"], variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"])


def test_a_session_that_expires_in_the_middle_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    fetching = Fetching([LIMITS.renew_s / 2, 3600])
    with Lender(fetching) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        got = botocore.session.Session().get_credentials()
        assert got is not None
        assert got.get_frozen_credentials().access_key == "ASIA1"
    assert len(fetching.given) == 2


def test_credentials_in_use_are_asked_for_again_when_they_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.credentials.LIMITS", dataclasses.replace(LIMITS, renew_s=0.0))
    fetching = Fetching([1.6, 3600])
    with Lender(fetching) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        got = botocore.session.Session().get_credentials()
        assert got is not None
        assert got.get_frozen_credentials().access_key == "ASIA0"
        time.sleep(1.7)
        assert got.get_frozen_credentials().access_key == "ASIA1"


def test_what_cannot_be_renewed_is_used_to_its_end_and_then_said() -> None:
    fetching = Fetching([60])
    lender = Lender(fetching)
    fetching.error = StageError("the token has expired")
    assert lender.current().key_id == "ASIA0"
    fetching.given[0] = lender.lent = Credentials(ROLE, "ASIA0", "s", "t", datetime.now(UTC) - timedelta(seconds=1))
    with lender as variables:
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"], variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
        assert b"the token has expired" in caught.value.read()


@pytest.mark.parametrize(("path", "token"), [("", "another"), ("", ""), ("/more", None)])
def test_another_process_gets_nothing(path: str, token: str | None) -> None:
    with Lender(Fetching([3600])) as variables:
        own = variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] + path, own if token is None else token)
        assert (caught.value.code, b"secret" in caught.value.read()) == (403, False)


def test_who_cannot_sign_in_never_begins() -> None:
    with pytest.raises(StageFailed, match="no"):
        Lender(Fetching([1], error=StageError("no")))


def ask(url: str, token: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    asked = urllib.request.Request(url, headers={"Authorization": token})  # noqa: S310 - it is ours
    with opener.open(asked, timeout=5) as answer:
        return bytes(answer.read())


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[oidc.Endpoint]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pipeline.credentials.time.sleep", lambda _s: None)
    with oidc.github(SUBJECT) as endpoint:
        yield endpoint


def test_githubs_token_is_asked_for_with_its_audience(github: oidc.Endpoint) -> None:
    token = credentials.github(github.variables, "sts.amazonaws.com")
    assert credentials.claims(token) == f"iss {oidc.ISSUER}, sub {SUBJECT}, aud sts.amazonaws.com"
    assert github.asked == ["sts.amazonaws.com"]


def test_github_is_asked_again_after_a_fault_of_its_own(github: oidc.Endpoint) -> None:
    github.answers = [500, 503]
    assert credentials.github(github.variables, "a")
    github.answers = [500, 500, 500]
    with pytest.raises(StageFailed, match="it answered 500"):
        credentials.github(github.variables, "a")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "another"}, "GitHub gave no token for this job: it answered 401"),
        ({"ACTIONS_ID_TOKEN_REQUEST_URL": ""}, "ACTIONS_ID_TOKEN_REQUEST_URL is not set"),
        ({"ACTIONS_ID_TOKEN_REQUEST_URL": "http://example.com/x"}, "is no https:// address"),
    ],
)
def test_a_job_without_a_token_is_told_what_it_lacks(
    github: oidc.Endpoint, changed: dict[str, str], message: str
) -> None:
    with pytest.raises(StageFailed) as caught:
        credentials.github({**github.variables, **changed}, "a")
    assert message in caught.value.message
    assert oidc.BEARER not in f"{caught.value.message} {caught.value.hint}"


def test_gitlabs_token_is_in_a_variable() -> None:
    assert credentials.gitlab({"AWS_TOKEN": "a.b.c"}, "AWS_TOKEN") == "a.b.c"
    with pytest.raises(StageFailed, match="the variable AWS_TOKEN is not set") as caught:
        credentials.gitlab({}, "AWS_TOKEN")
    assert "id_tokens: {AWS_TOKEN" in (caught.value.hint or "")


@pytest.mark.parametrize("token", ["", "a", "a.!.c", "a.bnVsbA.c", "a.W10.c"])
def test_what_is_no_token_says_nothing(token: str) -> None:
    assert credentials.claims(token) in ("nothing that can be read", "")


def test_where_roles_are_used_and_one_is_missing_nothing_is_used_in_its_place() -> None:
    auth = Auth("ambient", {"package": ROLE})
    with pytest.raises(StageFailed, match="there is no role for propose"):
        credentials.fetcher(auth, "propose", "eu-central-1", {}, profile=None, session="s", tags={})


def test_credentials_are_in_no_text() -> None:
    assert "secret-0" not in repr(Fetching([1])())
