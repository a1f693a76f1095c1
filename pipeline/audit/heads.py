"""Heads: where every chain of a store ends, to be kept outside of it. One line of JSON each:

    {"chain":"runs/20261123-114219-k7p3/build.1","head":"sha256:…","length":4}

A chain that has been longer, or another, than it is now was cut off, changed or removed, whoever holds which keys.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pipeline.audit.findings import Finding, broken
from pipeline.errors import InvalidDefinition, VerificationFailed
from pipeline.record import digest, ledgers, runs
from pipeline.record.writer import event_key, read_chain
from stages.contract import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.record.store import Store


_NAME = re.compile(r"[A-Za-z0-9._-]{1,250}")
_LONGEST = 10**8
"""Events are numbered by eight digits."""


def heads(store: Store) -> Iterator[dict[str, Any]]:
    """Give the head of every chain. Raises VerificationFailed for a chain that does not hold."""
    for run_id in runs.run_ids(store):
        for name in store.names(f"runs/{run_id}"):
            full = runs.chain_name(run_id, name)
            events = read_chain(store, full)
            if events:
                yield {"chain": full, "head": events[-1].digest, "length": len(events)}
    for name in store.names("ledgers"):
        head = ledgers.read(store, f"ledgers/{name}").head
        if head:
            yield head.as_json()


def read(text: str, file: str) -> list[dict[str, Any]]:
    """Read what `heads` gave. Raises InvalidDefinition with every line that is none."""
    found, problems = [], []
    for number, line in enumerate(text.splitlines(), 1):
        value = _value(line)
        if value is None:
            hint = "Make the file with: towpath audit heads > FILE"
            problems.append(Problem("this is not the head of a chain", file, number, quote=line[:80], hint=hint))
        else:
            found.append(value)
    if problems:
        raise InvalidDefinition(problems)
    return found


def compare(store: Store, told: list[dict[str, Any]], file: str) -> list[Finding]:
    """Name each chain that is not, or no longer, as long as it was, or was another."""
    found = []
    for each in told:
        there = _digest_at(store, each["chain"], each["length"] - 1)
        if there is None:
            text = f"is missing, or was cut off: {file} has it with {each['length']} events"
            found.append(broken(each["chain"], text, each["head"]))
        elif there != each["head"]:
            found.append(broken(each["chain"], f"is another than {file} has it", each["head"], there))
    return found


def _value(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    fits = isinstance(value, dict) and set(value) == {"chain", "head", "length"}
    if not fits or not isinstance(value["chain"], str) or not digest.is_digest(value["head"]):
        return None
    plain = all(_NAME.fullmatch(part) and part.strip(".") for part in value["chain"].split("/"))
    return value if plain and type(value["length"]) is int and 0 < value["length"] < _LONGEST else None


def _digest_at(store: Store, chain: str, seq: int) -> str | None:
    data = store.read(event_key(chain, seq))
    if data is None:
        return None
    try:
        return digest.of_bytes(ledgers.decode(data, chain).payload if chain.startswith("ledgers/") else data)
    except VerificationFailed:
        return None
