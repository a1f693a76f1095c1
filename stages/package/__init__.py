"""Push the images and write the packaged template, its ImageUri values pinned by digest; or copy what was packaged elsewhere."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from stages.aws.ecr import Making
from stages.contract import Result
from stages.images import engine
from stages.log import log
from stages.package import artifacts, carriers, handed, publish, release, relocate, repositories
from stages.package.progress import Progress
from stages.package.registries import READERS, Registries

if TYPE_CHECKING:
    from pathlib import Path

    from stages.contract import Request
    from stages.images.registry import Manifest
    from stages.package.handed import Image, Images
    from stages.package.publish import Push
    from stages.package.repositories import Place

JOBS = 8


def apply(request: Request, work: Path) -> Result:
    """Push what the registry lacks, prove what it serves, and write the release.

    Raises InvalidInput for options that do not fit, StageError if an image is not what was built or cannot be pushed.
    """
    if request.options.get("packaged"):
        return _adopt(request, work)
    if "release" in request.inputs:
        return relocate.apply(request, work)
    images = handed.read(work / request.inputs["images"])
    pinned = {image.function: image for image in images.images if carriers.is_pinned(image)}
    ours = [image for image in images.images if image.function not in pinned]
    places = repositories.choose([image.function for image in ours], request.options, request.target, pinned)
    bucket_name = artifacts.bucket_name(images, request)
    tried = {image.function: "tried.before.anything.is.pushed" for image in images.images}
    artifacts.pack(images, tried, None, None)
    jobs = max(1, int(request.options.get("jobs") or JOBS))
    with Registries(request.target, request.access, jobs) as registries:
        manifests = _publish(images, ours, places, registries, request)
        bucket = artifacts.open_bucket(bucket_name, request, registries) if bucket_name else None
        objects = artifacts.upload(images, bucket, jobs)
    digests = {name: manifest.digest for name, manifest in manifests.items()}
    digests |= {name: str(image.carrier["manifest"]) for name, image in pinned.items()}
    names = {name: place.uri for name, place in places.items()}
    names |= {name: str(image.carrier["name"]) for name, image in pinned.items()}
    uris = {name: f"{names[name]}@{digest}" for name, digest in digests.items()}
    packaged = artifacts.pack(images, uris, objects, bucket)
    digest = release.write(work / "outputs" / "release", images, uris, packaged, objects, commit=request.commit)
    return _result(digest, images.images, uris)


def _adopt(request: Request, work: Path) -> Result:
    """Take a template that is packaged already as the release."""
    from stages.package import adopted  # late, as few runs do

    output = work / "outputs" / "release"
    output.mkdir(parents=True)
    with Registries(request.target, request.access, JOBS) as registries:
        return _result(*adopted.adopt(request, work / str(request.source), registries, output))


def _result(digest: str, images: list[Image], uris: dict[str, str]) -> Result:
    log(f"release {digest}")
    facts = {image.function: {"image": uris[image.function], "config": image.config} for image in images}
    return Result("succeeded", outputs=["release"], facts={"release": digest, "functions": facts})


def _publish(
    images: Images, ours: list[Image], places: dict[str, Place], registries: Registries, request: Request
) -> dict[str, Manifest]:
    """The manifest of each function's image, which its registry serves. Neither an engine nor a login is needed for what is
    there already."""
    wanted = publish.pushes({image.function: image.config for image in ours}, places)
    there = publish.look(wanted, registries)
    if missing := [push for push in wanted if push not in there]:
        there |= _send(missing, images, registries, request)
    return {function: there[push] for push in wanted for function in push.functions}


def _send(missing: list[Push], images: Images, registries: Registries, request: Request) -> dict[Push, Manifest]:
    """Push what is missing, once all of it is found and proven."""
    functions = {function for push in missing for function in push.functions}
    some = [image for image in images.images if image.function in functions]
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(engine.connect(registries.jobs + READERS)) if carriers.needs_engine(some) else None
        found = carriers.find(images, some, client, registries)
        for place in dict.fromkeys(push.place for push in missing):
            registries.make_missing(place, _making(place, request))
        return publish.send({push: found[push.config] for push in missing}, registries, client, Progress())


def _making(place: Place, request: Request) -> Making:
    """How the repository is made if it is missing."""
    return Making(
        owner=request.options["application"] if place.ours else None,
        tags=request.target.tags if request.target else {},
        kms_key=request.options.get("kms-key"),
    )
