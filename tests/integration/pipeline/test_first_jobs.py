"""First jobs of one CI run that race for its run, with nothing shared but a store in S3."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support import s3
from support.machine import Machine

if TYPE_CHECKING:
    from pathlib import Path

JOBS = 4


def machine(folder: Path, variables: dict[str, str]) -> Machine:
    """A checkout of a pipeline of as many stages as there are jobs, none of which needs another."""
    folder.mkdir()
    stages = [f"  s{number}: {{uses: command, with: {{run: ['true']}}}}" for number in range(JOBS)]
    (folder / "pipeline.yaml").write_text("\n".join(["version: 1", "name: race", "stages:", *stages]) + "\n")
    own = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config"), "TOWPATH_RUN_IDENTITY": "execution 7"}
    return Machine(folder, {**variables, **own, "TOWPATH_CI": "none"})


def test_they_share_one_run(server: int, tmp_path: Path) -> None:
    bucket = s3.make_bucket(server)
    variables = {**bucket.variables, "TOWPATH_STORE": f"s3://{bucket.name}/shop"}
    machines = [machine(tmp_path / f"job-{number}", variables) for number in range(JOBS)]
    racing = [each.popen("stage", "run", f"s{at}", "--run", "auto", "--json") for at, each in enumerate(machines)]
    states = []
    for each in racing:
        with each:
            out, err = each.communicate(timeout=120)
        assert each.returncode == 0, err
        states.append(json.loads(out))
    [run_id] = {state["run"] for state in states}
    state = machines[0].json("status", "auto")
    assert (state["run"], state["state"]) == (run_id, "succeeded")
    assert {name: stage["attempt"] for name, stage in state["stages"].items()} == {f"s{n}": 1 for n in range(JOBS)}
    assert {each["state"] for each in machines[1].json("runs") if each["run"] != run_id} <= {"unused"}
