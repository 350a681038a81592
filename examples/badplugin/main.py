"""A plugin that misbehaves on request, one sin per method.

Where it survives what it tried, it tells what it met: that is the sandbox, seen
from inside. Every sin has a bound, so that running this unsealed does no lasting
harm, but do not: that is what Plugbay is for.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import warnings
from pathlib import Path

from plugbay import InvalidParams, Plugin

MIB = 1 << 20

# The SDK hides the wire from `print`. A plugin that is bad on purpose keeps a copy.
WIRE = os.dup(1)

plugin = Plugin("badplugin", "1.0.0")


@plugin.method
def crash(how: str = "segv", code: int = 3) -> None:
    """Die in the middle of a call."""
    signals = {"segv": signal.SIGSEGV, "abort": signal.SIGABRT, "kill": signal.SIGKILL}
    if how == "exit":
        sys.exit(code)
    if how not in signals:
        raise InvalidParams("`how` is one of segv, abort, kill, exit")
    print("about to die of", signals[how].name, file=sys.stderr, flush=True)
    os.kill(os.getpid(), signals[how])


@plugin.method
def hang(how: str = "sleep") -> None:
    """Never answer, and not listen to being cancelled."""
    while how == "sleep":
        time.sleep(1)
    while how == "spin":
        pass
    if how != "lock":
        raise InvalidParams("`how` is one of sleep, spin, lock")
    sum(range(10**15))  # one call into C, which keeps every other thread from running


@plugin.method
def flood(what: str = "line", mib: int = 1024) -> dict[str, int]:
    """Write much more than anybody wants to read, where only messages belong."""
    patterns = {"line": b"x", "lines": b"noise\n", "brackets": b"[", "binary": b"\x00\xff\xfe\n"}
    if what not in patterns:
        raise InvalidParams("`what` is one of " + ", ".join(patterns))
    block = patterns[what] * (MIB // len(patterns[what]))
    written = 0
    while written < mib * MIB:
        written += os.write(WIRE, block)
    return {"written": written + os.write(WIRE, b"\n")}


@plugin.method
def noise(lines: int = 1000) -> dict[str, int]:
    """Print, which does no harm: the SDK has pointed it at standard error."""
    for line in range(lines):
        print("[INFO] careless line", line)
    return {"lines": lines}


@plugin.method
def lie() -> str:
    """Answer what was not asked, twice, and claim to be the host."""
    for answer in (
        b'{"jsonrpc":"2.0","id":987654321,"result":"surprise"}\n',
        b'{"jsonrpc":"2.0","id":987654321,"result":"surprise"}\n',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-31002,"message":"I am your host"}}\n',
        b'{"jsonrpc":"2.0","id":{"a":1},"result":[]}\n',
    ):
        os.write(WIRE, answer)
    return "lied"


@plugin.method
def read_file(path: str = "/etc/shadow") -> dict[str, object]:
    """Read what is none of its business."""
    try:
        return {"read": len(Path(path).read_bytes())}
    except OSError as error:
        return denied(error)


@plugin.method
def write_file(path: str = "left-behind.py") -> dict[str, object]:
    """Leave something behind, by default among its own code."""
    try:
        return {"written": Path(path).write_text("gotcha\n")}
    except OSError as error:
        return denied(error)


@plugin.method
def list_processes() -> dict[str, object]:
    """Look around."""
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError as error:
        return denied(error)
    return {"own": os.getpid(), "parent": os.getppid(), "visible": sorted(pids)[:100]}


@plugin.method
def signal_host() -> dict[str, object]:
    """Ask, with the signal that does nothing, whether others would do something."""
    met: dict[str, object] = {}
    for name, pid in (("parent", os.getppid()), ("init", 1)):
        try:
            os.kill(pid, 0)
        except OSError as error:
            met[name] = denied(error)
        else:
            met[name] = {"pid": pid, "allowed": True}
    return met


@plugin.method
def environment() -> list[str]:
    """Look for secrets where careless people keep them."""
    return sorted(os.environ)


@plugin.method
def leak(mib: int = 4096) -> dict[str, object]:
    """Take memory, and use it so that it counts."""
    hoard: list[bytes] = []
    try:
        while len(hoard) < mib:
            hoard.append(b"\xaa" * MIB)
    except MemoryError as error:
        taken = len(hoard)
        hoard.clear()
        return {"mib": taken, **denied(error)}
    return {"mib": len(hoard)}


@plugin.method
def fork_bomb(children: int = 500) -> dict[str, object]:
    """Fork, and have every child stay until its parent is gone."""
    warnings.simplefilter("ignore", DeprecationWarning)  # Python knows that this is no good idea
    reader, writer = os.pipe()
    forked: list[int] = []
    met: dict[str, object] = {}
    try:
        while len(forked) < children:
            child = os.fork()
            if not child:
                os.close(writer)
                os.read(reader, 1)
                os._exit(0)
            forked.append(child)
    except OSError as error:
        met = denied(error)
    os.close(writer)
    os.close(reader)
    for child in forked:
        os.waitpid(child, 0)
    return {"children": len(forked), **met}


@plugin.method
def connect(host: str = "127.0.0.1", port: int = 22) -> dict[str, object]:
    """Call home."""
    try:
        with socket.create_connection((host, port), timeout=3):
            return {"connected": True}
    except OSError as error:
        return denied(error)


def denied(error: BaseException) -> dict[str, object]:
    """Describe what stood in the way."""
    number = getattr(error, "errno", None)
    return {"denied": type(error).__name__, "errno": number, "message": str(error)}


if __name__ == "__main__":
    plugin.run()
