"""A program that becomes another one: it ends when the process that started it does and, on request, has a network of its own.

    python -I -S tether.py PARENT SOCKET PROGRAM ARGUMENT...

PARENT is the process that started it. SOCKET is 0, or the number of a Unix socket over which it sends a TCP socket of its new network
namespace (network_namespaces(7)): a socket stays in the namespace it was made in, so that PARENT can connect it from outside. If the
system allows no namespace, it ends with the reason. Linux only; `process.start` is the one who runs it, and imports nothing of it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys

# linux/sched.h, linux/sockios.h, linux/if.h, linux/prctl.h
_NEW_USER, _NEW_NETWORK = 0x1000_0000, 0x4000_0000
_SET_FLAGS, _UP = 0x8914, 1
_SET_PARENT_DEATH_SIGNAL = 1


def main(parent: int, door: int, command: list[str]) -> None:
    """Become `command`; returns only if `parent` has ended already. Raises OSError if the system refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    if door:
        # Root needs no user namespace, and may be allowed none.
        if libc.unshare(_NEW_NETWORK) and libc.unshare(_NEW_USER | _NEW_NETWORK):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        with socket.socket() as inside, socket.socket(fileno=door) as outside:
            fcntl.ioctl(inside, _SET_FLAGS, struct.pack("16sH22x", b"lo", _UP))
            socket.send_fds(outside, [b"+"], [inside.fileno()])
    # After the namespace: the kernel forgets it when the rights of a process change.
    libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() == parent:
        os.execv(command[0], command)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
    except OSError as error:
        sys.exit(f"{sys.argv[3]}: {error.strerror}")
