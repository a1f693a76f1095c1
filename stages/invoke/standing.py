"""Whether the deployment that is to be called still stands: every function runs the image that `deploy` read back.

Endpoints and functions have the same names whichever release is deployed, so without this a run could be answered by the
code of another one, and take that for its own.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from stages.aws import lambda_
from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_lambda import LambdaClient

    from stages.aws.lambda_ import LiveFunction
    from stages.contract import Json

AT_ONCE = 8
"""Functions looked at, at the same time: Lambda allows 100 reads a second for the whole account."""


def refuse_other(client: LambdaClient, deployment: Json, when: str) -> None:
    """Make sure that every function of `deployment` runs the image named there. Raises StageError of class `blocked`.

    `when` begins the sentence that says when the difference was seen.
    """
    functions = deployment["functions"]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda each: lambda_.get_function(client, each["name"]), functions.values())
        wrong = list(differences(functions, dict(zip(functions, found, strict=True))))
    if wrong:
        raise _newer(deployment["target"], wrong, when)


def differences(functions: Json, found: dict[str, LiveFunction | None]) -> Iterator[str]:
    """Functions that are not, or not for long, what was deployed, each with the image expected and the one found. Pure."""
    for name, function in functions.items():
        live, expected = found[name], function["image"] or "no image"
        if live is None:
            yield f"{name} ({function['name']}): expected {expected}, but the function is gone"
        elif live.image != function["image"]:
            yield f"{name} ({function['name']}): expected {expected}, found {live.image or 'no image'}"
        elif live.last_update == "InProgress":
            yield f"{name} ({function['name']}): expected {expected}, found it being updated at this moment"


def _newer(target: Json, wrong: list[str], when: str) -> StageError:
    stack = f"the stack {target['stack']} in account {target['account']}, {target['region']}"
    return StageError(
        "\n  ".join([f"{when} {stack} does not run what this run deployed:", *wrong]),
        hint="A newer deployment stands there, so answers would say nothing of this run's release, and it goes no further. "
        "Start a new run (`towpath run`), with this run's sources if it is this release that is to be tested: a new run "
        "deploys it again.",
        cls="blocked",
    )
