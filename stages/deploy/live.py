"""What runs in a stack now, and whether the images of a release are in their registry."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from botocore.exceptions import ClientError

from stages.aws import cloudformation, lambda_, retry
from stages.contract import InvalidInput, Problem, StageError
from stages.deploy import late, outcome
from stages.deploy.precheck import transforms
from stages.deploy.release import NEW_RUN, ecr_place
from stages.deploy.states import exists, is_busy
from stages.deploy.subject import STACK, Found, template_digest
from stages.limits import LIMITS
from stages.log import log
from stages.template.functions import full_id
from stages.template.resolve import resolve
from stages.template.resources import find

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stages.aws.session import Session
    from stages.contract import Json
    from stages.deploy.release import Image, Release
    from stages.template import Stack

AT_ONCE = 8
"""Functions looked at, at the same time: Lambda allows 100 reads a second for the whole account."""
CALLS_AT_ONCE = 4
"""Questions to CloudFormation at the same time: what it allows is not told, and is shared by the whole account."""
STAGES: tuple[Literal["Original"], Literal["Processed"]] = ("Original", "Processed")
_S3_URL = re.compile(r"https://s3\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(?P<bucket>[^/]+)/(?P<key>.+)")
IMAGES_A_CALL = 100  # BatchGetImage's limit


@dataclass(frozen=True)
class Body:
    """A template as CloudFormation processed it, and the values of its parameters; None where they are not known."""

    template: str | Json | None
    given: dict[str, str] | None


@dataclass(frozen=True)
class Texts:
    """A template as it was written, and as CloudFormation processed it."""

    original: str | Json | None
    processed: str | Json | None

    @property
    def digests(self) -> Json:
        return {
            "original": template_digest(self.original),
            "processed": template_digest(self.processed or self.original),
        }


def texts(session: Session, *, change_set: str | None = None, stack: str | None = None) -> Texts:
    """The template of a change set or of a stack."""
    client = session.cloudformation
    with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
        original, processed = pool.map(
            lambda stage: cloudformation.template(client, stage, change_set=change_set, stack=stack), STAGES
        )
    return Texts(original, processed)


def found(
    session: Session, release: Release, way: str, change_set: Json | None, base: Json | None, *, template: Json | None
) -> Found:
    """All that a subject says of a change set (None: there is nothing to change) and of what is there.

    `template` are the digests of the change set's, None if there is nothing to change.
    """
    late_bound = late.look(session, release, session.target)
    template = (base or {})["template"] if template is None else template
    return Found(way, change_set, template, base, nested(session, change_set), late_bound)


def nested(session: Session, change_set: Json | None, depth: int = 0) -> dict[str, Json]:
    """The change sets of the stacks nested in one, by ARN, as far as CloudFormation has made any."""
    made: dict[str, Json] = {}
    for each in (change_set or {}).get("Changes", []):
        arn = each.get("ResourceChange", {}).get("ChangeSetId")
        inner = cloudformation.describe_change_set(session.cloudformation, arn) if arn else None
        if inner and depth < LIMITS.nested_depth:
            made |= {arn: inner, **nested(session, inner, depth + 1)}
    return made


def within(found: Found, path: str = "", change_set: Json | None = None) -> Iterator[tuple[str, Json]]:
    """The change sets of nested stacks, each with the path of its stack."""
    for each in (change_set or found.change_set or {}).get("Changes", []):
        change = each.get("ResourceChange", {})
        inner = found.nested.get(change.get("ChangeSetId", ""))
        if inner:
            at = full_id(path, change["LogicalResourceId"])
            yield at, inner
            yield from within(found, at, inner)


def bodies_before(session: Session, found: Found, processed: str | Json | None) -> dict[str, Body]:
    """The templates that stand now, by the path of their stack; nested ones if any of them changes. `processed` is the stack's own."""
    if found.base is None:
        return {}
    stack, pseudo = found.base["stack_id"], _pseudo(session)
    given = {
        **found.base["parameters"],
        **found.base["resolved"],
        **pseudo,
        "AWS::StackName": str(session.target.stack),
    }
    bodies = {"": Body(processed, given)}
    stacks = walk(session, stack) if _changes_nested(found) else {}
    within = {name: each["PhysicalResourceId"] for name, each in stacks.items() if each["ResourceType"] == STACK}

    def body(nested_id: str) -> Body:
        about = cloudformation.describe_stack(session.cloudformation, nested_id)
        return Body(processed_template(session, stack=nested_id), _shown(about) | pseudo if about else None)

    with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
        return bodies | dict(zip(within, pool.map(body, within.values()), strict=True))


def bodies_after(
    session: Session, release: Release, found: Found, parameters: Json, processed: str | Json | None
) -> dict[str, Body]:
    """The templates as the change set makes them, by the path of their stack. `parameters` are those of the subject, `processed`
    is the change set's own.

    One of a nested stack without a change set is the release's, if that is all there is to it: what a macro makes of it is not known.
    """
    if found.change_set is None:
        return {}
    bodies = {
        path: Body(stack.template.text, None if stack.scope.unknown else stack.scope.given)
        for path, stack in release.stacks.items()
        if path and not transforms(stack.template)
    }
    pseudo = _pseudo(session)
    given = {
        name: str(each.get("resolved") or each["value"])
        for name, each in parameters.items()
        if each.get("value") is not None
    }
    bodies[""] = Body(processed, {**given, **pseudo, "AWS::StackName": str(session.target.stack)})
    inner = dict(within(found))
    with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
        made = pool.map(lambda each: processed_template(session, change_set=each["ChangeSetId"]), inner.values())
        return bodies | {
            path: Body(text, _shown(each) | pseudo) for (path, each), text in zip(inner.items(), made, strict=True)
        }


def _pseudo(session: Session) -> dict[str, str]:
    target = session.target
    return {"AWS::Region": target.region, "AWS::AccountId": target.account, "AWS::Partition": target.partition}


def _shown(described: Json) -> dict[str, str]:
    """The parameters of a stack or change set with what they come to, as far as CloudFormation shows it."""
    shown = described.get("Parameters", [])
    return {
        each["ParameterKey"]: each.get("ResolvedValue") or each["ParameterValue"]
        for each in shown
        if "ParameterValue" in each
    }


def _changes_nested(found: Found) -> bool:
    changes = (found.change_set or {}).get("Changes", [])
    return any(each.get("ResourceChange", {}).get("ResourceType") == STACK for each in changes)


def processed_template(
    session: Session, *, change_set: str | None = None, stack: str | None = None
) -> str | Json | None:
    """The template of a change set or a stack as CloudFormation made it of what it was given."""
    return cloudformation.template(session.cloudformation, "Processed", change_set=change_set, stack=stack)


def refuse_busy(session: Session, stack: Json | None) -> None:
    """Raise StageError, `blocked`, if something is being done to the stack: by whom and since when, as far as its events tell."""
    if stack is None or not is_busy(stack["StackStatus"]):
        return
    begun = None
    with suppress(StageError):  # the role may not read them
        begun = cloudformation.begun(session.cloudformation, stack["StackId"])
    raise outcome.busy(stack, begun)


Seen = Mapping[str, lambda_.LiveFunction | None]
"""Functions by their full ids; None for one that is missing."""


@dataclass
class Functions:
    """Reads functions, those that are known as they are by their revision alone, as long as we may list that.

    What an image resolved to, and whether a function is ready, GetFunction alone tells: https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html
    """

    session: Session
    may_list: bool = True

    def of(self, stack: Json | None, known: Seen) -> Seen:
        """The functions of a stack as they are now."""
        if stack is None or not exists(stack["StackStatus"]):
            return {}
        names = function_names(self.session, stack["StackId"])
        same = self._unmoved(names, known)
        rest = [name for name in names if name not in same]
        read = dict(zip(rest, look_at(self.session, [names[name] for name in rest]), strict=True))
        return {name: same.get(name) or read[name] for name in names}

    def ready(self, stack: Json, known: Seen) -> dict[str, lambda_.LiveFunction]:
        """The functions of a stack once each is active and its last update successful. Raises StageError."""
        names = function_names(self.session, stack["StackId"])
        same = self._unmoved(names, known)
        read = wait_for_functions(self.session, {name: each for name, each in names.items() if name not in same})
        return {name: same.get(name) or read[name] for name in names}

    def _unmoved(self, names: dict[str, str], known: Seen) -> dict[str, lambda_.LiveFunction]:
        """Those of `known` that were usable, and of which Lambda says now that nothing of them was changed."""
        same = {
            name: each
            for name, each in known.items()
            if each and each.usable and each.revision and names.get(name) == each.name
        }
        if not same or not self.may_list:
            return {}
        told = lambda_.revisions(self.session.lambda_, {each.name for each in same.values()})
        self.may_list = told is not None and 2 * len(told) >= len(same)  # else the account has many more of them
        return {name: each for name, each in same.items() if (told or {}).get(each.name) == each.revision}


def base(stack: Json | None, template: Json | None, seen: Seen) -> Json | None:
    """What runs in a stack: None, or its identity, template (by its digests), parameters, and the code of each function."""
    if stack is None or not exists(stack["StackStatus"]):
        return None
    return {
        "stack_id": stack["StackId"],
        "template": template,
        "parameters": given(stack),
        "resolved": {
            each["ParameterKey"]: each["ResolvedValue"]
            for each in stack.get("Parameters", [])
            if "ResolvedValue" in each
        },
        "tags": {each["Key"]: each["Value"] for each in stack.get("Tags", []) if not each["Key"].startswith("aws:")},
        "service_role": stack.get("RoleARN"),
        "notification_arns": sorted(stack.get("NotificationARNs", [])),
        "functions": {name: _code(function) for name, function in sorted(seen.items())},
    }


def standing(session: Session, stack: Json | None) -> tuple[Texts | None, Seen]:
    """A stack's template and its functions, as they are now."""
    if stack is None or not exists(stack["StackStatus"]):
        return None, {}
    with ThreadPoolExecutor(2) as pool:
        template = pool.submit(texts, session, stack=stack["StackId"])
        seen = pool.submit(Functions(session).of, stack, {})
    return template.result(), seen.result()


def given(stack: Json | None) -> dict[str, str]:
    """The parameters of a stack that holds anything."""
    if stack is None or not exists(stack["StackStatus"]):
        return {}
    return {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", [])}


def _code(function: lambda_.LiveFunction | None) -> Json:
    if function is None:
        return {"missing": True}
    return {"image": function.image} if function.image else {"code_sha256": function.code_sha256}


def function_names(session: Session, stack_id: str) -> dict[str, str]:
    """The Lambda functions of a stack and of those nested in it: full id (`Child/Grand/Fn`) to physical name."""
    found = walk(session, stack_id).items()
    return {name: each["PhysicalResourceId"] for name, each in found if each["ResourceType"] == "AWS::Lambda::Function"}


def walk(session: Session, stack_id: str) -> dict[str, Json]:
    """The resources of a stack and of those nested in it, by full id; those that there are. Stacks side by side are asked at the same time."""
    client, level = session.cloudformation, {"": stack_id}
    found: dict[str, Json] = {}
    with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
        while level:
            listed = pool.map(lambda stack: cloudformation.resources(client, stack), level.values())
            there = {
                full_id(path, name): each
                for path, resources in zip(level, listed, strict=True)
                for name, each in resources.items()
                if each.get("PhysicalResourceId") and each["ResourceStatus"] != "DELETE_COMPLETE"
            }
            found |= there
            level = {
                path: each["PhysicalResourceId"]
                for path, each in there.items()
                if each["ResourceType"] == STACK and path.count("/") < LIMITS.nested_depth
            }
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


def check_images(session: Session, release: Release) -> dict[str, str]:
    """Make sure that every image is in its registry and is the one meant; give their manifests by URI. Raises InvalidInput, StageError.

    A role that may not read the registry (AccessDenied) is told so in the log: Lambda itself will find out.
    """
    problems: list[Problem] = []
    found: dict[str, str] = {}
    for (account, region, repository), images in _by_repository(release).items():
        digests = {image.manifest for image in images.values()}
        manifests = _manifests(session.elsewhere(account, region), account, repository, digests)
        if manifests is not None:
            problems += _image_problems(images, manifests)
            found |= {each.uri: manifests[each.manifest] for each in images.values() if each.manifest in manifests}
    if problems:
        raise InvalidInput(problems)
    return found


def running_manifests(session: Session, uris: Iterable[str]) -> dict[str, str]:
    """The manifests of images by URI, as far as they can be had: what is shown for comparison keeps nothing from going on."""
    found: dict[str, str] = {}
    places: dict[tuple[str, str, str], dict[str, str]] = {}
    for uri in uris:
        where = ecr_place(uri)
        if where is not None:
            places.setdefault(where[:3], {})[where[3]] = uri
    for (account, region, repository), images in places.items():
        try:
            manifests = _manifests(session.elsewhere(account, region), account, repository, set(images)) or {}
        except StageError as error:
            log(f"cannot compare with the images that run: {error.message}", level="warning")
            continue
        found |= {uri: manifests[digest] for digest, uri in images.items() if digest in manifests}
    return found


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
            log(f"not allowed while {doing}; going on without", level="warning", skipped=True)
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


def _manifests(session: Session, account: str, repository: str, wanted: set[str]) -> dict[str, str] | None:
    """The manifests of images by their own digest, as far as the repository has them; None if we may not look."""
    doing = f"looking for images in the repository {repository} of account {account}"
    digests = sorted(wanted)
    found: dict[str, str] = {}
    with retry.explained(doing):
        try:
            for start in range(0, len(digests), IMAGES_A_CALL):
                some = [{"imageDigest": digest} for digest in digests[start : start + IMAGES_A_CALL]]
                answer: Any = session.ecr.batch_get_image(  # by digest, so what comes back is what was pushed
                    registryId=account, repositoryName=repository, imageIds=cast("list[Any]", some)
                )
                found.update({each["imageId"]["imageDigest"]: each["imageManifest"] for each in answer["images"]})
        except ClientError as error:
            if retry.code(error) == "RepositoryNotFoundException":
                return found
            if retry.meaning(error) != "denied":
                raise
            log(f"not allowed while {doing}; going on without", level="warning", skipped=True)
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
