from __future__ import annotations

import dataclasses
import json
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from stages.contract import StageError, Target
from stages.delete import images

TARGET = Target("staging", "111122223333", "eu-west-1", stack="demo")
HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"


def uri(name: str, number: int = 1) -> str:
    return f"{HOST}/{name}@sha256:{number:064x}"


@dataclasses.dataclass
class Account:
    """What there is in an account, as clients of Lambda and ECR tell it: functions (ARN to image) and repositories' policies."""

    functions: dict[str, str]
    policies: dict[str, Any] = dataclasses.field(default_factory=dict)
    deleted: list[Any] = dataclasses.field(default_factory=list)
    failures: list[Any] = dataclasses.field(default_factory=list)
    target: Target = TARGET

    @property
    def lambda_(self) -> Account:
        return self

    @property
    def ecr(self) -> Account:
        return self

    def get_paginator(self, _: str) -> Account:
        return self

    def paginate(self, **_: Any) -> list[Any]:
        rows = [
            {"FunctionArn": arn, "FunctionName": arn.split(":")[6], "PackageType": "Image"} for arn in self.functions
        ]
        return [{"Functions": rows}, {"Functions": [{"FunctionArn": "x", "FunctionName": "zip", "PackageType": "Zip"}]}]

    def get_function(self, FunctionName: str) -> Any:  # noqa: N803 - the API's name
        about = {"FunctionName": FunctionName, "FunctionArn": FunctionName}
        return {"Configuration": about, "Code": {"ResolvedImageUri": self.functions[FunctionName]}}

    def get_repository_policy(self, repositoryName: str) -> Any:  # noqa: N803
        if repositoryName not in self.policies:
            raise ClientError({"Error": {"Code": "RepositoryPolicyNotFoundException"}}, "GetRepositoryPolicy")
        return {"policyText": json.dumps(self.policies[repositoryName])}

    def batch_delete_image(self, repositoryName: str, imageIds: Any) -> Any:  # noqa: N803
        self.deleted.append((repositoryName, imageIds))
        return {"imageIds": imageIds, "failures": self.failures}


def function(name: str, version: str = "$LATEST") -> str:
    return f"arn:aws:lambda:eu-west-1:111122223333:function:{name}:{version}"


def judge(account: Account, *used: str, own: tuple[str, ...] = (), keep: tuple[str, ...] = ()) -> images.Verdict:
    return images.judge(cast("Any", account), used, own, keep)


def test_an_image_that_nothing_else_uses_goes() -> None:
    account = Account({function("demo-Fn"): uri("app"), function("demo-Fn", "3"): uri("app", 2)})
    assert judge(account, uri("app"), uri("app", 2), own=("demo-Fn",)) == images.Verdict(
        [uri("app"), uri("app", 2)], {}
    )


@pytest.mark.parametrize("version", ["$LATEST", "7"])
def test_one_that_another_function_runs_stays_also_in_an_older_version(version: str) -> None:
    verdict = judge(Account({function("other", version): uri("app")}), uri("app"))
    assert verdict == images.Verdict([], {uri("app"): f"the function other:{version} uses it"})


def test_an_equal_image_in_another_repository_is_another_image() -> None:
    assert judge(Account({function("other"): uri("other/app")}), uri("app")).deleted == [uri("app")]


def test_one_that_a_deployment_elsewhere_is_known_to_use_stays() -> None:
    assert judge(Account({}), uri("app"), keep=(uri("app"),)).deleted == []


@pytest.mark.parametrize(
    ("principal", "stays"),
    [
        ({"AWS": "arn:aws:iam::999988887777:root"}, True),
        ({"AWS": ["arn:aws:iam::111122223333:root"]}, False),
        ({"Service": "lambda.amazonaws.com"}, False),
        ("*", True),
    ],
)
def test_one_in_a_repository_that_others_may_read_stays(principal: Any, *, stays: bool) -> None:
    """Who pulls it from another account, or with what, cannot be seen from here."""
    policy = {"Statement": [{"Effect": "Allow", "Principal": principal, "Action": "ecr:BatchGetImage"}]}
    verdict = judge(Account({}, {"app": policy}), uri("app"))
    assert (verdict.deleted == []) is stays
    assert "open to" in "".join(verdict.kept.values()) or not stays


@pytest.mark.parametrize(
    "image",
    [
        f"999988887777.dkr.ecr.eu-west-1.amazonaws.com/app@sha256:{1:064x}",
        f"111122223333.dkr.ecr.eu-central-1.amazonaws.com/app@sha256:{1:064x}",
        f"example.com/app@sha256:{1:064x}",
        f"{HOST}/app:latest",
    ],
)
def test_one_that_is_not_in_our_registry_by_digest_stays(image: str) -> None:
    assert judge(Account({}), image) == images.Verdict([], {image: "it is in no repository of this account and region"})


def test_images_are_deleted_by_digest_and_those_that_are_left_are_named() -> None:
    account = Account(
        {}, failures=[{"imageId": {"imageDigest": "sha256:x"}, "failureReason": "no", "failureCode": "y"}]
    )
    with pytest.raises(StageError, match="these images are left:\n  app@sha256:x: no"):
        images.delete(cast("Any", account), [uri("app"), uri("app", 2)])
    assert account.deleted == [("app", [{"imageDigest": f"sha256:{1:064x}"}, {"imageDigest": f"sha256:{2:064x}"}])]


def test_one_that_is_gone_already_is_no_failure() -> None:
    gone = {"imageId": {"imageDigest": "sha256:x"}, "failureCode": "ImageNotFound"}
    images.delete(cast("Any", Account({}, failures=[gone])), [uri("app")])
