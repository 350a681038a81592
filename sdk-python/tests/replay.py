"""Replays a golden transcript, to the letter of ``protocol/golden/README.md``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDEN = Path(__file__).resolve().parents[2] / "protocol" / "golden"


class Mismatch(AssertionError):
    """The plugin said something else."""


def transcripts() -> list[Path]:
    return sorted(GOLDEN.glob("*.jsonl"))


class Replay:
    """One session: ``send`` takes bytes, ``receive`` returns a message or None at the end."""

    def __init__(
        self,
        send: Callable[[bytes], None],
        hang_up: Callable[[], None],
        receive: Callable[[], Any],
    ) -> None:
        self._send = send
        self._hang_up = hang_up
        self._receive = receive
        self._names: dict[str, Any] = {}
        self._early: list[Any] = []  # progress that came before its line

    def run(self, path: Path) -> None:
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        for number, line in enumerate(lines):
            if line["dir"] == "host":
                self._play(line)
            else:
                later = [other.get("frame") for other in lines[number + 1 :]]
                self._expect(line, later)
        if self._early:
            raise Mismatch(f"never expected: {self._early}")

    def _play(self, line: dict[str, Any]) -> None:
        if "eof" in line:
            self._hang_up()
        elif "raw" in line:
            self._send(line["raw"].encode())
        elif "hex" in line:
            self._send(bytes.fromhex(line["hex"]))
        else:
            self._send(json.dumps(self._fill(line["frame"])).encode() + b"\n")

    def _expect(self, line: dict[str, Any], later: list[Any]) -> None:
        wanted = line.get("frame")
        if self._early and _is(wanted, "$/progress"):
            self._compare(wanted, self._early.pop(0))
            return
        for got in self._incoming():
            if _is(got, "$/log") and not _is(wanted, "$/log"):
                continue
            if _is(got, "$/progress") and not _is(wanted, "$/progress"):
                if not any(_is(frame, "$/progress") for frame in later):
                    raise Mismatch(f"wanted {wanted}\n   got {got}")
                self._early.append(got)
                continue
            self._compare(wanted, got)
            return

    def _incoming(self) -> Iterator[Any]:
        while True:
            yield self._receive()

    def _compare(self, wanted: Any, got: Any) -> None:
        if not self._matches(wanted, got):
            raise Mismatch(f"wanted {wanted}\n   got {got}")

    def _matches(self, wanted: Any, got: Any) -> bool:
        if isinstance(wanted, str) and wanted.startswith("*"):
            return wanted == "*" or _same(self._names.setdefault(wanted, got), got)
        if isinstance(wanted, dict) and isinstance(got, dict):
            return wanted.keys() == got.keys() and all(
                self._matches(part, got[name]) for name, part in wanted.items()
            )
        if isinstance(wanted, list) and isinstance(got, list):
            return len(wanted) == len(got) and all(map(self._matches, wanted, got))
        return _same(wanted, got)

    def _fill(self, value: Any) -> Any:
        if isinstance(value, str) and value in self._names:
            return self._names[value]
        if isinstance(value, dict):
            return {name: self._fill(part) for name, part in value.items()}
        if isinstance(value, list):
            return [self._fill(part) for part in value]
        return value


def _is(message: Any, method: str) -> bool:
    return isinstance(message, dict) and message.get("method") == method


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: ``1`` and ``1.0`` are, ``1`` and ``True`` are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)
