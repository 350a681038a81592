"""The two ends of the wire, and how a plugin takes them from standard input and output.

A plugin's ``print``, a library's, and those of every child process go to file
descriptor 1, so the wire must not be there: ``claim`` moves it away.
"""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping

RPC_FD = "PLUGBAY_RPC_FD"


class Channel:
    """Two file descriptors; whole frames out, whatever arrives in."""

    __slots__ = ("_closed", "_lock", "reader", "writer")

    def __init__(self, reader: int, writer: int) -> None:
        """Take the ends, which stay open as long as the process does."""
        self.reader = reader
        self.writer = writer
        self._lock = allocate_lock()
        self._closed = False

    def read(self, size: int) -> bytes:
        """Block for at most ``size`` bytes; none when the host is gone."""
        try:
            return os.read(self.reader, size)
        except OSError:
            return b""

    def write(self, frame: bytes) -> None:
        """Write one frame, not mixed with any other thread's."""
        with self._lock:
            if self._closed:
                raise BrokenPipeError
            written = os.write(self.writer, frame)
            while written < len(frame):
                written += os.write(self.writer, memoryview(frame)[written:])

    def close(self) -> None:
        """Let nothing more out."""
        with self._lock:
            self._closed = True


def claim(environ: MutableMapping[str, str] = os.environ) -> Channel:
    """Take the wire for this process alone.

    Afterwards standard input is empty, standard output goes where standard
    error does, and no child process inherits the wire.
    """
    named = environ.pop(RPC_FD, None)
    if named is not None:
        descriptor = int(named)
        os.set_inheritable(descriptor, False)
        channel = Channel(descriptor, descriptor)
    else:
        channel = Channel(_move_away(0), _move_away(1))
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.close(empty)
        # What `print` has buffered by now was not meant for the host either.
        os.dup2(2, 1)
    os.set_blocking(channel.reader, True)
    os.set_blocking(channel.writer, True)
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(line_buffering=True)
    return channel


def _move_away(descriptor: int) -> int:
    """Duplicate to above the standard three, closed on exec."""
    import fcntl  # noqa: PLC0415 - only a real plugin needs it, a test does not

    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
