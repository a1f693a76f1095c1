"""A template that is packaged already, by Towpath, by AWS SAM CLI or by hand: the release that it comes to. Nothing is pushed.

Every image is looked for in its registry, and pinned by the digest that it has there now. Nested templates are read from S3, where
the template around them says that they are.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from stages import template as templates
from stages.aws import retry
from stages.contract import InvalidInput, StageError
from stages.images import registry
from stages.limits import LIMITS
from stages.log import log
from stages.package import artifacts, release
from stages.package.handed import Image, Images
from stages.package.repositories import Place
from stages.template import overview
from stages.template.application import NESTED, is_remote
from stages.template.functions import SLOTS, full_id
from stages.template.resolve import Unresolvable, resolve
from stages.template.resources import Resource, Slot, find

if TYPE_CHECKING:
    from pathlib import Path

    from stages.contract import Problem, Request, Target
    from stages.images.registry import Manifest, Repository
    from stages.package.registries import Registries
    from stages.template import Application, Reference, Stack, Template

CONFIG_BYTES = 4 << 20
"""Of an image's config; a registry's manifests have no more either."""
_S3_URL = re.compile(r"https://s3\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(?P<bucket>[^/?]+)/(?P<key>[^?]+)")
_PACKAGE = "Package it first: towpath package --output-template-file packaged.yaml"


@dataclass(frozen=True)
class Packaged:
    """An application whose templates are packaged. `urls` are where the nested ones were read, by the path of their stack."""

    application: Application
    urls: dict[str, str] = field(default_factory=dict)


def adopt(
    request: Request, source: Path, registries: Registries, output: Path
) -> tuple[str, list[Image], dict[str, str]]:
    """Write the release of a packaged template; give its digest, its images, and their URIs by function.

    Raises InvalidInput for what is not packaged, StageError for what is not there.
    """
    file = str(request.options["packaged"])
    packaged = read(file, (source / file).read_bytes(), request.target, registries)
    wanted = overview.images(packaged.application)
    places = _places(packaged.application)
    images = [_find(name, *places[name], wanted[name], registries) for name in sorted(wanted)]
    uris = {each.function: f"{each.carrier['name']}@{each.carrier['manifest']}" for each in images}
    for each in images:
        reference = wanted[each.function]
        if reference and reference.kind == "registry-tag":
            message = (
                f"{reference.text} is a tag, which can be moved: deployed is what it names now, {uris[each.function]}"
            )
            log(message, function=each.function, level="warning")
    written = Images(packaged.application, images, output, [])
    digest = release.write(output, written, uris, _pin(packaged, images, uris, request, registries), {})
    return digest, images, uris


# Templates


def read(file: str, data: bytes, target: Target | None, registries: Registries) -> Packaged:
    """Read a packaged template, and those that it nests. Raises InvalidInput with all that is not packaged, StageError."""
    found, urls = {"": templates.read(data, file)}, dict[str, str]()
    given = _parameters(found, target)
    size_bytes = len(data)
    while True:
        stacks = templates.assemble(found, given)
        problems = [problem for stack in stacks.values() for problem in _not_packaged(stack)]
        if problems:
            raise InvalidInput(problems)
        fresh = {path: url for stack in stacks.values() for path, url in _nested(stack) if path not in found}
        for path, url in fresh.items():
            text = _fetch(path, url, target, registries)
            size_bytes += len(text)
            deep, many = path.count("/") >= LIMITS.nested_depth, len(found) >= LIMITS.nested_stacks
            if deep or many or size_bytes > LIMITS.nested_bytes:
                raise StageError(
                    f"{file} nests more templates, or larger ones, than Towpath reads: {path} is one too many"
                )
            found[path], urls[path] = templates.read(text, url), url
        if not fresh:
            return Packaged(templates.Application(stacks, [], given), urls)


def _parameters(found: dict[str, Template], target: Target | None) -> dict[str, str]:
    """Those of the deployment's parameters that decide which images there are. A secret does not: a release names none."""
    root = found[""]
    application = templates.Application(templates.assemble(found, {}), [])
    names = overview.deciding(application) - {name for name, each in overview.parameters(root).items() if each.secret}
    return {name: value for name, value in (target.parameters if target else {}).items() if name in names}


def _not_packaged(stack: Stack) -> list[Problem]:
    """What of a template is still a file here: images, nested templates, code."""
    problems = []
    alone = templates.Application({stack.path: stack}, [])
    for name, reference in overview.images(alone).items():
        if reference is None or not reference.kind.startswith("registry"):
            place = _resource(stack, name).key
            what = f"names {reference.text!r}, which is in no registry" if reference else "names no image of a registry"
            problems.append(stack.template.problem(place, f"{name}: its ImageUri {what}", _PACKAGE))
    for artifact in templates.artifacts(alone):
        node = artifact.node or stack.template.root
        problems.append(
            stack.template.problem(node, f"{artifact.id}: {artifact.name} names the file {artifact.file}", _PACKAGE)
        )
    for resource in stack.resources:
        url = _location(resource)
        if url is not None and not is_remote(url):
            path = full_id(stack.path, resource.id)
            problems.append(stack.template.problem(resource.key, f"{path} nests the file {url}", _PACKAGE))
    return problems


def _resource(stack: Stack, name: str) -> Resource:
    return next(each for each in stack.resources if full_id(stack.path, each.id) == name)


def _location(resource: Resource) -> str | None:
    """What a resource that nests a template says of where it is; None if it nests none, or that is known at deployment alone."""
    name = NESTED.get(resource.type)
    node = find(resource.node, ("Properties", name)) if name else None
    try:
        value = resolve(node, resource.scope) if node is not None else None
    except Unresolvable:
        return None
    return value if isinstance(value, str) else None


def _nested(stack: Stack) -> list[tuple[str, str]]:
    """The paths and addresses of the templates that one nests."""
    found = [(full_id(stack.path, resource.id), _location(resource)) for resource in stack.resources]
    return [(path, url) for path, url in found if url is not None]


def _fetch(path: str, url: str, target: Target | None, registries: Registries) -> bytes:
    match = _S3_URL.fullmatch(url)
    if match is None or target is None:
        hint = "Write its address as https://s3.REGION.amazonaws.com/BUCKET/KEY, as `towpath package` and `sam package` do."
        raise StageError(f"the nested template {path} is at {url}, which is no address in S3 by path", hint=hint)
    doing = f"reading the nested template {path} at {url}"
    with retry.explained(doing):
        client = registries.session(target.account, match["region"]).s3
        try:
            answer: Any = retry.call(lambda: client.get_object(Bucket=match["bucket"], Key=match["key"]), doing=doing)
        except ClientError as error:
            if retry.code(error) in ("NoSuchKey", "NoSuchBucket", "404"):
                raise StageError(f"the nested template {path} is not at {url}", hint="Package it anew.") from error
            raise
        return bytes(answer["Body"].read(LIMITS.yaml_bytes + 1))


# Images


def _places(application: Application) -> dict[str, tuple[Resource, Slot]]:
    """The resource of each function, and where its URI stands, by its full id."""
    return {
        full_id(stack.path, each.id): (each, Slot(stack.path, each.path + SLOTS[each.type], each.scope.loops))
        for stack in application.stacks.values()
        for each in stack.resources
        if each.type in SLOTS
    }


def _find(name: str, resource: Resource, slot: Slot, reference: Reference | None, registries: Registries) -> Image:
    """The image that a registry has under a name now. Raises StageError."""
    if reference is None:
        raise StageError(f"{name} names no image", cls="fault")
    repository = registries.open(Place(str(reference.host), reference.name)).repository
    manifest = registry.manifest(repository, reference.digest or str(reference.tag))
    if manifest is None:
        hint = "Is it pushed, and not deleted since?"
        raise StageError(f"{name}: its registry has no image {reference.text}", hint=hint)
    if manifest.type in registry.INDEX_TYPES:
        hint = "Name one of its images by its digest."
        raise StageError(f"{name}: {reference.text} is an index of images, and Lambda takes one image", hint=hint)
    platform, layers_bytes = _about(name, reference, repository, manifest)
    log(f"{reference.repository}@{manifest.digest} is {manifest.config}", function=name)
    carrier = {"type": "registry", "name": reference.repository, "manifest": manifest.digest}
    return Image(
        name, slot.stack, resource.path, slot, None, str(manifest.config), platform, layers_bytes, None, carrier
    )


def _about(name: str, reference: Reference, repository: Repository, manifest: Manifest) -> tuple[str, int]:
    """An image's platform, and the size of its layers. Raises StageError if it is none."""
    wrong = f"{name}: what its registry has as {reference.text} is no image"
    try:
        document = json.loads(manifest.content)
        size_bytes = int(document["config"]["size"])
        if manifest.type in registry.MANIFEST_TYPES and size_bytes <= CONFIG_BYTES:
            config = json.loads(b"".join(registry.blob(repository, str(manifest.config), size_bytes)))
            platform = f"{config['os']}/{config['architecture']}"
            return platform, sum(int(layer["size"]) for layer in document["layers"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StageError(f"{wrong}: {error!r}") from error
    raise StageError(f"{wrong}: it is of the type {manifest.type or 'that nobody says'}")


def _pin(
    packaged: Packaged, images: list[Image], uris: dict[str, str], request: Request, registries: Registries
) -> dict[str, release.Packaged]:
    """The templates with every image pinned by digest. One that had all of them pinned stays as it is, and where it is."""
    application = packaged.application
    values: dict[Slot, templates.Value] = {each.slot: uris[each.function] for each in images}
    places = {slot: resource for resource, slot in _places(application).values()}
    made: dict[str, release.Packaged] = {}
    for path in templates.innermost_first(application):
        stack = application.stacks[path]
        other = {
            slot: value for slot, value in values.items() if slot not in places or _says_other(places[slot], value)
        }
        data = templates.packaged(application, path, other)
        url = packaged.urls.get(path)
        if stack.slot is not None and data != stack.template.data:
            url = _bucket(path, request, registries).put_template(data)
            values[stack.slot] = url
        made[path] = release.Packaged(data, url)
    return made


def _says_other(resource: Resource, value: templates.Value) -> bool:
    """Whether a function's ImageUri is not the value already."""
    node = find(resource.node, SLOTS[resource.type])
    try:
        return node is None or resolve(node, resource.scope) != value
    except Unresolvable:
        return True


def _bucket(path: str, request: Request, registries: Registries) -> artifacts.Bucket:
    name = request.options.get("bucket") or (request.target.bucket if request.target else None)
    if not name:
        raise StageError(
            f"the nested template {path} names images by tags; with digests it has to be uploaded anew, and there is no bucket",
            hint="Name one (--s3-bucket, or `bucket` of the environment), or have images named by digest: towpath package",
        )
    return artifacts.open_bucket(str(name), request, registries)
