"""Which errors of AWS are tried again, which are explained, and how long that may take.

One table, `CODES`, says what an error code means. Botocore's own retries are switched off for CloudFormation and Lambda
(see `stages.aws.session`): they cannot know that a lost answer of `Invoke` must not be asked for twice.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal, TypeVar

import tenacity

from stages.contract import StageError
from stages.log import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stages.contract import ErrorClass

Meaning = Literal["throttled", "unavailable", "expired", "credentials", "denied", "other"]
"""`throttled`: refused before anything was done. `unavailable`: no answer, or the service's own fault; it may have been
done. `expired`, `credentials`: who we are is not, or no longer, known. `denied`: known, but not allowed."""

CODES: dict[str, Meaning] = {
    "Throttling": "throttled",
    "ThrottlingException": "throttled",
    "ThrottledException": "throttled",
    "TooManyRequestsException": "throttled",
    "RequestLimitExceeded": "throttled",
    "RequestThrottled": "throttled",
    "BandwidthLimitExceeded": "throttled",
    "SlowDown": "throttled",
    "PriorRequestNotComplete": "throttled",
    "ConditionalRequestConflict": "throttled",  # S3: another write of this key was under way
    "OperationAborted": "throttled",
    "NotImplemented": "other",  # for ever, though its status is 501
    "InternalError": "unavailable",
    "InternalFailure": "unavailable",
    "InternalServerError": "unavailable",
    "ServiceException": "unavailable",
    "ServerException": "unavailable",
    "ServiceUnavailable": "unavailable",
    "ServiceUnavailableException": "unavailable",
    "RequestTimeout": "unavailable",
    "RequestTimeoutException": "unavailable",
    "ExpiredToken": "expired",
    "ExpiredTokenException": "expired",
    "RequestExpired": "expired",
    "TokenRefreshRequired": "expired",
    "InvalidClientTokenId": "credentials",
    "UnrecognizedClientException": "credentials",
    "SignatureDoesNotMatch": "credentials",
    "InvalidSignatureException": "credentials",
    "InvalidAccessKeyId": "credentials",
    "AuthFailure": "credentials",
    "MissingAuthenticationToken": "credentials",
    "AccessDenied": "denied",
    "AccessDeniedException": "denied",
    "UnauthorizedOperation": "denied",
}

EXCEPTIONS: dict[str, Meaning] = {
    "HTTPClientError": "unavailable",  # nearly all of botocore's network errors, time-outs among them, are one of these
    "ConnectionError": "unavailable",  # EndpointConnectionError is not
    "IncompleteReadError": "unavailable",
    "FlexibleChecksumError": "unavailable",  # what came is not what its checksum says
    "ResponseParserError": "unavailable",  # an answer that is not AWS's: a proxy's page
    "NoCredentialsError": "credentials",
    "PartialCredentialsError": "credentials",
    "CredentialRetrievalError": "credentials",
    "ProfileNotFound": "credentials",
    "ConfigNotFound": "credentials",
    "ConfigParseError": "credentials",
    "MetadataRetrievalError": "credentials",
    "TokenRetrievalError": "expired",
    "SSOError": "expired",
    "LoginError": "expired",
}
"""Botocore's own exceptions, by class name (a subclass means what its base means)."""

WINDOW_S = 30.0
"""How long an error is tried again before it is told: CloudFormation's throttling passes within some seconds."""
FIRST_DELAY_S = 0.25
MAX_DELAY_S = 5.0

T = TypeVar("T")


class CallFailed(StageError):
    """A call of AWS that failed for good. `meaning` is what the tables say of the error, `name` what it is called."""

    def __init__(self, message: str, *, hint: str | None, cls: ErrorClass, meaning: Meaning, name: str = "") -> None:
        super().__init__(message, hint=hint, cls=cls)
        self.meaning, self.name = meaning, name


def code(error: BaseException) -> str:
    """The error code AWS gave, or the empty string."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def text(error: BaseException) -> str:
    """What AWS said, without botocore's words around it."""
    response = getattr(error, "response", None)
    said = response.get("Error", {}).get("Message", "") if isinstance(response, dict) else ""
    return str(said or error).strip()


def meaning(error: BaseException) -> Meaning:
    """What an error means, by the tables above; a status of 500 or more that is in no table is `unavailable`."""
    known = CODES.get(code(error))
    if known:
        return known
    for base in type(error).__mro__:
        if base.__name__ in EXCEPTIONS:
            return EXCEPTIONS[base.__name__]
    response = getattr(error, "response", None)
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) if isinstance(response, dict) else 0
    return "unavailable" if status >= 500 else "other"


def again(error: BaseException, *, repeatable: bool) -> bool:
    """Whether a call may be made again. A call that is not repeatable is, if it was refused before anything was done."""
    what = meaning(error)
    return what == "throttled" or (what == "unavailable" and repeatable)


def _warn(text: str) -> None:
    log(text, level="warning")


def call(
    function: Callable[[], T],
    *,
    doing: str,
    repeatable: bool = True,
    window_s: float | None = None,
    tell: Callable[[str], None] = _warn,
) -> T:
    """Call, and call again for `window_s` seconds (`WINDOW_S` unless given) while the error says that helps.

    `doing` completes "while ...". A call is `repeatable` if doing it twice is doing it once: it reads, or it carries a
    token. `tell` hears of what is tried again; a stage's log, unless given. Raises what the last call raised; callers that do
    not look at it use it within `explained`.
    """
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: again(error, repeatable=repeatable)),
        stop=tenacity.stop_after_delay(WINDOW_S if window_s is None else window_s),
        wait=tenacity.wait_random_exponential(multiplier=FIRST_DELAY_S, max=MAX_DELAY_S),
        before_sleep=lambda state: _say(state, doing, tell),
        reraise=True,
    )
    return retrying(function)


def _say(state: tenacity.RetryCallState, doing: str, tell: Callable[[str], None]) -> None:
    error = state.outcome.exception() if state.outcome else None
    if error is not None and state.attempt_number > 2:  # the first ones pass unnoticed nearly always
        tell(f"AWS: {code(error) or type(error).__name__} while {doing}; trying again")


@contextlib.contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn botocore's errors into StageErrors that say what was being done and what to do about it."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        raise as_stage_error(error, doing) from error


def as_stage_error(error: BaseException, doing: str) -> CallFailed:
    """Put an error into words for people."""
    name = code(error) or type(error).__name__
    said = text(error).rstrip(".")
    means = meaning(error)
    message, hint, cls = _WORDS[means]
    return CallFailed(message.format(doing=doing, name=name, said=said), hint=hint, cls=cls, meaning=means, name=name)


_RENEW = "Sign in again (`aws sso login`, or a new job), then go on with `towpath resume`."
_WORDS: dict[Meaning, tuple[str, str | None, ErrorClass]] = {
    "throttled": (
        "AWS kept refusing calls as too many ({name}) while {doing}",
        "Try again in a minute; other tools may be using up the account's rate of calls.",
        "retryable",
    ),
    "unavailable": (
        "AWS gave no usable answer while {doing}: {said}",
        "Check the network, the proxy variables and the region, then go on with `towpath resume`.",
        "retryable",
    ),
    "expired": ("the AWS credentials have expired (seen while {doing}): {said}", _RENEW, "retryable"),
    "credentials": (
        "there are no usable AWS credentials (seen while {doing}): {said}",
        "Set the environment's `auth`, or provide credentials in the usual variables (AWS_ACCESS_KEY_ID, ...).",
        "terminal",
    ),
    "denied": (
        "AWS does not allow us to do this (seen while {doing}): {said}",
        "Give the role named there this permission, or use one that has it.",
        "terminal",
    ),
    "other": ("AWS refused ({name}) while {doing}: {said}", None, "terminal"),
}


def growing(first_s: float, max_s: float, factor: float = 1.6) -> Iterator[float]:
    """Delays between looks at something that changes by itself: short at first, for ever at most `max_s`."""
    delay_s = first_s
    while True:
        yield delay_s
        delay_s = min(delay_s * factor, max_s)
