"""Connections by HTTP to servers other than AWS's own: by the proxy and the authorities that the environment names.

The variables are read when connections are made, never before, and this machine's own servers are always asked directly.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import urllib3

from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_AUTHORITIES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name a file of authorities to trust in place of the system's; `SSL_CERT_FILE` OpenSSL reads itself."""


def pool(url: str, authority: str | None = None, **options: Any) -> urllib3.PoolManager:
    """Connections to the host of `url`. Raises StageError if its proxy is of a kind that is not known.

    `authority` is a file of authorities to trust, before any that the environment names; `options` are urllib3's.
    """
    trusted = authority or next((os.environ[name] for name in _AUTHORITIES if os.environ.get(name)), None)
    if trusted:
        options["ca_certs"] = trusted
    proxy = _proxy(url)
    if proxy is None:
        return urllib3.PoolManager(**options)
    auth = urlsplit(proxy)
    login = f"{unquote(auth.username)}:{unquote(auth.password or '')}" if auth.username else None
    headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
    try:
        return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise StageError(
            f"the proxy for {urlsplit(url).scheme}:// addresses is none that can be used: {auth.scheme}://{auth.hostname}",
            hint=f"Set {urlsplit(url).scheme}_proxy to http://HOST:PORT, or no_proxy for what is reached without.",
        ) from error


def _proxy(url: str) -> str | None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    named = urllib.request.getproxies().get(parts.scheme)
    if not named or is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    return named if "://" in named else f"http://{named}"


def reason(error: BaseException) -> str:
    """Why a server gave no answer, in words and without its address, which may hold a secret."""
    for each in _causes(error):
        if isinstance(each, StageError):
            return each.message
        if isinstance(each, socket.gaierror):
            return "its name cannot be found"
        if isinstance(each, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {each.verify_message}"
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
    slow = isinstance(error, (urllib3.exceptions.TimeoutError, TimeoutError))
    return "it does not answer in time" if slow else type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it: urllib3 chains some, and carries others as arguments."""
    seen, waiting = set(), [error]
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [
            cause for cause in (*each.args, each.__cause__, each.__context__) if isinstance(cause, BaseException)
        ]


def scheme(host: str) -> str:
    """By what a registry at a host, perhaps with a port, is spoken to: engines ask those of this machine in plain HTTP."""
    return "http" if is_loopback(urlsplit(f"//{host}").hostname or "") else "https"


def is_loopback(host: str) -> bool:
    """Whether a host's name is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
