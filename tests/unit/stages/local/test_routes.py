"""Which APIs and routes a template comes to, and which route a request takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stages.local import functions, matching, routes
from stages.local.routes import Api, Cors, Route

if TYPE_CHECKING:
    from pathlib import Path

FUNCTION = "    Type: AWS::Serverless::Function\n    Properties:\n      PackageType: Image\n      ImageUri: fn:1\n"


def read(folder: Path, events: str, more: str = "", head: str = "") -> tuple[list[Api], list[str]]:
    text = f"Transform: AWS::Serverless-2016-10-31\n{head}Resources:\n  Fn:\n{FUNCTION}{events}{more}"
    (folder / "template.yaml").write_text(text)
    return routes.read(functions.load(folder, "template.yaml", functions.Place("eu-west-1", {})))


def test_events_of_the_apis_that_sam_makes_by_itself(tmp_path: Path) -> None:
    events = (
        "      Events:\n"
        "        One: {Type: Api, Properties: {Path: /one, Method: get}}\n"
        "        Any: {Type: Api, Properties: {Path: '/any/{proxy+}', Method: any}}\n"
        "        Two: {Type: HttpApi, Properties: {Path: /two, Method: POST}}\n"
        "        Old: {Type: HttpApi, Properties: {Path: /old, Method: GET, PayloadFormatVersion: '1.0'}}\n"
        "        All: {Type: HttpApi}\n"
        "        Queue: {Type: SQS, Properties: {Queue: x}}\n"
    )
    head = "Globals:\n  Api: {BinaryMediaTypes: [image~1png], Variables: {a: 1}}\n"
    (rest, http), notes = read(tmp_path, events, head=head)
    assert notes == []
    assert (rest.kind, rest.name, rest.stage, rest.binary) == ("rest", "ServerlessRestApi", "Prod", ("image/png",))
    assert rest.variables == {"a": "1"}
    assert rest.routes == [Route("GET", "/one", "Fn"), Route("ANY", "/any/{proxy+}", "Fn")]
    assert (http.kind, http.name, http.stage) == ("http", "ServerlessHttpApi", "$default")
    assert http.routes == [
        Route("POST", "/two", "Fn", "2.0"),
        Route("GET", "/old", "Fn", "1.0"),
        Route("ANY", "$default", "Fn", "2.0"),
    ]


def test_apis_of_the_template_with_cors_variables_and_authorizers(tmp_path: Path) -> None:
    events = (
        "      Events:\n"
        "        A: {Type: Api, Properties: {Path: /a, Method: get, RestApiId: !Ref Rest}}\n"
        "        B: {Type: Api, Properties: {Path: /b, Method: get, RestApiId: !Ref Rest, Auth: {Authorizer: NONE}}}\n"
        "        C: {Type: HttpApi, Properties: {Path: /c, Method: get, ApiId: !Ref Http, Auth: {Authorizer: Own}}}\n"
        "        D: {Type: Api, Properties: {Path: /d, Method: get, RestApiId: elsewhere}}\n"
    )
    more = (
        "  Rest:\n    Type: AWS::Serverless::Api\n    Properties:\n      StageName: !Sub '${AWS::StackName}-v1'\n"
        "      Cors: {AllowOrigin: \"'https://a.example'\", AllowHeaders: \"'X-A'\"}\n      Auth: {DefaultAuthorizer: Pool}\n"
        "  Http:\n    Type: AWS::Serverless::HttpApi\n    Properties:\n"
        "      CorsConfiguration: {AllowOrigins: [https://b.example], AllowMethods: [GET], MaxAge: 60}\n"
        "      StageVariables: {k: v}\n"
    )
    (rest, http), notes = read(tmp_path, events, more)
    assert rest.stage == "local-v1"
    assert rest.cors == Cors(("https://a.example",), (), ("X-A",))
    assert [(each.path, each.unchecked) for each in rest.routes] == [("/a", "authorizer Pool"), ("/b", None)]
    assert http.cors == Cors(("https://b.example",), ("GET",), max_age="60")
    assert (http.variables, http.routes[0].unchecked) == ({"k": "v"}, "authorizer Own")
    assert notes == ["Fn: its event D is of an API that is not in the template: not served"]


def test_an_open_api_body_and_a_functions_url(tmp_path: Path) -> None:
    properties = "      FunctionUrlConfig: {AuthType: AWS_IAM, Cors: {AllowOrigins: ['*']}}\n"
    uri = "!Sub 'arn:aws:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${Fn.Arn}/invocations'"
    more = (
        "  Rest:\n    Type: AWS::Serverless::Api\n    Properties:\n      StageName: v1\n      Auth: {ApiKeyRequired: true}\n      DefinitionBody:\n"
        "        paths:\n          /x/{id}:\n            get:\n"
        f"              x-amazon-apigateway-integration: {{type: aws_proxy, uri: {uri}}}\n"
        "            x-amazon-apigateway-any-method:\n"
        f"              security: [{{sigv4: []}}]\n              x-amazon-apigateway-integration: {{uri: {uri}}}\n"
        "          /mock: {get: {x-amazon-apigateway-integration: {type: mock}}}\n"
    )
    (rest, url), notes = read(tmp_path, properties, more)
    assert rest.routes == [
        Route("GET", "/x/{id}", "Fn", unchecked="API key"),
        Route("ANY", "/x/{id}", "Fn", unchecked="its security"),
    ]
    assert notes == ["Rest: GET /mock is not served: it is integrated with no image function of the template"]
    assert (url.kind, url.name, url.cors) == ("url", "Fn", Cors(("*",)))
    assert url.routes == [Route("ANY", "$default", "Fn", "2.0", "AuthType AWS_IAM")]


def test_what_is_not_served_is_told(tmp_path: Path) -> None:
    assert read(tmp_path, "", "  Old: {Type: AWS::ApiGateway::RestApi}\n") == (
        [],
        ["Old: its type, AWS::ApiGateway::RestApi, is not served"],
    )


ROUTES = [
    ("GET", "/"),
    ("GET", "/books"),
    ("ANY", "/books/{id}"),
    ("GET", "/books/new"),
    ("GET", "/files/{path+}"),
    ("POST", "/{proxy+}"),
]


def api(kind: routes.Kind, *more: tuple[str, str], stage: str = "$default") -> Api:
    return Api(kind, "A", stage, routes=[Route(method, path, "Fn") for method, path in [*ROUTES, *more]])


@pytest.mark.parametrize(
    ("method", "path", "route", "parameters"),
    [
        ("GET", "/", "/", {}),
        ("GET", "/books", "/books", {}),
        ("GET", "/books/", "/books", {}),
        ("DELETE", "/books/7", "/books/{id}", {"id": "7"}),
        ("GET", "/books/new", "/books/new", {}),
        ("GET", "/files/a/b%20c/d", "/files/{path+}", {"path": "a/b c/d"}),
        ("GET", "/books/a%2Fb", "/books/{id}", {"id": "a/b"}),
        ("POST", "/else/where", "/{proxy+}", {"proxy": "else/where"}),
        ("GET", "/else", None, {}),
    ],
)
@pytest.mark.parametrize("kind", ["rest", "http"])
def test_the_most_specific_path_wins(
    kind: routes.Kind, method: str, path: str, route: str | None, parameters: dict[str, str]
) -> None:
    match = matching.find(api(kind), method, path)
    assert (match and match.route.path, match.parameters if match else {}) == (route, parameters)


def test_a_rest_api_chooses_the_path_first_and_an_http_api_path_and_method_together() -> None:
    assert matching.find(api("rest"), "POST", "/books/new") is None
    found = matching.find(api("http"), "POST", "/books/new")
    assert found
    assert found.route.path == "/books/{id}"


def test_a_default_route_takes_the_rest() -> None:
    found = matching.find(api("http", ("ANY", "$default")), "GET", "/else")
    assert found
    assert found.route.path == "$default"


def test_a_stage_may_stand_before_the_path_as_on_aws() -> None:
    staged = api("rest", stage="Prod")
    assert matching.path_in(staged, "/Prod/books") == "/books"
    assert matching.path_in(staged, "/Prod") == "/"
    assert matching.path_in(staged, "/books") == "/books"
    alike = api("rest", ("GET", "/Prod/x"), stage="Prod")
    assert matching.path_in(alike, "/Prod/x") == "/Prod/x"
    assert matching.path_in(alike, "/Prod/Prod/x") == "/Prod/x"
