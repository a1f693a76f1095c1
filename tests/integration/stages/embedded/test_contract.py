"""What Towpath relies on in the embedded AWS, pinned: these must hold before another version of ministack is taken."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
from botocore.exceptions import ClientError, WaiterError

from stages.aws.names import local_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import docker

pytestmark = pytest.mark.engine
NO_CHANGES = "The submitted information didn't contain changes. Submit different information to create a change set."
WAIT = {"Delay": 0.1, "MaxAttempts": 300}


def template(uri: str, **function: Any) -> dict[str, Any]:
    """The example application's shape, with one function."""
    api = {"Type": "Api", "Properties": {"Path": "/hello", "Method": "get"}}
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": "AWS::Serverless-2016-10-31",
        "Globals": {"Function": {"Timeout": 3, "MemorySize": 256}},
        "Parameters": {"Greeting": {"Type": "String", "Default": "hello"}},
        "Resources": {
            "Hello": {
                "Type": "AWS::Serverless::Function",
                "Properties": {
                    "PackageType": "Image",
                    "ImageUri": uri,
                    "Environment": {"Variables": {"GREETING": {"Ref": "Greeting"}}},
                    "Events": {"Api": api},
                    **function,
                },
            }
        },
        "Outputs": {
            "Endpoint": {
                "Description": "API",
                "Value": {
                    "Fn::Sub": "https://${ServerlessRestApi}.execute-api.${AWS::Region}.amazonaws.com/Prod/hello"
                },
            },
            "Function": {"Value": {"Ref": "Hello"}},
        },
    }


@dataclass(frozen=True)
class Stack:
    """A stack of one account, changed by change sets."""

    aws: Any
    name: str = "app"

    @property
    def cloudformation(self) -> Any:
        return self.aws.client("cloudformation")

    def propose(self, body: dict[str, Any], kind: str, name: str, **more: Any) -> dict[str, Any]:
        self.cloudformation.create_change_set(
            StackName=self.name,
            ChangeSetName=name,
            ChangeSetType=kind,
            TemplateBody=json.dumps(body),
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            **more,
        )
        waiter = self.cloudformation.get_waiter("change_set_create_complete")
        waiter.wait(StackName=self.name, ChangeSetName=name, WaiterConfig=WAIT)
        return self.described(name)

    def described(self, name: str) -> dict[str, Any]:
        described: dict[str, Any] = self.cloudformation.describe_change_set(StackName=self.name, ChangeSetName=name)
        return described

    def execute(self, name: str, done: str, **more: Any) -> None:
        self.cloudformation.execute_change_set(StackName=self.name, ChangeSetName=name, **more)
        self.cloudformation.get_waiter(done).wait(StackName=self.name, WaiterConfig=WAIT)

    @property
    def description(self) -> dict[str, Any]:
        [described] = self.cloudformation.describe_stacks(StackName=self.name)["Stacks"]
        return dict(described)

    @property
    def outputs(self) -> dict[str, str]:
        return {each["OutputKey"]: each["OutputValue"] for each in self.description["Outputs"]}


@dataclass(frozen=True)
class Published:
    """A function's image in the registry of an account."""

    uri: str
    digest: str


@pytest.fixture(scope="module")
def published(
    endpoint_url: str, account: Callable[[str], Any], engine: docker.DockerClient, function_image: str
) -> Published:
    """In one account, for the functions of all."""
    owner = account(endpoint_url)
    owner.client("ecr").create_repository(repositoryName="app", imageTagMutability="IMMUTABLE")
    digest = owner.push(engine, function_image, "app", "1")
    return Published(owner.uri("app"), digest)


@pytest.fixture
def uri(published: Published) -> str:
    return f"{published.uri}@{published.digest}"


@pytest.fixture
def stack(aws: Any) -> Stack:
    return Stack(aws)


@pytest.fixture
def deployed(stack: Stack, uri: str) -> Iterator[Stack]:
    stack.propose(template(uri), "CREATE", "first")
    stack.execute("first", "stack_create_complete")
    yield stack
    stack.cloudformation.delete_stack(StackName=stack.name)


def changes(change_set: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    each = [change["ResourceChange"] for change in change_set["Changes"]]
    return {change["LogicalResourceId"]: (change["Action"], change.get("Replacement")) for change in each}


def test_a_first_change_set_shows_what_the_transform_makes(stack: Stack, uri: str) -> None:
    change_set = stack.propose(template(uri), "CREATE", "first", Description="by towpath")
    assert change_set["Status"] == "CREATE_COMPLETE"
    assert change_set["ExecutionStatus"] == "AVAILABLE"
    assert change_set["Description"] == "by towpath"
    shown = changes(change_set)
    assert shown["Hello"] == ("Add", None)
    assert {"HelloRole", "ServerlessRestApi", "ServerlessRestApiProdStage", "HelloApiPermissionProd"} <= set(shown)
    assert stack.description["StackStatus"] == "REVIEW_IN_PROGRESS"
    processed = stack.cloudformation.get_template(StackName="app", ChangeSetName="first", TemplateStage="Processed")
    body = processed["TemplateBody"]
    resources = (json.loads(body) if isinstance(body, str) else body)["Resources"]
    assert resources["Hello"]["Type"] == "AWS::Lambda::Function"


def test_executing_it_makes_the_stack_with_outputs_and_events(deployed: Stack) -> None:
    assert deployed.description["StackStatus"] == "CREATE_COMPLETE"
    assert deployed.outputs["Endpoint"].endswith(".execute-api.eu-west-1.amazonaws.com/Prod/hello")
    events = deployed.cloudformation.describe_stack_events(StackName="app")["StackEvents"]
    assert events[0]["ResourceStatus"] == "CREATE_COMPLETE", "newest first"
    assert events[0]["ResourceType"] == "AWS::CloudFormation::Stack"
    assert {"Hello", "HelloRole", "app"} <= {event["LogicalResourceId"] for event in events}
    assert all(event["EventId"] and event["Timestamp"] for event in events)
    made = deployed.cloudformation.describe_stack_resources(StackName="app")["StackResources"]
    physical = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in made}
    assert physical["Hello"] == deployed.outputs["Function"]


def test_an_update_shows_modifications_and_replacements(deployed: Stack, uri: str) -> None:
    kept = deployed.propose(template(uri, MemorySize=512), "UPDATE", "second")
    assert changes(kept)["Hello"] == ("Modify", "False")
    replaced = deployed.propose(template(uri, FunctionName="named"), "UPDATE", "third")
    assert changes(replaced)["Hello"] == ("Modify", "True")
    deployed.execute("second", "stack_update_complete")
    function = deployed.aws.client("lambda").get_function_configuration(FunctionName=deployed.outputs["Function"])
    assert function["MemorySize"] == 512


def test_parameters_alone_are_a_change(deployed: Stack, uri: str) -> None:
    greeting = [{"ParameterKey": "Greeting", "ParameterValue": "hola"}]
    change_set = deployed.propose(template(uri), "UPDATE", "second", Parameters=greeting)
    assert changes(change_set)["Hello"] == ("Modify", "False")


def test_no_changes_fail_with_the_known_words(deployed: Stack, uri: str) -> None:
    with pytest.raises(WaiterError):
        deployed.propose(template(uri), "UPDATE", "second")
    described = deployed.described("second")
    assert (described["Status"], described["StatusReason"]) == ("FAILED", NO_CHANGES)


def test_a_change_set_is_executed_once_and_others_are_void_then(deployed: Stack, uri: str) -> None:
    deployed.propose(template(uri, MemorySize=512), "UPDATE", "second")
    deployed.propose(template(uri, MemorySize=1024), "UPDATE", "third")
    deployed.execute("second", "stack_update_complete", ClientRequestToken="token-1")
    with pytest.raises(ClientError):
        deployed.cloudformation.execute_change_set(StackName="app", ChangeSetName="second")
    with pytest.raises(ClientError, match="ChangeSetNotFound"):
        deployed.cloudformation.execute_change_set(StackName="app", ChangeSetName="third")
    events = deployed.cloudformation.describe_stack_events(StackName="app")["StackEvents"]
    assert "token-1" in {event.get("ClientRequestToken") for event in events}


def test_change_sets_that_would_make_a_stack_are_of_one_stack(stack: Stack, uri: str) -> None:
    """Two runs that wait for approval of a first deployment: whichever comes first, the other is void then."""
    first, second = (stack.propose(template(uri), "CREATE", name) for name in ("one", "two"))
    assert first["StackId"] == second["StackId"]
    with pytest.raises(ClientError):
        stack.propose({"Resources": {"X": {"Type": "AWS::No::Such"}}}, "CREATE", "bad")
    assert stack.description["StackId"] == first["StackId"]
    stack.execute("one", "stack_create_complete")
    assert stack.description["StackId"] == first["StackId"]
    with pytest.raises(ClientError, match="ChangeSetNotFound"):
        stack.cloudformation.execute_change_set(StackName=stack.name, ChangeSetName="two")


def test_a_missing_image_fails_the_stack_and_rolls_back(stack: Stack, published: Published) -> None:
    missing = f"{published.uri}@sha256:{'0' * 64}"
    stack.propose(template(missing), "CREATE", "first")
    with pytest.raises(WaiterError):
        stack.execute("first", "stack_create_complete")
    assert stack.description["StackStatus"] == "ROLLBACK_COMPLETE"
    events = stack.cloudformation.describe_stack_events(StackName="app")["StackEvents"]
    failed = next(event for event in events if event["ResourceStatus"] == "CREATE_FAILED")
    assert failed["LogicalResourceId"] == "Hello"
    assert f"Source image {missing} does not exist" in failed["ResourceStatusReason"]


def test_a_failed_update_brings_back_what_was(deployed: Stack, uri: str, published: Published) -> None:
    missing = f"{published.uri}@sha256:{'0' * 64}"
    deployed.propose(template(missing), "UPDATE", "second")
    with pytest.raises(WaiterError):
        deployed.execute("second", "stack_update_complete")
    assert deployed.description["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    code = deployed.aws.client("lambda").get_function(FunctionName=deployed.outputs["Function"])["Code"]
    assert code["ImageUri"] == uri


def test_a_function_runs_the_image_of_another_account(deployed: Stack, uri: str) -> None:
    client, name = deployed.aws.client("lambda"), deployed.outputs["Function"]
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig=WAIT)
    function = client.get_function(FunctionName=name)
    assert function["Configuration"]["State"] == "Active"
    assert function["Configuration"]["LastUpdateStatus"] == "Successful"
    assert function["Configuration"]["PackageType"] == "Image"
    assert function["Code"]["ImageUri"] == function["Code"]["ResolvedImageUri"] == uri
    answer = client.invoke(FunctionName=name, Payload=b'{"do":"look"}', LogType="Tail")
    seen = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer
    assert base64.b64decode(answer["LogResult"]) == b"handling\n"
    assert seen["arn"] == f"arn:aws:lambda:eu-west-1:{deployed.aws.account}:function:{name}"
    assert seen["environment"]["GREETING"] == "hello"
    assert seen["environment"]["AWS_LAMBDA_FUNCTION_NAME"] == name


@pytest.mark.parametrize(
    ("event", "error_type"), [({"do": "fail"}, "ValueError"), ({"do": "leave"}, "Runtime.ExitError")]
)
def test_function_errors_are_lambdas(deployed: Stack, event: dict[str, str], error_type: str) -> None:
    client, name = deployed.aws.client("lambda"), deployed.outputs["Function"]
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event).encode())
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert json.loads(answer["Payload"].read())["errorType"] == error_type


def test_a_function_can_call_the_embedded_aws(deployed: Stack) -> None:
    s3 = deployed.aws.client("s3")
    s3.create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="data", Key="key", Body=b"from the function's own account")
    event = json.dumps({"do": "call", "path": "/data/key"}).encode()
    answer = deployed.aws.client("lambda").invoke(FunctionName=deployed.outputs["Function"], Payload=event)
    assert json.loads(answer["Payload"].read()) == "from the function's own account"


def test_an_updated_function_runs_its_new_configuration_at_once(deployed: Stack, uri: str) -> None:
    client, name = deployed.aws.client("lambda"), deployed.outputs["Function"]
    client.invoke(FunctionName=name, Payload=b"{}")
    deployed.propose(template(uri, Environment={"Variables": {"GREETING": "new"}}), "UPDATE", "second")
    deployed.execute("second", "stack_update_complete")
    seen = json.loads(client.invoke(FunctionName=name, Payload=b'{"do":"look"}')["Payload"].read())
    assert seen["environment"]["GREETING"] == "new"


def test_lambdas_own_api_refuses_a_missing_image_too(aws: Any, published: Published) -> None:
    request = {"FunctionName": "direct", "Role": f"arn:aws:iam::{aws.account}:role/any", "PackageType": "Image"}
    client = aws.client("lambda")
    for wrong in (f"{published.uri}:missing", "public.ecr.aws/lambda/python:3.12"):
        with pytest.raises(ClientError, match=r"Source image .* Provide a valid source image"):
            client.create_function(**request, Code={"ImageUri": wrong})
    client.create_function(**request, Code={"ImageUri": f"{published.uri}:1"})
    with pytest.raises(ClientError, match="does not exist"):
        client.update_function_code(FunctionName="direct", ImageUri=f"{published.uri}:missing")


def test_endpoints_answer_over_http_in_any_account(deployed: Stack) -> None:
    endpoint = local_url(deployed.outputs["Endpoint"], deployed.aws.account, deployed.aws.access)
    assert endpoint.startswith(f"{deployed.aws.endpoint_url}/_api/{deployed.aws.account}/eu-west-1/")
    response = urllib3.request("GET", endpoint, retries=False)
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.json() == {"message": "hello", "path": "/hello"}
    for wrong in (endpoint + "/missing", endpoint.replace("/Prod/", "/Dev/")):
        assert urllib3.request("GET", wrong, retries=False).status in (403, 404)


def test_an_endpoint_is_of_its_account_only(deployed: Stack, other_aws: Any) -> None:
    endpoint = local_url(deployed.outputs["Endpoint"], other_aws.account, other_aws.access)
    assert urllib3.request("GET", endpoint, retries=False).status == 404


def test_accounts_are_told_apart_by_access_key(aws: Any, other_aws: Any) -> None:
    identity = aws.client("sts").get_caller_identity()
    assert (identity["Account"], identity["Arn"].split(":")[1]) == (aws.account, "aws")
    aws.client("s3").create_bucket(Bucket="mine", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert other_aws.client("s3").list_buckets()["Buckets"] == []
    assert other_aws.client("cloudformation").list_stacks()["StackSummaries"] == []


def test_ecr_as_package_uses_it(aws: Any) -> None:
    ecr = aws.client("ecr")
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
        ecr.describe_repositories(repositoryNames=["app"])
    made = ecr.create_repository(
        repositoryName="app", imageTagMutability="IMMUTABLE", imageScanningConfiguration={"scanOnPush": True}
    )["repository"]
    assert made["repositoryUri"] == aws.uri("app")
    [read] = ecr.describe_repositories(repositoryNames=["app"])["repositories"]
    assert (read["imageTagMutability"], read["imageScanningConfiguration"]) == ("IMMUTABLE", {"scanOnPush": True})
    with pytest.raises(ecr.exceptions.RepositoryAlreadyExistsException):
        ecr.create_repository(repositoryName="app")
    [token] = ecr.get_authorization_token()["authorizationData"]
    assert base64.b64decode(token["authorizationToken"]).startswith(b"AWS:")
    assert token["expiresAt"].timestamp() > time.time() + 3600
    manifest = json.dumps({"schemaVersion": 2})
    put = ecr.put_image(repositoryName="app", imageManifest=manifest, imageTag="1")["image"]
    assert put["imageId"]["imageDigest"] == "sha256:" + hashlib.sha256(manifest.encode()).hexdigest()
    with pytest.raises(ecr.exceptions.ImageTagAlreadyExistsException):
        ecr.put_image(repositoryName="app", imageManifest=manifest + " ", imageTag="1")


def test_s3_puts_only_what_is_absent(aws: Any) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="store", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="store", Key="claim", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket="store", Key="claim", Body=b"2", IfNoneMatch="*")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert s3.get_object(Bucket="store", Key="claim")["Body"].read() == b"1"
