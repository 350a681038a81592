"""A host in memory, for unit tests of a plugin.

::

    from plugbay.testing import Host
    from main import plugin

    with Host(plugin, config={"language": "en"}) as host:
        assert host.call("count", path="data/text.txt") == {"words": 3}

A parameter that is an iterator is sent as a stream, while the answer or an item
is waited for; a streamed result is an iterator, as ``plugbay.Stream`` is.

The plugin runs as it would in its process, threads and all; only the two pipes
are a socket pair. There is no sandbox: what the plugin opens, it opens.
"""

from __future__ import annotations

import socket
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from plugbay import _errors
from plugbay._channel import Channel
from plugbay._errors import CallError, PluginError
from plugbay._stream import Streams
from plugbay._wire import HasStream, Lines, decode, encode, seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from plugbay._call import Call
    from plugbay._plugin import Plugin
    from plugbay._stream import Sink, Source, Stream

_VERSION = "0.1.0"
_ROOM = 64 << 20


class Entry(NamedTuple):
    """A log line of the plugin."""

    level: str
    message: str
    fields: dict[str, Any]


class Pending:
    """A call without an answer so far."""

    def __init__(self, host: Host, id_: int) -> None:
        """Made by ``Host.start``."""
        self._host = host
        self._answer: dict[str, Any] | None = None
        self.id = id_
        self.progress: list[dict[str, Any]] = []

    @property
    def done(self) -> bool:
        """Whether the answer was read."""
        return self._answer is not None

    def cancel(self, reason: str = "caller") -> None:
        """Tell the plugin that the answer is no longer wanted."""
        self._host.send({"method": "$/cancel", "params": {"id": self.id, "reason": reason}})

    def result(self) -> Any:
        """Wait for the answer; an error is raised as ``CallError``."""
        self._host.read_until(lambda: self.done)
        answer = self._answer or {}
        if "error" in answer:
            error = answer["error"]
            raise CallError(error["code"], error["message"], error.get("data"))
        return answer["result"]

    def settle(self, answer: dict[str, Any]) -> None:
        """Take the answer; called by the host."""
        self._answer = answer


class Host:
    """Speaks to a plugin in this process, and records what it says by itself."""

    def __init__(
        self,
        plugin: Plugin,
        *,
        config: Any = None,
        limits: Mapping[str, int] | None = None,
        timeout: float = 10.0,
    ) -> None:
        """Prepare a session; entering the context begins it."""
        self.plugin = plugin
        self.logs: list[Entry] = []
        self.notifications: list[tuple[str, Any]] = []
        self.exit_code: int | None = None
        self._config = config
        self._limits = dict(limits or {})
        self._timeout = timeout
        self._stubs: dict[str, Callable[[Any], Any]] = {}
        self._plugins: dict[tuple[str, str], Callable[[Any], Any]] = {}
        self._pending: dict[int, Pending] = {}
        self._streams = Streams(self)
        self._streams.agreed = True
        self._sources: list[tuple[Source, Iterator[str]]] = []
        self._last = 0
        self._stopping = False
        self.stub("host/info", {"name": "plugbay.testing", "version": _VERSION})
        self.stub("host/config.get", config)
        self.stub("host/call", self._call_plugin)

    def __enter__(self) -> Host:  # noqa: PYI034 - `Self` needs Python 3.11
        """Begin the session: ``initialize``, then ``initialized``."""
        self.open()
        offer: dict[str, Any] = {
            "versions": [1],
            "host": {"name": "plugbay.testing", "version": _VERSION},
        }
        offer["features"] = ["cancel", "progress", "ping", "streams"]
        params = {**offer, "config": self._config, "limits": self._limits, "generation": 1}
        try:
            self.hello = self._start("initialize", params).result()
        except BaseException:
            self.close()
            raise
        self.send({"method": "initialized"})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the plugin and hang up; after a failure, just hang up."""
        try:
            if kind is None and self.exit_code is None and not self._stopping:
                self.stop().result()
        finally:
            self.close()

    def call(self, method: str, /, *listed: Any, **named: Any) -> Any:
        """Call a method and wait for the result; an error is raised as ``CallError``."""
        return self.start(method, *listed, **named).result()

    def start(self, method: str, /, *listed: Any, **named: Any) -> Pending:
        """Call a method without waiting. Parameters go by name or by position, not both."""
        if listed and named:
            raise TypeError("parameters are an array or an object, not both")
        if listed:
            return self._start(method, list(listed))
        meta = {"progressToken": self._last + 1, "callId": f"call-{self._last + 1}"}
        return self._start(method, {**named, "_meta": {**meta, **named.get("_meta", {})}})

    def notify(self, method: str, /, **named: Any) -> None:
        """Call a method that is not to answer."""
        self.send({"method": method, "params": named})

    def stub(self, method: str, answer: Any) -> None:
        """Answer the plugin's calls of a ``host/`` method.

        ``answer`` is the result, or a function of the parameters that returns
        it, or raises ``PluginError``.
        """
        self._stubs[method] = answer if callable(answer) else lambda _: answer

    def stub_plugin(self, plugin: str, method: str, answer: Any) -> None:
        """Answer the plugin's calls of another plugin, as ``stub`` does."""
        self._plugins[plugin, method] = answer if callable(answer) else lambda _: answer

    def ping(self) -> None:
        """Wait for the plugin to say that it still reads, and for all it said before."""
        self._start("$/ping", None).result()

    def stop(self) -> Pending:
        """Send ``shutdown``, to which the answer comes when nothing runs any more."""
        self._stopping = True
        return self._start("shutdown", None)

    def open(self) -> None:
        """Start the plugin without a word. For tests of the protocol itself."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
        self._socket, self._theirs = ours, theirs
        self._lines = Lines(self._read, _ROOM)
        session = self.plugin.session(Channel(theirs.fileno(), theirs.fileno()), self._abandoned)
        self._thread = Thread(target=self._serve, args=(session,), daemon=True)
        self._thread.start()

    def hang_up(self) -> None:
        """End the plugin's input, as a host that dies does."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Hang up and wait for the plugin to end."""
        if self._socket.fileno() < 0:
            return
        self.hang_up()
        self._thread.join(self._timeout)
        self._socket.close()
        if self._thread.is_alive():
            raise TimeoutError("the plugin does not end")

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message, ``jsonrpc`` added."""
        self.send_raw(seal(encode({"jsonrpc": "2.0", **message}), _ROOM))

    def send_raw(self, data: bytes) -> None:
        """Send bytes. For tests of the protocol itself."""
        self._socket.settimeout(self._timeout)
        self._socket.sendall(data)

    def receive(self) -> dict[str, Any]:
        """Read one message, whatever it is. For tests of the protocol itself."""
        line = self._lines.next()
        if line is None:
            raise EOFError("the plugin has hung up")
        if not isinstance(line, bytes):
            raise OverflowError(f"a frame over {_ROOM} bytes")
        message: dict[str, Any] = decode(line)
        return message

    def read_until(self, enough: Callable[[], bool]) -> None:
        """Read and answer what the plugin sends until ``enough()``."""
        while not enough():
            self._feed()
            # What is fed may itself have had to wait for what comes, and read it.
            if not enough():
                self._take(self.receive())

    # What the streams ask of us.

    def tell(self, method: str, params: str) -> None:
        """Send a notification whose parameters are JSON already."""
        self.send_raw(f'{{"jsonrpc":"2.0","method":"{method}","params":{params}}}\n'.encode())

    def block(self, _call: Call | None, end: Sink | Stream) -> None:
        """Read until a stream has moved on."""
        self.read_until(lambda: end.moved)

    async def pause(self, call: Call | None, end: Sink | Stream) -> None:
        """Read until a stream has moved on."""
        self.block(call, end)

    def _feed(self) -> None:
        """Send of every stream what there is credit for."""
        for _ in range(len(self._sources)):
            source, texts = self._sources.pop(0)  # not to be fed while it is
            text: str | None = ""
            while source.sink.moved and text is not None:
                text = None if source.sink.over else next(texts, None)
                if text is not None:
                    source.sink.send(text)
            if text is not None:
                self._sources.append((source, texts))
            else:
                self._streams.end(source.sink)

    def _start(self, method: str, params: Any) -> Pending:
        self._last += 1
        pending = self._pending[self._last] = Pending(self, self._last)
        message: dict[str, Any] = {"id": pending.id, "method": method}
        if params is not None:
            message["params"] = params
        self._send_offered(message)
        return pending

    def _send_offered(self, message: dict[str, Any]) -> None:
        """Send a message, the iterators in it as streams."""
        try:
            self.send(message)
        except HasStream:
            offered, sources = self._streams.offered(message, None)
            self.send(offered)
            self._sources += [(source, _texts(source)) for source in sources]

    def _take(self, message: dict[str, Any]) -> None:
        method = message.get("method")
        params: Any = message.get("params")
        if method is None:
            pending = self._pending.pop(message["id"], None)
            if pending is not None:
                if "result" in message:
                    message["result"], _ = self._streams.opened(message["result"], None)
                pending.settle(message)
        elif "id" in message:
            params, _ = self._streams.opened(params, None)
            self._answer(message["id"], method, params)
        elif method.startswith("stream/"):
            self._streams.notice(method, params, len(encode(params)))
        elif method == "$/log":
            self.logs.append(Entry(params["level"], params["message"], params.get("fields", {})))
        elif method == "$/progress" and params["token"] in self._pending:
            told = {name: value for name, value in params.items() if name != "token"}
            self._pending[params["token"]].progress.append(told)
        else:
            self.notifications.append((method, params))

    def _answer(self, id_: Any, method: str, params: Any) -> None:
        stub = self._stubs.get(method, _no_stub(method))
        try:
            self._send_offered({"id": id_, "result": stub(params)})
        except PluginError as error:
            told = {"code": error.code, "message": error.message, "data": error.data}
            self.send({"id": id_, "error": told})

    def _call_plugin(self, params: Any) -> Any:
        asked = params["plugin"], params["method"]
        return self._plugins.get(asked, _no_stub("{}: {}".format(*asked)))(params.get("params"))

    def _read(self, size: int) -> bytes:
        self._socket.settimeout(self._timeout)
        try:
            return self._socket.recv(size)
        except ConnectionError:
            return b""

    def _serve(self, session: Any) -> None:
        code = 0
        try:
            session.serve()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        finally:
            self._abandoned(code)
            self._theirs.close()

    def _abandoned(self, code: int) -> None:
        if self.exit_code is None:
            self.exit_code = code
            self._theirs.shutdown(socket.SHUT_RDWR)


def _texts(source: Source) -> Iterator[str]:
    for item in source:
        yield from source.sink.texts(item)


def _no_stub(name: str) -> Callable[[Any], Any]:
    def refuse(_: Any) -> Any:
        raise PluginError(_errors.METHOD_NOT_FOUND, f"no stub for `{name}`")

    return refuse
