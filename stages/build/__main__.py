"""Tell what would build here: `python -I -m stages.build`, for `towpath doctor`, which itself never talks to an engine.

Standard output is a JSON object: `engine` and `version` as people know them, `arch`, `root` (where it keeps images, on its machine), `address`,
`buildkit` (whether BuildKit can be had) and `builder`, what `builder: auto` takes, and why.
"""

from __future__ import annotations

import json
import sys

from stages.build import builders, clients
from stages.contract import Failure, StageError
from stages.images import engine


def main() -> int:
    """Do it, and return 0 unless no engine answers: then standard error ends with the error as JSON."""
    try:
        here, about = builders.engine_here(), engine.version()
        builder = builders.choose("auto", here, clients.find(None))
        with engine.connect() as client:
            root = client.info().get("DockerRootDir")
    except StageError as error:
        failure = Failure(error.cls, error.message, error.where, error.hint)
        print(json.dumps(vars(failure)), file=sys.stderr)  # noqa: T201 - it is a program, and this is what it answers
        return 1
    told = {
        "engine": here.name,
        "version": here.version,
        "arch": about.get("Arch"),
        "address": engine.host(),
        "root": root,
        "buildkit": builder.name == "buildkit",
        "builder": builder.told,
    }
    json.dump(told, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
