"""Each phase with the role that is its own, in an AWS that asks who may do what: real processes, policies that are evaluated.

GitHub is a small server that answers as its token endpoint does.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from integration.stages.deploy.releases import manifest, write_release
from support import oidc, s3
from support.plans import House, command

from pipeline import attempt, credentials, drift
from pipeline.credentials import Lender
from pipeline.errors import StageFailed
from pipeline.executors import isolation
from pipeline.gates.rules import NOBODY
from pipeline.plan import Auth, PlannedStage, SecretSource
from pipeline.record.store.directory import open_store
from stages.aws import bootstrap
from stages.contract import Access, StageError, Target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACCOUNT, REGION = "333333333333", "eu-central-1"
SUBJECT = "repo:octo/shop:environment:production"
TARGET = Target("production", ACCOUNT, REGION, stack="shop")
READS = ["cloudformation:Describe*", "cloudformation:Get*", "cloudformation:List*", "lambda:GetFunction", "ecr:Batch*"]
MAY = {
    "propose": [*READS, "cloudformation:CreateChangeSet", "cloudformation:DeleteChangeSet"],
    "apply": [*READS, "cloudformation:ExecuteChangeSet"],
    "secrets": ["ssm:GetParameter"],
}


@dataclasses.dataclass
class Aws:
    """An account in which roles may do what `MAY` says."""

    url: str

    def client(self, service: str, lent: Lender | None = None) -> Any:
        """A client of the account's owner, or of who was lent credentials."""
        own = (ACCOUNT, "any", None)
        key, secret, token = (lent.lent.key_id, lent.lent.secret, lent.lent.token) if lent else own
        session = boto3.Session(key, secret, token, REGION)
        make: Any = session.client
        return make(service, endpoint_url=self.url)

    def bootstrap(self, trust: bootstrap.Trust, stack: str, repository: str | None = None) -> None:
        """Deploy the template of an environment with this stack, as its owner does."""
        bucket = f"{stack}-bucket" if repository else None
        wanted = bootstrap.Wanted(stack, trust, stack, repository, bucket, ("deploy",), kms=True, hook="none")
        cloudformation = self.client("cloudformation")
        template, may = bootstrap.text(wanted, "It."), ["CAPABILITY_NAMED_IAM"]
        cloudformation.create_stack(StackName=f"towpath-{stack}", TemplateBody=template, Capabilities=may)
        waiter = cloudformation.get_waiter("stack_create_complete")
        waiter.wait(StackName=f"towpath-{stack}", WaiterConfig={"Delay": 1})
        for role in ("propose", "apply"):
            self._by_arn(f"{stack}-{role}", role)

    def _by_arn(self, role: str, policy: str) -> None:
        """Let a role do by ARN what it may: a stack's or a change set's, the emulation takes it for any (`*`)."""
        iam = self.client("iam")
        document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        own = [each["Action"] for each in document["Statement"] if "Condition" not in each]
        actions = [one for each in own for one in each if one.startswith("cloudformation:") and "Create" not in one]
        more = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
        iam.put_role_policy(RoleName=role, PolicyName="by-arn", PolicyDocument=json.dumps(more))

    def role(self, name: str, trust: dict[str, Any], actions: list[str]) -> str:
        iam = self.client("iam")
        statement = {"Effect": "Allow", **trust}
        document = {"Version": "2012-10-17", "Statement": [statement]}
        made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(document))
        policy = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}],
        }
        iam.put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=json.dumps(policy))
        return str(made["Role"]["Arn"])


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with s3.server(tmp_path_factory.mktemp("iam"), AUTH="true") as port:
        made = Aws(f"http://127.0.0.1:{port}")
        provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{bootstrap.GITHUB}"
        trust = bootstrap.Trust(bootstrap.GITHUB, "sts.amazonaws.com", (SUBJECT,), provider)
        made.bootstrap(trust, "shop", "app")
        by_owner = {"Action": ["sts:AssumeRole", "sts:TagSession"], "Principal": {"AWS": ACCOUNT}}
        for name, actions in MAY.items():
            made.role(f"owner-{name}", by_owner, actions)
        made.role("owner-untagged", {**by_owner, "Action": "sts:AssumeRole"}, READS)
        ecr = made.client("ecr")
        ecr.put_image(repositoryName="app", imageManifest=manifest("one"), imageTag="one")
        made.client("ssm").put_parameter(Name="/shop/token", Value="an-open-sesame", Type="SecureString")
        yield made


@pytest.fixture
def lenders(monkeypatch: pytest.MonkeyPatch) -> list[Lender]:
    """Every lender there was."""
    made: list[Lender] = []

    class Noted(Lender):
        def __init__(self, fetch: Any) -> None:
            super().__init__(fetch)
            made.append(self)

    monkeypatch.setattr(credentials, "Lender", Noted)
    return made


@pytest.fixture
def house(tmp_path: Path, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> House:
    """A project with a store, on a machine whose AWS is that one, and which has credentials that may nothing."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-machine-s-own-key")
    # A stage gets no address of AWS from its surroundings, so it is told with the request, as for the embedded AWS.
    monkeypatch.setattr(attempt, "Access", lambda **told: Access(aws.url, **told))
    made = House(project, open_store(tmp_path / "store", create=True))
    made.isolation = isolation.choose("best-effort", os.environ)
    return made


def arn(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


def stages(house: House, auth: Auth, target: Target = TARGET) -> tuple[PlannedStage, PlannedStage]:
    """One that makes a release of what lies ready, and one that deploys it."""
    ready = house.project / "ready"
    if not ready.exists():
        write_release(ready, target, "one")
    make = command("make", f"cp -r {ready} $TOWPATH_OUTPUTS/release", outputs=["release"])
    deploy = PlannedStage(
        name="deploy",
        kind="deploy",
        needs=["make"],
        options={},
        inputs={"release": "make"},
        target=target,
        profile=None,
        timeout_s=60,
        idempotent=True,
        rules=NOBODY.as_json(),
        auth=auth,
    )
    return make, deploy


def held(house: House) -> bytes:
    """All bytes of the store and of what is left in the project."""
    files = [each for root in (house.store.root, house.project) for each in root.rglob("*") if each.is_file()]
    return b"\0".join(each.read_bytes() for each in files)


def test_what_proposes_cannot_execute_and_nothing_of_it_is_kept(
    house: House, aws: Aws, lenders: list[Lender], monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = Auth("github-oidc", {"propose": arn("shop-propose"), "apply": arn("shop-apply")})
    with oidc.github(SUBJECT) as github:
        for name, value in github.variables.items():
            monkeypatch.setenv(name, value)
        run = house.drive(house.open(*stages(house, auth)))
        done = run.done("deploy")
        assert done
        assert done.facts["functions"]["HelloWorldFunction"]["image"].startswith(f"{ACCOUNT}.dkr.ecr.")
        assert github.asked == ["sts.amazonaws.com"] * 2
    proposing, applying = lenders
    found = drift.ask(TARGET, Access(aws.url, role=arn("shop-propose")), proposing)
    assert (found["stack"]["functions"], found["not_asked"]) == (done.facts["functions"], [])
    who = [aws.client("sts", each).get_caller_identity()["Arn"] for each in lenders]
    assert who == [
        f"arn:aws:sts::{ACCOUNT}:assumed-role/shop-{role}/{run.id}-deploy-1" for role in ("propose", "apply")
    ]
    template = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    given = {"ChangeSetName": "c", "TemplateBody": template}
    with pytest.raises(ClientError, match="AccessDenied"):
        aws.client("cloudformation", applying).create_change_set(StackName="shop", ChangeSetType="UPDATE", **given)
    with pytest.raises(ClientError, match="AccessDenied"):
        aws.client("cloudformation", proposing).create_change_set(StackName="x", ChangeSetType="CREATE", **given)
    proposer = aws.client("cloudformation", proposing)
    proposer.create_change_set(StackName="shop", ChangeSetType="UPDATE", **given)
    with pytest.raises(ClientError, match="AccessDenied"):
        proposer.execute_change_set(StackName="shop", ChangeSetName="c")
    for service, call, arguments in (
        ("cloudformation", "delete_stack", {"StackName": "shop"}),
        ("lambda", "update_function_code", {"FunctionName": "shop-x", "ImageUri": "x"}),
        ("iam", "create_role", {"RoleName": "shop-x", "AssumeRolePolicyDocument": "{}"}),
        ("lambda", "invoke", {"FunctionName": "shop-x"}),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            getattr(aws.client(service, applying), call)(**arguments)
    kept = held(house)
    token = oidc.token(iss=oidc.ISSUER, sub=SUBJECT, aud="sts.amazonaws.com")
    secrets = [value for each in lenders for value in each.secret_values().values()]
    for secret in (*secrets, token.encode(), oidc.BEARER.encode(), b"the-machine-s-own-key"):
        assert secret not in kept


def test_a_phase_with_a_role_that_may_not_is_refused(house: House) -> None:
    auth = Auth("ambient", {"propose": arn("owner-propose"), "apply": arn("owner-propose")})
    target = dataclasses.replace(TARGET, stack="refused")
    run_id = house.open(*stages(house, auth, target))
    with pytest.raises(StageFailed, match="cloudformation:ExecuteChangeSet"):
        house.drive(run_id)
    done = house.load(run_id).last("deploy")
    assert done
    assert done.outcome == "failed"


def test_a_job_of_gitlab_signs_in_by_the_token_in_its_variable(
    house: House, aws: Aws, lenders: list[Lender], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, host = "project_path:octo/shop:ref_type:branch:ref:main", "gitlab.com"
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{host}"
    aws.bootstrap(bootstrap.Trust(host, f"https://{host}", (subject,), provider), "lab")
    monkeypatch.setenv("TOWPATH_AWS", oidc.token(iss=f"https://{host}", sub=subject, aud=f"https://{host}"))
    auth = Auth("gitlab-oidc", {"propose": arn("lab-propose"), "apply": arn("lab-apply")}, variable="TOWPATH_AWS")
    run = house.drive(house.open(*stages(house, auth, dataclasses.replace(TARGET, stack="lab"))))
    assert run.done("deploy")
    assert [each.lent.role for each in lenders] == [arn("lab-propose"), arn("lab-apply")]
    assert os.environ["TOWPATH_AWS"].encode() not in held(house)


def test_the_session_of_ambient_credentials_has_the_runs_name_and_tags(
    house: House, aws: Aws, lenders: list[Lender]
) -> None:
    auth = Auth("ambient", {"propose": arn("owner-propose"), "apply": arn("owner-apply")})
    run = house.drive(house.open(*stages(house, auth, dataclasses.replace(TARGET, stack="ambient"))))
    assert run.done("deploy")
    assert [aws.client("sts", each).get_caller_identity()["Arn"].rpartition("/")[2] for each in lenders] == [
        f"{run.id}-deploy-1"
    ] * 2


def test_a_role_that_lets_nobody_tag_sessions_says_so(house: House) -> None:
    auth = Auth("ambient", {"propose": arn("owner-untagged"), "apply": arn("owner-apply")})
    with pytest.raises(StageFailed, match="sts:TagSession"):
        house.drive(house.open(*stages(house, auth)))


def test_a_job_of_another_branch_is_told_what_its_token_says(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    auth = Auth("github-oidc", {"propose": arn("shop-propose"), "apply": arn("shop-apply")})
    with oidc.github("repo:octo/shop:ref:refs/heads/topic") as github:
        for name, value in github.variables.items():
            monkeypatch.setenv(name, value)
        run_id = house.open(*stages(house, auth))
        with pytest.raises(StageFailed, match="cannot be assumed: Not authorized"):
            house.drive(run_id)
    failure = (house.load(run_id).attempts["deploy"][-1]).failure
    assert failure
    assert "sub repo:octo/shop:ref:refs/heads/topic" in (failure.hint or "")


def test_a_secret_is_read_with_the_role_for_secrets(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "pipeline.credentials.Access", lambda *_, **told: Access(os.environ["AWS_ENDPOINT_URL"], **told)
    )
    source = SecretSource("ssm", "/shop/token", target=TARGET, auth=Auth("ambient", {"secrets": arn("owner-secrets")}))
    stage = command("use", 'test ${#TOKEN} = 14 && echo "$TOKEN"', secrets={"TOKEN": source})
    run = house.drive(house.open(stage))
    assert run.done("use")
    assert b"an-open-sesame" not in held(house)


@pytest.mark.usefixtures("house")
def test_credentials_of_another_account_are_refused(aws: Aws) -> None:
    from stages.aws import session, signin

    lent = signin.by_role(arn("owner-propose"), REGION, None, session="a-session", tags={})
    other = dataclasses.replace(TARGET, account="444444444444")
    with pytest.raises(StageError, match=r"but the role arn:aws:iam::333333333333:role/owner-propose is for account"):
        session.connect(other, Access(aws.url, role=arn("owner-propose")), lent)
