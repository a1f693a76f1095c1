"""The AWS that runs on this machine: one daemon on a loopback address, for environments with `aws: embedded`.

    python -I -m stages.embedded start|stop|status [--json]

`control` starts and stops it; `venv` makes the virtual environment it runs in; `boot` and `daemon` are its process, in which
`front` stands before ministack, `registry` before distribution's registry, and `hooks` is all that we change of ministack.
docs/adr/0007-embedded-aws.md says why it is made of these parts.
"""
