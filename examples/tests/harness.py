"""Drives a plugin as a host would, from its manifest's command on; unsealed."""

from __future__ import annotations

import json
import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import unittest
from collections import deque
from typing import Any

from tests import EXAMPLES, SDK

PATIENCE = 20.0


class Failed(Exception):
    """The plugin answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['message']} ({error['code']})")
        self.code = error["code"]
        self.message = error["message"]
        self.data = error.get("data")


class Gone(Exception):
    """The plugin ended without an answer."""


class Plugin:
    """One process of an example, past its handshake."""

    def __init__(self, name: str, config: Any = None, env: dict[str, str] | None = None) -> None:
        directory = EXAMPLES / name
        self.child = subprocess.Popen(
            command(name),
            cwd=directory,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(SDK),
                "LC_ALL": "C.UTF-8",
                **(env or {}),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.noise: list[bytes] = []
        self.said: list[dict[str, Any]] = []
        self._lines: deque[bytes] = deque()
        self._tail = b""
        self._last = 0
        self.hello = self.call(
            "initialize", versions=[1], host={"name": "test", "version": "0"}, config=config
        )
        self.notify("initialized")

    def __enter__(self) -> Plugin:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout, self.child.stderr):
            pipe.close()

    def call(self, method: str, **params: Any) -> Any:
        """Call and wait; what comes meanwhile is kept in `said` and `noise`."""
        number = self.start(method, **params)
        while True:
            message = self.receive()
            if message.get("id") != number or "method" in message:
                self.said.append(message)
            elif "error" in message:
                raise Failed(message["error"])
            else:
                return message["result"]

    def start(self, method: str, **params: Any) -> int:
        self._last += 1
        self.send({"id": self._last, "method": method, "params": params})
        return self._last

    def notify(self, method: str, **params: Any) -> None:
        self.send({"method": method, "params": params})

    def send(self, message: dict[str, Any]) -> None:
        self.send_raw(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def send_raw(self, data: bytes) -> None:
        self.child.stdin.write(data)
        self.child.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Read the next message, keeping what is none."""
        while True:
            line = self._line()
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                message = None
            if isinstance(message, dict) and "jsonrpc" in message:
                return message
            self.noise.append(line)

    def stop(self) -> int:
        """Shut down in order, and return the exit status."""
        assert self.call("shutdown") is None
        self.notify("exit")
        return self.child.wait(PATIENCE)

    def stderr(self) -> str:
        """All it has said on standard error; it must have ended."""
        return self.child.stderr.read().decode()

    def _line(self) -> bytes:
        while not self._lines:
            with selectors.DefaultSelector() as selector:
                selector.register(self.child.stdout, selectors.EVENT_READ)
                if not selector.select(PATIENCE):
                    raise TimeoutError("the plugin says nothing")
            chunk = os.read(self.child.stdout.fileno(), 1 << 20)
            if not chunk:
                raise Gone(f"exit status {self.child.wait(PATIENCE)}")
            *whole, self._tail = (self._tail + chunk).split(b"\n")
            self._lines.extend(whole)
        return self._lines.popleft()


def command(name: str) -> list[str]:
    """Find the command in the manifest; `tomllib` is too new to count on."""
    text = (EXAMPLES / name / "plugin.toml").read_text()
    words = shlex.split(re.search(r'(?m)^command = "(.*)"$', text)[1])
    return [sys.executable, "-W", "error", *words[1:]] if words[0] == "python3" else words


def methods(name: str) -> set[str]:
    """Find the methods the manifest declares."""
    text = (EXAMPLES / name / "plugin.toml").read_text()
    return set(re.findall(r"(?m)^\[methods\.([\w-]+)\]$", text))


def require(program: str) -> None:
    """Skip a test class whose language is not installed here."""
    if shutil.which(program) is None:
        if os.environ.get("REQUIRE_LANGUAGES"):
            raise AssertionError(f"{program} is not installed")
        raise unittest.SkipTest(f"{program} is not installed")
