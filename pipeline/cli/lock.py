"""lock, unlock: keep everybody from deploying to an environment, and say why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import common
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.environments import Place
    from pipeline.locks import Act
    from pipeline.record.ledger import Ledger
    from pipeline.record.store import Store
    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust


def _options(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        common.as_json,
        common.trust,
        common.key,
        common.store,
        common.project,
        click.option("--reason", required=True, metavar="TEXT", help="Why. Whoever is held up reads it."),
        click.argument("environment"),
    ):
        function = option(function)
    return function


@click.command()
@_options
def lock(environment: str, reason: str, project: str, **given: Any) -> None:
    """Lock ENVIRONMENT: from now on nothing is deployed to it by anybody. A deployment that has begun is finished.

    Runs propose, and people approve, as always; what would be applied ends with exit code 6 and says who locked, since when and why.
    """
    from pipeline import locks

    place = _Place.find(environment, project, **given)
    place.told(locks.take(place.store, place.ledger, place.act(reason), key=place.key, trust=place.trust))


@click.command()
@_options
@click.option(
    "--run",
    "run_id",
    metavar="RUN",
    help="Not a lock of people's: say that the runner of RUN, which is deploying there, is dead.",
)
def unlock(environment: str, reason: str, run_id: str | None, project: str, **given: Any) -> None:
    """Unlock ENVIRONMENT, whoever locked it. With --run, let others pass a deployment whose runner is dead.

    A lock is of the target. One whose environment has another target by now, or is gone, is unlocked by the name that `towpath environments`
    has for it, or by that of its ledger.

    Whether a runner on this machine lives, Towpath sees by itself; of one on another machine it only knows how long it may take. Whoever
    comes next looks whether the stack is still in progress before anything is done.
    """
    from pipeline import locks

    place = _Place.find(environment, project, **given)
    found = common.find_run(place.store, run_id) if run_id else None
    try:
        book = locks.release(place.store, place.ledger, place.act(reason), found, key=place.key, trust=place.trust)
    except UsageError as error:
        error.hint = error.hint or _locked_elsewhere(place.store, place.trust)
        raise
    place.told(book)


def _ledger(name: str, folder: Path, location: str | None, trust: Trust | None) -> str:
    """Give the ledger of an environment of the definition, else of one that only the store knows. Raises UsageError."""
    from pipeline.cli import environments
    from pipeline.environments import of_store

    defined = list(environments.defined(folder / "pipeline.yaml", must_be=False))
    if any(each.name == name for each in defined):
        return chosen(name, defined, [])
    try:
        store = common.open_store(location, folder)
    except UsageError:
        if defined:  # there is no store yet, and they are what there is
            return chosen(name, defined, [])
        raise
    return chosen(name, defined, list(of_store(store, {each.ledger for each in defined}, trust)))


def chosen(name: str, defined: Sequence[Place], others: Sequence[Place]) -> str:
    """Give the ledger of the environment that is named, or whose ledger is; the definition's come first. Pure. Raises UsageError."""
    ours = [each.ledger for each in defined if each.name == name]
    found = ours or [each.ledger for each in others if each.name == name]
    found = found or [each.ledger for each in (*defined, *others) if _named(each.ledger) == name]
    if len(set(found)) > 1:
        hint = f"Name one of them: {', '.join(sorted(map(_named, found)))}"
        raise UsageError(f"several targets were called {name!r}", hint=hint)
    if not found:
        known = ", ".join(dict.fromkeys(each.name for each in (*defined, *others))) or "none"
        raise UsageError(f"there is no environment {name!r}", hint=f"There are: {known}.")
    return found[0]


def _named(ledger: str) -> str:
    return ledger.removeprefix("ledgers/")


def _locked_elsewhere(store: Store, trust: Trust | None) -> str | None:
    """Name what else is locked: the target of an environment may have been another when it was."""
    from contextlib import suppress

    from pipeline.errors import VerificationFailed
    from pipeline.record import ledgers

    locked = []
    for name in store.names("ledgers"):
        with suppress(VerificationFailed):  # it is of another target
            locked += [name] if ledgers.read(store, f"ledgers/{name}", trust).lock else []
    return (
        f"Locked is: {', '.join(locked)}. To unlock it: towpath unlock {locked[0]} --reason '...'" if locked else None
    )


@dataclass(frozen=True)
class _Place:
    """An environment, the ledger of its target, and who writes there."""

    name: str
    ledger: str
    project: Path
    store: Store
    key: Key
    trust: Trust | None
    as_json: bool

    @staticmethod
    def find(
        name: str, project: str, *, store: str | None, key: str | None, trust: str | None, as_json: bool
    ) -> _Place:
        from pipeline.record import ledgers

        folder, trusted = Path(project), common.trusted(trust)
        where = _ledger(name, folder, store, trusted)
        opened, own = common.open_store(store, folder, create=True), common.runner_key(key)
        common.refuse_no_gate(ledgers.read(opened, where), own, trusted)
        return _Place(name, where, folder, opened, own, trusted, as_json)

    def act(self, reason: str) -> Act:
        from pipeline import locks
        from pipeline.cli import opening
        from pipeline.gates import statements

        return locks.Act(opening.requester(self.project), statements.said(reason))

    def told(self, book: Ledger) -> None:
        """Say how the environment stands now."""
        from pipeline import locks

        holders = locks.holders(self.store, book, "")
        if self.as_json:
            at_it = [each.as_json() for each in holders]
            common.print_json({"environment": self.name, "ledger": self.ledger, "lock": book.lock, "deploying": at_it})
            return
        click.echo(f"{self.name}: {locks.describe(book.lock) if book.lock else 'not locked'}")
        for each in holders:
            what = f"is deploying there since {each.since}" if each.alive else "left a deployment that is not over"
            click.echo(f"  run {each.run} {what}: {each}")
