"""Serves one API as API Gateway does, or a function's URL as Lambda does. No authorizer is run."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

from stages.local import matching, payloads
from stages.local.documents import SYNCHRONOUS_BYTES
from stages.local.http import Request, Response
from stages.local.routes import with_methods
from stages.runtime.model import LIMITS, Call

if TYPE_CHECKING:
    from stages.local.http import Reply
    from stages.local.matching import Match
    from stages.local.routes import Api, Cors, Route
    from stages.local.service import Service
    from stages.runtime.model import Outcome

INTEGRATION_S = {"rest": 29.0, "http": 30.0}
"""How long API Gateway waits for a function. https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"""
_FAILED = {
    "rest": (502, "Internal server error"),
    "http": (500, "Internal Server Error"),
    "url": (502, "Internal Server Error"),
}
_LATE = {"rest": (504, "Endpoint request timed out"), "http": (503, "Service Unavailable")}
_NO_ROUTE = {"rest": (403, "Missing Authentication Token"), "http": (404, "Not Found"), "url": (404, "Not Found")}
_TOO_LARGE = {"rest": "Request Too Long", "http": "Request Entity Too Large", "url": "Request Entity Too Large"}


class HttpApi:
    """Answers requests to one API, at a port of its own."""

    def __init__(self, api: Api, service: Service) -> None:
        self.api = api
        self.port = 0
        self.url = ""
        self._service = service

    def answer(self, request: Request, reply: Reply) -> None:
        """Answer one request."""
        path = matching.path_in(self.api, request.path)
        preflight = self._preflight(request, path)
        if preflight is not None:
            reply(preflight)
            return
        match = matching.find(self.api, request.method, path)
        if match is None:
            self._refuse(request, reply, *_NO_ROUTE[self.api.kind])
        elif request.body is None:
            self._refuse(request, reply, 413, _TOO_LARGE[self.api.kind])
        else:
            self._invoke(match, request, reply)

    def _invoke(self, match: Match, request: Request, reply: Reply) -> None:
        event = json.dumps(payloads.event(self.api, match, request, self.port)).encode()
        if len(event) > SYNCHRONOUS_BYTES:
            self._refuse(request, reply, 413, _TOO_LARGE[self.api.kind])
            return
        once = _Once(reply)
        limit_s = INTEGRATION_S.get(self.api.kind)
        function = self._service.function(match.route.function)
        timer = None
        if limit_s is not None and function.timeout_s + LIMITS.init_s >= limit_s:
            timer = threading.Timer(limit_s, lambda: once(_message(*_LATE[self.api.kind])))
            timer.daemon = True
            timer.start()

        told = [f"{request.method} {request.path} {match.route.function}"]

        def answered(outcome: Outcome) -> None:
            response, why = self._response(match, request, outcome)
            if timer:
                timer.cancel()
            once(response)
            told.extend([str(response.status), *([f"({why})"] if why else [])])

        self._service.invoke(match.route.function, Call(event), answered)
        self._service.say(" ".join(told))

    def _response(self, match: Match, request: Request, outcome: Outcome) -> tuple[Response, str | None]:
        """What the outcome comes to, and why it is not what the function answered."""
        why = outcome.kind
        if outcome.succeeded:
            try:
                return self._with_cors(request, payloads.response(self.api, match, request, outcome.payload)), None
            except payloads.Malformed as error:
                return self._with_cors(request, _message(*_FAILED[self.api.kind])), f"the answer is malformed: {error}"
        return self._with_cors(request, _message(*_FAILED[self.api.kind])), why

    def _refuse(self, request: Request, reply: Reply, status: int, message: str) -> None:
        reply(_message(status, message))
        self._service.say(f"{request.method} {request.path} {status} ({message})")

    def _preflight(self, request: Request, path: str) -> Response | None:
        """The answer to a browser that asks what it may do, where the API gives one by itself."""
        cors = self.api.cors
        if cors is None or request.method != "OPTIONS":
            return None
        if self.api.kind == "rest":
            routes = matching.on_path(self.api, path)
            stated = any(each.method == "OPTIONS" for each in routes)
            return None if stated or not routes else _rest_preflight(cors, routes)
        if request.header("Origin") is None or request.header("Access-Control-Request-Method") is None:
            return None
        return Response(204 if self.api.kind == "http" else 200, _allowed(cors, request, preflight=True))

    def _with_cors(self, request: Request, response: Response) -> Response:
        """The response with what HTTP APIs and function URLs say of CORS, in place of what the function says of it.

        A REST API says nothing: there the function has to.
        """
        cors = self.api.cors
        if cors is None or self.api.kind == "rest" or request.header("Origin") is None:
            return response
        own = [each for each in response.headers if not each[0].lower().startswith("access-control-")]
        return Response(response.status, (*own, *_allowed(cors, request)), response.body)


class _Once:
    """A reply of which the first counts."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._lock = threading.Lock()
        self._done = False

    def __call__(self, response: Response) -> None:
        with self._lock:
            if not self._done:
                self._done = True
                self._reply(response)


def _rest_preflight(cors: Cors, routes: list[Route]) -> Response:
    cors = with_methods(cors, routes)
    headers = {
        "Access-Control-Allow-Origin": ",".join(cors.origins),
        "Access-Control-Allow-Methods": ",".join(cors.methods),
        "Access-Control-Allow-Headers": ",".join(cors.headers),
        "Access-Control-Max-Age": cors.max_age,
        "Access-Control-Allow-Credentials": "true" if cors.credentials else None,
        "Content-Type": "application/json",
    }
    return Response(200, tuple((name, value) for name, value in headers.items() if value), b"{}\n")


def _allowed(cors: Cors, request: Request, *, preflight: bool = False) -> tuple[tuple[str, str], ...]:
    origin = request.header("Origin") or ""
    if "*" in cors.origins:
        allowed = "*"
    elif any(_is_origin(origin, each) for each in cors.origins):
        allowed = origin
    else:
        return ()
    headers = {
        "Access-Control-Allow-Origin": allowed,
        "Access-Control-Allow-Methods": ",".join(cors.methods) if preflight else None,
        "Access-Control-Allow-Headers": ",".join(cors.headers) if preflight else None,
        "Access-Control-Max-Age": cors.max_age if preflight else None,
        "Access-Control-Expose-Headers": ",".join(cors.exposed) if not preflight else None,
        "Access-Control-Allow-Credentials": "true" if cors.credentials else None,
        "Vary": "Origin" if allowed != "*" else None,
    }
    return tuple((name, value) for name, value in headers.items() if value)


def _is_origin(origin: str, allowed: str) -> bool:
    if allowed in ("http://*", "https://*"):
        return origin.startswith(allowed[:-1])
    return origin.lower() == allowed.lower()


def _message(status: int, message: str) -> Response:
    return Response(status, (("Content-Type", "application/json"),), json.dumps({"message": message}).encode())
