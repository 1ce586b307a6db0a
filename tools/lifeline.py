"""Runs a command that never outlives the process that started it, even when that one is killed with SIGKILL.

`python -m tools.lifeline COMMAND ...`: on Linux the kernel is told to kill the command when its parent thread ends,
and the command then replaces this process, so its process id is the one the caller sees. Elsewhere this process stays,
passes signals on, and watches its parent.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from types import FrameType

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.2


def lifeline(*command: str) -> list[str]:
    """The argument list that runs `command` bound to the life of the thread that starts it."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def _exec_bound(parent: int, command: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    # The parent may have died before the kernel was told.
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(command[0], command)


def _watch_bound(parent: int, command: list[str]) -> int:
    child = subprocess.Popen(command)

    def forward(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, forward)
    while child.poll() is None:
        if os.getppid() != parent:
            child.kill()
        time.sleep(_POLL_SECONDS)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def main(arguments: list[str]) -> int:
    """Exit status of the command, where this process outlives the exec (not on Linux)."""
    if arguments and arguments[0].isdigit():
        parent, command = int(arguments[0]), arguments[1:]
    else:
        parent, command = os.getppid(), arguments
    if not command:
        print("usage: python -m tools.lifeline COMMAND ...", file=sys.stderr)
        return 2
    if sys.platform == "linux":
        _exec_bound(parent, command)
    return _watch_bound(parent, command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
