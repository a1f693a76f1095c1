"""Tell what runs in a stack: `python -I -m stages.deploy`, for `towpath environments --drift`, which itself never asks AWS.

Standard input is a JSON object with `target` and `access`, as a request has them. Standard output is what `stages.deploy.found` finds.
"""

from __future__ import annotations

import json
import sys

from stages.aws.session import connect
from stages.contract import Access, Failure, StageError, Target
from stages.deploy.found import look


def main() -> int:
    """Do it, and return 0 unless AWS could not be asked: then standard error ends with the error as JSON."""
    asked = json.load(sys.stdin)
    try:
        found = look(connect(Target(**asked["target"]), Access(**asked["access"])))
    except StageError as error:
        failure = Failure(error.cls, error.message, error.where, error.hint)
        print(json.dumps(vars(failure)), file=sys.stderr)  # noqa: T201 - it is a program, and this is what it answers
        return 1
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
