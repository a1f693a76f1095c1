"""Started as a file by the daemon's own Python: make `stages` importable from beside this file, and nothing else from there."""

import importlib.util
import sys
from pathlib import Path

if __name__ == "__main__":
    stages = Path(__file__).resolve().parent.parent
    spec = importlib.util.spec_from_file_location(
        "stages", stages / "__init__.py", submodule_search_locations=[str(stages)]
    )
    assert spec and spec.loader  # noqa: S101, PT018 - for the type checker: a file of our own
    module = importlib.util.module_from_spec(spec)
    sys.modules["stages"] = module
    spec.loader.exec_module(module)

    from stages.embedded.daemon import main

    sys.exit(main(sys.argv[1:]))
