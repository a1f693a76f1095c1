"""A store that is far away: a run is read in a few rounds of requests, not in one request after the other."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from support import s3 as support
from support.far_away import far_away
from support.plans import House, command

from pipeline.audit.verify import Audit
from pipeline.record import runs
from pipeline.record.store import s3

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

RTT_MS = 80
TIMES_FASTER = 2


def test_a_run_is_read_and_audited_in_a_fraction_of_its_requests(
    server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = support.make_bucket(server)
    for name, value in bucket.variables.items():
        monkeypatch.setenv(name, value)
    location = f"s3://{bucket.name}/shop"
    (tmp_path / "project").mkdir()
    house = House(tmp_path / "project", s3.open_store(location, create=True))  # type: ignore[arg-type] # as good as a directory
    script = "mkdir -p $TOWPATH_OUTPUTS/o; for n in 1 2 3 4; do echo $RANDOM$n > $TOWPATH_OUTPUTS/o/$n; done"
    stages = [command(f"s{number}", script, outputs=["o"]) for number in range(8)]
    run_id = house.open(*stages)
    near = house.drive(run_id, jobs=4)
    with far_away(server, RTT_MS) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
        store = s3.open_store(location, create=False)
        count: list[str] = []
        store._bucket._s3.meta.events.register("before-send.s3", lambda request, **_: count.append(request.url))

        def fast(function: Callable[[], Any], what: str) -> Any:
            count.clear()
            began = time.monotonic()
            done = function()
            took_s = time.monotonic() - began
            print(f"{what}: {len(count)} requests of {RTT_MS} ms in {took_s:.2f} s")
            assert took_s < len(count) * RTT_MS / 1000 / TIMES_FASTER
            return done

        assert fast(lambda: runs.load(store, run_id), "load") == near
        report = fast(lambda: Audit(store, None).run(run_id), "audit")
        assert report.findings == []
        assert fast(lambda: Audit(store, None).rest(), "the rest of an audit") == []
