"""Remove images from the engine: `python -I -m stages.images`, for `towpath prune`, which itself never talks to an engine.

Standard input is a JSON list of `{"id": ..., "names": [...]}`: an image's id and names of it that are ours to take away, beside those
below `towpath/`. Standard output is a JSON list of `{"id": ..., "outcome": "removed" | "gone" | "kept", "size": ..., "why": ...}`.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from stages.contract import Failure, StageError
from stages.images import engine

if TYPE_CHECKING:
    from docker import APIClient

    from stages.contract import Json

OURS = "towpath/"
"""Images that we build have a name below it, see docs/reference/hand-over.md."""


def main() -> int:
    """Do it, and return 0 unless there is no engine to do it with: then standard error ends with the error as JSON."""
    wanted: list[Json] = json.load(sys.stdin)
    try:
        with engine.connect() as client:
            json.dump([_remove(client, str(each["id"]), set(each["names"])) for each in wanted], sys.stdout)
    except StageError as error:
        failure = Failure(error.cls, error.message, error.where, error.hint)
        print(json.dumps(vars(failure)), file=sys.stderr)  # noqa: T201 - it is a program, and this is what it answers
        return 1
    return 0


def _remove(client: APIClient, image: str, names: set[str]) -> Json:
    """Take our names off an image, and remove it if nobody else has named it, no container is of it, and no image built upon it."""
    from docker.errors import APIError

    found: Any = engine.details(client, image)
    if found is None:
        return {"id": image, "outcome": "gone", "size": 0, "why": None}
    tags = [str(tag) for tag in found.get("RepoTags") or ()]
    theirs = [tag for tag in tags if tag not in names and not tag.startswith(OURS)]
    why = f"somebody named it {theirs[0]}" if theirs else None
    users = [str(each["Id"])[:12] for each in client.containers(all=True, filters={"ancestor": image})]
    if users:
        why = f"container {users[0]} is of it"
    else:
        try:
            for tag in [tag for tag in tags if tag not in theirs] or ([] if tags else [image]):
                client.remove_image(tag)
        except APIError as error:
            why = str(error.explanation)
    kept = engine.find(client, image) is not None
    why = (why or "another image is built upon it") if kept else None
    return {"id": image, "outcome": "kept" if kept else "removed", "size": found.get("Size", 0), "why": why}


if __name__ == "__main__":
    sys.exit(main())
