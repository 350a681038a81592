"""Time what ``import plugbay`` adds to the start of an interpreter, and what makes it up.

Run ``python3 sdk-python/bench/imports.py``. Interpreters with and without the
import are started by turns; the smallest time of each counts, for whatever is
above it was the machine's doing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
ROUNDS = 40
LIMIT = 15.0
BARE = "import sys; sys.path.insert(0, sys.argv[1])"
CASES = {
    "bare": BARE,
    "json, for comparison": BARE + "; import json",
    "plugbay": BARE + "; import plugbay",
    "plugbay, no bytecode cached": BARE + "; sys.dont_write_bytecode = True"
    "; sys.pycache_prefix = '/nonexistent'; import plugbay",
}


def start(code: str) -> float:
    """Milliseconds from starting an interpreter to its end."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", code, str(SOURCE)], check=True)
    return (time.perf_counter() - begun) * 1e3


def main() -> int:
    """Print the table; fail if the import costs more than it may."""
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(ROUNDS):
        for name, code in CASES.items():
            times[name].append(start(code))
    bare = min(times["bare"])
    for name, taken in times.items():
        print(f"{name:28} {min(taken):6.1f} ms  {min(taken) - bare:+6.1f}")
    return int(min(times["plugbay"]) - bare > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
