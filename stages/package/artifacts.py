"""Everything that goes to S3: the artifacts that `build` gathered, and nested templates. By content, so nothing is written twice."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

from stages import template as templates
from stages.aws import s3
from stages.contract import StageError
from stages.images import parallel
from stages.package import release

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from stages.aws.s3 import Object
    from stages.aws.session import Session
    from stages.contract import Request
    from stages.package.handed import Images, Local
    from stages.package.registries import Registries
    from stages.template import Slot, Value
    from stages.template.artifacts import Form

_NOWHERE = s3.Object("tried-before-anything", "is-uploaded", "eu-west-1", "aws")


class Bucket:
    """Where artifacts and nested templates of one run go; made if missing, when the first one is about to go there."""

    def __init__(self, session: Session, name: str, prefix: str, kms_key: str | None) -> None:
        self._session, self._name, self._prefix, self._kms_key = session, name, prefix.strip("/"), kms_key
        s3.ensure_bucket(session, name, session.target.tags)

    def put_local(self, local: Local, stop: threading.Event) -> Object:
        if stop.is_set():
            raise parallel.Stopped
        return self._put(local.path.name, local.path)

    def put_template(self, data: bytes) -> str:
        """Upload a nested template, and give its address."""
        return self._put(f"{hashlib.sha256(data).hexdigest()}.template", data).url

    def _put(self, name: str, content: bytes | Path) -> Object:
        key = f"{self._prefix}/{name}" if self._prefix else name
        return s3.put(self._session, self._name, key, content, self._kms_key)


def bucket_name(images: Images, request: Request) -> str | None:
    """The bucket to use, None if none is needed. Raises StageError if there is none where one is."""
    what = [f"{each.artifact.id} names {each.artifact.file}" for each in images.artifacts]
    what += [f"{path} is a nested template" for path in images.application.stacks if path]
    return bucket_for(what, request)


def bucket_for(what: list[str], request: Request) -> str | None:
    """The bucket to use for what goes to S3, None if nothing does. Raises StageError if there is none where one is needed."""
    if not what:
        return None
    name = request.options.get("bucket") or (request.target.bucket if request.target else None)
    if name and request.target:
        return str(name)
    where = f"the environment {request.target.environment}" if request.target else "the stage an environment with"
    raise StageError(
        f"some of the application goes to S3, and there is no bucket: {'; '.join(what)}",
        hint=f"Give {where} `bucket: NAME`. It is made if there is none.",
    )


def open_bucket(name: str, request: Request, registries: Registries) -> Bucket:
    """The bucket, which is made if it is missing. Raises StageError."""
    target = registries.target
    if target is None:
        raise StageError("a bucket needs an environment", cls="fault")
    session = registries.session(target.account, target.region)
    prefix = request.options.get("prefix")
    return Bucket(session, name, s3.PREFIX if prefix is None else str(prefix), request.options.get("kms-key"))


def upload(images: Images, bucket: Bucket | None, jobs: int) -> dict[Slot, Object]:
    """Upload what is not there yet, `jobs` at a time, equal things once; gives the object for each slot."""
    if bucket is None:
        return {}
    once = {local.path: partial(bucket.put_local, local) for local in images.artifacts}
    objects = parallel.run(once, jobs)
    return {local.artifact.slot: objects[local.path] for local in images.artifacts}


def pack(
    images: Images, uris: dict[str, str], objects: dict[Slot, Object] | None, bucket: Bucket | None
) -> dict[str, release.Packaged]:
    """The packaged templates by the path of their stack, nested ones uploaded. Raises InvalidInput.

    Without `objects` it is a trial: nothing is uploaded, and the values are made up.
    """
    application = images.application
    values: dict[Slot, Value] = {image.slot: uris[image.function] for image in images.images}
    for local in images.artifacts:
        at = _NOWHERE if objects is None else objects[local.artifact.slot]
        values[local.artifact.slot] = value(local.artifact.form, at)
    packaged: dict[str, release.Packaged] = {}
    for path in templates.innermost_first(application):
        data = templates.packaged(application, path, values)
        slot = application.stacks[path].slot
        url = None
        if slot is not None:
            url = bucket.put_template(data) if bucket and objects is not None else _NOWHERE.url
            values[slot] = url
        packaged[path] = release.Packaged(data, url)
    return packaged


def value(form: Form, at: Object) -> Value:
    """An object as a template wants it named. Keys are of the content's digest, so no version is needed to pin it."""
    if form == "s3-uri":
        return at.uri
    if form == "https-url":
        return at.url
    if form == "bucket-key":
        return {"Bucket": at.bucket, "Key": at.key}
    return {"S3Bucket": at.bucket, "S3Key": at.key}
