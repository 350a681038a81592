"""A plugin in a process of its own, driven by its pipes."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import textwrap
import time
from typing import Any

from tests import SOURCE

PATIENCE = 20.0


class Process:
    """Starts a script; what it does not answer in time is an error, not a hang."""

    def __init__(self, script: str, *arguments: str, **options: Any) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(SOURCE), str(SOURCE.parent))),
            "PYTHONWARNINGS": "error",
        }
        environment.pop("PYTHONUNBUFFERED", None)  # or what is printed early is out at once
        environment.update(options.pop("env", {}))
        self.child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            **options,
        )
        self._buffer = b""
        self._errors: bytes | None = None

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout, self.child.stderr):
            pipe.close()

    def open(self, **params: Any) -> Any:
        offer = {"versions": [1], "host": {"name": "test", "version": "0"}, **params}
        hello = self.call("initialize", offer)
        self.send({"method": "initialized"})
        return hello

    def call(self, method: str, params: Any = None, id_: int = 1) -> Any:
        self.send({"id": id_, "method": method, "params": params})
        while True:
            answer = self.receive()
            if answer is None or "method" not in answer:
                return answer

    def send(self, message: dict[str, Any]) -> None:
        self.send_raw(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def send_raw(self, data: bytes) -> None:
        self.child.stdin.write(data)
        self.child.stdin.flush()

    def hang_up(self) -> None:
        self.child.stdin.close()

    def receive(self) -> Any:
        while b"\n" not in self._buffer:
            chunk = self._read(self.child.stdout)
            if not chunk:
                assert not self._buffer, f"cut short: {self._buffer!r}"
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def stderr(self) -> str:
        """All of it; the process must be ending."""
        if self._errors is None:
            self._errors = b"".join(iter(lambda: self._read(self.child.stderr), b""))
        return self._errors.decode()

    def end(self) -> int:
        """Wait for the exit status."""
        return self.child.wait(PATIENCE)

    def _read(self, pipe: Any) -> bytes:
        deadline = time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError("the plugin says nothing")
        return os.read(pipe.fileno(), 65536)
