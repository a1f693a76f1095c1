from __future__ import annotations

import itertools

import pytest
from botocore import exceptions as boto
from botocore import parsers

from stages.aws import retry
from stages.contract import StageError


def client_error(code: str, status: int = 400, message: str = "said so") -> boto.ClientError:
    return boto.ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "Operation",
    )


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (client_error("Throttling"), "throttled"),
        (client_error("TooManyRequestsException", 429), "throttled"),
        (client_error("InternalFailure", 500), "unavailable"),
        (client_error("NeverHeardOf", 503), "unavailable"),
        (client_error("ValidationError"), "other"),
        (client_error("ConditionalRequestConflict", 409), "throttled"),
        (client_error("SlowDown", 503), "throttled"),
        (client_error("NotImplemented", 501), "other"),
        (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), "unavailable"),
        (boto.FlexibleChecksumError(error_msg="x"), "unavailable"),
        (client_error("ExpiredToken", 403), "expired"),
        (client_error("ExpiredTokenException"), "expired"),
        (client_error("InvalidClientTokenId", 403), "credentials"),
        (client_error("AccessDenied", 403), "denied"),
        (boto.EndpointConnectionError(endpoint_url="http://x"), "unavailable"),
        (boto.ReadTimeoutError(endpoint_url="http://x"), "unavailable"),
        (boto.ConnectionClosedError(endpoint_url="http://x"), "unavailable"),
        (boto.NoCredentialsError(), "credentials"),
        (boto.ProfileNotFound(profile="p"), "credentials"),
        (boto.SSOTokenLoadError(error_msg="x"), "expired"),
        (boto.UnauthorizedSSOTokenError(), "expired"),
        (boto.ParamValidationError(report="x"), "other"),
    ],
)
def test_what_errors_mean(error: Exception, meaning: str) -> None:
    """The names stand as text in the table: a rename in botocore would silently end the retries."""
    assert retry.meaning(error) == meaning


def test_every_exception_of_the_table_is_botocores() -> None:
    assert [name for name in retry.EXCEPTIONS if not (hasattr(boto, name) or hasattr(parsers, name))] == []


def test_a_proxys_page_is_no_fault_of_ours() -> None:
    with pytest.raises(StageError, match="AWS gave no usable answer while testing"), retry.explained("testing"):
        raise parsers.ResponseParserError("<html>")


@pytest.mark.parametrize(
    ("code", "repeatable", "again"),
    [
        ("Throttling", False, True),  # nothing was done
        ("InternalFailure", False, False),  # it may have been done
        ("InternalFailure", True, True),
        ("ExpiredToken", True, False),
        ("AccessDenied", True, False),
        ("ValidationError", True, False),
    ],
)
def test_what_is_tried_again(code: str, *, repeatable: bool, again: bool) -> None:
    assert retry.again(client_error(code), repeatable=repeatable) is again


def test_a_call_is_made_again_until_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_DELAY_S", 0.001)
    errors = iter([client_error("Throttling"), boto.ConnectionClosedError(endpoint_url="http://x")])

    def function() -> str:
        for error in errors:
            raise error
        return "done"

    assert retry.call(function, doing="testing") == "done"


def test_a_call_gives_up_after_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_DELAY_S", 0.001)

    def function() -> None:
        raise client_error("Throttling")

    with (
        pytest.raises(StageError, match="AWS kept refusing calls as too many") as caught,
        retry.explained("testing"),
    ):
        retry.call(function, doing="testing", window_s=0.05)
    assert caught.value.cls == "retryable"


def test_a_refusal_is_told_in_awss_words() -> None:
    with pytest.raises(StageError) as caught, retry.explained("making a thing"):
        raise client_error("ValidationError", message="Template format error: x.")
    assert caught.value.message == "AWS refused (ValidationError) while making a thing: Template format error: x"


def test_delays_grow_to_their_bound() -> None:
    assert list(itertools.islice(retry.growing(1, 3, factor=2), 4)) == [1, 2, 3, 3]
