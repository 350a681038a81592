"""Time a call against the floor: the same work in a bare loop over ``json``.

Run ``python3 sdk-python/bench/calls.py``. Both plugins are processes behind two
pipes, asked by turns in one run, so what the machine does to one it does to the
other. The ratio is what counts; absolute figures are this machine's, now.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
ROUNDS = 15
CALLS = 2_000
FLOOR = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    params = message.get("params")
    result = params["a"] + params["b"] if message["method"] == "add" else {}
    answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
    sys.stdout.write(json.dumps(answer) + "\\n")
    sys.stdout.flush()
"""
OURS = """
import sys
sys.path.insert(0, sys.argv[1])
from plugbay import Plugin
plugin = Plugin("bench", "1.0.0")
@plugin.method
def add(a, b):
    return a + b
plugin.run()
"""


class Peer:
    """A process that answers one line with one line."""

    def __init__(self, code: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code, str(SOURCE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.ask, self.hear = self.process.stdin.fileno(), self.process.stdout.fileno()
        self.frame = self.line("add", {"a": 1, "b": 2, "text": "x" * 40})
        os.write(self.ask, self.line("initialize", {"versions": [1]}))
        os.read(self.hear, 65536)
        self.frame = self.line("add", {"a": 19, "b": 23})

    def line(self, method: str, params: object) -> bytes:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return json.dumps(message).encode() + b"\n"

    def sequential(self) -> float:
        """Median seconds of a round trip."""
        times = []
        for _ in range(CALLS):
            begun = time.perf_counter()
            os.write(self.ask, self.frame)
            os.read(self.hear, 65536)
            times.append(time.perf_counter() - begun)
        return statistics.median(times)

    def pipelined(self, depth: int = 64) -> float:
        """Seconds per call with ``depth`` calls in flight."""
        frames = b"".join(
            self.frame.replace(b'"id": 1', b'"id": %d' % (100 + number)) for number in range(depth)
        )
        begun = time.perf_counter()
        turns = CALLS // depth
        for _ in range(turns):
            os.write(self.ask, frames)
            answers = 0
            while answers < depth:
                answers += os.read(self.hear, 65536).count(b"\n")
        return (time.perf_counter() - begun) / (turns * depth)


def main() -> None:
    """Print both plugins' figures and their ratios."""
    floor, ours = Peer(FLOOR), Peer(OURS)
    for kind in ("sequential", "pipelined"):
        rows = [(getattr(floor, kind)(), getattr(ours, kind)()) for _ in range(ROUNDS)]
        base, mine = (statistics.median(column) * 1e6 for column in zip(*rows))
        ratio = statistics.median(mine / base for base, mine in rows)
        print(f"{kind:10}  bare loop {base:5.1f} us  plugbay {mine:5.1f} us  ratio {ratio:.2f}")
    for peer in (floor, ours):
        peer.process.kill()
        peer.process.wait()


if __name__ == "__main__":
    main()
