"""Tell something of a target, and change nothing there: `python -I -m stages.deploy QUESTION`.

    running      what runs in its stack, as `stages.deploy.found` has it: for `towpath environments --drift`
    deployable   what keeps a release, whose folder `release` names, from being deployed there: for `towpath rollback --check`

Standard input is a JSON object with `target` and `access`, as a request has them, and what the question takes besides. Standard output is
lines of log, and last the answer as JSON. If AWS could not be asked, standard error ends with the error as JSON, and the exit code is 1.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.aws.session import connect
from stages.contract import Access, Failure, StageError, Target
from stages.deploy import deployable, found

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stages.aws.session import Session


def _deployable(session: Session, asked: Mapping[str, Any]) -> Any:
    problems = deployable.look(session, Path(asked["release"]))
    return [{"message": each.message, "hint": each.hint} for each in problems]


QUESTIONS: dict[str, Callable[[Session, Mapping[str, Any]], Any]] = {
    "running": lambda session, _: found.look(session),
    "deployable": _deployable,
}


def main(question: str) -> int:
    """Answer, and give the exit code."""
    asked = json.load(sys.stdin)
    try:
        session = connect(Target(**asked["target"]), Access(**asked["access"]))
        answer = QUESTIONS[question](session, asked)
    except StageError as error:
        failure = Failure(error.cls, error.message, error.where, error.hint)
        print(json.dumps(vars(failure)), file=sys.stderr)  # noqa: T201 - it is a program, and this is what it answers
        return 1
    print(json.dumps(answer))  # noqa: T201 - as above
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
