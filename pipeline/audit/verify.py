"""Verify a store: its runs, its ledgers, and that nothing is missing of it. The only I/O is reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.audit.blobs import Blobs
from pipeline.audit.findings import Finding, broken, missing, reading
from pipeline.audit.run import Report, RunAudit
from pipeline.audit.targets import Targets
from pipeline.record import artifacts, chain, digest, identities, prunes, runs
from pipeline.record.store import FORMAT, RECORD, ahead
from pipeline.record.writer import event_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.record.store import Store
    from pipeline.signing.signers import Trust


_AT_ONCE = 200
"""Blobs that are looked at ahead, where that helps: at most a quarter of a megabyte each is kept."""

_LOOKS = 10
"""At a run that does not hold, while others write to it."""


@dataclass
class Audit:
    """The verification of a store, run by run; what several runs refer to is looked at once."""

    store: Store
    trust: Trust | None

    def __post_init__(self) -> None:
        self.store = self.seen = ahead.Ahead(self.store)
        self.blobs = Blobs(self.store, self.trust)
        self.reports: dict[str, Report] = {}
        self.targets = Targets(self.store, self.trust, self.blobs)
        self.again: set[str] = set()
        self.under_way = 0

    def run(self, run_id: str) -> Report:
        """Verify one run and all it refers to, once. Raises only if the store cannot be read.

        Others may be writing just then: to this run, or to a ledger that was read before. What does not hold counts if it is found
        while nothing more comes.
        """
        if run_id in self.reports:
            return self.reports[run_id]
        report, before = self._look(run_id), None
        for _ in range(_LOOKS):
            if report.verdict != "broken" or (now := self._extent(run_id)) == before:
                break
            before = now
            self.targets.forget_grown()
            report = self._look(run_id)
        return report

    def _look(self, run_id: str) -> Report:
        report = self.reports[run_id] = Report(run_id, self.trust.path if self.trust else None)
        report.findings += _format(self.store)
        self.under_way += 1
        with reading(f"runs/{run_id}", report.findings):  # whatever it is that stands there
            self.seen.look_below(f"runs/{run_id}")
            RunAudit(self.seen, self.trust, self.blobs, self.targets, report, others=self.run).walk()
        self.under_way -= 1
        if not self.under_way:  # no run waits for this one, and there may be thousands
            self.seen.forget()
        prefixes = (f"runs/{run_id}", f"inbox/{run_id}", *report.ledgers)
        report.versions = self._rewritten(prefixes, report.findings)
        return report

    def _extent(self, run_id: str) -> list[int]:
        """Say how much there is of a run and of the ledgers that were read."""
        bare = self.seen.beneath
        return [len(bare.walk(f"runs/{run_id}")), *(len(bare.names(name)) for name in self.targets.read)]

    def rest(self) -> list[Finding]:
        """Verify what no run refers to: ledgers, prunes, every blob of the store, and that nothing stands among the runs that is none."""
        found = self._dropped()
        with reading("ledgers", found):
            found += self.targets.rest()
        found += self._strays() + self.identities(self.store.names(identities.PREFIX))
        for name in self.store.names("prunes"):
            with reading(f"prunes/{name}", found):
                prunes.read(self.store, name, self.trust)
        known = set(self.again)
        again: list[Finding] = []
        self._rewritten(RECORD, again)
        return found + [each for each in again if each.key not in known]

    def identities(self, names: Iterable[str]) -> list[Finding]:
        """Hold identities of a CI system's runs against the openings of the runs that they name."""
        found: list[Finding] = []
        known = set(runs.run_ids(self.store))
        for name in names:
            key = f"{identities.PREFIX}/{name}"
            with reading(key, found):
                identity, run_id = identities.decode(self.store.read(key) or b"", key)
                if run_id not in known:
                    found.append(missing(f"runs/{run_id}", f"is missing: {key} names it"))
                else:
                    runs.of_identity(self.store, identity)
        return found

    def _rewritten(self, prefixes: Iterable[str], found: list[Finding]) -> bool:
        """Name what the store knows to have been deleted, or written again; False where it keeps or shows no versions."""
        told = ahead.each(self.store, self.store.rewritten, prefixes)
        for key, what in (item for each in told for item in (each or {}).items()):
            found.append(broken(key, f"{what}: an object of a record is written once, and stays"))
            self.again.add(key)
        return None not in told

    def _strays(self) -> list[Finding]:
        """Look at every blob, and at what stands among the runs."""
        found: list[Finding] = []
        there = self.store.names("runs")
        known = set(runs.run_ids(self.store))
        found += [broken(f"runs/{name}", "is not a run") for name in there if name not in known]
        contents = self.store.walk("blobs")
        for start in range(0, len(contents), _AT_ONCE):
            self.seen.look_at(contents[start : start + _AT_ONCE])
            for key in contents[start : start + _AT_ONCE]:
                sha256 = f"sha256:{key.rpartition('/')[2]}"
                if not digest.is_digest(sha256) or artifacts.blob_key(sha256) != key:
                    found.append(broken(key, "is not named after a digest"))
                elif wrong := self.blobs.check(sha256, "no run refers to it, or one above"):
                    found.append(wrong)
            self.seen.forget()
        return found

    def _dropped(self) -> list[Finding]:
        """Name the runs that others found here when they were opened, and that are here no more."""
        found: list[Finding] = []
        known = runs.run_ids(self.store)
        ends = self.store.read_each(event_key(f"runs/{each}/open", 2) for each in known)
        openings = dict(zip(known, ends, strict=True))
        opened = self.store.read_each(event_key(f"runs/{each}/open", 1) for each in known)
        for run_id, data in zip(known, opened, strict=True):
            key = event_key(f"runs/{run_id}/open", 1)
            with reading(key, found):
                told = chain.decode(data, f"runs/{run_id}/open").data.get("before") if data is not None else None
                for each in told or []:
                    there = openings.get(each["run"])
                    if there is None:
                        text = f"is missing: it was there when run {run_id} was opened"
                        found.append(missing(f"runs/{each['run']}", text, each["opening"]))
                    elif digest.of_bytes(there) != each["opening"]:
                        text = f"opens otherwise than run {run_id} found it"
                        found.append(broken(f"runs/{each['run']}/open", text, each["opening"], digest.of_bytes(there)))
        return found


def _format(store: Store) -> list[Finding]:
    data = store.read("format.json")
    if data == FORMAT:
        return []
    return [broken("format.json", "is not that of a store of this version", FORMAT.decode().strip(), data)]
