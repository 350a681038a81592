"""Bytes to messages and back: framing, JSON, and the bounds on both.

Not here: what a message means (``_session``) or where bytes come from (``_channel``).

The standard ``json`` module imports ``re`` only to have a slow path in Python,
which costs a plugin several milliseconds of its start. Its fast path lives in
``_json``, so that is used directly, and ``json`` where an interpreter lacks it.
"""

from __future__ import annotations

from plugbay._errors import FRAME_TOO_LARGE, INTERNAL_ERROR, PARSE_ERROR, PluginError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

MAX_FRAME: Final = 8 << 20
MAX_DEPTH: Final = 128
_CHUNK: Final = 64 << 10
_SALVAGE: Final = 4 << 10
_NEVER_DEEP: Final = 2 * MAX_DEPTH
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")


class Unreadable(PluginError):
    """A frame that is no message: why, and what could be read of it all the same.

    ``id`` is the outermost one, if it was found; ``answers`` says that it
    belongs to an answer to us, which is not to be answered in turn.
    """

    def __init__(self, code: int, message: str, frame: bytes) -> None:
        """Look at the first bytes of the frame."""
        super().__init__(code, message)
        self.id, self.answers = _salvage(frame[:_SALVAGE])


class HasStream(Exception):
    """A value holds an iterator, which JSON cannot say and a stream can."""


class Lines:
    """Cuts a byte stream into lines, holding at most one frame and one chunk."""

    __slots__ = ("_dropping", "_parts", "_read", "_ready", "_size", "max_frame")

    def __init__(self, read: Callable[[int], bytes], max_frame: int = MAX_FRAME) -> None:
        """Take ``read(n)``, which blocks, and returns ``b""`` at the end."""
        self._read = read
        self._ready: list[bytes | Unreadable] = []  # the last one is the next one
        self._parts: list[bytes] = []
        self._size = 0
        self._dropping = False
        self.max_frame = max_frame

    def next(self) -> bytes | Unreadable | None:
        """Return the next line, blocking for it; None when there are no more."""
        while not self._ready:
            chunk = self._read(_CHUNK)
            if not chunk:
                return None
            self._feed(chunk)
        return self._ready.pop()

    def _feed(self, chunk: bytes) -> None:
        """Cut one chunk; whatever was ready has been taken before."""
        lines = chunk.split(b"\n")
        tail = lines.pop()
        if lines:
            lines[0] = self._finish(lines[0])
            lines.reverse()
            self._ready = [
                line if len(line) <= self.max_frame else self._oversize(line)
                for line in lines
                if line and not line.isspace()
            ]
        if tail:
            self._extend(tail)

    def _extend(self, part: bytes) -> None:
        """Keep one more piece of the unfinished line, or give the line up."""
        if self._dropping:
            return
        self._parts.append(part)
        self._size += len(part)
        if self._size > self.max_frame:
            # Reported now rather than at the newline, which may never come.
            self._ready.insert(0, self._oversize(b"".join(self._parts)))
            self._parts = []
            self._dropping = True

    def _oversize(self, line: bytes) -> Unreadable:
        return Unreadable(FRAME_TOO_LARGE, f"frame over {self.max_frame} bytes", line)

    def _finish(self, last: bytes) -> bytes:
        """Join the unfinished line with its last piece."""
        if self._parts:
            last = b"".join([*self._parts, last])
            self._parts = []
        elif self._dropping:
            last = b""
            self._dropping = False
        self._size = 0
        return last


def decode(frame: bytes) -> Any:
    """Read one JSON text."""
    if len(frame) > _NEVER_DEEP and deeper_than(frame, MAX_DEPTH):
        raise Unreadable(PARSE_ERROR, f"nested deeper than {MAX_DEPTH}", frame)
    try:
        return _loads(frame.decode())
    except UnicodeDecodeError as error:
        reason = str(error)
    except (ValueError, StopIteration, RecursionError, SystemError):
        # The C half alone cannot say what is wrong, nor, in Python 3.11, even that it is.
        try:
            return _portable()[0](frame.decode())
        except (ValueError, RecursionError) as error:
            reason = str(error)
    fault = Unreadable(PARSE_ERROR, f"not JSON: {reason}", frame)
    fault.id = fault.id if fault.answers else None  # of a request it may be anything
    raise fault


def encode(value: Any) -> str:
    """Write one JSON text; what JSON cannot say is an error that says so."""
    try:
        return _dumps(value)
    except RecursionError:
        reason = "nested too deep, or in itself"
    except (TypeError, ValueError) as error:
        reason = str(error)
    raise PluginError(INTERNAL_ERROR, f"cannot be written as JSON: {reason}")


def seal(text: str, max_frame: int) -> bytes:
    """Turn a message into its frame, checking it against what the peer accepts."""
    try:
        frame = text.encode()
    except UnicodeEncodeError as error:
        raise PluginError(INTERNAL_ERROR, f"cannot be written as UTF-8: {error}") from None
    if len(frame) > max_frame:
        data = {"size": len(frame), "limit": max_frame}
        raise PluginError(FRAME_TOO_LARGE, f"frame of {len(frame)} bytes is over the cap", data)
    if len(frame) > _NEVER_DEEP and deeper_than(frame, MAX_DEPTH):
        raise PluginError(INTERNAL_ERROR, f"cannot be sent: nested deeper than {MAX_DEPTH}")
    return frame + b"\n"


def deeper_than(frame: bytes, limit: int) -> bool:
    """Tell whether a JSON text nests deeper than ``limit``, without parsing it.

    Works at the speed of ``bytes`` methods: strings are cut out, then whatever
    is not a bracket, then the innermost level of nesting, ``limit`` times.
    """
    if frame.count(b"[") + frame.count(b"{") <= limit:
        return False
    if b"\\" in frame:
        frame = frame.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(frame.split(b'"')[::2]).translate(_BRACKETS, _NO_BRACKET)
    for _ in range(limit):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def plain(value: Any) -> Any:
    """Turn what people commonly return, and JSON does not know, into what it does."""
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None and not isinstance(value, type):
        return {name: getattr(value, name) for name in fields}
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    if hasattr(value, "__next__") or hasattr(value, "__anext__"):
        raise HasStream
    raise TypeError(f"a {type(value).__name__} is not a JSON value")


def _salvage(kept: bytes) -> tuple[int | str | None, bool]:
    """Find the id in the first bytes of a frame, and whether it belongs to an answer."""
    import re  # noqa: PLC0415 - rare, and dear to import

    body = re.search(rb'"(params|result|error)"\s*:', kept)
    head = kept[: body.start()] if body else kept
    found = re.search(rb'"id"\s*:\s*(-?\d{1,19}|"(?:[^"\\]|\\.){0,256}")\s*[,}]', head)
    answers = body is not None and body[1] != b"params" and b'"method"' not in head
    return (_portable()[0](found[1].decode()) if found else None), answers


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _accelerated() -> tuple[Callable[[str], Any], Callable[[Any], str]]:
    """Build the reader and the writer on the C half of ``json``."""
    from _json import encode_basestring, make_encoder, make_scanner  # noqa: PLC0415

    class Settings:
        strict = True
        object_hook = None
        object_pairs_hook = None
        parse_float = float
        parse_int = int
        parse_constant = staticmethod(_refuse_constant)
        memo: dict[str, str] = {}

    scan = make_scanner(Settings)  # type: ignore[arg-type]
    chunks = make_encoder(
        None, plain, encode_basestring, None, ":", ",", False, False, False
    )  # fmt: skip

    def loads(text: str) -> Any:
        text = text.strip(" \t\r\n")
        value, end = scan(text, 0)
        if end != len(text):
            raise ValueError("more than one value")
        return value

    def dumps(value: Any) -> str:
        return "".join(chunks(value, 0))

    if dumps(loads('[{"a":1.5}]')) != '[{"a":1.5}]':
        raise ImportError("_json is not the one we know")
    return loads, dumps


def _portable() -> tuple[Callable[[str], Any], Callable[[Any], str]]:
    """Build them on the public module, which every interpreter has."""
    import json  # noqa: PLC0415 - dear to import; see the module's docstring

    reader = json.JSONDecoder(parse_constant=_refuse_constant)
    writer = json.JSONEncoder(
        default=plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    return reader.decode, writer.encode


try:
    _loads, _dumps = _accelerated()
except (ImportError, TypeError, AttributeError):  # pragma: no cover - not CPython
    _loads, _dumps = _portable()
