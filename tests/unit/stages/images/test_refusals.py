from __future__ import annotations

import pytest

from stages.images import refusals
from stages.images.refusals import RegistryError, refusal, refused, retried


@pytest.mark.parametrize(
    ("text", "hint", "again", "cls"),
    [
        ("write /var/lib/docker/x: no space left on device", "A disk is full", False, "terminal"),
        ("toomanyrequests: Rate exceeded", "limits how often", True, "retryable"),
        ("tag invalid: The image tag 'x' already exists and cannot be overwritten because the tag is immutable",
         "keeps its tags for ever", False, "mismatch"),
        ("denied: Your authorization token has expired. Reauthenticate", "has expired", False, "retryable"),
        ("no basic auth credentials", "does not know who we are", False, "terminal"),
        ("denied: User: arn:aws:iam::1:user/x is not authorized to perform: ecr:InitiateLayerUpload",
         "does not allow this", False, "terminal"),
        ("pull access denied for x, repository does not exist or may require 'docker login'",
         "does not allow this", False, "terminal"),
        ("name unknown: The repository with name 'x' does not exist in the registry with id '1'",
         "no such repository", False, "terminal"),
        ('Get "https://x/v2/": dial tcp: lookup x on 10.0.0.1:53: no such host', "does not resolve", True, "retryable"),
        ('Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused', "Nothing answers", True,
         "retryable"),
        ("x509: certificate signed by unknown authority", "is not trusted here", False, "terminal"),
        ("received unexpected HTTP status: 503 Service Unavailable", "failed in the middle", True, "retryable"),
    ],
)  # fmt: skip
def test_what_engines_and_registries_really_say(text: str, hint: str, *, again: bool, cls: str) -> None:
    error = refused(text, "push of x")
    assert hint in (error.hint or "")
    assert (error.again, error.cls) == (again, cls)
    assert str(error) == f"{text} (push of x)"


def test_an_unknown_text_is_terminal_and_without_a_guess() -> None:
    error = refused("the moon is full", "push of x")
    assert (error.hint, error.again, error.cls) == (None, False, "terminal")


def test_a_status_speaks_where_the_text_does_not() -> None:
    assert "does not know who we are" in (refused("nope", "GET x", 401).hint or "")
    assert refused("oops", "GET x", 500).again


def test_digits_of_a_digest_are_not_taken_for_a_status() -> None:
    assert refusal("sha256:401403429" + "0" * 50) is None


@pytest.mark.parametrize(
    ("text", "status", "attempts"),
    [
        ("connection reset by peer", 0, refusals.ATTEMPTS),
        ("toomanyrequests", 429, refusals.THROTTLED_ATTEMPTS),
        ("", 503, refusals.ATTEMPTS),
        ("no space left on device", 500, 1),
        ("denied", 403, 1),
        ("unauthorized", 401, 1),
        ("x509: certificate signed by unknown authority", 0, 1),
    ],
)
def test_each_class_has_its_number_of_tries(
    text: str, status: int, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "FIRST_DELAY_S", 0)
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise refused(text, "x", status)

    with pytest.raises(RegistryError):
        retried(fail)
    assert len(calls) == attempts


def test_only_what_may_succeed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "FIRST_DELAY_S", 0)
    calls: list[str] = []

    def fail(text: str) -> None:
        calls.append(text)
        raise refused(text, "x")

    for text in ("connection reset by peer", "denied"):
        with pytest.raises(RegistryError):
            retried(lambda text=text: fail(text))  # type: ignore[misc]  # its only argument has a default
    assert calls == ["connection reset by peer"] * refusals.ATTEMPTS + ["denied"]
