from __future__ import annotations

import dataclasses
import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.machine import free_port
from support.receiver import receiver

from pipeline.notifications import senders
from pipeline.notifications.notices import Notice
from pipeline.notifications.senders import NotSent, send
from pipeline.plan import Channel
from stages import limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.receiver import Got, Receiver

SECRET = b"correct-horse-battery"
NOTICE = Notice(
    event="waiting",
    run="20261126-041200-7cfq",
    application="shop",
    stage="deploy-production",
    attempt=2,
    which="2",
    at="2026-11-26T04:12:00.000Z",
    text="deploy-production waits <for> approval & co",
    command="towpath approve 20261126-041200-7cfq deploy-production --reason '...'",
    environment="production",
    target={"account": "111122223333"},
    commit="0" * 40,
)


@pytest.fixture
def at() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


def tell(channel: Channel, **values: bytes) -> None:
    def nobody() -> Any:
        raise AssertionError

    send(channel, NOTICE, values, nobody)


def webhook(at: Receiver) -> Channel:
    return Channel("webhook", ["waiting"], url=f"{at.url}/hook?x=1")


def test_a_webhook_is_signed_and_named(at: Receiver) -> None:
    """As docs/how-to/notifications.md tells a receiver to check it."""
    tell(webhook(at), secret=SECRET)
    [got] = at.got
    assert (got.method, got.path, got.headers["content-type"]) == ("POST", "/hook?x=1", "application/json")
    assert (got.headers["towpath-event"], got.headers["towpath-event-id"]) == ("waiting", NOTICE.id)
    fields = dict(each.split("=", 1) for each in got.headers["towpath-signature"].split(","))
    expected = hmac.new(SECRET, f"{fields['t']}.".encode() + got.body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(expected, fields["v1"])
    assert abs(time.time() - int(fields["t"])) < 60
    assert got.json == NOTICE.as_json()
    assert got.json["command"].startswith("towpath approve")
    assert SECRET not in got.body


def test_another_secret_time_or_body_makes_another_signature() -> None:
    made = {
        senders.signature(secret, body, when) for secret in (b"a", b"b") for body in (b"x", b"y") for when in (1, 2)
    }
    assert len(made) == 8


def test_slack_is_told_in_its_form(at: Receiver) -> None:
    tell(Channel("slack", ["waiting"]), url=f"{at.url}/services/T0/B0/secret\n".encode())
    [got] = at.got
    assert got.path == "/services/T0/B0/secret"
    assert got.json == {"text": f"*shop*: deploy-production waits &lt;for&gt; approval &amp; co\n`{NOTICE.command}`"}


@pytest.mark.parametrize("answers", [[500], [503, 429], [502, 500]])
def test_who_cannot_answer_is_asked_again(at: Receiver, answers: list[int]) -> None:
    at.answers = list(answers)
    tell(webhook(at), secret=SECRET)
    assert len(at.got) == len(answers) + 1
    assert len({each.headers["towpath-event-id"] for each in at.got}) == 1


@pytest.mark.parametrize(("answers", "count"), [([500, 500, 500], 3), ([404], 1), ([401], 1), ([302], 1), ([307], 1)])
def test_who_refuses_is_not_told(at: Receiver, answers: list[int], count: int) -> None:
    """No redirect is followed: what is signed, or holds a token, is for one address."""
    at.answers = list(answers)
    with pytest.raises(NotSent, match=f"HTTP {answers[-1]}"):
        tell(webhook(at), secret=SECRET)
    assert len(at.got) == count


def test_who_does_not_answer_is_given_up(at: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    at.slow_s = 2
    monkeypatch.setattr(senders, "LIMITS", dataclasses.replace(limits.LIMITS, notify_s=0.1))
    begun = time.monotonic()
    with pytest.raises(NotSent):
        tell(webhook(at), secret=SECRET)
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/T0/secret-part", "https://127.0.0.1:{port}/T0/secret-part"])
def test_nothing_of_a_secret_address_is_told(url: str) -> None:
    with pytest.raises(NotSent) as caught:
        tell(Channel("slack", ["waiting"]), url=url.format(port=free_port()).encode())
    assert "secret-part" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("url", [b"file:///etc/passwd", b"ftp://host/x", b"not an address", b"https://"])
def test_an_address_that_is_none(url: bytes) -> None:
    with pytest.raises(NotSent, match="no address"):
        tell(Channel("slack", ["waiting"]), url=url)


def github(at: Receiver) -> Channel:
    return Channel("github-deployment", ["waiting"], url=at.url, repository="ada/shop")


def test_a_deployment_on_github_is_made_once_and_has_a_status(at: Receiver) -> None:
    payload = {"run": NOTICE.run, "stage": NOTICE.stage}
    known: list[dict[str, Any]] = [
        {"id": 1, "payload": {"run": "another", "stage": NOTICE.stage}},
        {"id": 2, "payload": "x"},
    ]

    def answer(got: Got) -> Any:
        if got.method == "GET":
            return known
        known.append({"id": 7, "payload": payload}) if got.path.endswith("/deployments") else None
        return {"id": 7}

    at.answer = answer
    for _ in range(2):
        tell(github(at), token=b"github-token")
    base = "/repos/ada/shop/deployments"
    assert [(each.method, each.path.partition("?")[0]) for each in at.got] == [
        ("GET", base), ("POST", base), ("POST", f"{base}/7/statuses"), ("GET", base), ("POST", f"{base}/7/statuses"),
    ]  # fmt: skip
    assert at.got[1].json["ref"] == NOTICE.commit
    assert (at.got[1].json["environment"], at.got[1].json["payload"]) == ("production", payload)
    assert at.got[1].json["required_contexts"] == []
    assert at.got[2].json == {"state": "pending", "description": NOTICE.text}
    assert {each.headers["authorization"] for each in at.got} == {"Bearer github-token"}


def test_what_github_does_not_say_in_its_form(at: Receiver) -> None:
    at.answer = lambda _: {"message": "odd"}
    with pytest.raises(NotSent) as caught:
        tell(github(at), token=b"github-token")
    assert "odd" not in str(caught.value)


def test_what_has_no_commit_has_no_deployment_on_github(at: Receiver) -> None:
    send(github(at), dataclasses.replace(NOTICE, commit=None), {"token": b"x"}, lambda: None)  # type: ignore[arg-type, return-value]
    assert at.got == []
