"""ECR as botocore's Stubber plays it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from botocore.stub import Stubber

from stages.aws import ecr
from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.aws.session import Session

ACCOUNT = "123456789012"
MANIFEST = '{"schemaVersion": 2}'
DIGEST = f"sha256:{hashlib.sha256(MANIFEST.encode()).hexdigest()}"
OCI = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def aws(session: Session) -> Iterator[Stubber]:
    with Stubber(session.ecr) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def _asked(tags: list[str]) -> dict[str, Any]:
    return {
        "registryId": ACCOUNT,
        "repositoryName": "app",
        "acceptedMediaTypes": [OCI],
        "imageIds": [{"imageTag": tag} for tag in tags],
    }


def _image(tag: str, digest: str = DIGEST) -> dict[str, Any]:
    return {
        "imageId": {"imageTag": tag, "imageDigest": digest},
        "imageManifest": MANIFEST,
        "imageManifestMediaType": OCI,
    }


def test_a_hundred_images_are_one_request(session: Session, aws: Stubber) -> None:
    tags = [f"t{at:03}" for at in range(150)]
    aws.add_response("batch_get_image", {"images": [_image("t000")], "failures": []}, _asked(tags[:100]))
    aws.add_response("batch_get_image", {"images": [_image("t149")], "failures": []}, _asked(tags[100:]))
    found = ecr.manifests(session, ACCOUNT, "app", tags, [OCI])
    assert found == {tag: ecr.Manifest(DIGEST, MANIFEST.encode(), OCI) for tag in ("t000", "t149")}


def test_a_manifest_that_is_not_its_digest_is_refused(session: Session, aws: Stubber) -> None:
    aws.add_response("batch_get_image", {"images": [_image("t", "sha256:" + "0" * 64)]}, _asked(["t"]))
    with pytest.raises(StageError) as caught:
        ecr.manifests(session, ACCOUNT, "app", ["t"], [OCI])
    assert caught.value.cls == "mismatch"


@pytest.mark.parametrize(("error", "found"), [("RepositoryNotFoundException", {}), ("AccessDeniedException", None)])
def test_no_repository_is_no_images_and_no_right_is_unknown(
    session: Session, aws: Stubber, error: str, found: dict[str, Any] | None
) -> None:
    aws.add_client_error("batch_get_image", error)
    assert ecr.manifests(session, ACCOUNT, "app", ["t"], [OCI]) == found


def test_a_repository_in_another_account_is_not_made(session: Session, aws: Stubber) -> None:
    expected = {"registryId": "999999999999", "repositoryNames": ["app"]}
    aws.add_client_error("describe_repositories", "RepositoryNotFoundException", expected_params=expected)
    with pytest.raises(StageError, match="no repository app in the account 999999999999") as caught:
        ecr.ensure_repository(session, "999999999999", "app", ecr.Making())
    assert "aws ecr create-repository" in (caught.value.hint or "")


def test_a_repository_that_another_application_made_meanwhile_is_refused(session: Session, aws: Stubber) -> None:
    arn = f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/app"
    described = {"repositories": [{"repositoryName": "app", "repositoryArn": arn}]}
    aws.add_client_error("describe_repositories", "RepositoryNotFoundException")
    aws.add_client_error("create_repository", "RepositoryAlreadyExistsException")
    aws.add_response("describe_repositories", described)
    aws.add_response("list_tags_for_resource", {"tags": [{"Key": ecr.OWNER_TAG, "Value": "other"}]})
    with pytest.raises(StageError, match="was made for the application 'other'"):
        ecr.ensure_repository(session, ACCOUNT, "app", ecr.Making(owner="ours"))
