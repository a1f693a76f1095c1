"""Lambda's own endpoint, for boto3 and the AWS CLI with `--endpoint-url`: Invoke, and nothing else.

https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html says what is taken and answered.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote

from stages.local import console, documents
from stages.local.documents import ASYNCHRONOUS_BYTES, SYNCHRONOUS_BYTES
from stages.local.http import Request, Response
from stages.runtime.model import Call

if TYPE_CHECKING:
    from stages.local.http import Reply
    from stages.local.service import Service
    from stages.runtime.model import Outcome

LOG_BYTES = 4096
CONTEXT_BYTES = 3583
_INVOKE = re.compile(r"/2015-03-31/functions/([^/]+)/invocations/?")
_NAME = re.compile(
    r"(?:arn:aws[a-z-]*:lambda:)?(?:[a-z]{2}(?:-[a-z]+)+-\d:)?(?:\d{12}:)?(?:function:)?"
    r"(?P<name>[A-Za-z0-9_.-]+(?:/[A-Za-z0-9]+)*)(?::(?P<qualifier>\$LATEST|[A-Za-z0-9_-]+))?"
)


class Refused(Exception):
    """A call that Lambda would not take: its status, its error's name, and its words."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.message = message


class LambdaApi:
    """Answers as Lambda's endpoint."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def answer(self, request: Request, reply: Reply) -> None:
        """Answer one request; one of type Event is run once it has been answered."""
        request_id = str(uuid.uuid4())
        try:
            id_, type_, call = self._asked(request, request_id)
        except Refused as error:
            body = json.dumps({"Type": "User", "Message": error.message, "message": error.message}).encode()
            reply(_response(error.status, request_id, body, {"x-amzn-errortype": error.error}))
            return
        if type_ == "DryRun":
            reply(_response(204, request_id))
        elif type_ == "Event":
            reply(_response(202, request_id))
            self._service.invoke(id_, call)
        elif request.header("X-Amz-Log-Type") == "Tail":
            outcome = self._service.invoke(id_, call)
            function = self._service.function(id_)
            log = f"{console.start(call.request_id, function)}\n{outcome.log}{console.end(outcome, function)}\n"
            reply(_result(outcome, log))
        else:
            self._service.invoke(id_, call, lambda outcome: reply(_result(outcome)))

    def _asked(self, request: Request, request_id: str) -> tuple[str, str, Call]:
        """What is asked for. Raises Refused."""
        if request.header("Origin") is not None:  # no SDK sends it: a page in a browser, which shall not call functions
            raise Refused(403, "AccessDeniedException", "requests of web pages are not taken here")
        match = _INVOKE.fullmatch(request.path)
        if match is None or request.method != "POST":
            message = f"{request.method} {request.path} is not served here: of Lambda's API there is Invoke alone"
            raise Refused(404, "UnknownOperationException", message)
        id_, arn = self._function(unquote(match[1]), parse_qs(request.query).get("Qualifier", [""])[0])
        type_ = request.header("X-Amz-Invocation-Type") or "RequestResponse"
        if type_ not in ("RequestResponse", "Event", "DryRun"):
            message = f"1 validation error detected: Value '{type_}' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: [Event, RequestResponse, DryRun]"
            raise Refused(400, "ValidationException", message)
        payload = _payload(request.body, type_)
        context = _context(request.header("X-Amz-Client-Context")) if type_ == "RequestResponse" else ""
        return id_, type_, Call(payload, request_id, arn, context, request.header("X-Amzn-Trace-Id") or "")

    def _function(self, name: str, qualifier: str) -> tuple[str, str]:
        """The function that a name, a partial or a whole ARN means, and the ARN that it is called by."""
        match = _NAME.fullmatch(name)
        id_ = self._service.named(match["name"]) if match else None
        derived = (match["qualifier"] if match else None) or ""
        if derived and qualifier and derived != qualifier:
            message = "The derived qualifier from the function name does not match the specified qualifier."
            raise Refused(400, "InvalidParameterValueException", message)
        qualifier = qualifier or derived
        if match is None or id_ is None:
            whole = f"{match['name'] if match else name}{f':{qualifier}' if qualifier else ''}"
            raise Refused(404, "ResourceNotFoundException", f"Function not found: {whole}")
        arn = self._service.function(id_).arn
        return id_, f"{arn}:{qualifier}" if qualifier else arn


def _payload(body: bytes | None, type_: str) -> bytes:
    limit = ASYNCHRONOUS_BYTES if type_ == "Event" else SYNCHRONOUS_BYTES
    if body is None or len(body) > limit:
        size = "More" if body is None else len(body)
        message = f"{size} byte payload is too large for the {type_} invocation type (limit {limit} bytes)"
        raise Refused(413, "RequestEntityTooLargeException", message)
    if not body:
        return b"{}"
    try:
        return documents.event(body)
    except ValueError as error:
        message = f"Could not parse request body into json: {error}"
        raise Refused(400, "InvalidRequestContentException", message) from error


def _context(header: str | None) -> str:
    """The client context, which is JSON in base64."""
    if not header:
        return ""
    try:
        if len(header) > CONTEXT_BYTES + 1:
            raise ValueError(f"it has more than {CONTEXT_BYTES} bytes")  # noqa: TRY301 - told as all that is wrong with it
        return json.dumps(documents.read(base64.b64decode(header, validate=True).decode()))
    except (ValueError, binascii.Error) as error:
        message = f"Client context must be a valid Base64-encoded JSON object: {error}"
        raise Refused(400, "InvalidRequestContentException", message) from error


def _result(outcome: Outcome, log: str | None = None) -> Response:
    more = {"X-Amz-Executed-Version": "$LATEST"}
    if not outcome.succeeded:
        more["X-Amz-Function-Error"] = "Unhandled"
    if log is not None:
        more["X-Amz-Log-Result"] = base64.b64encode(log.encode()[-LOG_BYTES:]).decode()
    return _response(200, outcome.request_id, outcome.payload, more)


def _response(status: int, request_id: str, body: bytes = b"", more: dict[str, str] | None = None) -> Response:
    headers = {"x-amzn-RequestId": request_id, "Content-Type": "application/json", **(more or {})}
    return Response(status, tuple(headers.items()), body)
