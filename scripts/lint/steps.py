"""Write the shell of each step of our workflows and actions into a file of its own below a folder, for shellcheck.

Exit code 1 if an expression is spliced into one: its value would be read as shell. It belongs into `env`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml


def main(folder: Path) -> int:
    spliced = 0
    for source in sorted(Path(".github").rglob("*.yml")):
        document = yaml.safe_load(source.read_text(encoding="utf-8"))
        for name, part in document.get("jobs", {"runs": document.get("runs")}).items():
            for number, step in enumerate(part["steps"], start=1):
                place = f"{source}: {name}, step {number}"
                if "${{" in step.get("run", ""):
                    print(f"{place}: an expression in a shell is read as shell; hand it over by env")
                    spliced += 1
                path = folder / re.sub(r"\W+", "-", place)
                path.write_text(f"#!/usr/bin/env bash\nset -eo pipefail\n{step.get('run', '')}\n", encoding="utf-8")
    return 1 if spliced else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
