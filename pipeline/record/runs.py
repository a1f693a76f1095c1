"""Runs in a store: ids, names of chains, and reading a run's chains into its state.

    runs/<run>/open                 the opening: plan, source commit, requester, the runs before it; closed at once
    runs/<run>/<stage>.<attempt>    one chain per attempt, with its log below `log/`
    identities/<sha256>.json        which run belongs to one run of a CI system

A run's state is the replay of these and is kept nowhere else.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline.errors import UsageError, VerificationFailed
from pipeline.record import chain, digest, identities, replay
from pipeline.record.store import ahead
from pipeline.record.writer import ChainWriter, event_key, read_chain
from stages.limits import LIMITS

if TYPE_CHECKING:
    from pipeline.record.store import Store
    from pipeline.signing.keys import Key

_RUN_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-z]{4}")
_ALPHABET = "23456789abcdefghjkmnpqrstvwxyz"  # no letter that is read as another, none that makes words


def new_run_id(now: datetime) -> str:
    """Give an id such as `20261123-114219-k7p3`: it sorts by time (UTC, to a thousandth of a second) and is a DNS label."""
    fraction = divmod(now.microsecond * len(_ALPHABET) ** 2 // 1_000_000, len(_ALPHABET))
    within_second = "".join(_ALPHABET[digit] for digit in fraction)
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{within_second}" + "".join(secrets.choice(_ALPHABET) for _ in range(2))


def handle(run_id: str, stage: str, attempt: int) -> str:
    """Give the name under which an attempt's process and effects can be found: a DNS label of at most 63 characters."""
    return f"{run_id}-{stage}-{attempt}"


def chain_name(run_id: str, name: str) -> str:
    """Give the full name of a chain of a run."""
    return f"runs/{run_id}/{name}"


def log_name(run_id: str, stage: str, attempt: int) -> str:
    """Give the full name of an attempt's log."""
    return f"runs/{run_id}/{stage}.{attempt}/log"


def open_run(store: Store, data: dict[str, Any], key: Key) -> str:
    """Open a run: write its first chain, seal it, and give its id.

    The opening says which runs it found here last, so that none of them can be removed without being missed.
    """
    before = last_opened(store)
    while True:
        run_id = new_run_id(datetime.fromtimestamp(store.now(), UTC))
        writer = ChainWriter(store, chain_name(run_id, "open"), key)
        if writer.open({}):
            writer.append(chain.RUN_OPENED, {**data, "before": before})
            writer.close({})
            return run_id


def of_identity(store: Store, identity: str) -> str | None:
    """Give the run that belongs to a run of a CI system, None if there is none yet. Raises VerificationFailed.

    What the identity's object says is held against the opening of the run that it names.
    """
    run_id = identities.named(store, identity)
    if run_id is None:
        return None
    run = opening(store, run_id)
    if run is None or run.data.get("identity") != identity:
        key = identities.key_of(identity)
        raise VerificationFailed(
            f"{key} names run {run_id}, whose opening does not say that it is of {identity}", where=key
        )
    return run_id


def yielded_to(store: Store, run_id: str) -> str | None:
    """Give the run that goes on in place of one that was opened at the same moment for the same run of a CI system."""
    if store.names(f"runs/{run_id}") != ["open"]:
        return None
    opened = opening(store, run_id)
    identity = opened.data.get("identity") if opened else None
    named = identities.named(store, identity) if identity else None
    return named if named != run_id else None


def last_opened(store: Store) -> list[dict[str, str]]:
    """Give the last runs that were opened whole, each with the digest of its opening's last event, the latest first."""
    found: list[dict[str, str]] = []
    latest = run_ids(store)[::-1]
    lasts = store.read_each(event_key(chain_name(run_id, "open"), 2) for run_id in latest)
    for run_id, last in zip(latest, lasts, strict=True):
        if len(found) == LIMITS.runs_named:
            break
        if last is not None:
            found.append({"run": run_id, "opening": digest.of_bytes(last)})
    return found


def opened(store: Store, run_id: str, digest_: str) -> replay.Run | None:
    """Give a run by its opening alone; None if that is not here, or not the one that has this digest."""
    try:
        run = opening(store, run_id)
    except VerificationFailed:
        return None
    return run if run and run.head.digest == digest_ else None


def is_id(name: str) -> bool:
    """Tell whether this has the form of a run's id."""
    return _RUN_ID.fullmatch(name) is not None


def run_ids(store: Store) -> list[str]:
    """Give the ids of all runs, oldest first."""
    return [name for name in store.names("runs") if is_id(name)]


def find(store: Store, text: str) -> str:
    """Give the run that `text` means: `latest`, an id, or the beginning or end of just one. Raises UsageError."""
    if is_id(text) and store.names(f"runs/{text}"):
        return text
    known = run_ids(store)
    if not known:
        raise UsageError(f"there is no run in {store.location}", hint="Start one: towpath run")
    if text == "latest":
        return next((each for each in reversed(known) if _goes_on(store, each)), known[-1])
    found = [each for each in known if each.startswith(text) or each.endswith(text)]
    if len(found) == 1:
        return found[0]
    problem = f"{len(found)} runs match" if found else "no run matches"
    raise UsageError(
        f"{problem} {text!r} in {store.location}", hint=f"The latest is {known[-1]}; towpath runs lists them all."
    )


def _goes_on(store: Store, run_id: str) -> bool:
    """Tell whether a run's opening is whole, as its runner may have died before, and no other run goes on in its place."""
    if store.written_at(event_key(chain_name(run_id, "open"), 2)) is None:
        return False
    try:
        return yielded_to(store, run_id) is None
    except VerificationFailed:
        return True  # whoever loads it will say what is wrong


def opening(store: Store, run_id: str) -> replay.Run | None:
    """Give a run by its opening alone, without attempts; None if it was never opened whole. Raises VerificationFailed."""
    return replay.opening(run_id, read_chain(store, chain_name(run_id, "open")))


def load(store: Store, run_id: str) -> replay.Run:
    """Read a run and replay it. Raises VerificationFailed if a chain is broken, UsageError if it was never opened."""
    seen = ahead.below(store, f"runs/{run_id}")
    run = opening(seen, run_id)
    if run is None:
        raise UsageError(
            f"run {run_id} was never opened: its runner died before anything was done",
            hint="Nothing is lost. Start another: towpath run",
        )
    for name in seen.names(f"runs/{run_id}"):
        if name != "open" and seen.names(chain_name(run_id, name)):  # a claim cut off may leave an empty folder
            run.add(load_attempt(seen, run, name))
    run.check_heads()
    return run


def load_attempt(store: Store, run: replay.Run, name: str) -> replay.Attempt:
    """Read and replay the chain of one attempt, named `<stage>.<attempt>`."""
    return replay.attempt(run, name, read_chain(store, chain_name(run.id, name)))
