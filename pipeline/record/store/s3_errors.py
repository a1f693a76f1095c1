"""What S3 says when it does not do as asked, in words for people: what, where, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import TowpathError, UsageError
from pipeline.record.store import StoreError
from stages.aws import retry

if TYPE_CHECKING:
    from pipeline.record.store.s3_place import Place
    from stages.aws.retry import Meaning

ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
TAKEN = frozenset({"412", "PreconditionFailed"})
_ELSEWHERE = frozenset(
    {"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_RESUME = "Nothing that was recorded is lost; then go on with: towpath resume"
_WORDS: dict[Meaning, tuple[str, str | None]] = {
    "throttled": ("S3 kept refusing calls as too many ({name}) while {doing}", f"Wait a minute. {_RESUME}"),
    "unavailable": (
        "the store does not answer (while {doing}): {said}",
        f"Check the network, the proxy variables, AWS_REGION and AWS_ENDPOINT_URL_S3. {_RESUME}",
    ),
    "expired": (
        "the AWS credentials for the store have expired (seen while {doing}): {said}",
        f"Renew them (`aws sso login`, or a new job's token). {_RESUME}",
    ),
    "credentials": (
        "there are no usable AWS credentials for the store (seen while {doing}): {said}",
        "Provide them as for any AWS tool: AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role.",
    ),
    "denied": (
        "the store does not let us do this (seen while {doing}): {said}",
        "Who may do what: docs/how-to/shared-store.md. All need s3:GetObject and s3:ListBucket, and the KMS key if there is one.",
    ),
    "other": ("S3 refused ({name}) while {doing}: {said}", None),
}


def explained(error: BaseException, doing: str, place: Place) -> TowpathError:
    """Put an error of botocore into words. UsageError for a bucket that is not there, else StoreError."""
    name, said = retry.code(error) or type(error).__name__, retry.text(error).rstrip(".")
    if name == "NoSuchBucket":
        hint = "Correct --store or TOWPATH_STORE, or make the bucket: docs/how-to/shared-store.md"
        return UsageError(f"there is no bucket {place.bucket} (seen while {doing})", hint=hint)
    if name in _ELSEWHERE:
        region = _region(error)
        hint = f"Say which: AWS_REGION={region or 'REGION'}"
        return StoreError(f"the bucket {place.bucket} is in another region{f', {region}' if region else ''}", hint=hint)
    meaning: Meaning = "denied" if name == "403" else retry.meaning(error)
    text, hint_ = _WORDS[meaning]
    return StoreError(text.format(name=name, doing=doing, said=said), hint=hint_)


def without_versions(error: BaseException | None) -> bool:
    """Whether it says that we may not list an object's versions, or that there are none in this service."""
    if error is None:
        return False
    refused = retry.code(error) in ("403", "NotImplemented", "MethodNotAllowed")
    return refused or retry.meaning(error) == "denied"


def _region(error: BaseException) -> str | None:
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return None
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    found = response.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region")
    return str(found) if found else None
