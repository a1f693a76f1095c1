"""The HTTP APIs of an application and their routes: what its events, OpenAPI bodies and function URLs come to.

https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-function.html (Events of type Api and
HttpApi, FunctionUrlConfig), sam-resource-api.html and sam-resource-httpapi.html there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from stages.local.functions import resource_of
from stages.template.functions import SERVERLESS, full_id, own_or_global
from stages.template.resolve import Unresolvable, call, resolve, text
from stages.template.resources import find
from stages.template.tree import Mapping, Scalar, Sequence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.template import Application, Function, Stack
    from stages.template.resolve import Scope, Value
    from stages.template.resources import Resource
    from stages.template.tree import Node

Kind: TypeAlias = Literal["rest", "http", "url"]
"""An `Api` of API Gateway (REST), an `HttpApi`, or a function's own URL."""

ANY = "ANY"
DEFAULT = "$default"
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_EVENTS: dict[str, tuple[Kind, str, str]] = {
    "Api": ("rest", "RestApiId", "ServerlessRestApi"),
    "HttpApi": ("http", "ApiId", "ServerlessHttpApi"),
}
_RESOURCES: dict[str, Kind] = {"AWS::Serverless::Api": "rest", "AWS::Serverless::HttpApi": "http"}
_NOT_READ = ("AWS::ApiGateway::RestApi", "AWS::ApiGatewayV2::Api", "AWS::Lambda::Url")
_GLOBALS = {"rest": "Api", "http": "HttpApi"}
_INVOCATION = re.compile(r"\$\{([A-Za-z0-9]+)(?:\.Arn|\.Alias)?\}[^/]*/invocations")


@dataclass(frozen=True)
class Cors:
    """What pages of other origins may do. An origin of a REST API is one value, told as it is."""

    origins: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    max_age: str | None = None
    credentials: bool = False


@dataclass(frozen=True)
class Route:
    """`method` is one in capitals or ANY; `path` has `{name}` and `{name+}`, or is `$default`. `function` is an id.

    `format` is the version of the event's form. `unchecked` names what would have to let a request through.
    """

    method: str
    path: str
    function: str
    format: str = "1.0"
    unchecked: str | None = None


@dataclass
class Api:
    """An API with its own address. `name` is its logical id; that of its function for a function's URL."""

    kind: Kind
    name: str
    stage: str
    variables: dict[str, str] = field(default_factory=dict)
    binary: tuple[str, ...] = ()
    cors: Cors | None = None
    unchecked: str | None = None
    routes: list[Route] = field(default_factory=list)


def read(application: Application) -> tuple[list[Api], list[str]]:
    """The APIs of an application that have routes to its image functions, in order, and notes on what is not served."""
    reader = _Reader(application)
    for stack in application.stacks.values():
        reader.stack(stack)
    for function in application.functions:
        reader.function(function)
    return [api for api in reader.apis.values() if api.routes], reader.notes


class _Reader:
    """Gathers APIs by the paths of their stacks and logical ids."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.apis: dict[str, Api] = {}
        self.notes: list[str] = []
        self.ids = {each.id for each in application.functions}

    def stack(self, stack: Stack) -> None:
        for resource in stack.resources:
            kind = _RESOURCES.get(resource.type)
            if kind:
                name = full_id(stack.path, resource.id)
                properties = _Properties(stack, resource, ("Globals", _GLOBALS[kind]))
                self.apis[name] = _api(kind, name, properties)
                self._open_api(stack, self.apis[name], properties)
            elif resource.type in _NOT_READ:
                self.notes.append(f"{full_id(stack.path, resource.id)}: its type, {resource.type}, is not served")

    def function(self, function: Function) -> None:
        resource = resource_of(self.application, function)
        if resource.type != SERVERLESS:
            return
        stack = self.application.stacks[function.stack]
        for name, event in _pairs(find(resource.node, ("Properties", "Events"))):
            type_ = text(find(event, ("Type",))) or ""
            if type_ in _EVENTS:
                self._event(stack, function, _Event(name, type_, event, resource.scope))
        self._url(stack, function, resource)

    def _event(self, stack: Stack, function: Function, event: _Event) -> None:
        kind, reference, implicit = _EVENTS[event.type]
        node = event.get(reference)
        target = _referred(node) if node is not None else implicit
        name = full_id(stack.path, target or "?")
        if name not in self.apis:
            if target != implicit:
                self.notes.append(
                    f"{function.id}: its event {event.name} is of an API that is not in the template: not served"
                )
                return
            properties = _Properties(stack, None, ("Globals", _GLOBALS[kind]))
            self.apis[name] = _api(kind, name, properties, "Prod" if kind == "rest" else DEFAULT)
        api = self.apis[name]
        path, method = event.text("Path"), event.text("Method")
        if path is None and kind == "rest":
            self.notes.append(f"{function.id}: the Path of its event {event.name} is not known: not served")
            return
        method = (method or ANY).upper()
        method = ANY if method in ("*", "X-AMAZON-APIGATEWAY-ANY-METHOD") else method
        version = "1.0" if kind == "rest" else event.text("PayloadFormatVersion") or "2.0"
        api.routes.append(Route(method, path or DEFAULT, function.id, version, _unchecked(event, api)))

    def _url(self, stack: Stack, function: Function, resource: Resource) -> None:
        node = own_or_global(stack.template, resource, "FunctionUrlConfig")
        if node is None:
            return
        said = _value(node, resource.scope)
        said = said if isinstance(said, dict) else {}
        auth = said.get("AuthType")
        unchecked = f"AuthType {auth}" if auth not in (None, "NONE") else None
        api = Api("url", function.id, DEFAULT, cors=_cors("url", said.get("Cors")))
        api.routes.append(Route(ANY, DEFAULT, function.id, "2.0", unchecked))
        self.apis[f"url:{function.id}"] = api

    def _open_api(self, stack: Stack, api: Api, properties: _Properties) -> None:
        """The routes of an OpenAPI document that stands in the template."""
        if properties.node("DefinitionUri") is not None:
            self.notes.append(f"{api.name}: routes of its DefinitionUri are not served; those of events are")
        for path, methods in _pairs(find(properties.node("DefinitionBody"), ("paths",))):
            for method, operation in _pairs(methods):
                upper = ANY if method == "x-amazon-apigateway-any-method" else method.upper()
                integration = find(operation, ("x-amazon-apigateway-integration",))
                function = _invoked(find(integration, ("uri",)), stack)
                if function is None or function not in self.ids:
                    if upper in (ANY, *_METHODS) and not (upper == "OPTIONS" and api.cors):
                        what = "it is integrated with no image function of the template"
                        self.notes.append(f"{api.name}: {upper} {path} is not served: {what}")
                    continue
                version = "1.0" if api.kind == "rest" else text(find(integration, ("payloadFormatVersion",))) or "1.0"
                secured = find(operation, ("security",)) is not None
                api.routes.append(Route(upper, path, function, version, "its security" if secured else api.unchecked))


@dataclass(frozen=True)
class _Event:
    """An event of a function, as it is written."""

    name: str
    type: str
    node: Node
    scope: Scope

    def get(self, *path: str) -> Node | None:
        return find(self.node, ("Properties", *path))

    def text(self, *path: str) -> str | None:
        value = _value(self.get(*path), self.scope)
        return value if isinstance(value, str) else None


@dataclass(frozen=True)
class _Properties:
    """The properties of an API, with what Globals says behind them; of an implicit API that is all."""

    stack: Stack
    resource: Resource | None
    globals_: tuple[str, ...]

    def node(self, name: str) -> Node | None:
        own = find(self.resource.node, ("Properties", name)) if self.resource else None
        return own if own is not None else find(self.stack.template.root, (*self.globals_, name))

    def value(self, name: str) -> Value:
        return _value(self.node(name), self.resource.scope if self.resource else self.stack.scope)


def _api(kind: Kind, name: str, properties: _Properties, stage: str | None = None) -> Api:
    stated = properties.value("StageName")
    variables = properties.value("Variables" if kind == "rest" else "StageVariables")
    binary = properties.value("BinaryMediaTypes")
    auth = properties.value("Auth")
    authorizer = auth.get("DefaultAuthorizer") if isinstance(auth, dict) else None
    key = auth.get("ApiKeyRequired") if isinstance(auth, dict) else None
    return Api(
        kind,
        name,
        stage or (stated if isinstance(stated, str) else DEFAULT),
        {key: str(value) for key, value in variables.items()} if isinstance(variables, dict) else {},
        tuple(str(each).replace("~1", "/") for each in binary) if isinstance(binary, list) else (),
        _cors(kind, properties.value("Cors" if kind == "rest" else "CorsConfiguration")),
        f"authorizer {authorizer}" if authorizer else "API key" if key == "true" else None,
    )


def _unchecked(event: _Event, api: Api) -> str | None:
    """What would have to let a request through."""
    authorizer = event.text("Auth", "Authorizer")
    if authorizer == "NONE":
        return None
    if authorizer:
        return f"authorizer {authorizer}"
    return "API key" if event.text("Auth", "ApiKeyRequired") == "true" else api.unchecked


def _cors(kind: Kind, value: Value) -> Cors | None:
    if value in (None, "false"):
        return None
    if isinstance(value, str):
        return Cors(("*",) if value == "true" else (_unquoted(value),))
    if not isinstance(value, dict):
        return None
    if kind == "rest":
        return Cors(
            _listed(value.get("AllowOrigin")),
            _listed(value.get("AllowMethods")),
            _listed(value.get("AllowHeaders")),
            max_age=_first(value.get("MaxAge")),
            credentials=value.get("AllowCredentials") == "true",
        )
    return Cors(
        _listed(value.get("AllowOrigins")),
        _listed(value.get("AllowMethods")),
        _listed(value.get("AllowHeaders")),
        _listed(value.get("ExposeHeaders")),
        _first(value.get("MaxAge")),
        value.get("AllowCredentials") == "true",
    )


def _listed(value: Value) -> tuple[str, ...]:
    """One value or a list of them. SAM wants those of a REST API in quotes of their own, for they end up in a mapping."""
    if isinstance(value, list):
        return tuple(_unquoted(str(each)) for each in value)
    return (_unquoted(value),) if isinstance(value, str) else ()


def _first(value: Value) -> str | None:
    return _unquoted(value) if isinstance(value, str) else None


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == "'" else value


def with_methods(cors: Cors, routes: list[Route]) -> Cors:
    """CORS of a path of a REST API, where methods that nobody states are those that the path has."""
    if cors.methods:
        return cors
    methods = {each.method for each in routes}
    return replace(cors, methods=tuple(sorted({*(_METHODS if ANY in methods else methods), "OPTIONS"})))


def _invoked(uri: Node | None, stack: Stack) -> str | None:
    """The id of the function that an integration's URI invokes."""
    if uri is None:
        return None
    called = call(uri)
    argument = called[1] if called else uri
    pattern = argument.items[0] if isinstance(argument, Sequence) and argument.items else argument
    match = _INVOCATION.search(pattern.value) if isinstance(pattern, Scalar) else None
    return full_id(stack.path, match[1]) if match else None


def _referred(node: Node) -> str | None:
    """The logical id that `Ref` names, or that is written out."""
    called = call(node)
    return text(called[1]) if called and called[0] == "Ref" else text(node)


def _value(node: Node | None, scope: Scope) -> Value:
    """What a node comes to, leaving out what is known only once it is deployed."""
    if node is None:
        return None
    if isinstance(node, Mapping) and call(node) is None:
        return {key: value for key, each in _pairs(node) if (value := _value(each, scope)) is not None}
    try:
        return resolve(node, scope)
    except Unresolvable:
        return None


def _pairs(node: Node | None) -> Iterator[tuple[str, Node]]:
    if isinstance(node, Mapping):
        yield from ((key.value, value) for key, value in node.named())
