"""What runs in a stack now, and whether the images of a release are in their registry."""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from stages.aws import cloudformation, lambda_, retry
from stages.contract import InvalidInput, Problem, StageError
from stages.deploy.release import NEW_RUN
from stages.deploy.states import exists
from stages.deploy.subject import template_digest
from stages.limits import LIMITS
from stages.log import log
from stages.template.functions import full_id
from stages.template.resolve import resolve
from stages.template.resources import find

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.aws.session import Session
    from stages.contract import Json
    from stages.deploy.release import Image, Release
    from stages.template import Stack

AT_ONCE = 8
"""Functions looked at, at the same time: Lambda allows 100 reads a second for the whole account."""
_S3_URL = re.compile(r"https://s3\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(?P<bucket>[^/]+)/(?P<key>.+)")
IMAGES_A_CALL = 100  # BatchGetImage's limit


def templates(session: Session, *, change_set: str | None = None, stack: str | None = None) -> Json:
    """The digests of a change set's or a stack's template, as written and as processed."""
    original = cloudformation.template(session.cloudformation, "Original", change_set=change_set, stack=stack)
    processed = processed_template(session, change_set=change_set, stack=stack)
    return {"original": template_digest(original), "processed": template_digest(processed or original)}


def processed_template(
    session: Session, *, change_set: str | None = None, stack: str | None = None
) -> str | Json | None:
    """The template of a change set or a stack as CloudFormation made it of what it was given."""
    return cloudformation.template(session.cloudformation, "Processed", change_set=change_set, stack=stack)


def base(session: Session, stack: Json | None) -> Json | None:
    """What runs in a stack now: None, or its identity, template, parameters, and the code of each function."""
    if stack is None or not exists(stack["StackStatus"]):
        return None
    names = function_names(session, stack["StackId"])
    functions = dict(zip(names, look_at(session, list(names.values())), strict=True))
    return {
        "stack_id": stack["StackId"],
        "template": templates(session, stack=stack["StackId"]),
        "parameters": {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", [])},
        "functions": {name: _code(function) for name, function in sorted(functions.items())},
    }


def _code(function: lambda_.LiveFunction | None) -> Json:
    if function is None:
        return {"missing": True}
    return {"image": function.image} if function.image else {"code_sha256": function.code_sha256}


def function_names(session: Session, stack_id: str, path: str = "") -> dict[str, str]:
    """The Lambda functions of a stack and of those nested in it: full id (`Child/Grand/Fn`) to physical name."""
    found: dict[str, str] = {}
    if path.count("/") >= LIMITS.nested_depth:
        return found
    for name, each in cloudformation.resources(session.cloudformation, stack_id).items():
        physical, type_ = each.get("PhysicalResourceId"), each["ResourceType"]
        if physical and type_ == "AWS::Lambda::Function":
            found[full_id(path, name)] = physical
        elif physical and type_ == "AWS::CloudFormation::Stack" and each["ResourceStatus"] != "DELETE_COMPLETE":
            found |= function_names(session, physical, full_id(path, name))
    return found


def look_at(session: Session, names: list[str]) -> list[lambda_.LiveFunction | None]:
    """Functions by physical name, in that order."""
    client = session.lambda_
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda name: lambda_.get_function(client, name), names))


def wait_for_functions(session: Session, names: dict[str, str]) -> dict[str, lambda_.LiveFunction]:
    """Functions (logical id to physical name) once each is active and its last update successful."""
    client = session.lambda_
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ready = pool.map(lambda item: lambda_.wait_until_ready(client, item[1], item[0]), names.items())
        return dict(zip(names, ready, strict=True))


def check_images(session: Session, release: Release) -> None:
    """Make sure that every image is in its registry and is the one meant. Raises InvalidInput, StageError.

    A role that may not read the registry (AccessDenied) is told so in the log: Lambda itself will find out.
    """
    problems: list[Problem] = []
    for (account, region, repository), images in _by_repository(release).items():
        manifests = _manifests(session.elsewhere(account, region), account, repository, images)
        if manifests is not None:
            problems += _image_problems(images, manifests)
    if problems:
        raise InvalidInput(problems)


def check_templates(session: Session, release: Release) -> None:
    """Make sure that each nested template is where the one around it says, and is the release's. Raises InvalidInput, StageError.

    CloudFormation reads them when the change set is executed, so whoever may write there could change what is deployed.
    """
    problems: list[Problem] = []
    for stack in release.stacks.values():
        if stack.slot is None:
            continue
        url = _address(release.stacks[stack.slot.stack], stack)
        data = _object(session, url)
        if data is None:
            hint = f"Was it deleted since `package` ran? {NEW_RUN}"
            problems.append(Problem(f"the nested template {stack.path} is not in its bucket: {url}", hint=hint))
        elif data not in (b"", stack.template.data):
            raise StageError(
                f"the nested template {stack.path} at {url} is not the one of the release",
                hint=f"Find out who changed it. {NEW_RUN}",
                cls="mismatch",
            )
    if problems:
        raise InvalidInput(problems)


def _address(parent: Stack, stack: Stack) -> str:
    """Where the template around a nested one says that it is; the release was verified, so it does."""
    slot = stack.slot
    node = find(parent.template.root, slot.path) if slot else None
    if node is None or slot is None:
        raise StageError(f"nothing names the nested template {stack.path}", cls="fault")
    return str(resolve(node, replace(parent.scope, loops=slot.loops)))


def _object(session: Session, url: str) -> bytes | None:
    """What is at an address of S3: None if nothing, nothing (b"") if we may not look, which is told in the log."""
    match = _S3_URL.fullmatch(url)
    if match is None:
        raise StageError(f"{url} is no address in S3, as `package` writes it", cls="mismatch")
    doing = f"looking for {match['key']} in the bucket {match['bucket']}"
    with retry.explained(doing):
        try:
            client = session.elsewhere(session.target.account, match["region"]).s3
            answer: Any = retry.call(lambda: client.get_object(Bucket=match["bucket"], Key=match["key"]), doing=doing)
        except ClientError as error:
            if retry.code(error) in ("NoSuchKey", "NoSuchBucket", "404"):
                return None
            if retry.meaning(error) != "denied":
                raise
            log(f"not allowed while {doing}; going on without", level="warning")
            return b""
        return bytes(answer["Body"].read(LIMITS.yaml_bytes + 1))


def _by_repository(release: Release) -> dict[tuple[str, str, str], dict[str, Image]]:
    found: dict[tuple[str, str, str], dict[str, Image]] = {}
    for name, image in release.images.items():
        if image.account is not None and image.region is not None:
            found.setdefault((image.account, image.region, image.repository), {})[name] = image
    return found


def _image_problems(images: dict[str, Image], manifests: dict[str, str]) -> Iterator[Problem]:
    for name, image in sorted(images.items()):
        manifest = manifests.get(image.manifest)
        if manifest is None:
            hint = f"Was it deleted since `package` ran? {NEW_RUN}"
            yield Problem(f"the image of {name} is not in its registry: {image.uri}", hint=hint)
        else:
            refuse_other_manifest(name, image, manifest)


def _manifests(session: Session, account: str, repository: str, images: dict[str, Image]) -> dict[str, str] | None:
    """The manifests of images by digest, as far as the repository has them; None if we may not look."""
    doing = f"looking for images in the repository {repository} of account {account}"
    digests = sorted({image.manifest for image in images.values()})
    found: dict[str, str] = {}
    with retry.explained(doing):
        try:
            for start in range(0, len(digests), IMAGES_A_CALL):
                wanted = [{"imageDigest": digest} for digest in digests[start : start + IMAGES_A_CALL]]
                answer: Any = session.ecr.batch_get_image(  # by digest, so what comes back is what was pushed
                    registryId=account, repositoryName=repository, imageIds=cast("list[Any]", wanted)
                )
                found.update({each["imageId"]["imageDigest"]: each["imageManifest"] for each in answer["images"]})
        except ClientError as error:
            if retry.code(error) == "RepositoryNotFoundException":
                return found
            if retry.meaning(error) != "denied":
                raise
            log(f"not allowed while {doing}; going on without", level="warning")
            return None
    return found


def refuse_other_manifest(name: str, image: Image, manifest: str) -> None:
    digest = "sha256:" + hashlib.sha256(manifest.encode()).hexdigest()
    config = json.loads(manifest).get("config", {}).get("digest")
    if (digest, config) != (image.manifest, image.config):
        raise StageError(
            f"the registry gives another image for {name}: manifest {digest} with config {config}, "
            f"but the release says {image.manifest} with config {image.config}",
            hint=f"Find out who changed the registry. {NEW_RUN}",
            cls="mismatch",
        )
