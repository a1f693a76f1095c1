from __future__ import annotations

import pytest

from pipeline.cli.direct import _secrets
from pipeline.errors import UsageError
from pipeline.plan import SecretSource


def test_a_secret_is_named_with_its_place() -> None:
    given = ("token=variable:CI_TOKEN", "npm-rc.1=file:C:/a=b")
    assert _secrets(given) == {
        "token": SecretSource("variable", "CI_TOKEN"),
        "npm-rc.1": SecretSource("file", "C:/a=b"),
    }


@pytest.mark.parametrize(
    "given", ["hunter22", "token=", "token=hunter22", "token=file:", "token=ssm:/x", "a b=file:x", "=file:x"]
)
def test_what_is_no_place_is_refused_and_not_repeated(given: str) -> None:
    """Who writes the secret itself there must not find it in a log of CI because of us."""
    with pytest.raises(UsageError) as caught:
        _secrets((given,))
    assert "hunter22" not in str(caught.value)
    assert caught.value.hint == "Write: --secret NAME=variable:VARIABLE or --secret NAME=file:PATH"


def test_a_name_is_given_once() -> None:
    with pytest.raises(UsageError, match="--secret a is given twice"):
        _secrets(("a=file:x", "a=file:y"))
