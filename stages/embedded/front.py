"""The one address: what is the registry's, what are endpoints of API Gateway, and what ministack answers itself. ASGI."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from stages.aws.names import API_PREFIX
from stages.embedded import hooks, registry
from stages.embedded.control import HEALTH_PATH
from stages.embedded.distribution import Reply

if TYPE_CHECKING:
    from stages.embedded.distribution import Distribution

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_API_PATH = re.compile(re.escape(API_PREFIX) + r"(?P<account>\d{12})/(?P<region>[a-z0-9-]+)/(?P<rest>.+)")
_SAVE_AFTER_S = 2.0


def application(aws: App, images: Distribution, pid: int) -> App:
    """The ASGI application: `aws` is ministack's, `images` the registry that keeps bytes."""
    saver = _Saver()

    async def serve(scope: Message, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and path == HEALTH_PATH:
            await _send(send, Reply(200, {"content-type": "application/json"}, json.dumps({"pid": pid}).encode()))
        elif scope["type"] == "http" and registry.is_for_us(path):
            reply = await registry.answer(await _registry_call(scope, receive), images)
            await _send(send, reply, head=scope["method"] == "HEAD")
            saver.note(scope)
        elif endpoint := _API_PATH.fullmatch(path):
            hooks.act_for(endpoint["account"])
            await aws(_moved(scope, endpoint), receive, send)
            saver.note(scope)
        else:
            await aws(scope, receive, send)
            saver.note(scope)

    return serve


class _Saver:
    """Saves ministack's state a moment after something may have changed it; by itself it does so at its end only."""

    def __init__(self) -> None:
        self._planned = False

    def note(self, scope: Message) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD") and not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_later(_SAVE_AFTER_S, self._save)

    def _save(self) -> None:
        self._planned = False
        hooks.save()


def _moved(scope: Message, endpoint: re.Match[str]) -> Message:
    """The same request where ministack serves API Gateway's endpoints by path."""
    prefix = f"{API_PREFIX}{endpoint['account']}/{endpoint['region']}/".encode()
    raw = scope.get("raw_path") or scope["path"].encode()
    moved = b"/_aws/execute-api/"
    return {**scope, "path": moved.decode() + endpoint["rest"], "raw_path": raw.replace(prefix, moved, 1)}


async def _registry_call(scope: Message, receive: Receive) -> registry.Call:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return registry.Call(
        scope["method"],
        scope["path"],
        scope.get("query_string", b"").decode("latin-1"),
        headers.get("authorization", ""),
        headers.get("content-type", "application/vnd.docker.distribution.manifest.v2+json"),
        await _body(receive, registry.MANIFEST_BYTES),
    )


async def _body(receive: Receive, limit: int) -> bytes:
    """The request's body: its first `limit` bytes and a little more, the rest is let go."""
    kept = bytearray()
    while True:
        message = await receive()
        if len(kept) <= limit:
            kept += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(kept)


async def _send(send: Send, reply: Reply, *, head: bool = False) -> None:
    passed_on = {name: value for name, value in reply.headers.items() if name not in ("connection", "date")}
    headers = {"docker-distribution-api-version": "registry/2.0", "content-length": str(len(reply.body)), **passed_on}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
    await send({"type": "http.response.body", "body": b"" if head else reply.body})
