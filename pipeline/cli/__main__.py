"""`python -m pipeline.cli`: the command `towpath` where it is not on the path."""

from pipeline.cli.main import main

main()
