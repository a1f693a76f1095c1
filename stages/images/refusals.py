"""What engines and registries say when they refuse, and what it means: whether to try again, and what to do about it.

Engines hand a registry's words on as text, so text is what is looked at. The phrases are those of Docker Engine, of the
distribution specification's error codes, and of Amazon ECR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.contract import ErrorClass


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
