"""What engines and registries say when they refuse, and what it means: whether to try again, and what to do about it.

Engines hand a registry's words on as text, so text is what is looked at. The phrases are those of Docker Engine, of the
distribution specification's error codes, and of Amazon ECR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import tenacity

from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.contract import ErrorClass

ATTEMPTS = 5
FIRST_DELAY_S, MAX_DELAY_S = 0.2, 5.0

T = TypeVar("T")


@dataclass(frozen=True)
class Refusal:
    """`now`: worth another try at once. `cls`: what the failure is once tries are used up."""

    phrases: tuple[str, ...]
    hint: str
    now: bool = False
    cls: ErrorClass = "terminal"


REFUSALS = (
    Refusal(
        ("no space left", "disk quota exceeded", "insufficient storage"),
        "A disk is full: the engine's or the registry's, whichever spoke. Free space there (`docker system df` shows the "
        "engine's) and run this again.",
    ),
    Refusal(
        ("toomanyrequests", "too many requests", "rate exceeded", "rate limit"),
        "The registry limits how often it may be asked. Wait some minutes and run this again.",
        now=True,
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
    ),
    Refusal(
        ("unauthorized", "no basic auth credentials", "authentication required"),
        "The registry does not know who we are: log in to it, or check the credentials of the environment.",
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
        now=True,
        cls="retryable",
    ),
    Refusal(
        ("connection refused", "network is unreachable", "no route to host"),
        "Nothing answers at the registry's address: is it running, and does a proxy or firewall let us through?",
        now=True,
        cls="retryable",
    ),
    Refusal(
        ("x509", "certificate verify failed", "tls: "),
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
        now=True,
        cls="retryable",
    ),
)
"""In order: the first that has a phrase of the text decides."""


def refusal(text: str) -> Refusal | None:
    """What a text says, or None if it is none of the known refusals."""
    lower = text.lower()
    return next((each for each in REFUSALS if any(phrase in lower for phrase in each.phrases)), None)


class RegistryError(StageError):
    """A registry refused or did not answer. `again`: the same request may succeed at once."""

    def __init__(self, message: str, *, hint: str | None, cls: ErrorClass, again: bool) -> None:
        super().__init__(message, hint=hint, cls=cls)
        self.again = again


_STATUS = {401: "unauthorized", 403: "forbidden", 429: "too many requests", 507: "no space left"}
"""What a status says where the text says nothing that is known."""


def refused(text: str, doing: str, status: int = 0) -> RegistryError:
    """The error for what an engine or registry said while `doing` something; `status` is 0 if it did not even answer."""
    known = refusal(text) or refusal(_STATUS.get(status, ""))
    again = status >= 500 or bool(known and known.now)
    cls: ErrorClass = known.cls if known else "retryable" if again else "terminal"
    return RegistryError(f"{text} ({doing})", hint=known.hint if known else None, cls=cls, again=again)


def retried(call: Callable[[], T]) -> T:
    """Call, and call again while the registry's words or silence make that worth it. Raises what the last call raised."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, RegistryError) and error.again),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_random_exponential(multiplier=FIRST_DELAY_S, max=MAX_DELAY_S),
        reraise=True,
    )
    return retrying(call)
