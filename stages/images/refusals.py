"""What engines and registries say when they refuse, and what it means: whether to try again, and what to do about it.

Engines hand a registry's words on as text, so text is what is looked at. The phrases are those of Docker Engine, of the
distribution specification's error codes, and of Amazon ECR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Callable

    import tenacity

    from stages.contract import ErrorClass

ATTEMPTS = 5
THROTTLED_ATTEMPTS = 10
"""A registry that limits how often it may be asked is given about half a minute; one that is broken, some seconds."""
FIRST_DELAY_S, MAX_DELAY_S = 0.2, 5.0
LONGEST_WAIT_S = 60.0
"""A registry that says to come back later than this (`Retry-After`) is not waited for, but told about."""

T = TypeVar("T")


@dataclass(frozen=True)
class Refusal:
    """`attempts`: how often the same is tried before it is told. `cls`: what the failure is then. `login`: that a login
    which may be renewed is no longer good."""

    phrases: tuple[str, ...]
    hint: str
    attempts: int = 1
    cls: ErrorClass = "terminal"
    login: bool = False


REFUSALS = (
    Refusal(
        ("no space left", "disk quota exceeded", "insufficient storage"),
        "A disk is full: the engine's or the registry's, whichever spoke. Free space there (`docker system df` shows the "
        "engine's) and run this again.",
    ),
    Refusal(
        ("toomanyrequests", "too many requests", "rate exceeded", "rate limit"),
        "The registry limits how often it may be asked. Wait some minutes and run this again.",
        attempts=THROTTLED_ATTEMPTS,
        cls="retryable",
    ),
    Refusal(
        ("tag is immutable", "immutable", "image tag already exists"),
        "The repository keeps its tags for ever, and this tag names another image. Nothing was overwritten.",
        cls="mismatch",
    ),
    Refusal(
        ("token has expired", "authorization token has expired", "expiredtoken"),
        "The login of the registry has expired. Run this again.",
        cls="retryable",
        login=True,
    ),
    Refusal(
        ("unauthorized", "no basic auth credentials", "authentication required"),
        "The registry does not know who we are: log in to it, or check the credentials of the environment.",
        login=True,
    ),
    Refusal(
        ("pull access denied", "requested access to the resource is denied", "denied", "forbidden"),
        "The registry knows us but does not allow this: check the permissions on the repository, and its name.",
    ),
    Refusal(
        ("name unknown", "name_unknown", "repository does not exist", "does not exist in the registry"),
        "There is no such repository in the registry: check its name, account and region.",
    ),
    Refusal(
        ("manifest unknown", "manifest_unknown", "not found: manifest"),
        "The registry has no such image: check its name and tag.",
    ),
    Refusal(
        ("no such host", "name or service not known", "name resolution", "server misbehaving"),
        "The registry's name does not resolve: check its spelling, the network and the proxy settings.",
        attempts=ATTEMPTS,
        cls="retryable",
    ),
    Refusal(
        ("connection refused", "network is unreachable", "no route to host"),
        "Nothing answers at the registry's address: is it running, and does a proxy or firewall let us through?",
        attempts=ATTEMPTS,
        cls="retryable",
    ),
    Refusal(
        ("server gave http response to https client", "wrong version number", "record layer failure"),
        "The registry speaks plain HTTP at this address. That is used with loopback addresses only; give it a certificate.",
    ),
    Refusal(
        ("x509", "certificate verify failed", "certificate_verify_failed", "tls: "),
        "The registry's certificate is not trusted here: install the authority that signed it.",
    ),
    Refusal(
        (
            "timeout",
            "timed out",
            "connection reset",
            "connection broken",
            "connection aborted",
            "broken pipe",
            "unexpected eof",
            "eof occurred",
            "incompleteread",
            "bad gateway",
            "service unavailable",
            "internal server error",
            "gateway time",
            "received unexpected http status: 5",
        ),
        "The connection or the registry failed in the middle. What was sent is kept; run this again.",
        attempts=ATTEMPTS,
        cls="retryable",
    ),
)
"""In order: the first that has a phrase of the text decides."""


def refusal(text: str) -> Refusal | None:
    """What a text says, or None if it is none of the known refusals."""
    lower = text.lower()
    return next((each for each in REFUSALS if any(phrase in lower for phrase in each.phrases)), None)


class RegistryError(StageError):
    """A registry refused or did not answer. `attempts`: how often the same request is made before this is told.

    `status` is that of the HTTP answer, 0 if there was none. `login`: a fresh login may help. `after_s`: how long the
    registry asks to wait.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        cls: ErrorClass = "terminal",
        attempts: int = 1,
        status: int = 0,
        login: bool = False,
        after_s: float = 0.0,
    ) -> None:
        super().__init__(message, hint=hint, cls=cls)
        self.attempts = attempts
        self.status = status
        self.login = login
        self.after_s = after_s

    @property
    def again(self) -> bool:
        """Whether the same request may succeed at once."""
        return self.attempts > 1


_STATUS = {401: "unauthorized", 403: "forbidden", 408: "timed out", 429: "too many requests", 507: "no space left"}
"""What a status says where the text says nothing that is known."""


def refused(text: str, doing: str, status: int = 0, after_s: float = 0.0) -> RegistryError:
    """The error for what an engine or registry said while `doing` something; `status` is 0 if it did not even answer.

    `after_s` is how long it asked to be left alone.
    """
    known = refusal(text) or refusal(_STATUS.get(status, ""))
    attempts = known.attempts if known else 1
    if attempts == 1 and status >= 500 and (known is None or known.cls == "retryable"):
        attempts = ATTEMPTS
    cls: ErrorClass = known.cls if known else "retryable" if attempts > 1 else "terminal"
    hint = known.hint if known else None
    if after_s > LONGEST_WAIT_S:
        attempts, hint = 1, f"The registry asks to come back in {after_s:.0f} s. Run this again then."
    return RegistryError(
        f"{text} ({doing})",
        hint=hint,
        cls=cls,
        attempts=attempts,
        status=status,
        login=bool(known and known.login),
        after_s=after_s,
    )


def retried(call: Callable[[], T]) -> T:
    """Call, and call again while the registry's words or silence make that worth it. Raises what the last call raised."""
    import tenacity  # late, as it is only needed once something is sent

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(RegistryError),
        stop=_enough,
        wait=_delay_s,
        reraise=True,
    )
    return retrying(call)


def _enough(state: tenacity.RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    return not isinstance(error, RegistryError) or state.attempt_number >= error.attempts


def _delay_s(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.after_s if isinstance(error, RegistryError) else 0.0
    import tenacity

    grown = tenacity.wait_random_exponential(multiplier=FIRST_DELAY_S, max=MAX_DELAY_S)
    return max(asked, grown(state))
