"""The program `towpath`, and `python -m pipeline.cli` where it is not on the path.

To load the command takes a tenth of a second, in which Ctrl-C means what it does later.
"""

import sys


def main() -> None:
    """Load the command and run it."""
    try:
        from pipeline.cli.main import main as towpath
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        sys.exit(130)
    towpath()


if __name__ == "__main__":
    main()
