"""The first process of a sandbox: it starts the job's program, ends what is left of it, and tells how it ended.

    python -I -S init.py CONTROL LIMITS PROGRAM [ARGUMENT...]

It is started by its path, in a process namespace of its own whose first process it is: once it ends, the kernel ends all
others in it. CONTROL is a descriptor that leads to the runner. `end` comes from there, and is passed on to the program's group as
SIGTERM; once nobody is at its other end any more, the sandbox ends. `begun`, and `ended STATUS` with an exit code or minus a signal,
go there: bubblewrap itself would tell of 143 as well for SIGTERM as for an exit code. LIMITS are names and values of
getrlimit(2), as `CPU=60,NOFILE=1024`.

Few modules, as each stage waits for this to start: no `signal`, no `socket`.
"""

from __future__ import annotations

import os
import resource
import select
import sys

SIGTERM, SIGPIPE, SIGXFSZ = 15, 13, 25
CANNOT_START = 127


def main(control: int, limits: str, argv: list[str]) -> int:
    """Run the program to its end, and give an exit code."""
    os.set_inheritable(control, False)  # noqa: FBT003 - it takes no name
    _limit(limits)
    os.write(control, b"begun\n")
    try:
        # Python ignores two signals, and what it starts would too
        program = os.posix_spawnp(argv[0], argv, _variables(), setsid=True, setsigdef=[SIGPIPE, SIGXFSZ])
    except OSError as error:
        os.write(2, f"{argv[0]} cannot be started: {error.strerror}\n".encode(errors="surrogateescape"))
        status = CANNOT_START
    else:
        status = _wait(program, control)
    os.write(control, f"ended {status}\n".encode("ascii"))
    return status if status >= 0 else 128 - status


def _variables() -> dict[bytes, bytes]:
    """Those that we were handed; Python may have added one of its own for the locale."""
    with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 - pathlib takes longer than all the rest
        handed = file.read()
    return dict(each.split(b"=", 1) for each in handed.split(b"\0") if b"=" in each)


def _limit(limits: str) -> None:
    for each in limits.split(","):
        name, _, value = each.partition("=")
        if value:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (int(value), int(value)))


def _wait(program: int, control: int) -> int:
    """Wait for the program's end; whoever lost its parent is ours to bury."""
    ended = os.pidfd_open(program)
    while True:
        ready, _, _ = select.select([control, ended], [], [], 1.0)
        if control in ready:
            if not _is_asked(control):
                os._exit(1)
            os.killpg(program, SIGTERM)
        while (found := os.waitpid(-1, os.WNOHANG if ended not in ready else 0))[0]:
            if found[0] == program:
                return os.waitstatus_to_exitcode(found[1])


def _is_asked(control: int) -> bool:
    """Whether the runner asks for the end; else it is gone."""
    try:
        return os.read(control, 64) != b""
    except ConnectionResetError:  # gone, without having read what we told
        return False


if __name__ == "__main__":
    os._exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
