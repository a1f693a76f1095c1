"""Sign in for one phase of a stage, and lend it the credentials of that phase's role: nothing else of ours reaches its process.

Roles are assumed here, in the runner. A stage finds the credentials at an address of this machine's loopback that only its own
variables tell, as AWS's SDKs know it from ECS, and asks there again before they expire; so it never sees what they were asked for
with: the machine's own credentials, a profile, or the CI system's token.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import secrets
import threading
import time
import urllib.parse
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import StageFailed
from stages.contract import Access, StageError
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.plan import Auth
    from stages.aws.session import Session
    from stages.aws.signin import Credentials
    from stages.contract import Target

TOKEN_TIMEOUT_S = 10.0
TOKEN_TRIES = 3
AUDIENCES = {"aws-cn": "sts.amazonaws.com.cn"}
"""What GitHub's token is made for, by partition; `sts.amazonaws.com` in all others.

https://docs.github.com/en/actions/how-tos/secure-your-work/security-harden-deployments/oidc-in-aws
"""
_PATH = "/credentials"
_SESSION_NAME = 64
"""Characters of a session's name at most."""


class Lender:
    """Lends the credentials of one role while its context is entered; `fetch` gets others before those it has expire.

    The first are fetched when it is made, so that a phase which cannot sign in never starts. Raises StageFailed.
    """

    def __init__(self, fetch: Callable[[], Credentials]) -> None:
        self._fetch, self._lock = fetch, threading.Lock()
        self._token = secrets.token_urlsafe(32)
        try:
            self.lent = fetch()
        except StageError as error:
            raise StageFailed(error.message, hint=error.hint) from error
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> dict[str, str]:
        """Give the variables by which a process finds the credentials."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True, kwargs={"poll_interval": 0.05}).start()
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{self._server.server_port}{_PATH}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": self._token,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def __exit__(self, *_error: object) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    def secret_values(self) -> dict[str, bytes]:
        """Give what no log may show, by what it is called there."""
        return {
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": self._token.encode(),
            "AWS_SECRET_ACCESS_KEY": self.lent.secret.encode(),
            "AWS_SESSION_TOKEN": self.lent.token.encode(),
        }

    def admits(self, token: str) -> bool:
        """Tell whether who asks is the stage that they are for."""
        return hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self._token.encode())

    def current(self) -> Credentials:
        """Give credentials that can still be used for a while. Raises StageError, if the old ones cannot."""
        with self._lock:
            if self.lent.left_s() < LIMITS.renew_s:
                try:
                    self.lent = self._fetch()
                except (StageError, StageFailed):
                    if self.lent.left_s() <= 0:
                        raise
            return self.lent


def _handler(lender: Lender) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != _PATH or not lender.admits(self.headers.get("Authorization", "")):
                self._answer(403, {"message": "these credentials are for another process"})
                return
            try:
                made = lender.current()
            except (StageError, StageFailed) as error:
                self._answer(400, {"message": error.message})
                return
            told = {
                "RoleArn": made.role,
                "AccessKeyId": made.key_id,
                "SecretAccessKey": made.secret,
                "Token": made.token,
                "Expiration": f"{made.expires_at:%Y-%m-%dT%H:%M:%SZ}",
            }
            self._answer(200, told)

        def _answer(self, status: int, value: dict[str, str]) -> None:
            body = json.dumps(value).encode()
            with suppress(OSError):  # who asked may have ended
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
            """Say nothing: what is asked here is nobody's concern."""

    return Handler


class SignsIn(Protocol):
    """What says where and how to sign in: a stage of a plan, the source of a secret, an environment."""

    @property
    def target(self) -> Target | None: ...
    @property
    def profile(self) -> str | None: ...
    @property
    def auth(self) -> Auth | None: ...


def connect(
    what: SignsIn, key: str, name: str, endpoint: Callable[[], str], ours: Mapping[str, str] = os.environ
) -> Session:
    """Open a session of our own, as a phase has it: with the role of `key`, if there are roles.

    `name` is the session's, `endpoint` gives the embedded AWS's. Raises StageError, StageFailed.
    """
    from stages.aws import session

    if what.target is None:
        raise AssertionError("a session is with a target")
    if what.auth is None:
        access = Access(endpoint() if what.target.embedded else None, what.profile)
        return session.connect(what.target, access)
    tags = {"towpath:session": name}
    fetch = fetcher(what.auth, key, what.target.region, ours, profile=what.profile, session=name, tags=tags)
    return session.connect(what.target, Access(role=what.auth.roles[key]), fetch())


def fetcher(
    auth: Auth,
    key: str,
    region: str,
    ours: Mapping[str, str],
    *,
    profile: str | None,
    session: str,
    tags: Mapping[str, str],
) -> Callable[[], Credentials]:
    """Give what fetches credentials of the role that `key` names. `ours` are our variables, `session` is the session's name.

    AWS takes tags only with AssumeRole: of a session by a token the name alone says whose it is.
    """
    from stages.aws import signin  # late: boto3 takes its time, and most stages need none of it

    role = auth.roles.get(key)
    if role is None:  # nothing else may be used in its place
        hint = f"Add to the environment's `auth`: roles: {{{key}: arn:aws:iam::…:role/…}}"
        raise StageFailed(f"there is no role for {key}, and it is by roles that this environment signs in", hint=hint)
    session = session[:_SESSION_NAME]
    if auth.method == "ambient":
        return lambda: signin.by_role(role, region, profile, session=session, tags=tags)

    def by_token() -> Credentials:
        token = (
            github(ours, _audience(auth, role)) if auth.method == "github-oidc" else gitlab(ours, auth.variable or "")
        )
        return signin.by_token(role, region, token, session=session, claims=claims(token))

    return by_token


def _audience(auth: Auth, role: str) -> str:
    return auth.audience or AUDIENCES.get(role.split(":")[1], "sts.amazonaws.com")


def github(ours: Mapping[str, str], audience: str) -> str:
    """Ask GitHub for the job's token. Raises StageFailed.

    https://docs.github.com/en/actions/reference/security/oidc#methods-for-requesting-the-oidc-token
    """
    url, bearer = ours.get("ACTIONS_ID_TOKEN_REQUEST_URL"), ours.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    if not url or not bearer:
        hint = "Give the job `permissions: {id-token: write}`. Outside GitHub Actions, use another `auth`."
        raise StageFailed("GitHub offers this job no token: ACTIONS_ID_TOKEN_REQUEST_URL is not set", hint=hint)
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost"):
        raise StageFailed("ACTIONS_ID_TOKEN_REQUEST_URL is no https:// address, and the token is not asked for there")
    query = urllib.parse.urlencode({"audience": audience})
    asked = urllib.parse.urlunsplit(parts._replace(query=f"{parts.query}&{query}" if parts.query else query))
    return _asked(asked, {"Authorization": f"bearer {bearer}"})


def _asked(url: str, headers: dict[str, str]) -> str:
    import urllib3  # late: only jobs of GitHub's need it

    from stages.connections import pool, reason

    why = ""
    for number in range(TOKEN_TRIES):
        time.sleep(number)
        try:
            with pool(url, timeout=TOKEN_TIMEOUT_S, retries=False) as connections:
                answer = connections.request("GET", url, headers=headers, redirect=False, preload_content=False)
                content = answer.read(LIMITS.secret_bytes)
        except (urllib3.exceptions.HTTPError, StageError, OSError) as error:
            why = reason(error)
            continue
        if answer.status != 200:
            why = f"it answered {answer.status}"
            if answer.status < 500:
                break
            continue
        try:
            value = json.loads(content).get("value")
        except (ValueError, AttributeError):
            value = None
        if isinstance(value, str) and value:
            return value
        why = "its answer holds none"
    raise StageFailed(
        f"GitHub gave no token for this job: {why}", hint="Does the job have `permissions: {id-token: write}`?"
    )


def gitlab(ours: Mapping[str, str], variable: str) -> str:
    """Give the token that GitLab put into a variable. Raises StageFailed.

    https://docs.gitlab.com/ci/secrets/id_token_authentication/
    """
    token = ours.get(variable)
    if not token:
        hint = f"Add to the job: `id_tokens: {{{variable}: {{aud: ...}}}}`. Outside GitLab, use another `auth`."
        raise StageFailed(f"there is no token of GitLab's: the variable {variable} is not set", hint=hint)
    return token


def claims(token: str) -> str:
    """Say for what and for whom a token was made, as far as it can be read: nothing of it is a secret, and nothing is verified."""
    try:
        body = token.split(".")[1]
        told = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return ", ".join(f"{name} {told[name]}" for name in ("iss", "sub", "aud") if name in told)
    except (ValueError, IndexError, TypeError):
        return "nothing that can be read"
