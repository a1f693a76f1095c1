"""Copy a release to where it is deployed from: its images by digest, from registry to registry, and its templates with them.

No bytes pass through an engine, and none are made: what is written has the digests that the release names. In the templates nothing
but the addresses of images and nested templates differs, so the release keeps its digest.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from stages.aws.ecr import Making
from stages.contract import InvalidInput, Problem, Result, StageError
from stages.images import parallel, registry, uploads
from stages.images.uploads import Copy, FromRegistry
from stages.limits import LIMITS
from stages.log import log
from stages.package import artifacts, publish, release, repositories
from stages.package.progress import Progress
from stages.package.registries import Registries
from stages.package.repositories import Place
from stages.relocation import innermost_first, names, relocated

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from pathlib import Path

    from stages.contract import Json, Request
    from stages.images.registry import Manifest
    from stages.package.artifacts import Bucket

JOBS = 8
_START_ANEW = "Start a new run (`towpath run`): in this one `package` is done, and is not done again."


@dataclass(frozen=True)
class Given:
    """A release as it was handed over, every digest in it verified: release.json, and the packaged templates by stack."""

    document: Json
    templates: dict[str, bytes]


@dataclass(frozen=True)
class _Image:
    """One image, for one or more functions: where it is, where it goes, and the two digests that it has."""

    functions: tuple[str, ...]
    source: Place
    place: Place
    manifest: str
    config: str

    @property
    def tag(self) -> str:
        """A tag for people, so that no lifecycle policy takes it for left over. It holds the digest, so it need not move."""
        return publish.tag(self.functions[0], self.manifest)

    @property
    def shown(self) -> str:
        return ", ".join(self.functions)


def apply(request: Request, work: Path) -> Result:
    """Copy what the registry of this environment lacks, and write the release that names the copies.

    Raises InvalidInput for options that do not fit, StageError if the release or an image is not what it says it is.
    """
    given = read(work / request.inputs["release"])
    _refuse_uploads(given)
    functions = given.document["functions"]
    places = repositories.choose(sorted(functions), request.options, request.target)
    nested = [path for path in given.templates if path]
    bucket_name = artifacts.bucket_for([f"{path} is a nested template" for path in nested], request)
    jobs = max(1, int(request.options.get("jobs") or JOBS))
    images = list(_images(functions, places))
    with Registries(request.target, request.access, jobs) as registries:
        _copy(images, registries, request)
        bucket = artifacts.open_bucket(bucket_name, request, registries) if bucket_name else None
        uris = {name: f"{places[name].uri}@{each['manifest']}" for name, each in functions.items()}
        document, templates = relocate(given, uris, bucket)
    folder = work / "outputs" / "release"
    for path, data in templates.items():
        file = folder / release.file_name(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (folder / "release.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    log(f"release {document['digest']}, in {', '.join(sorted({place.host for place in places.values()}))}")
    facts = {name: {"image": uris[name], "config": each["config"]} for name, each in functions.items()}
    return Result("succeeded", outputs=["release"], facts={"release": document["digest"], "functions": facts})


def read(folder: Path) -> Given:
    """Read the release and hold it to its digests. Raises StageError of class `mismatch`."""
    try:
        document = json.loads(_bytes(folder / "release.json"))
        if document["v"] != release.VERSION:
            raise StageError(
                f"release.json has format version {document['v']}, and this Towpath reads {release.VERSION}"
            )
        templates = {str(path): _bytes(folder / release.file_name(path)) for path in document["templates"]}
        wrong = [
            path for path, data in templates.items() if release.sha256(data) != document["templates"][path]["packaged"]
        ]
        for name, each in document["functions"].items():
            if not str(each["image"]).endswith(f"@{each['manifest']}") or not names(
                templates[each["stack"]], each["image"]
            ):
                wrong.append(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StageError(f"the artifact `release` is not what package writes: {error!r}", cls="mismatch") from error
    if wrong or release.digest(document) != document["digest"]:
        text = f"the release is not what it says it is: {', '.join(wrong) or 'its digest is another'}"
        raise StageError(text, hint=_START_ANEW, cls="mismatch")
    return Given(document, templates)


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(LIMITS.yaml_bytes + 1)
    if len(data) > LIMITS.yaml_bytes:
        raise ValueError(f"{path.name} is larger than {LIMITS.yaml_bytes:,} bytes")
    return data


def _refuse_uploads(given: Given) -> None:
    """Raise InvalidInput for files in S3 that templates name besides images: they are not copied, and Lambda takes code of its own region."""
    hint = "Package it there anew, from `images`: a stage that uses package with an environment of that region."
    problems = [
        Problem(
            f"{each['id']}: {each['name']} is a file in S3, and only images and nested templates are copied", hint=hint
        )
        for each in given.document.get("uploads", [])
    ]
    if problems:
        raise InvalidInput(problems)


def _images(functions: Json, places: dict[str, Place]) -> Iterator[_Image]:
    shared: dict[tuple[str, Place, str, str], list[str]] = {}
    for name, each in sorted(functions.items()):
        source = str(each["image"]).rpartition("@")[0]
        shared.setdefault((source, places[name], each["manifest"], each["config"]), []).append(name)
    for (source, place, manifest, config), shared_by in shared.items():
        host, _, path = source.partition("/")
        yield _Image(tuple(shared_by), Place(host, path), place, manifest, config)


def _copy(images: list[_Image], registries: Registries, request: Request) -> None:
    """Copy the images that are not where they belong; each is read back by its digest."""
    for place in dict.fromkeys(each for image in images for each in (image.source, image.place)):
        if place.ecr:
            registries.prepare(*place.ecr)
        registries.open(place)
    there = parallel.run({image: partial(_look, image, image.place, registries) for image in images}, registries.jobs)
    missing = [image for image in images if there[image] is None]
    for image in images:
        if there[image]:
            log(f"{image.place.uri}@{image.manifest} is there already", function=image.shown)
    found = parallel.run({image: partial(_look, image, image.source, registries) for image in missing}, registries.jobs)
    copies: dict[_Image, Copy] = {}
    for image, manifest in found.items():
        if manifest is None:
            raise StageError(
                f"{image.shown}: its image {image.source.uri}@{image.manifest} is no longer in its registry",
                hint=f"Somebody removed it (a lifecycle policy?). {_START_ANEW}",
            )
        source, to = (registries.open(place).repository for place in (image.source, image.place))
        copies[image] = Copy(FromRegistry(source, manifest), to, image.shown)
    options, target = request.options, request.target
    for place in dict.fromkeys(image.place for image in copies):
        owner = options["application"] if place.ours else None
        registries.make_missing(place, Making(owner, target.tags if target else {}, options.get("kms-key")))
    uploads.send_blobs(list(copies.values()), registries.jobs, Progress().add)
    for image, each in copies.items():
        uploads.put_image(each, image.tag)
        if _look(image, image.place, registries) is None:
            raise StageError(f"the registry does not serve {image.place.uri}@{image.manifest}", cls="retryable")
        log(f"copied {image.source.uri} to {image.place.uri}, {image.manifest}", function=image.shown)


def _look(image: _Image, place: Place, registries: Registries, stop: threading.Event | None = None) -> Manifest | None:
    """The image's manifest in a repository, None if it is not there. Raises StageError if it is another image's."""
    if stop and stop.is_set():
        raise parallel.Stopped
    found = registry.manifest(registries.open(place).repository, image.manifest)
    if found and (found.type not in registry.MANIFEST_TYPES or found.config != image.config):
        text = f"{image.shown}: {place.uri}@{image.manifest} is a {found.type} of {found.config}, not of {image.config}"
        raise StageError(text, cls="mismatch")
    return found


def relocate(given: Given, uris: dict[str, str], bucket: Bucket | None) -> tuple[Json, dict[str, bytes]]:
    """Give release.json and the templates with the copies' addresses; nested templates are uploaded, innermost first."""
    document = copy.deepcopy(given.document)
    moved = {str(each["image"]): uris[name] for name, each in given.document["functions"].items()}
    for name, each in document["functions"].items():
        each["image"] = uris[name]
    templates: dict[str, bytes] = {}
    for path in innermost_first(given.templates):
        templates[path] = relocated(given.templates[path], moved)
        about = document["templates"][path]
        about["packaged"] = release.sha256(templates[path])
        if path and bucket:
            about["url"] = bucket.put_template(templates[path])
            moved[str(given.document["templates"][path]["url"])] = about["url"]
    if release.digest(document) != given.document["digest"]:
        raise StageError("the copy of the release would have another digest", cls="fault")
    return document, templates
