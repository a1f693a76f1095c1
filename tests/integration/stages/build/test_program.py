"""What `towpath doctor` asks: a program that tells which engine and which builder there are."""

from __future__ import annotations

import json
import subprocess
import sys

from pipeline.doctor import machine


def test_it_tells_what_would_build_here() -> None:
    argv = [sys.executable, "-I", "-m", "stages.build"]
    told = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    version = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, check=True
    )
    assert told["version"] == version.stdout.strip()
    found = machine._buildkit(told)
    assert found.state == ("good" if told["buildkit"] else "note")
    assert told["builder"].endswith(found.found.partition(";")[0])
