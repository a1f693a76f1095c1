"""Programs to be measured and compared with: each installed into a virtual environment of its own when first needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

RIVAL = "aws-sam-cli==1.170.0"


def program() -> Path:
    """AWS SAM CLI's program."""
    return installed(RIVAL) / "sam"


def home_of(requirement: str) -> Path:
    """The virtual environment of a requirement, below ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "towpath-bench" / requirement


def installed(requirement: str) -> Path:
    """The folder of the programs that a requirement brings, installed if need be."""
    home = home_of(requirement)
    if not (home / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        subprocess.run([home / "bin" / "pip", "install", "--quiet", requirement], check=True)
        (home / "installed").touch()
    return home / "bin"


def variables(home: Path) -> dict[str, str]:
    """An environment in which it neither asks for its own newest version nor tells anybody of its use."""
    (home / ".aws-sam").mkdir(parents=True, exist_ok=True)
    told = {"telemetryEnabled": False, "lastVersionCheck": time.time(), "installationId": "none"}
    (home / ".aws-sam" / "metadata.json").write_text(json.dumps(told))
    return {
        **os.environ,
        "HOME": str(home),
        "SAM_CLI_TELEMETRY": "0",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }
