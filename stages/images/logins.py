"""Who we are to a registry: a login of ours, one of the user's Docker configuration, and the tokens that a registry gives for it.

The user's Docker configuration is read, helpers included, and never written.

https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import urllib3

from stages.connections import is_loopback
from stages.contract import StageError
from stages.images.refusals import refused

if TYPE_CHECKING:
    from collections.abc import Callable

RENEWED_EVERY_S = 60.0
"""A login that is refused sooner after it was renewed is not refused for its age."""
TOKEN_BYTES = 1 << 16

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Login:
    """A user's name and password, or an ECR token, which is used the same way."""

    user: str
    password: str


class Auth:
    """What the requests to one repository are authorised with. Shared by threads.

    `renew` gives a fresh login when the registry no longer takes the one there is; ECR's are good for twelve hours.
    """

    def __init__(self, login: Login | None = None, renew: Callable[[], Login] | None = None) -> None:
        self._lock = threading.Lock()
        self._login, self._renew = login, renew
        self._bearer = ""
        self._scopes: dict[str, None] = {}
        self._renewed_at = float("-inf")

    @property
    def login(self) -> Login | None:
        return self._login

    def headers(self) -> dict[str, str]:
        """The headers that say who we are."""
        if self._bearer:
            return {"authorization": f"Bearer {self._bearer}"}
        login = self._login
        return urllib3.make_headers(basic_auth=f"{login.user}:{login.password}") if login else {}

    def refresh(self, sent: dict[str, str], challenge: str, http: urllib3.PoolManager) -> bool:
        """See to it that there is something new to send where `sent` was refused; False if there is not.

        `challenge` is the answer's WWW-Authenticate. Raises RegistryError if its token service refuses.
        """
        with self._lock:
            if self.headers() != sent:  # another thread has seen to it
                return True
            if challenge.lower().startswith("bearer "):
                return self._ask_for_token(dict(_PARAMETER.findall(challenge)), http)
            return self._log_in()

    def replace(self, used: Login | None) -> bool:
        """See to it that there is another login than `used`, which was refused; False if there is not."""
        with self._lock:
            return self._login != used or self._log_in()

    def _log_in(self) -> bool:
        """Log in anew; False if that is not possible, or was done just now."""
        if self._renew is None or time.monotonic() - self._renewed_at < RENEWED_EVERY_S:
            return False
        self._login = self._renew()
        self._renewed_at = time.monotonic()
        return True

    def _ask_for_token(self, challenge: dict[str, str], http: urllib3.PoolManager) -> bool:
        """Get a token for all that was asked for so far. One that the registry refuses as well is no help."""
        realm = challenge.get("realm", "")
        if not _is_safe(realm):
            raise StageError(f"the registry sends us to {realm!r} for a token, which is no https:// address")
        scopes = dict.fromkeys(challenge.get("scope", "").split())
        fresh = self._bearer and time.monotonic() - self._renewed_at < RENEWED_EVERY_S
        if fresh and scopes.keys() <= self._scopes.keys() and challenge.get("error") != "invalid_token":
            return False
        self._scopes |= scopes
        query = [("service", challenge["service"])] if "service" in challenge else []
        query += [("scope", scope) for scope in self._scopes]
        basic = urllib3.make_headers(basic_auth=f"{self._login.user}:{self._login.password}") if self._login else {}
        before, self._bearer = self._bearer, _token(http, f"{realm}?{urlencode(query)}", basic)
        self._renewed_at = time.monotonic()
        return self._bearer != before


def _is_safe(realm: str) -> bool:
    parts = urlsplit(realm)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))


def _token(http: urllib3.PoolManager, url: str, headers: dict[str, str]) -> str:
    doing = f"GET {url.partition('?')[0]}"
    try:
        response = http.request("GET", url, headers=headers, redirect=False, preload_content=False)
        content = response.read(TOKEN_BYTES)
        response.release_conn()
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise refused(str(error), doing) from error
    try:
        answer: Any = json.loads(content) if response.status == 200 else {}
        token = answer.get("token") or answer.get("access_token")
    except (ValueError, AttributeError):
        token = None
    if not isinstance(token, str):
        raise refused(f"HTTP status {response.status}", doing, response.status)
    return token


def configured(host: str) -> Login | None:
    """The login that the user's Docker configuration has for a registry, by itself or by a helper; None if it has none.

    Raises StageError if the configuration or the helper cannot be used.
    """
    folder = os.environ.get("DOCKER_CONFIG") or str(Path.home() / ".docker")
    file = Path(folder) / "config.json"
    if not file.exists():
        return None
    from docker import auth  # late, as it costs 100 ms, and most machines of a CI system have no such file
    from docker.errors import DockerException

    try:
        with warnings.catch_warnings(action="error"):  # it only warns of a helper that is not installed
            load: Any = auth.load_config
            found: Any = load(str(file)).resolve_authconfig(host)
    except (DockerException, ValueError, OSError, UserWarning) as error:
        raise StageError(
            f"the login for {host} cannot be read by {file}: {error}",
            hint=f"Try `docker login {host}`, or correct that file; Towpath never writes it.",
        ) from error
    found = {key.lower(): value for key, value in (found or {}).items()}
    if found.get("identitytoken"):
        raise StageError(
            f"the login for {host} in {file} is an identity token, which Towpath cannot use",
            hint=f"Log in with user and password or access token: docker login -u USER {host}",
        )
    if not found.get("username"):
        return None
    return Login(str(found["username"]), str(found.get("password", "")))
