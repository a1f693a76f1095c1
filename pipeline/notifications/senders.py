"""Tell somebody: a signed webhook, one of Slack's shape, a topic of SNS, a deployment on GitHub. Each in bounded time.

A webhook is signed as `Towpath-Signature: t=<seconds since 1970>,v1=<hex>`, HMAC-SHA256 by the shared secret over `<t>.<body>`. Whoever
receives it compares, and refuses a `t` that is more than five minutes away, so that nothing can be replayed later.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import urllib3

from stages.connections import pool, reason
from stages.contract import StageError
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.notifications.notices import Notice
    from pipeline.plan import Channel
    from stages.aws.session import Session

GITHUB_API = "https://api.github.com"
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_FIRST_PAUSE_S = 0.25
_STATES = {
    "waiting": "pending",
    "approved": "queued",
    "voided": "pending",
    "deployed": "success",
    "failed": "failure",
    "rolled-back": "success",
    "break-glass": "in_progress",
}
"""https://docs.github.com/en/rest/deployments/statuses"""
_DESCRIPTION_CHARACTERS = 140
_SUBJECT_CHARACTERS = 100
_ANSWER_BYTES = 1024**2


class NotSent(Exception):
    """Somebody could not be told. The message says why, and nothing of an address or an answer, which may hold secrets."""


def send(channel: Channel, notice: Notice, values: Mapping[str, bytes], session: Callable[[], Session]) -> None:
    """Tell one channel of one thing. `values` are those of the channel's secrets. Raises NotSent."""
    try:
        _SENDERS[channel.to](channel, notice, values, session)
    except NotSent:
        raise
    except StageError as error:
        raise NotSent(reason(error)) from None
    except (urllib3.exceptions.HTTPError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotSent(type(error).__name__) from None


def signature(secret: bytes, body: bytes, at: int) -> str:
    """Give the header by which a receiver knows that a webhook is ours and new. `at` is in seconds since 1970."""
    made = hmac.new(secret, b"%d.%s" % (at, body), hashlib.sha256).hexdigest()
    return f"t={at},v1={made}"


def _webhook(channel: Channel, notice: Notice, values: Mapping[str, bytes], _session: Any) -> None:
    body = _body(notice)
    headers = {
        "Towpath-Event": notice.event,
        "Towpath-Event-Id": notice.id,
        "Towpath-Signature": signature(values["secret"], body, int(time.time())),
    }
    _post(_address(channel, values), body, headers)


def _slack(channel: Channel, notice: Notice, values: Mapping[str, bytes], _session: Any) -> None:
    """https://docs.slack.dev/messaging/formatting-message-text"""
    escaped = notice.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = f"*{notice.application}*: {escaped}\n`{notice.command}`"
    _post(_address(channel, values), json.dumps({"text": text}, ensure_ascii=False).encode(), {})


def _sns(channel: Channel, notice: Notice, _values: Any, session: Callable[[], Session]) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    subject = f"{notice.application}: {notice.stage} {notice.event}".encode("ascii", "replace").decode()
    attributes = {"event": notice.event, "id": notice.id, "environment": notice.environment or "-"}
    try:
        session().client("sns", read_timeout_s=LIMITS.notify_s).publish(
            TopicArn=channel.topic,
            Subject=subject[:_SUBJECT_CHARACTERS],
            Message=_body(notice).decode(),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
        )
    except ClientError as error:
        raise NotSent(str(error.response.get("Error", {}).get("Code", "refused"))) from None
    except BotoCoreError as error:
        raise NotSent(type(error).__name__) from None


def _github(channel: Channel, notice: Notice, values: Mapping[str, bytes], _session: Any) -> None:
    """Put a status on the deployment of this stage and run, which is made if there is none. Without a commit or environment there is none.

    https://docs.github.com/en/rest/deployments/deployments
    """
    if notice.environment is None or notice.commit is None:
        return
    headers = {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {values['token'].decode('ascii', 'replace')}",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    base = f"{(channel.url or GITHUB_API).rstrip('/')}/repos/{quote(str(channel.repository))}/deployments"
    about = {"run": notice.run, "stage": notice.stage}
    query = urlencode({"sha": notice.commit, "environment": notice.environment, "per_page": "100"})
    found = [each for each in _call("GET", f"{base}?{query}", None, headers) if each.get("payload") == about]
    number = found[0]["id"] if found else None
    if number is None:
        asked = {
            "ref": notice.commit,
            "environment": notice.environment,
            "payload": about,
            "description": f"Towpath, run {notice.run}",
            "auto_merge": False,
            "required_contexts": [],
        }
        number = _call("POST", base, json.dumps(asked).encode(), headers)["id"]
    status = {"state": _STATES[notice.event], "description": notice.text[:_DESCRIPTION_CHARACTERS]}
    _call("POST", f"{base}/{number:d}/statuses", json.dumps(status).encode(), headers)


_SENDERS: dict[str, Callable[[Channel, Notice, Mapping[str, bytes], Callable[[], Session]], None]] = {
    "webhook": _webhook,
    "slack": _slack,
    "sns": _sns,
    "github-deployment": _github,
}


def _body(notice: Notice) -> bytes:
    return json.dumps(notice.as_json(), ensure_ascii=False, separators=(",", ":")).encode()


def _address(channel: Channel, values: Mapping[str, bytes]) -> str:
    url = channel.url or values["url"].decode("ascii", "replace").strip()
    if urlsplit(url).scheme not in ("https", "http") or not urlsplit(url).hostname:
        raise NotSent("the secret holds no address that begins with https://")
    return url


def _post(url: str, body: bytes, headers: dict[str, str]) -> None:
    _ask("POST", url, body, {"Content-Type": "application/json", **headers}, most_bytes=0)


def _call(method: str, url: str, body: bytes | None, headers: dict[str, str]) -> Any:
    """Call an API of JSON, and give its answer."""
    return json.loads(_ask(method, url, body, {"Content-Type": "application/json", **headers}))


def _ask(method: str, url: str, body: bytes | None, headers: dict[str, str], most_bytes: int = _ANSWER_BYTES) -> bytes:
    """Ask, and again if that can help; no redirect is followed, as what is signed or holds a token is for one address. Raises NotSent."""
    pause_s, left = _FIRST_PAUSE_S, LIMITS.notify_tries
    while True:
        left -= 1
        try:
            answer = pool(url).request(
                method,
                url,
                body=body,
                headers={"User-Agent": "towpath", **headers},
                timeout=urllib3.Timeout(total=LIMITS.notify_s),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            data: bytes = answer.read(most_bytes) if most_bytes else b""
            answer.close()
            if answer.status < 300:
                return data
            if answer.status not in _AGAIN or not left:
                raise NotSent(f"HTTP {answer.status}")
        except urllib3.exceptions.HTTPError as error:
            if not left:
                raise NotSent(reason(error)) from None
        time.sleep(pause_s)
        pause_s *= 2
