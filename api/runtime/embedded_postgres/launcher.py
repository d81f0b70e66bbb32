"""Runs one of Postgres' programs as a daemon, or as a user other than root. It is a small program of its own.

    python launcher.py detach|wait USER PROGRAM ARGUMENT...

`detach` starts the program in the background, `wait` becomes the program. USER is the number of the user that runs the
program. The launcher is a separate process, because a process with threads cannot safely change its user between fork
and exec.

Postgres refuses to run as root, and another user cannot reach a checkout in root's home. Opening the directories above
the checkout to everybody would be wrong, so the program keeps one of root's capabilities, which lets it read and search
files without permission: CAP_DAC_READ_SEARCH, or where root lacks that, as in a container, CAP_DAC_OVERRIDE.
"""

import ctypes
import os
import sys

_PR_SET_SECUREBITS = 28
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_PR_SET_NO_NEW_PRIVS = 38
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_LINUX_CAPABILITY_VERSION_3 = 0x20080522


def become(user: int) -> None:
    """Give up root permanently and become a user who may still read and search all files.

    Raises OSError when this root user may not do that.
    """
    reach = _CAP_DAC_READ_SEARCH if _root_has(_CAP_DAC_READ_SEARCH) else _CAP_DAC_OVERRIDE
    libc = ctypes.CDLL(None, use_errno=True)

    # Without this, access(2) ignores the capability, and Postgres uses access(2) to check that it may run its programs.
    _done(libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0), "keep a capability as another user")
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)

    # The effective, permitted and inheritable sets, for capabilities 0 to 31 and then for 32 to 63.
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    only = 1 << reach
    _done(libc.capset(header, (ctypes.c_uint32 * 6)(only, only, only, 0, 0, 0)), "give up all other capabilities")
    _done(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, reach, 0, 0), "hand the capability on")
    _done(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "rule out new privileges")


def _root_has(capability: int) -> bool:
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123 - starts sooner
        held = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    return bool(held >> capability & 1)


def _done(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"may not {what}: {os.strerror(number)}")


def main(arguments: list[str]) -> None:
    """Start the program that the command line names."""
    how, user, program = arguments[0], int(arguments[1]), arguments[2:]
    os.umask(0o077)
    if how == "detach":
        if os.fork():
            os._exit(0)
        os.setsid()
    if user != os.geteuid():
        if sys.platform == "linux":
            become(user)
        else:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
    os.execv(program[0], program)  # noqa: S606 - the launcher's purpose; it uses no shell


if __name__ == "__main__":
    main(sys.argv[1:])
