"""`deploy` against the embedded AWS."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from integration.stages.deploy.releases import TEMPLATE, image_uri, sha256, write_release
from support.s3 import faults

from stages import recover
from stages import template as templates
from stages.aws import bootstrap
from stages.aws.session import Session, connect
from stages.contract import InvalidInput, Request, StageError
from stages.deploy import found, live
from stages.deploy.release import release_digest
from stages.deploy.subject import differences

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from integration.stages.deploy.releases import Deployer
    from support.s3 import Asked


def session(deployer: Deployer) -> Session:
    return connect(deployer.target, deployer.access)


def test_creates_then_finds_nothing_to_do_then_updates(embedded: Deployer) -> None:
    first = embedded.propose("run-deploy-1")
    assert first.subject["base"] is None
    assert "+ Add  HelloWorldFunction  AWS::Lambda::Function" in first.view
    result, deployment = embedded.apply("run-deploy-1", first)
    image = first.subject["images"]["HelloWorldFunction"]["image"]
    assert deployment["functions"]["HelloWorldFunction"]["image"] == image
    assert result.facts["outputs"]["Hello"] == deployment["functions"]["HelloWorldFunction"]["arn"]

    same = embedded.propose("run-deploy-2")
    assert same.subject["nothing_to_do"]
    _, again = embedded.apply("run-deploy-2", same)
    assert again == deployment

    update = embedded.propose("run-deploy-3", "two")
    assert update.subject["base"]["functions"] == {"HelloWorldFunction": {"image": image}}
    assert "* Modify  HelloWorldFunction  AWS::Lambda::Function  replacement: False; Code" in update.view
    _, updated = embedded.apply("run-deploy-3", update, "two")
    assert updated["functions"]["HelloWorldFunction"]["image"] != image
    assert updated["stack"] == deployment["stack"]


def test_the_same_proposed_twice_is_an_equal_subject(embedded: Deployer) -> None:
    """Else every approval would be void as soon as its change set had to be made anew."""
    embedded.apply("a-1", embedded.propose("a-1"))
    one, two = embedded.propose("a-2", "two"), embedded.propose("a-3", "two")
    assert list(differences(one.subject, two.subject)) == []
    assert one.handle != two.handle


def test_an_image_changed_behind_its_back_is_a_mismatch(embedded: Deployer) -> None:
    """The stack says that there is nothing to do, and yet another image runs."""
    _, deployment = embedded.apply("b-1", embedded.propose("b-1"))
    other = embedded.propose("b-2", "two").subject["images"]["HelloWorldFunction"]["image"]
    name = deployment["functions"]["HelloWorldFunction"]["name"]
    session(embedded).lambda_.update_function_code(FunctionName=name, ImageUri=other)
    proposal = embedded.propose("b-3")
    assert proposal.subject["nothing_to_do"]
    with pytest.raises(StageError, match=r"HelloWorldFunction runs .*, but the release says") as caught:
        embedded.apply("b-3", proposal)
    assert caught.value.cls == "mismatch"

    # What the hint says is what helps: a new proposal alone would find nothing to do again.
    command = shlex.split((caught.value.hint or "").splitlines()[-1])
    assert command[2:5] == ["aws", "lambda", "update-function-code"]
    said = dict(zip(command[5::2], command[6::2], strict=True))
    assert (said["--region"], said["--endpoint-url"]) == (embedded.target.region, embedded.access.endpoint_url)
    client = session(embedded).lambda_
    client.update_function_code(FunctionName=said["--function-name"], ImageUri=said["--image-uri"])
    _, mended = embedded.apply("b-4", embedded.propose("b-4"))
    assert mended["functions"] == deployment["functions"]


def test_a_stack_that_moved_since_it_was_proposed_is_not_touched(embedded: Deployer) -> None:
    embedded.apply("c-1", embedded.propose("c-1"))
    proposal = embedded.propose("c-2", "two")
    longer = TEMPLATE.replace("Timeout: 3", "Timeout: 9")
    embedded.apply("c-3", embedded.propose("c-3", template=longer), template=longer)
    with pytest.raises(StageError, match="propose") as caught:
        embedded.apply("c-2", proposal, "two")
    assert caught.value.cls == "moved"
    function = session(embedded).lambda_.list_functions()["Functions"][0]
    assert function["Timeout"] == 9


def test_code_that_moved_since_it_was_proposed_is_named(embedded: Deployer) -> None:
    """CloudFormation itself does not notice a function changed by hand; its change set stays executable."""
    _, deployment = embedded.apply("d-1", embedded.propose("d-1"))
    proposal = embedded.propose("d-2", "two")
    name = deployment["functions"]["HelloWorldFunction"]["name"]
    image = proposal.subject["images"]["HelloWorldFunction"]["image"]
    session(embedded).lambda_.update_function_code(FunctionName=name, ImageUri=image)
    with pytest.raises(StageError, match=r"base\.functions\.HelloWorldFunction\.image"):
        embedded.apply("d-2", proposal, "two")


def test_an_image_that_is_not_in_the_registry_is_refused_before_a_change_set_is_made(embedded: Deployer) -> None:
    with pytest.raises(InvalidInput, match="the image of HelloWorldFunction is not in its registry") as caught:
        embedded.propose("e-1", "three")
    assert "Start a new run" in str(caught.value.problems[0].hint)  # a finished `package` is not run again
    with pytest.raises(Exception, match="does not exist"):
        session(embedded).cloudformation.describe_stacks(StackName="demo")


def test_secrets_are_in_no_proposal(embedded: Deployer) -> None:
    embedded.target = replace(embedded.target, parameters={"Stage": "prod", "Password": "correct-horse"})
    proposal = embedded.propose("f-1")
    assert "correct-horse" not in str(proposal)
    assert proposal.subject["parameters"]["Stage"] == {"value": "prod", "from": "environment"}
    embedded.apply("f-1", proposal)
    embedded.target = replace(embedded.target, parameters={"Stage": "prod", "Password": "battery-staple"})
    other = embedded.propose("f-2")
    assert other.subject["parameters"]["Password"] != proposal.subject["parameters"]["Password"]


def test_a_stack_whose_creation_failed_says_what_to_do(embedded: Deployer) -> None:
    broken = TEMPLATE.replace(
        "Outputs:",
        "  Bucket: {Type: 'AWS::S3::Bucket', Properties: {BucketName: taken-by-another}}\nOutputs:",
    )
    session(embedded).s3.create_bucket(
        Bucket="taken-by-another", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    proposal = embedded.propose("g-1", template=broken)
    with pytest.raises(StageError, match="'taken-by-another' already exists") as caught:
        embedded.apply("g-1", proposal, template=broken)
    assert "The stack demo ended as ROLLBACK_COMPLETE." in caught.value.message
    with pytest.raises(StageError, match="ROLLBACK_COMPLETE") as refused:
        embedded.propose("g-2")
    assert "`towpath recover staging`" in (refused.value.hint or "")

    asked = Request("recover", "propose", "g-3", target=embedded.target, access=embedded.access)
    free = recover.propose(asked, embedded.root).proposal
    assert free is not None
    recover.apply(replace(asked, phase="apply", proposal=free), embedded.root)
    embedded.apply("g-4", embedded.propose("g-4"))


def _large(size_bytes: int) -> str:
    """A template that is as large as that by its comments, which count."""
    lines = (size_bytes - len(TEMPLATE)) // 80 + 1
    return TEMPLATE + "".join(f"# {at:077d}\n" for at in range(lines))


def test_a_template_too_large_for_a_call_goes_through_a_bucket_that_is_made(embedded: Deployer) -> None:
    """Catches a deployment that ends at 51,200 bytes: CloudFormation takes a megabyte from S3."""
    bucket = f"templates-{embedded.target.account}"
    embedded.target = replace(embedded.target, bucket=bucket)
    template = _large(800_000)
    proposal = embedded.propose("first", template=template)
    result, _ = embedded.apply("first", proposal, template=template)
    assert result.outcome == "succeeded"
    s3 = connect(embedded.target, embedded.access).s3
    (kept,) = s3.list_objects_v2(Bucket=bucket)["Contents"]
    data = s3.get_object(Bucket=bucket, Key=kept["Key"])["Body"].read()
    assert kept["Key"] == f"towpath/{hashlib.sha256(data).hexdigest()}.template"
    again = embedded.propose("again", template=template)
    assert again.subject["nothing_to_do"]
    assert len(s3.list_objects_v2(Bucket=bucket)["Contents"]) == 1


def test_without_a_bucket_a_large_template_is_told_before_anything_is_made(embedded: Deployer) -> None:
    with pytest.raises(StageError, match="larger ones go through S3") as caught:
        embedded.propose("first", template=_large(60_000))
    assert "Add to the environment staging: `bucket: NAME`" in (caught.value.hint or "")


FUNCTION = """\
  Fn:
    Type: AWS::Lambda::Function
    Properties:
      PackageType: Image
      Role: !Sub "arn:aws:iam::${AWS::AccountId}:role/runs-functions"
      Code: {ImageUri: IMAGE}
"""
NESTED = "  Child: {{Type: AWS::CloudFormation::Stack, Properties: {{TemplateURL: '{}'}}}}\n"


MADE_BY_MACROS = """\
Transform: [AWS::LanguageExtensions, AWS::Serverless-2016-10-31]
Resources:
  Fn::ForEach::L:
    - N
    - [Fn]
    - ${N}:
        Type: AWS::Serverless::Function
        Properties: {PackageType: Image, Role: !Sub "arn:aws:iam::${AWS::AccountId}:role/r", ImageUri: IMAGE}
"""


def test_functions_of_nested_stacks_are_known_and_compared_by_their_full_path(embedded: Deployer) -> None:
    """Both nested stacks have a function Fn; that of the inner one is made by macros."""
    client = session(embedded).s3
    bucket = f"templates-{embedded.target.account}"
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})

    def upload(name: str, text: str, content: str) -> str:
        body = text.replace("IMAGE", image_uri(embedded.target, content)).encode()
        client.put_object(Bucket=bucket, Key=f"{name}-{content}", Body=body)
        return f"https://s3.eu-central-1.amazonaws.com/{bucket}/{name}-{content}"

    def pack(content: str) -> str:
        """Upload the nested templates as `package` does, and give the root's."""
        inner_url = upload("inner", MADE_BY_MACROS, content)
        child = "Resources:\n" + FUNCTION + NESTED.format(inner_url)
        child_url = upload("child", child, content)
        embedded.nested = {"Child": (child, child_url), "Child/Child": (MADE_BY_MACROS, inner_url)}
        return TEMPLATE.replace("Outputs:", NESTED.format(child_url) + "Outputs:")

    embedded.target = replace(embedded.target, capabilities=["CAPABILITY_AUTO_EXPAND"])
    template = pack("one")
    proposal = embedded.propose("n-1", template=template)
    assert {"Child/Fn", "Child/Child/Fn", "HelloWorldFunction"} == set(proposal.subject["images"])
    client.delete_object(Bucket=bucket, Key="inner-one")
    with pytest.raises(InvalidInput, match="the nested template Child/Child is not in its bucket"):
        embedded.propose("n-0", template=template)
    client.put_object(Bucket=bucket, Key="inner-one", Body=b"Resources: {}")
    with pytest.raises(
        StageError, match=r"the nested template Child/Child at .* is not the one of the release"
    ) as caught:
        embedded.apply("n-1", proposal, template=template)
    assert caught.value.cls == "mismatch"
    pack("one")
    _, deployment = embedded.apply("n-1", proposal, template=template)
    assert set(deployment["functions"]) == {"HelloWorldFunction", "Child/Fn", "Child/Child/Fn"}
    assert {each["image"] for each in deployment["functions"].values()} == {image_uri(embedded.target, "one")}

    template = pack("two")
    _, deployment = embedded.apply("n-2", embedded.propose("n-2", "two", template=template), "two", template=template)
    assert {each["image"] for each in deployment["functions"].values()} == {image_uri(embedded.target, "two")}

    name = deployment["functions"]["Child/Child/Fn"]["name"]
    session(embedded).lambda_.update_function_code(FunctionName=name, ImageUri=image_uri(embedded.target, "one"))
    with pytest.raises(StageError, match=r"Child/Child/Fn runs .*, but the release says"):
        embedded.apply("n-3", embedded.propose("n-3", "two", template=template), "two", template=template)


LOOP = """\
Transform: [AWS::LanguageExtensions, AWS::Serverless-2016-10-31]
Parameters:
  Names: {Type: CommaDelimitedList}
Resources:
  Fn::ForEach::Functions:
    - Name
    - !Ref Names
    - ${Name}Function:
        Type: AWS::Serverless::Function
        Properties: {PackageType: Image, Role: !Sub "arn:aws:iam::${AWS::AccountId}:role/r"}
        Metadata: {Dockerfile: Dockerfile, DockerContext: "./${Name}"}
"""


def test_each_function_of_a_loop_runs_its_own_image(embedded: Deployer, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sam package` cannot package them at all."""
    application, problems = templates.load(lambda _: LOOP.encode(), "t.yaml", {"Names": "one,two"})
    assert problems == []
    images = {f"{name}Function": image_uri(embedded.target, name) for name in ("one", "two")}
    packaged = templates.packaged(application, "", {each.slot: images[each.id] for each in application.functions})

    def write(directory: Path, *_: object) -> None:
        write_release(directory, embedded.target, "one", packaged.decode())
        document = json.loads((directory / "release.json").read_text())
        (known,) = document["functions"].values()
        document["parameters"] = {"Names": "one,two"}
        document["functions"] = {
            f"{name}Function": known
            | {
                "path": ["Resources", "Fn::ForEach::Functions", 2, "${Name}Function"],
                "config": sha256(name.encode()),
                "manifest": image_uri(embedded.target, name).partition("@")[2],
                "image": image_uri(embedded.target, name),
            }
            for name in ("one", "two")
        }
        document["digest"] = release_digest(document)
        (directory / "release.json").write_text(json.dumps(document))

    monkeypatch.setattr("integration.stages.deploy.releases.write_release", write)
    embedded.target = replace(embedded.target, parameters={"Names": "one,two"})
    _, deployment = embedded.apply("l-1", embedded.propose("l-1"))
    assert {name: each["image"] for name, each in deployment["functions"].items()} == images

    embedded.target = replace(embedded.target, parameters={})
    kept = embedded.propose("l-0")  # the stack's own value makes the functions, and all of them are looked at
    assert kept.subject["nothing_to_do"]
    assert set(kept.subject["images"]) == set(images)
    embedded.apply("l-0", kept)

    embedded.target = replace(embedded.target, parameters={"Names": "two"})
    proposal = embedded.propose("l-2")
    assert set(proposal.subject["images"]) == {"twoFunction"}
    _, deployment = embedded.apply("l-2", proposal)
    assert set(deployment["functions"]) == {"twoFunction"}
    embedded.target = replace(embedded.target, parameters={"Names": "two,three"})
    with pytest.raises(InvalidInput, match="there is a function threeFunction, of which the release has no image"):
        embedded.propose("l-3")


def test_what_is_found_of_a_stack_when_nobody_deploys(embedded: Deployer) -> None:
    asked = session(embedded)
    assert found.look(asked)["stack"] is None
    embedded.apply("one-deploy-1", embedded.propose("one-deploy-1"))
    seen = found.look(asked)
    assert seen["stack"]["functions"]["HelloWorldFunction"]["image"] == image_uri(embedded.target, "one")
    assert (seen["last"]["token"], seen["last"]["status"]) == ("towpath-one-deploy-1", "CREATE_COMPLETE")
    assert (seen["resources"], seen["not_asked"]) == ([], [])

    name = live.function_names(asked, seen["stack"]["stack_id"])["HelloWorldFunction"]
    asked.lambda_.update_function_configuration(FunctionName=name, Timeout=9)
    [changed] = found.look(asked)["resources"]
    assert changed == {
        "resource": "HelloWorldFunction",
        "type": "AWS::Lambda::Function",
        "status": "MODIFIED",
        "properties": ["/Timeout"],
    }


def test_the_template_of_an_environment_can_be_deployed(embedded: Deployer) -> None:
    """As far as the embedded AWS knows its types: it has neither hooks nor providers of OIDC."""
    trust = bootstrap.Trust(principals=(f"arn:aws:iam::{embedded.target.account}:root",))
    wanted = bootstrap.Wanted("shop", trust, "shop", "shop/app", "shop-bucket", ("deploy",), kms=True, hook="none")
    asked = session(embedded).cloudformation
    template = bootstrap.text(wanted, "It.")
    asked.create_stack(StackName="towpath", TemplateBody=template, Capabilities=["CAPABILITY_NAMED_IAM"])
    asked.get_waiter("stack_create_complete").wait(StackName="towpath", WaiterConfig={"Delay": 1})
    [stack] = asked.describe_stacks(StackName="towpath")["Stacks"]
    given = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
    roles = ("Apply", "Invoke", "Package", "Propose", "Scan")
    assert given == {each: f"arn:aws:iam::{embedded.target.account}:role/shop-{each.lower()}" for each in roles}
    [repository] = session(embedded).ecr.describe_repositories(repositoryNames=["shop/app"])["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"


@pytest.mark.parametrize("does", ["drop", "lose", "cut"])
def test_a_connection_that_is_cut_changes_nothing_of_what_is_done(
    embedded: Deployer, embedded_url: str, does: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the call has arrived, after it was done, or amid its answer: one change set is made, and executed once."""
    monkeypatch.setattr("stages.aws.retry.FIRST_DELAY_S", 0.01)

    def calls(action: str) -> Callable[[Asked], bool]:
        return lambda asked: f"Action={action}&".encode() in asked.body

    with faults(int(urlsplit(embedded_url).port or 0)) as proxy:
        embedded.access = replace(embedded.access, endpoint_url=f"http://127.0.0.1:{proxy.port}")
        for action in ("CreateChangeSet", "ExecuteChangeSet", "DescribeStackEvents"):
            proxy.add(does, calls(action))
        proposal = embedded.propose("cut-1")
        embedded.apply("cut-1", proposal)
        assert [fault.struck for fault in proxy.faults] == [1, 1, 1]
        events = session(embedded).cloudformation.describe_stack_events(StackName="demo")["StackEvents"]
    own = [each for each in events if each["PhysicalResourceId"] == each["StackId"]]
    executed = [each for each in own if not str(each["ResourceStatus"]).startswith("REVIEW_")]
    assert [each["ResourceStatus"] for each in executed] == ["CREATE_COMPLETE", "CREATE_IN_PROGRESS"]
    assert {each["ClientRequestToken"] for each in executed} == {proposal.handle["token"]}
