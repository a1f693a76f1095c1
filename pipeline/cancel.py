"""Asking a run to stop, from any machine that shares the store.

    cancels/<run>/<nonce>.json    {"v":1,"run":RUN,"attempts":["build.1"],"whole":true,"by":"ada@laptop"}

`attempts` are those under way when it was asked; a runner that made one of them obeys, others look past it. So a request that came too
late, or was obeyed, means nothing to whoever goes on with the run. It is a wish and proves nothing: what came of it, and
who asked, stands in the attempts' own chains.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from pipeline.record.store import Store

VERSION = 1
_BY = re.compile(r"[^\x20-\x7e]")
_BY_CHARACTERS = 200


@dataclass(frozen=True)
class Asked:
    """A request. `whole`: the runner is to stop, not just these attempts."""

    attempts: frozenset[str]
    whole: bool
    by: str


def ask(store: Store, run_id: str, attempts: Collection[str], by: str, *, whole: bool) -> None:
    """Ask whoever makes these attempts to stop. Raises StoreError."""
    document = {"v": VERSION, "run": run_id, "attempts": sorted(attempts), "whole": whole, "by": by}
    store.put_new(f"{_prefix(run_id)}/{secrets.token_hex(8)}.json", json.dumps(document).encode() + b"\n")


class Requests:
    """The requests to stop a run, each given once."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run = run_id
        self._seen: set[str] = set()

    def new(self) -> list[Asked]:
        """Give those that came since the last look; what is not of the form is looked past. Raises StoreError."""
        names = [name for name in self._store.names(_prefix(self._run)) if name not in self._seen]
        self._seen |= set(names)
        found = [_parse(self._store.read(f"{_prefix(self._run)}/{name}") or b"", self._run) for name in names]
        return [each for each in found if each]


def _prefix(run_id: str) -> str:
    return f"cancels/{run_id}"


def _parse(data: bytes, run_id: str) -> Asked | None:
    try:
        document = json.loads(data)
        if (document["v"], document["run"]) != (VERSION, run_id):
            return None
        attempts = frozenset(str(each) for each in document["attempts"])
        return Asked(attempts, document["whole"] is True, _BY.sub("?", str(document["by"]))[:_BY_CHARACTERS])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
