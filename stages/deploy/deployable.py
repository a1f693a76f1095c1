"""Whether a release could be deployed now: what the release says, and what AWS has of it. Nothing is changed."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from stages.aws import retry
from stages.contract import InvalidInput, Problem, StageError
from stages.deploy import live, precheck
from stages.deploy import release as releases
from stages.log import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stages.aws.session import Session
    from stages.deploy.release import Release

_URI = re.compile(r"s3://(?P<bucket>[^/]+)/(?P<key>.+)")


def look(session: Session, folder: Path) -> list[Problem]:
    """All that keeps the release in a folder from being deployed to the session's target. What may not be looked at is told in the log."""
    target, problems = session.target, []

    def gather(check: Callable[[], object]) -> None:
        try:
            check()
        except InvalidInput as error:
            problems.extend(error.problems)
        except StageError as error:
            if error.cls not in ("mismatch", "terminal"):
                raise
            problems.append(Problem(error.message, hint=error.hint))

    try:
        release = releases.for_target(releases.load(folder), target)
    except InvalidInput as error:
        return list(error.problems)
    except StageError as error:
        return [Problem(error.message, hint=error.hint)]
    problems += precheck.check(release.stacks, target.environment, target.parameters, target.capabilities)
    problems += releases.not_lambdas(release, target)
    gather(lambda: live.check_images(session, release))
    gather(lambda: live.check_templates(session, release))
    return [*problems, *_uploads(session, folder, release)]


def _uploads(session: Session, folder: Path, release: Release) -> Iterator[Problem]:
    """Files in S3 that the templates name, and that are there no more."""
    document = json.loads((folder / "release.json").read_text())
    for each in document.get("uploads", []):
        match = _URI.fullmatch(str(each["uri"]))
        if match and each["stack"] in release.stacks and not _is_there(session, match["bucket"], match["key"]):
            yield Problem(f"{each['id']}: its {each['name']} is not in its bucket: {each['uri']}")


def _is_there(session: Session, bucket: str, key: str) -> bool:
    doing = f"looking for {key} in the bucket {bucket}"
    with retry.explained(doing):
        try:
            retry.call(lambda: session.s3.head_object(Bucket=bucket, Key=key), doing=doing)
        except ClientError as error:
            if retry.code(error) in ("404", "NoSuchKey", "NoSuchBucket"):
                return False
            if retry.meaning(error) != "denied" and retry.code(error) != "403":
                raise
            log(f"not allowed while {doing}; going on without", level="warning", skipped=True)
    return True
