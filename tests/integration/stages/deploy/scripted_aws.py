"""A small server that speaks STS's, CloudFormation's, ECR's and Lambda's protocols, for what no emulator shows.

One account with at most one stack, driven by botocore's real client over HTTP. A test says how long an operation takes,
what its events are, and which calls go wrong: refused, answered late, or not answered at all.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Callable

ACCOUNT = "123456789012"
REGION = "eu-central-1"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass
class ChangeSet:
    name: str
    arn: str
    type: str
    template: str
    parameters: dict[str, str]
    status: str = "CREATE_COMPLETE"
    reason: str = ""
    execution: str = "AVAILABLE"
    created: str = ""
    looks: int = 0
    changes: list[tuple[str, str, str]] | None = None
    """Those of a nested one; the world's, of one that is not."""
    asked: dict[str, str] = field(default_factory=dict)


@dataclass
class Fault:
    """What happens to the next calls of an action. `when`: before or after the action is done."""

    action: str
    when: str = "instead"  # instead | after
    times: int = 1
    code: str | None = None  # None: the connection is closed without an answer
    status: int = 400
    message: str = "scripted"


@dataclass
class Invoked:
    """What a function gave: its payload, and Lambda's word for its failure."""

    payload: str
    error: str | None = None


@dataclass
class Pause:
    """Hold the first call of an action, before or after it is done, until the test lets go; then give no answer."""

    action: str
    when: str
    reached: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)


class Refusal(Exception):
    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class NoAnswer(Exception):
    """The connection ends here."""


class ScriptedAws:
    """The world behind the server. Set its fields before or while a stage runs."""

    def __init__(self) -> None:  # noqa: PLR0915 - one for each field
        self.lock = threading.RLock()
        self.calls: list[tuple[str, float]] = []
        self.faults: list[Fault] = []
        self.pause: Pause | None = None
        self.then: dict[str, Callable[[], None]] = {}
        """What happens right after an action is done, once."""
        self.expired: set[str] = set()
        """Access keys that are no longer taken."""
        self.key = ""
        """The access key of the last call."""
        self.stack_id: str | None = None
        self.stack_name = ""
        self.status: str | None = None
        self.stale_after_execution = 0
        """How many looks at the stack still show the state before the execution began."""
        self.stale_looks = 0
        self.status_before: str | None = None
        self.template = ""
        self.parameters: dict[str, str] = {}
        self.before: tuple[str, dict[str, str]] = ("", {})
        """Template and parameters before the last execution."""
        self.change_sets: dict[str, ChangeSet] = {}
        self.changes = [("Add", "HelloWorldFunction", "AWS::Lambda::Function")]
        self.nested_change_sets: dict[str, ChangeSet] = {}
        """By the path of the nested stack. CloudFormation makes them with that of the root, if it is asked to."""
        self.next_change_set: tuple[str, str] = ("CREATE_COMPLETE", "")
        self.change_set_looks = 0
        """How many looks a change set is still being made for."""
        self.events: list[dict[str, str]] = []
        self.resources = {"HelloWorldFunction": ("AWS::Lambda::Function", "CREATE_COMPLETE", "")}
        """By path: type, status, reason."""
        self.skipped: list[str] = []
        """What the last operation was told to skip, or to retain."""
        self.nested: set[str] = set()
        """The paths of nested stacks."""
        self.script: list[tuple[float, str, str, str]] = []
        """(seconds after the next operation begins, logical id, status, reason); the last one is the stack's own.

        `Child/Fn` is in a nested stack, `Child/*` that stack itself.
        """
        self._playing: list[tuple[float, str, str, str]] = []
        self._executed_at = 0.0
        self.executions: list[str] = []
        self.executed_with: dict[str, str] = {}
        """What the last ExecuteChangeSet said."""
        self.images: dict[str, str] = {}
        self.listed: list[str] = []
        """The functions on every page of the account's, if there are others than the stack's; then there is no last page."""
        self.function_image: str | None = None
        self.function_states: list[tuple[str, str]] = []
        """(State, LastUpdateStatus) of the next looks at a function; then it is ready."""
        self.answers: list[Invoked] = []
        """Of the next invocations; then a function gives back its name and its event."""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"world": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.pause:
            self.pause.go.set()
        self.server.shutdown()
        self.server.server_close()

    def add_image(self, manifest: str) -> str:
        digest = "sha256:" + hashlib.sha256(manifest.encode()).hexdigest()
        self.images[digest] = manifest
        return digest

    def stuck(self, status: str) -> None:
        """Have a stack in this state, by whatever happened before."""
        self.stack_name, self.status = "demo", status
        self.stack_id = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/demo/{uuid.uuid4()}"

    def become(self, status: str) -> None:
        """Be in another state, of which no event tells yet."""
        self.status = status

    def somebody(self, *script: tuple[float, str, str, str], token: str = "Console-1") -> None:  # noqa: S107 - no secret
        """Have somebody else do something to the stack."""
        self.executions.append(token)
        self._begin(list(script))

    def count(self, action: str) -> int:
        return sum(name == action for name, _ in self.calls)

    def fail(self, action: str, code: str | None = None, **more: Any) -> None:
        self.faults.append(Fault(action, code=code, **more))

    def hold(self, action: str, when: str) -> Pause:
        self.pause = Pause(action, when)
        return self.pause

    # One call

    def handle(self, action: str, parameters: dict[str, Any], key: str = "") -> Any:
        with self.lock:
            self.calls.append((action, time.monotonic()))
            self.key = key
            fault = self._fault(action)
        if key in self.expired:
            raise Refusal("ExpiredToken", "The security token included in the request is expired", 403)
        pause = self.pause if self.pause and self.pause.action == action else None
        self._stop(pause, "before")
        if fault and fault.when == "instead":
            self._fail(fault)
        with self.lock:
            self._advance()
            answer = getattr(self, action)(parameters)
            self.then.pop(action, lambda: None)()
        self._stop(pause, "after")
        if fault:
            self._fail(fault)
        return answer

    def _fault(self, action: str) -> Fault | None:
        for fault in self.faults:
            if fault.action == action and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    def _fail(self, fault: Fault) -> None:
        if fault.code is None:
            raise NoAnswer
        raise Refusal(fault.code, fault.message, fault.status)

    def _stop(self, pause: Pause | None, when: str) -> None:
        if pause and pause.when == when and not pause.go.is_set():
            pause.reached.set()
            pause.go.wait(30)
            raise NoAnswer

    # The stack moves on with time

    def _advance(self) -> None:
        now = time.monotonic()
        while self._playing and now >= self._executed_at + self._playing[0][0]:
            _, logical_id, status, reason = self._playing.pop(0)
            self._event(logical_id, status, reason)

    def _begin(self, script: list[tuple[float, str, str, str]]) -> None:
        self._executed_at = time.monotonic()
        self._playing = list(script)
        self._advance()

    def nested_id(self, path: str) -> str:
        return f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{self.stack_name}-{path}/nested"

    def _event(self, logical_id: str, status: str, reason: str = "", token: str | None = None) -> None:
        own = logical_id == self.stack_name
        if own:
            self.status = status
            if status == "UPDATE_ROLLBACK_COMPLETE":
                self.template, self.parameters = self.before
        path, _, name = logical_id.rpartition("/")
        of = self.nested_id(path) if path else str(self.stack_id)
        is_stack = own or name == "*" or logical_id in self.nested
        physical = of if own or name == "*" else self.nested_id(logical_id) if is_stack else f"{name}-1"
        self.events.append(
            {
                "StackId": of,
                "EventId": str(uuid.uuid4()),
                "StackName": self.stack_name,
                "LogicalResourceId": f"{self.stack_name}-{path}" if name == "*" else name,
                "PhysicalResourceId": physical,
                "ResourceType": "AWS::CloudFormation::Stack" if is_stack else "AWS::Lambda::Function",
                "Timestamp": _now(),
                "ResourceStatus": status,
                "ResourceStatusReason": reason,
                "ClientRequestToken": token or (self.executions[-1] if self.executions else ""),
            }
        )

    # STS, ECR, Lambda

    def GetCallerIdentity(self, _: Any) -> str:  # noqa: N802 - the API's name, as all below
        return _xml("GetCallerIdentity", f"<Account>{ACCOUNT}</Account><Arn>arn:aws:iam::{ACCOUNT}:user/test</Arn>")

    def BatchGetImage(self, body: Any) -> Any:  # noqa: N802
        wanted = [each["imageDigest"] for each in body["imageIds"]]
        found = [
            {"imageId": {"imageDigest": each}, "imageManifest": self.images[each]}
            for each in wanted
            if each in self.images
        ]
        return {"images": found, "failures": []}

    def GetFunction(self, name: str) -> Any:  # noqa: N802
        state, update = self.function_states.pop(0) if self.function_states else ("Active", "Successful")
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
        image = self.function_image or _image_uri(self.template)
        return {
            "Configuration": {
                "FunctionName": name,
                "FunctionArn": arn,
                "State": state,
                "StateReason": "scripted reason",
                "LastUpdateStatus": update,
                "PackageType": "Image",
                "RevisionId": self._revision(name),
            },
            "Code": {"ImageUri": image, "ResolvedImageUri": image},
        }

    def ListFunctions(self, _: Any) -> Any:  # noqa: N802
        names = self.listed or [f"{path.rpartition('/')[2]}-1" for path in self.resources]
        listed = [{"FunctionName": name, "RevisionId": self._revision(name)} for name in sorted(names)]
        return {"Functions": listed} | ({"NextMarker": "more"} if self.listed else {})

    def _revision(self, name: str) -> str:
        return f"{name} {self.function_image or _image_uri(self.template)}"

    def Invoke(self, parameters: Any) -> Any:  # noqa: N802
        return self.answers.pop(0) if self.answers else Invoked(json.dumps(parameters))

    # CloudFormation

    def DescribeStacks(self, parameters: dict[str, str]) -> str:  # noqa: N802
        wanted = parameters["StackName"]
        if self.status is None or (self.status == "DELETE_COMPLETE" and wanted != self.stack_id):
            raise Refusal("ValidationError", f"Stack with id {wanted} does not exist")
        status = self.status
        if self.stale_looks:
            self.stale_looks -= 1
            status = str(self.status_before)
        output = "<member><OutputKey>Api</OutputKey><OutputValue>https://x.test/Prod</OutputValue></member>"
        stack = _tags(
            StackId=self.stack_id,
            StackName=self.stack_name,
            StackStatus=status,
            CreationTime=_now(),
        )
        return _xml("DescribeStacks", f"<Stacks><member>{stack}<Outputs>{output}</Outputs></member></Stacks>")

    def CreateChangeSet(self, parameters: dict[str, str]) -> str:  # noqa: N802
        name = parameters["ChangeSetName"]
        if any(each.name == name for each in self.change_sets.values()):
            raise Refusal("AlreadyExistsException", f"ChangeSet {name} already exists")
        if self.stack_id is None or self.status == "DELETE_COMPLETE":
            self.stack_name = parameters["StackName"]
            self.stack_id = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{self.stack_name}/{uuid.uuid4()}"
            self.status = "REVIEW_IN_PROGRESS"
        arn = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:changeSet/{name}/{uuid.uuid4()}"
        status, reason = self.next_change_set
        execution = "AVAILABLE" if status == "CREATE_COMPLETE" else "UNAVAILABLE"
        given = {
            value: parameters[key.replace("ParameterKey", "ParameterValue")]
            for key, value in parameters.items()
            if key.endswith("ParameterKey")
        }
        self.change_sets[arn] = ChangeSet(
            name,
            arn,
            parameters["ChangeSetType"],
            parameters["TemplateBody"],
            given,
            status,
            reason,
            execution,
            _now(),
            self.change_set_looks,
            asked=parameters,
        )
        return _xml("CreateChangeSet", _tags(Id=arn, StackId=self.stack_id))

    def _change_set(self, parameters: dict[str, str]) -> ChangeSet:
        wanted = parameters["ChangeSetName"]
        for each in (*self.change_sets.values(), *self.nested_change_sets.values()):
            if wanted in (each.arn, each.name):
                return each
        raise Refusal("ChangeSetNotFound", f"ChangeSet [{wanted}] does not exist", 404)

    def DescribeChangeSet(self, parameters: dict[str, str]) -> str:  # noqa: N802
        found = self._change_set(parameters)
        status = found.status
        if found.looks:
            found.looks -= 1
            status = "CREATE_IN_PROGRESS"
        changes = "".join(
            "<member><Type>Resource</Type><ResourceChange>"
            + _tags(Action=action, LogicalResourceId=name, ResourceType=type_, ChangeSetId=self._nested(found, name))
            + "</ResourceChange></member>"
            for action, name, type_ in (self._changes(found) if status == "CREATE_COMPLETE" else [])
        )
        given = "".join(
            f"<member>{_tags(ParameterKey=key, ParameterValue=value)}</member>"
            for key, value in found.parameters.items()
        )
        text = _tags(
            ChangeSetName=found.name,
            ChangeSetId=found.arn,
            StackId=self.stack_id,
            StackName=self.stack_name if found.changes is None else found.name,
            Status=status,
            StatusReason=found.reason,
            ExecutionStatus=found.execution,
            CreationTime=found.created,
        )
        return _xml("DescribeChangeSet", f"{text}<Parameters>{given}</Parameters><Changes>{changes}</Changes>")

    def _changes(self, found: ChangeSet) -> list[tuple[str, str, str]]:
        return self.changes if found.changes is None else found.changes

    def _nested(self, found: ChangeSet, name: str) -> str | None:
        asked = any(each.asked.get("IncludeNestedStacks") == "true" for each in self.change_sets.values())
        path = name if found.changes is None else f"{found.name}/{name}"
        return self.nested_change_sets[path].arn if asked and path in self.nested_change_sets else None

    def DeleteChangeSet(self, parameters: dict[str, str]) -> str:  # noqa: N802
        del self.change_sets[self._change_set(parameters).arn]
        return _xml("DeleteChangeSet", "")

    def GetTemplate(self, parameters: dict[str, str]) -> str:  # noqa: N802
        body = self._change_set(parameters).template if "ChangeSetName" in parameters else self.template
        return _xml("GetTemplate", _tags(TemplateBody=body))

    def ExecuteChangeSet(self, parameters: dict[str, str]) -> str:  # noqa: N802
        found = self._change_set(parameters)
        if found.execution != "AVAILABLE":
            raise Refusal("InvalidChangeSetStatus", f"ChangeSet [{found.arn}] is in {found.execution} status")
        self.executions.append(parameters["ClientRequestToken"])
        self.executed_with = parameters
        found.execution = "EXECUTE_IN_PROGRESS"
        self.before = self.template, self.parameters
        self.template, self.parameters = found.template, found.parameters
        self.status_before, self.stale_looks = self.status, self.stale_after_execution
        begin = "CREATE_IN_PROGRESS" if found.type == "CREATE" else "UPDATE_IN_PROGRESS"
        end = begin.replace("IN_PROGRESS", "COMPLETE")
        self._event(self.stack_name, begin)
        self._begin(self.script or [(0.1, "HelloWorldFunction", end, ""), (0.2, self.stack_name, end, "")])
        self.script = []
        return _xml("ExecuteChangeSet", "")

    def DescribeStackEvents(self, parameters: dict[str, str]) -> str:  # noqa: N802
        wanted = parameters["StackName"]
        if self.stack_id is None:
            raise Refusal("ValidationError", f"Stack [{wanted}] does not exist")
        of = self.stack_id if wanted == self.stack_name else wanted
        told = [event for event in reversed(self.events) if event["StackId"] == of]
        members = "".join(f"<member>{_tags(**event)}</member>" for event in told)
        return _xml("DescribeStackEvents", f"<StackEvents>{members}</StackEvents>")

    def ListStackResources(self, parameters: dict[str, str]) -> str:  # noqa: N802
        members = ""
        for path, (type_, status, reason) in self.resources.items():
            parent, _, name = path.rpartition("/")
            if parameters["StackName"] != (self.nested_id(parent) if parent else self.stack_id):
                continue
            members += "<member>" + _tags(
                LogicalResourceId=name,
                PhysicalResourceId=self.nested_id(path) if path in self.nested else f"{name}-1",
                ResourceType=type_,
                ResourceStatus=status,
                ResourceStatusReason=reason,
                LastUpdatedTimestamp=_now(),
            )
            members += "</member>"
        return _xml("ListStackResources", f"<StackResourceSummaries>{members}</StackResourceSummaries>")

    def ContinueUpdateRollback(self, parameters: dict[str, str]) -> str:  # noqa: N802
        self._operate(parameters, "UPDATE_ROLLBACK_FAILED", "UPDATE_ROLLBACK")
        return _xml("ContinueUpdateRollback", "")

    def RollbackStack(self, parameters: dict[str, str]) -> str:  # noqa: N802
        self._operate(parameters, "UPDATE_FAILED", "UPDATE_ROLLBACK")
        return _xml("RollbackStack", "")

    def DeleteStack(self, parameters: dict[str, str]) -> str:  # noqa: N802
        self._operate(parameters, str(self.status), "DELETE")
        return _xml("DeleteStack", "")

    def _operate(self, parameters: dict[str, str], needs: str, what: str) -> None:
        if self.status != needs:
            raise Refusal("ValidationError", f"Stack:{self.stack_id} is in {self.status} state and can not be operated")
        self.skipped = [value for key, value in parameters.items() if key.startswith(("ResourcesToSkip", "RetainRes"))]
        self.executions.append(parameters["ClientRequestToken"])
        self._event(self.stack_name, f"{what}_IN_PROGRESS")
        self._begin(self.script or [(0.2, self.stack_name, f"{what}_COMPLETE", "")])
        self.script = []


def _image_uri(template: str) -> str:
    found = re.search(r"\S+@sha256:[0-9a-f]{64}", template)
    return found.group() if found else ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _tags(**values: str | None) -> str:
    return "".join(f"<{name}>{escape(value)}</{name}>" for name, value in values.items() if value)


def _xml(action: str, inner: str) -> str:
    return f"<{action}Response><{action}Result>{inner}</{action}Result></{action}Response>"


def _refusal(error: Refusal, *, as_json: bool) -> Any:
    if as_json:
        return {"__type": error.code, "message": str(error)}
    return (
        f"<ErrorResponse><Error><Type>Sender</Type>{_tags(Code=error.code, Message=str(error))}</Error></ErrorResponse>"
    )


class _Handler(BaseHTTPRequestHandler):
    world: ScriptedAws
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.rstrip("/").endswith("/functions"):
            self._answer("ListFunctions", None, as_json=True)
            return
        name = unquote(self.path.rsplit("/", 1)[-1])
        self._answer("GetFunction", name, as_json=True)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/invocations"):
            name = unquote(self.path.split("/")[-2])
            self._answer("Invoke", {"name": name, "event": json.loads(body)}, as_json=True)
            return
        target = self.headers.get("X-Amz-Target")
        if target:
            self._answer(target.rpartition(".")[2], json.loads(body), as_json=True)
            return
        query = {key: values[0] for key, values in parse_qs(body.decode(), keep_blank_values=True).items()}
        self._answer(query["Action"], query, as_json=False)

    def _answer(self, action: str, parameters: Any, *, as_json: bool) -> None:
        headers: dict[str, str] = {}
        try:
            signed = re.search(r"Credential=([^/]+)/", self.headers.get("Authorization", ""))
            answer, status = self.world.handle(action, parameters, signed[1] if signed else ""), 200
        except NoAnswer:
            self.close_connection = True
            return
        except Refusal as refusal:
            answer, status = _refusal(refusal, as_json=as_json), refusal.status
        if isinstance(answer, Invoked):
            headers = {"X-Amz-Function-Error": answer.error} if answer.error else {}
            answer = answer.payload
        data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(status)
        headers |= {"Content-Type": "application/json" if as_json else "text/xml", "Content-Length": str(len(data))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
