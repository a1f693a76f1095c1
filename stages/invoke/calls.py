"""Make the calls: endpoints by HTTP, functions by Lambda's API.

A deployment that is seconds old may not answer everywhere yet, so for `SETTLE_S` a call that surely did nothing is made
again: one that could not connect, or that Lambda refused as not ready; and one that only reads (GET, HEAD, OPTIONS) also
after a lost connection or a status of 500, 502, 503 or 504. Any other answer counts as it is.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from stages.aws import lambda_, retry
from stages.aws.session import CONNECT_TIMEOUT_S, version
from stages.connections import pool, reason
from stages.contract import StageError
from stages.invoke.compare import Answer

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

    from stages.invoke.requests import Call

SETTLE_S = 20.0
BODY_BYTES = 10 * 1024 * 1024
"""API Gateway's own limit on an answer."""
_ONLY_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_UNSETTLED = frozenset({500, 502, 503, 504})


def call_function(client: LambdaClient, call: Call, name: str) -> Answer:
    """Call a function by its physical name with the call's event."""
    with retry.explained(f"calling the function {call.of}"):
        said = lambda_.invoke(client, name, call.payload or b"{}", window_s=SETTLE_S)
    return Answer(said.payload, error=_error_text(said.payload) if said.error else None)


def _error_text(payload: bytes) -> str:
    """`errorType: errorMessage`, as Lambda's runtimes report a failure; the whole answer where it has another form."""
    try:
        error: Any = json.loads(payload)
        return f"{error.get('errorType', 'Error')}: {error['errorMessage']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return payload.decode(errors="replace")[:1000]


def join(url: str, path: str) -> str:
    """An endpoint's URL with a path below it; its host is never anything else than the output says."""
    if not path or path.startswith("?"):
        return url + path
    return f"{url.rstrip('/')}/{path.lstrip('/')}"


def call_endpoint(call: Call, url: str) -> Answer:
    """Call an endpoint, with redirects not followed: they could lead away from the stack. Raises StageError."""
    address = join(url, call.path)
    until = time.monotonic() + SETTLE_S
    with pool(address) as manager:
        for delay_s in retry.growing(0.2, 3.0):
            answer = _try(manager, call, address, last=time.monotonic() + delay_s > until)
            if answer is not None:
                return answer
            time.sleep(delay_s)
    raise AssertionError  # delays never end


def _try(manager: urllib3.PoolManager, call: Call, address: str, *, last: bool) -> Answer | None:
    """One try; None if another is to be made. Raises StageError if the last gave no answer."""
    reads = call.method in _ONLY_READS
    try:
        answer = _request(manager, call, address)
    except HTTPError as error:
        if not last and (reads or isinstance(error, (NewConnectionError, ConnectTimeoutError))):
            return None
        hint = "Does the endpoint answer from here? A function that takes longer needs `timeout:` in the request."
        raise StageError(
            f"{call.method} {address} gave no answer: {reason(error)}", hint=hint, cls="retryable"
        ) from error
    settled = answer.status not in _UNSETTLED or answer.status == call.expect.status
    return answer if settled or last or not reads else None


def _request(manager: urllib3.PoolManager, call: Call, address: str) -> Answer:
    response = manager.request(
        call.method,
        address,
        body=call.payload,
        headers={"User-Agent": f"towpath/{version()}", **call.headers},
        timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=call.timeout_s),
        retries=False,
        redirect=False,
        preload_content=False,
    )
    try:
        return Answer(response.read(BODY_BYTES, decode_content=True), status=response.status)
    finally:
        response.close()
