"""Streams: what is sent bit by bit waits for credit, what arrives for whoever takes it.

Both ends as values, and the table of those that are open. Not here: threads,
and when an answer goes out (``_session``).

A stream's sender may be *ahead* of its receiver by a window, and then waits. A
receiver acknowledges what was taken when that is half of one. So neither keeps
more than a window, however long the stream, and a slow consumer makes the
producer wait.
"""

from __future__ import annotations

from _thread import allocate_lock

from plugbay._errors import (
    INTERNAL_ERROR,
    PROTOCOL_VIOLATION,
    UNAVAILABLE,
    CallError,
    InvalidParams,
    PluginError,
)
from plugbay._wire import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, Final, Protocol

    from plugbay._call import Call, Ticket

    class Peer(Protocol):
        """What streams ask of whoever has the wire."""

        def tell(self, method: str, params: str) -> None:
            """Send a notification whose parameters are JSON already."""

        def block(self, call: Call | None, end: Sink | Stream) -> None:
            """Wait until ``end`` has moved on; a cancelled call raises ``Cancelled``."""

        async def pause(self, call: Call | None, end: Sink | Stream) -> None:
            """Do what ``block`` does, on the event loop."""


WINDOW_ITEMS: Final = 64
WINDOW_BYTES: Final = 1 << 20
FRAME_ITEMS: Final = 64
REFERENCES: Final = 16
_PIECE: Final = 256 << 10
_END: Final = object()


class Sink:
    """The sending end of a stream."""

    __slots__ = (
        "_ahead",
        "_mutex",
        "_peer",
        "_sent",
        "_sizes",
        "call",
        "id",
        "kind",
        "over",
        "ticket",
    )

    def __init__(self, peer: Peer, id_: str, kind: str, call: Call | None) -> None:
        """Nothing sent yet. ``call`` is the one in whose result or on whose behalf it is."""
        self.id = id_
        self.kind = kind
        self.call = call
        self.over = False
        self.ticket: Ticket | None = None  # of who waits for credit
        self._peer = peer
        self._mutex = allocate_lock()
        self._sizes: list[int] = []  # of the frames without acknowledgement
        self._ahead = 0
        self._sent = 0

    @property
    def moved(self) -> bool:
        """Whether there is nothing to wait for: credit, or the end."""
        return self.over or (len(self._sizes) < WINDOW_ITEMS and self._ahead < WINDOW_BYTES)

    def texts(self, item: Any) -> Iterator[str]:
        """Write an item as the content of one frame, or of several if it is many bytes."""
        if self.kind == "json":
            yield f'"items":[{encode(item)}]'
            return
        if not isinstance(item, (bytes, bytearray, memoryview)):
            name = type(item).__name__
            raise PluginError(INTERNAL_ERROR, f"a {name} in a stream of bytes")
        from binascii import b2a_base64  # noqa: PLC0415 - only where there are bytes

        for start in range(0, len(item), _PIECE):
            piece = b2a_base64(item[start : start + _PIECE], newline=False)
            yield f'"b64":"{piece.decode()}"'

    def send(self, text: str) -> None:
        """Send one frame; whether there is credit was looked at before."""
        size = len(text if text.isascii() else text.encode("utf-8", "replace"))
        with self._mutex:
            self._sizes.append(size)
            self._ahead += size
            self._sent += 1
        self._peer.tell("stream/data", f'{{"id":"{self.id}","seq":{self._sent},{text}}}')

    def acknowledge(self, seq: int) -> None:
        """Regain the credit of every frame up to ``seq``."""
        with self._mutex:
            while len(self._sizes) > max(0, self._sent - seq):
                self._ahead -= self._sizes.pop(0)
        _wake(self.ticket)

    def finish(self) -> None:
        """Send no more."""
        self.over = True
        _wake(self.ticket)


class Stream:
    """What comes bit by bit: an iterator of values, or of ``bytes``.

    A parameter that the caller sends as a stream is one, and so is a streamed
    result of another plugin. ``async for`` takes it as well. Whatever its
    producer fails with is raised as ``CallError``.
    """

    __slots__ = (
        "_ahead",
        "_bytes",
        "_call",
        "_error",
        "_frames",
        "_items",
        "_mutex",
        "_over",
        "_peer",
        "_received",
        "_table",
        "_taken",
        "feeds",
        "id",
        "kind",
        "ticket",
    )

    def __init__(self, table: Streams, call: Call | None, id_: str, kind: str) -> None:
        """Made by the session."""
        self.id = id_
        self.kind = kind
        self.ticket: Ticket | None = None  # of who waits for an item
        #: The streams of one answer, and those that were parameters of its call.
        self.feeds: tuple[Sequence[Stream], Sequence[Source]] = ((), ())
        self._table = table
        self._peer = table.peer
        self._call = call
        self._mutex = allocate_lock()
        self._frames: list[tuple[list[Any], int]] = []
        self._items: list[Any] = []  # of the frame being taken, the last one first
        self._received = 0
        self._ahead = 0  # items received and not acknowledged
        self._taken = 0  # items taken and not acknowledged
        self._bytes = 0  # the same in bytes
        self._over = False
        self._error: BaseException | None = None

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        while not self._ready():
            self._peer.block(self._call, self)
        if self._items:
            return self._items.pop()
        raise StopIteration

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        while not self._ready():
            await self._peer.pause(self._call, self)
        if self._items:
            return self._items.pop()
        raise StopAsyncIteration

    def close(self) -> None:
        """Want no more of it; done by itself when the call is over that it belongs to."""
        if not self._over:
            self._table.forget(self)
            self._peer.tell("stream/drop", f'{{"id":{encode(self.id)}}}')
            self.finish()

    @property
    def moved(self) -> bool:
        """Whether there is nothing to wait for: an item, or the end."""
        return bool(self._frames) or self._over

    def finish(self, error: BaseException | None = None) -> None:
        """Expect no more."""
        if not self._over:
            self._error = error
            self._over = True
        _wake(self.ticket)
        answer, sources = self.feeds
        if sources and all(stream._over for stream in answer):  # noqa: SLF001 - of this class
            for source in sources:
                self._table.withdraw(source.sink)

    def arrive(self, params: dict[str, Any], size: int) -> None:
        """Take a frame in; one that breaks the rules breaks the stream."""
        items = self._content(params)
        if items is None or params.get("seq") != self._received + 1 or self._ahead >= WINDOW_ITEMS:
            self._table.forget(self)
            self._peer.tell("stream/drop", f'{{"id":{encode(self.id)}}}')
            self.finish(CallError(PROTOCOL_VIOLATION, "the stream broke the rules"))
            return
        with self._mutex:
            self._received += 1
            self._ahead += len(items)
            self._frames.append((items, size))
        _wake(self.ticket)

    def _content(self, params: dict[str, Any]) -> list[Any] | None:
        items, text = params.get("items"), params.get("b64")
        if self.kind == "bytes":
            data = _from_base64(text) if type(text) is str and items is None else b""
            return [data] if data else None
        good = type(items) is list and 0 < len(items) <= FRAME_ITEMS and text is None
        return items if good else None

    def _ready(self) -> bool:
        """Have an item at hand, or know that there is none; False if that is yet to come."""
        if self._items:
            return True
        if self._frames:
            self._take()
            return True
        if not self._over or self._frames:  # the last frame came in between
            return False
        if self._error is not None:
            raise self._error
        return True

    def _take(self) -> None:
        with self._mutex:
            items, size = self._frames.pop(0)
            self._taken += len(items)
            self._bytes += size
            waiting = len(self._frames)
            due = self._taken >= WINDOW_ITEMS // 2 or self._bytes >= WINDOW_BYTES // 2
            if due:
                self._ahead -= self._taken
                self._taken = self._bytes = 0
            seq = self._received - waiting
        self._items = items[::-1]
        if due and not self._over:
            self._peer.tell("stream/ack", f'{{"id":{encode(self.id)},"seq":{seq}}}')


class Source:
    """What is poured into a stream: an iterator whose first item was taken, to know its kind."""

    __slots__ = ("_first", "_rest", "sink")

    def __init__(self, sink: Sink, first: Any, rest: Any) -> None:
        """Take the first item, or that there is none, and the iterator it came from."""
        self.sink = sink
        self._first = first
        self._rest = rest

    @property
    def is_async(self) -> bool:
        """Whether the items have to be awaited."""
        return not hasattr(self._rest, "__next__")

    def __iter__(self) -> Iterator[Any]:
        if self._first is not _END:
            yield self._first
            yield from self._rest

    async def __aiter__(self) -> Any:
        if self._first is not _END:
            yield self._first
            async for item in self._rest:
                yield item

    def close(self) -> None:
        """Let the producer put its things away."""
        close = getattr(self._rest, "close", None)
        if close is not None:
            close()

    async def aclose(self) -> None:
        """Do what ``close`` does, on the event loop."""
        close = getattr(self._rest, "aclose", None)
        if close is not None:
            await close()


class Streams:
    """The streams of a session that are open."""

    def __init__(self, peer: Peer) -> None:
        """Without any."""
        self.agreed = False  # whether the host knows them too
        self.peer = peer
        self._incoming: dict[str, Stream] = {}
        self._outgoing: dict[str, Sink] = {}
        self._mutex = allocate_lock()
        self._last = 0
        self._closed = False

    # What arrives.

    def opened(self, value: Any, call: Call | None) -> tuple[Any, list[Stream]]:
        """Put streams where a message refers to them; what it cannot refer to is refused."""
        found: list[Stream] = []
        value = _replaced(value, lambda part: self._referred(part, call, found))
        taken = {stream.id for stream in found} & self._incoming.keys()
        if taken or len({stream.id for stream in found}) < len(found) or len(found) > REFERENCES:
            raise InvalidParams("it refers to a stream that is open, or to too many")
        self._incoming.update((stream.id, stream) for stream in found)
        if self._closed:
            self.close()
        return value, found

    def _referred(self, part: Any, call: Call | None, found: list[Stream]) -> Any:
        if type(part) is not dict or len(part) != 2 or next(iter(part)) != "$stream":
            return part
        id_, kind = part["$stream"], part.get("kind")
        if type(id_) is not str or not 0 < len(id_.encode()) <= 64 or kind not in ("json", "bytes"):
            return part
        found.append(Stream(self, call, id_, kind))
        return found[-1]

    def notice(self, method: str, params: Any, size: int) -> None:
        """Deal with what is said about a stream; what is about none comes too late."""
        if type(params) is not dict or type(params.get("id")) is not str:
            return
        id_ = params["id"]
        if method == "stream/data" and id_ in self._incoming:
            self._incoming[id_].arrive(params, size)
        elif method == "stream/end" and id_ in self._incoming:
            self._incoming.pop(id_).finish(_failure(params.get("error")))
        elif method == "stream/ack" and id_ in self._outgoing:
            seq = params.get("seq")
            self._outgoing[id_].acknowledge(seq if type(seq) is int else 0)
        elif method == "stream/drop" and id_ in self._outgoing:
            self._dropped(self._outgoing.pop(id_))

    def _dropped(self, sink: Sink) -> None:
        """End a stream, and with the last one of its result the call.

        The call first: who pours out the stream is to know why it ended.
        """
        call = sink.call
        if (
            call is not None
            and call.answered
            and not any(other.call is call for other in list(self._outgoing.values()))
        ):
            call.cancel()
        sink.finish()

    def forget(self, stream: Stream) -> None:
        """Ignore what still comes about a stream."""
        self._incoming.pop(stream.id, None)

    def release(self, call: Call) -> None:
        """Be done with what a call has not read to its end."""
        for stream in call.streams:
            self.forget(stream)
            stream.finish()
        for stream in call.replies:
            stream.close()

    def close(self) -> None:
        """End everything: the host is gone."""
        self._closed = True
        incoming, self._incoming = self._incoming, {}
        outgoing, self._outgoing = self._outgoing, {}
        for stream in incoming.values():
            stream.finish(CallError(UNAVAILABLE, "the host is gone"))
        for sink in outgoing.values():
            sink.finish()

    # What goes out.

    def offered(self, value: Any, call: Call | None) -> tuple[Any, list[Source]]:
        """Put references where a value holds iterators, whose first items are taken."""
        sources: list[Source] = []

        def refer(part: Any) -> Any:
            if hasattr(part, "__next__"):
                return self._refer(part, next(part, _END), call, sources)
            if hasattr(part, "__anext__"):
                what = "only an `async def` handler sends what an asynchronous iterator brings"
                raise PluginError(INTERNAL_ERROR, what)
            return part

        return _replaced(value, refer), self._checked(sources)

    async def aoffered(self, value: Any, call: Call | None) -> tuple[Any, list[Source]]:
        """Do what ``offered`` does, for asynchronous iterators too."""
        sources: list[Source] = []
        firsts = {}
        for part in _parts(value):
            if hasattr(part, "__anext__"):
                try:
                    firsts[id(part)] = await part.__anext__()
                except StopAsyncIteration:
                    firsts[id(part)] = _END

        def refer(part: Any) -> Any:
            if id(part) in firsts:
                return self._refer(part, firsts[id(part)], call, sources)
            if hasattr(part, "__next__"):
                return self._refer(part, next(part, _END), call, sources)
            return part

        return _replaced(value, refer), self._checked(sources)

    def _refer(self, rest: Any, first: Any, call: Call | None, sources: list[Source]) -> Any:
        if not self.agreed:
            raise PluginError(INTERNAL_ERROR, "the host takes no streams")
        is_bytes = isinstance(first, (bytes, bytearray, memoryview))
        with self._mutex:
            self._last += 1
            id_ = f"p{self._last}"
        sink = Sink(self.peer, id_, "bytes" if is_bytes else "json", call)
        self._outgoing[sink.id] = sink
        if self._closed:
            sink.finish()
        sources.append(Source(sink, first, rest))
        return {"$stream": sink.id, "kind": sink.kind}

    def _checked(self, sources: list[Source]) -> list[Source]:
        if len(sources) > REFERENCES:
            for source in sources:
                self.withdraw(source.sink)
            raise PluginError(INTERNAL_ERROR, f"more than {REFERENCES} streams at once")
        return sources

    def withdraw(self, sink: Sink) -> None:
        """Send nothing of it: nobody expects it any more, or ever did."""
        self._outgoing.pop(sink.id, None)
        sink.finish()

    def end(self, sink: Sink, error: str = "") -> None:
        """Say that this was all, or the error member that says why there is no more."""
        if not sink.over:
            comma = "," if error else ""
            self.peer.tell("stream/end", f'{{"id":"{sink.id}"{comma}{error}}}')
        self.withdraw(sink)


def _wake(ticket: Ticket | None) -> None:
    if ticket is not None:
        ticket.settle()


def _failure(error: Any) -> CallError | None:
    if error is None:
        return None
    if type(error) is not dict:
        error = {"message": "a malformed end", "data": error}
    code, message = error.get("code", INTERNAL_ERROR), str(error.get("message", ""))
    return CallError(code, message, error.get("data"))


def _from_base64(text: str) -> bytes:
    """Read base64 to the letter; nothing if it is not."""
    from binascii import Error, a2b_base64, b2a_base64  # noqa: PLC0415 - only where there are bytes

    try:
        data = a2b_base64(text)
    except (Error, ValueError):
        return b""
    return data if b2a_base64(data, newline=False) == text.encode() else b""


def _replaced(value: Any, replace: Any) -> Any:
    """Copy what holds something that is replaced; dictionaries and lists only."""
    found = replace(value)
    if found is not value:
        return found
    if type(value) is dict:
        return {name: _replaced(part, replace) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replaced(part, replace) for part in value]
    return value


def _parts(value: Any) -> Iterable[Any]:
    """List every part of a value, itself included."""
    yield value
    inner: Iterable[Any] = ()
    if type(value) is dict:
        inner = value.values()
    elif isinstance(value, (list, tuple)):
        inner = value
    for part in inner:
        yield from _parts(part)
