"""Tell whoever wants to know, each of each thing once, as far as that can be known.

    notices/<run>/<notice>.<digest of channel>.json    {"v":1,"outcome":"sent"|"failed","event","stage","to","at","reason"}

put once somebody was told, or could not be. So whoever goes on with a run tells nobody again; a runner killed between telling and writing
that down has its successor tell it twice, with the same id.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.errors import StageFailed, TowpathError
from pipeline.notifications import notices, senders
from pipeline.record import digest
from pipeline.secrets import Places, values
from stages.contract import StageError
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

    from pipeline.notifications.notices import Notice
    from pipeline.plan import Channel, Plan
    from pipeline.record.replay import Run
    from pipeline.record.store import Store
    from stages.aws.session import Session

_AT_ONCE = 4


class Notifier:
    """Tells channels. `warn` is told what could not be; `key` is the public half of the runner's, whose other half nobody is sent."""

    def __init__(
        self,
        store: Store,
        channels: list[Channel],
        *,
        project: Path | None,
        endpoint: Callable[[], str],
        key: bytes,
        warn: Callable[[str], None],
    ) -> None:
        self._store, self._channels, self._project = store, channels, project
        self._endpoint, self._key, self._warn = endpoint, key, warn
        self._told: set[str] = set()
        self._jobs: list[Future[None]] = []

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="notify")

    def look(self, plan: Plan, run: Run) -> None:
        """Tell what a run's record has that is new to somebody. It does not wait. Raises StoreError."""
        since = datetime.fromtimestamp(self._store.now(), UTC) - timedelta(seconds=LIMITS.notify_old_s)
        self.tell(notices.first_of_each(notices.of_run(plan, run, since)))

    def tell(self, found: list[Notice], *, give_up: bool = True) -> None:
        """Tell these. With `give_up`, who cannot be told now is not told later."""
        for notice in found:
            for channel in self._channels:
                key = f"notices/{notice.run}/{notice.id}.{_name(channel)}.json"
                if notices.wanted(channel, notice) and key not in self._told:
                    self._told.add(key)
                    self._jobs.append(self._pool.submit(self._send, channel, notice, key, give_up=give_up))

    def close(self) -> None:
        """Wait until everybody is told, or given up."""
        if self._jobs:
            self._pool.shutdown(wait=True)

    def _send(self, channel: Channel, notice: Notice, key: str, *, give_up: bool) -> None:
        reason = None
        try:
            if self._store.read(key) is not None:
                return
            places = Places(self._project, os.environ, self._endpoint, f"notify-{notice.run}")
            taken = values(channel.secrets, places, self._key)
            senders.send(channel, notice, taken, lambda: self._session(channel, notice.run))
        except (TowpathError, StageError) as error:
            reason = error.message
        except Exception as error:  # noqa: BLE001 - whatever goes wrong here, what it tells of has happened
            reason = str(error) if isinstance(error, senders.NotSent) else type(error).__name__
        if reason:
            self._warn(
                f"{_called(channel)} could not be told of {notice.event}, {notice.stage} of run {notice.run}: {reason}"
            )
        if reason is None or give_up:
            self._note(channel, notice, key, reason)

    def _note(self, channel: Channel, notice: Notice, key: str, reason: str | None) -> None:
        told = {
            "v": notices.VERSION,
            "outcome": "failed" if reason else "sent",
            "event": notice.event,
            "stage": notice.stage,
            "to": channel.to,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "reason": reason,
        }
        try:
            self._store.put_new(key, digest.canonical(told))
        except TowpathError as error:
            self._warn(f"that {channel.to} was told could not be written down: {error.message}")

    def _session(self, channel: Channel, run_id: str) -> Session:
        """Sign in where a topic is. Raises StageError, StageFailed."""
        from pipeline import credentials
        from stages.aws import session
        from stages.contract import Access

        target = channel.target
        if target is None:
            raise StageFailed("no environment says how to reach the topic")
        if channel.auth is None:
            return session.connect(target, Access(self._endpoint() if target.embedded else None, channel.profile))
        fetch = credentials.fetcher(
            channel.auth,
            "notifications",
            target.region,
            os.environ,
            profile=channel.profile,
            session=f"notify-{run_id}",
            tags={"towpath:run": run_id},
        )
        return session.connect(target, Access(role=channel.auth.roles["notifications"]), fetch())


def _name(channel: Channel) -> str:
    return digest.of_bytes(digest.canonical(channel.as_json())).removeprefix("sha256:")[:12]


def _called(channel: Channel) -> str:
    """Give a channel in words: its kind, and its host where the definition has it; an address that is a secret is told nobody."""
    host = urlsplit(channel.url).hostname if channel.url else None
    return f"{channel.to} at {host}" if host else channel.to
