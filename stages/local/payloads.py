"""Events that API Gateway and function URLs make of requests, and responses that they make of what functions answer. Pure.

https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html (REST),
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html (HTTP, 1.0 and 2.0),
https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html (function URLs).
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import json
import time
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from stages.local.functions import ACCOUNT
from stages.local.http import Response
from stages.local.matching import path_in
from stages.local.routes import DEFAULT

if TYPE_CHECKING:
    from stages.local.http import Request
    from stages.local.matching import Match
    from stages.local.routes import Api

_IDENTITY = (
    *("accessKey", "accountId", "apiKey", "apiKeyId", "caller", "clientCert"),
    *("cognitoAuthenticationProvider", "cognitoAuthenticationType", "cognitoIdentityId", "cognitoIdentityPoolId"),
    *("principalOrgId", "user", "userArn"),
)
_REST_KEYS = {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"}
_TEXTS = (
    "text/*",
    "application/json",
    "application/*+json",
    "application/javascript",
    "application/xml",
    "application/*+xml",
)


class Malformed(Exception):
    """What a function answered is not of the form that its API takes."""


def event(api: Api, match: Match, request: Request, port: int) -> dict[str, Any]:
    """The event for a function."""
    form = _event_2 if match.route.format == "2.0" else _event_1
    return form(api, match, request, port)


def response(api: Api, match: Match, request: Request, payload: bytes) -> Response:
    """What a function's answer comes to. Raises Malformed."""
    try:
        answer: Any = json.loads(payload)
    except ValueError as error:
        raise Malformed("it is no JSON") from error
    if match.route.format == "2.0":
        return _response_2(answer)
    return _response_1(answer, api, request)


def _event_1(api: Api, match: Match, request: Request, port: int) -> dict[str, Any]:
    headers = _forwarded(request, port)
    query = parse_qsl(request.query, keep_blank_values=True)
    binary = (api.kind == "http" and _is_binary(request)) or _matches(_media_type(request), api.binary)
    body, encoded = _body(request, binary=binary)
    path = path_in(api, request.path)
    return {
        **({"version": "1.0"} if api.kind == "http" else {}),
        "resource": match.route.path,
        "path": unquote(path),
        "httpMethod": request.method,
        "headers": dict(headers),
        "multiValueHeaders": _gathered(headers),
        "queryStringParameters": dict(query) or None,
        "multiValueQueryStringParameters": _gathered(query) or None,
        "pathParameters": match.parameters or None,
        "stageVariables": api.variables or None,
        "requestContext": _context_1(api, match, request, path),
        "body": body,
        "isBase64Encoded": encoded,
    }


def _context_1(api: Api, match: Match, request: Request, path: str) -> dict[str, Any]:
    host = request.header("Host") or "localhost"
    request_id = str(uuid.uuid4())
    identity = dict.fromkeys(_IDENTITY)
    return {
        "accountId": ACCOUNT,
        "apiId": _api_id(api),
        "domainName": host,
        "domainPrefix": host.partition(".")[0],
        "extendedRequestId": request_id,
        "httpMethod": request.method,
        "identity": {**identity, "sourceIp": request.caller, "userAgent": request.header("User-Agent")},
        "path": f"{'' if api.stage == DEFAULT else f'/{api.stage}'}{unquote(path)}",
        "protocol": request.protocol,
        "requestId": request_id,
        "requestTime": _clf(request),
        "requestTimeEpoch": int(request.at * 1000),
        "resourceId": match.route.path if api.kind == "rest" else None,
        "resourcePath": match.route.path,
        "stage": api.stage,
    }


def _event_2(api: Api, match: Match, request: Request, port: int) -> dict[str, Any]:
    headers = _joined([(name.lower(), value) for name, value in _forwarded(request, port)])
    cookies = [each.strip() for each in headers.pop("cookie", "").split(";") if each.strip()]
    query = _joined(parse_qsl(request.query, keep_blank_values=True))
    body, encoded = _body(request, binary=_is_binary(request))
    route = match.route
    key = DEFAULT if route.path == DEFAULT else f"{route.method} {route.path}"
    path = path_in(api, request.path)
    whole = unquote(path if api.stage == DEFAULT else f"/{api.stage}{path}")
    host = request.header("Host") or "localhost"
    return {
        "version": "2.0",
        "routeKey": key,
        "rawPath": whole,
        "rawQueryString": request.query,
        **({"cookies": cookies} if cookies else {}),
        "headers": headers,
        **({"queryStringParameters": query} if query else {}),
        "requestContext": {
            "accountId": ACCOUNT if api.kind == "http" else "anonymous",
            "apiId": _api_id(api),
            "domainName": host,
            "domainPrefix": host.partition(".")[0],
            "http": {
                "method": request.method,
                "path": whole,
                "protocol": request.protocol,
                "sourceIp": request.caller,
                "userAgent": request.header("User-Agent") or "",
            },
            "requestId": str(uuid.uuid4()),
            "routeKey": key,
            "stage": api.stage,
            "time": _clf(request),
            "timeEpoch": int(request.at * 1000),
        },
        **({"body": body} if body is not None else {}),
        **({"pathParameters": match.parameters} if match.parameters else {}),
        "isBase64Encoded": encoded,
        **({"stageVariables": api.variables} if api.variables else {}),
    }


def _response_1(answer: Any, api: Api, request: Request) -> Response:
    if not isinstance(answer, dict):
        raise Malformed("it is no object with a statusCode")
    unknown = sorted(set(answer) - _REST_KEYS)
    if api.kind == "rest" and unknown:
        raise Malformed(f"it has keys that a REST API does not take: {', '.join(unknown)}")
    headers = [(str(name), _header(value)) for name, value in _mapping(answer, "headers").items()]
    for name, values in _mapping(answer, "multiValueHeaders").items():
        if not isinstance(values, list):
            raise Malformed(f"multiValueHeaders.{name} is no list")
        headers = [each for each in headers if each[0].lower() != str(name).lower()]
        headers += [(str(name), _header(value)) for value in values]
    data = _text_body(answer)
    accepted = (request.header("Accept") or "").split(",")[0].partition(";")[0].strip()
    if _flag(answer) and (api.kind != "rest" or _matches(accepted, api.binary) or "*/*" in api.binary):
        data = _unencoded(data)
    return Response(_status(answer), _with_type(headers), data)


def _response_2(answer: Any) -> Response:
    if not isinstance(answer, dict) or "statusCode" not in answer:
        body = answer if isinstance(answer, str) else json.dumps(answer)
        return Response(200, (("Content-Type", "application/json"),), body.encode())
    headers = [(str(name), _header(value)) for name, value in _mapping(answer, "headers").items()]
    cookies = answer.get("cookies") or []
    if not isinstance(cookies, list):
        raise Malformed("cookies is no list")
    headers += [("Set-Cookie", str(cookie)) for cookie in cookies]
    data = _text_body(answer)
    return Response(_status(answer), _with_type(headers), _unencoded(data) if _flag(answer) else data)


def _status(answer: dict[str, Any]) -> int:
    try:
        status = int(answer["statusCode"])
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(f"its statusCode is {answer.get('statusCode')!r}") from error
    if not 100 <= status <= 599:
        raise Malformed(f"its statusCode is {status}")
    return status


def _text_body(answer: dict[str, Any]) -> bytes:
    body = answer.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        raise Malformed("its body is no text: give json.dumps(...)")
    return body.encode()


def _flag(answer: dict[str, Any]) -> bool:
    return str(answer.get("isBase64Encoded", False)).lower() == "true"


def _unencoded(data: bytes) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise Malformed("isBase64Encoded is true, and its body is no base64") from error


def _mapping(answer: dict[str, Any], name: str) -> dict[str, Any]:
    value = answer.get(name) or {}
    if not isinstance(value, dict):
        raise Malformed(f"{name} is no object")
    return value


def _header(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _with_type(headers: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", "application/json"))
    return tuple(headers)


def _forwarded(request: Request, port: int) -> list[tuple[str, str]]:
    """The request's headers, and those that a gateway adds."""
    added = {
        "X-Forwarded-For": request.caller,
        "X-Forwarded-Port": str(port),
        "X-Forwarded-Proto": "http",
        "X-Amzn-Trace-Id": f"Root=1-{int(request.at):08x}-{uuid.uuid4().hex[:24]}",
    }
    names = {name.lower() for name in added}
    return [*(each for each in request.headers if each[0].lower() not in names), *added.items()]


def _body(request: Request, *, binary: bool) -> tuple[str | None, bool]:
    if not request.body:
        return None, False
    if binary:
        return base64.b64encode(request.body).decode(), True
    return request.body.decode("utf-8", "replace"), False


def _is_binary(request: Request) -> bool:
    """What HTTP APIs and function URLs encode: all that is not said to be text."""
    return not _matches(_media_type(request), _TEXTS)


def _media_type(request: Request) -> str:
    return (request.header("Content-Type") or "").partition(";")[0].strip().lower()


def _matches(media_type: str, patterns: tuple[str, ...]) -> bool:
    return any(pattern == "*/*" or fnmatch.fnmatchcase(media_type, pattern.lower()) for pattern in patterns)


def _gathered(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _joined(pairs: list[tuple[str, str]]) -> dict[str, str]:
    separator = {"cookie": "; "}
    return {name: separator.get(name, ",").join(values) for name, values in _gathered(pairs).items()}


def _clf(request: Request) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(request.at))


def _api_id(api: Api) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, api.name).hex[:10]
