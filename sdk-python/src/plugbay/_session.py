"""One conversation with a host, from ``initialize`` to the end: what each message means.

Not here: threads (``_crew``), bytes (``_wire``, ``_channel``), the author's face (``_plugin``).
"""

from __future__ import annotations

import sys
from _thread import allocate_lock, get_ident
from time import monotonic

from plugbay import _errors, _refusal
from plugbay._call import Call, Method, Outbox, Ticket
from plugbay._context import Context, Log
from plugbay._crew import Crew
from plugbay._errors import CallError, Cancelled, InvalidParams, PluginError
from plugbay._flow import Flow
from plugbay._wire import MAX_FRAME, HasStream, Lines, Unreadable, decode, encode, seal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Final

    from plugbay._async import Loop
    from plugbay._channel import Channel
    from plugbay._plugin import Plugin
    from plugbay._stream import Source, Stream

VERSIONS: Final = (1,)
FEATURES: Final = ("cancel", "progress", "ping", "streams", "drain")
MAX_INFLIGHT: Final = 64
#: Seconds that calls may still run for when the host has gone, then that they
#: have to notice being cancelled. Together less than the second we may take.
GRACE: Final = (0.5, 0.3)
_LOG_MESSAGE: Final = 16 << 10


async def _nothing() -> None:
    """Have a coroutine's type without importing ``types``."""


_probe = _nothing()
_Coroutine: Final = type(_probe)
_probe.close()


class Session:
    """Reads messages, keeps the calls in both directions, writes answers."""

    def __init__(
        self, plugin: Plugin, channel: Channel, abandon: Callable[[int], None], threads: int
    ) -> None:
        """Serve ``plugin`` over ``channel``; ``abandon(code)`` ends a process that hangs."""
        self.config: Any = None
        self.log = Log(self._log)
        self._plugin = plugin
        self._channel = channel
        self._abandon = abandon
        self._threads = threads
        self._lines = Lines(channel.read)
        self._crew = Crew(self)
        self._outbox = Outbox()
        self._flow = Flow(self)
        self._streams = self._flow.streams
        self._methods: dict[str, Method] = {}
        self._inflight: dict[int | str, Call] = {}
        self._held: Call | None = None
        self._state = "new"  # new, then open, then perhaps leaving, then draining
        self._drained: list[Ticket] = []  # of who waits for everything else to end
        self._max_inflight = MAX_INFLIGHT
        self._max_frame = self._lines.max_frame
        self._opened = False  # by `initialized`, only after which we may ask
        self._left = False
        self.loop: Loop | None = None
        self._loop_mutex = allocate_lock()
        self._home = 0
        self._home_out = False
        self._ended = allocate_lock()
        self._ended.acquire()

    def serve(self) -> None:
        """Serve until the host says ``exit`` or goes away."""
        self._home = get_ident()
        try:
            self._crew.serve()
        except SystemExit:
            self._stop_loop()
            raise
        self._home_out = True
        self._ended.acquire()
        if self._state == "open":
            self._plugin.stopped(self._finish)
        self._stop_loop()
        self._channel.close()

    # What the crew asks of us.

    def take(self) -> Call | None:
        """Read until there is a call to run; None at the end."""
        held, self._held = self._held, None
        while held is None and not self._left:
            line = self._lines.next()
            if line is None:
                break
            held = self._receive(line)
        if held is None:
            self._outbox.close()
            self._streams.close()
        return held

    def take_answer(self, ticket: Ticket) -> bool:
        """Read until ``ticket`` is settled; False if a call or the end came first."""
        while not ticket.settled:
            if self._held is not None or self._left:
                return False
            line = self._lines.next()
            if line is None:
                return False
            self._held = self._receive(line)
        return True

    def awaits(self) -> bool:
        """Whether anybody waits for an answer from the host, or for a stream."""
        return bool(self._outbox) or self._flow.is_awaited

    def run(self, call: Call) -> None:
        """Run a call and answer it; a streamed answer is poured out by this thread."""
        method = call.method
        sources: Sequence[Source] = ()
        try:
            if call.cancelled:
                raise Cancelled  # noqa: TRY301 - one way out for every reason
            result = method.invoke(call.params, Context(self, call) if method.context else None)
            if type(result) is _Coroutine:  # from a function that did not look like it
                result = self._finish(result)
            try:
                body = encode(result)
            except HasStream:
                result, sources = self._streams.offered(result, call)
                body = encode(result)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the call is answered
            self._done(call, None, error)
        else:
            self._done(call, body, None, sources)
            if sources:
                self._flow.pour_all(call, sources)

    def end(self) -> None:
        """Wind up: let calls finish, then cancel them, then give up on them."""
        drain, notice = GRACE
        if not self._crew.settle(drain):
            self._channel.close()  # a cancellation that nobody sent is not answered
            for call in list(self._inflight.values()):
                call.cancel()
            if not self._crew.settle(notice) and not self._home_out:
                self._abandon(0)
        self._ended.release()

    # What a handler asks of us.

    def wait(self, ticket: Ticket, timeout: float | None) -> bool:
        """Block until ``ticket`` is settled; False if that takes too long."""
        if self.loop is not None and self.loop.thread == get_ident():
            raise RuntimeError(
                "this would block the event loop; use `async for`, or `await ctx.acall(...)`"
            )
        return self._crew.wait(ticket, timeout)

    def ask(
        self,
        call: Call | None,
        method: str,
        params: Mapping[str, Any] | Sequence[Any] | None,
        timeout: float | None,
    ) -> Any:
        """Call the host and wait for the result."""
        try:
            ticket = self._begin(call, method, params, timeout)
        except HasStream:
            offered, sources = self._streams.offered(params, call)
            ticket = self._begin(call, method, offered, timeout, sources)
            for source in sources:
                self._flow.pour_beside(call, source)
        answered = False
        try:
            answered = self.wait(ticket, timeout)
        finally:
            self._give_up(call, ticket, answered=answered)
        return self._outcome(call, ticket, answered=answered)

    async def ask_async(
        self,
        call: Call | None,
        method: str,
        params: Mapping[str, Any] | Sequence[Any] | None,
        timeout: float | None,
    ) -> Any:
        """Call the host and wait for the result, on the event loop."""
        if self.loop is None:
            raise RuntimeError("only for `async def` handlers; use `ctx.call(...)`")
        try:
            ticket = self._begin(call, method, params, timeout)
        except HasStream:
            offered, sources = await self._streams.aoffered(params, call)
            ticket = self._begin(call, method, offered, timeout, sources)
            for source in sources:
                self._flow.pour_beside(call, source)
        answered = False
        try:
            answered = await self.loop.wait(ticket, timeout)
        finally:
            self._give_up(call, ticket, answered=answered)
        return self._outcome(call, ticket, answered=answered)

    def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Tell the host something."""
        self.tell(method, "" if params is None else encode(params))

    def tell(self, method: str, params: str) -> None:
        """Tell the host something, with parameters that are JSON already."""
        body = f',"params":{params}' if params else ""
        text = f'{{"jsonrpc":"2.0","method":{encode(method)}{body}}}'
        self._send(seal(text, self._max_frame))

    # Calls we make.

    def _begin(
        self,
        call: Call | None,
        method: str,
        params: Mapping[str, Any] | Sequence[Any] | None,
        timeout: float | None,
        sources: Sequence[Source] = (),
    ) -> Ticket:
        if not self._opened:
            raise RuntimeError("the host takes no calls before it has opened the session")
        if params is None or not isinstance(params, (list, tuple)):
            meta = _inherited(call, timeout)
            if meta:
                params = {**dict(params or {}), "_meta": meta}
        body = "" if params is None else f',"params":{encode(params)}'
        ticket = self._outbox.open()
        ticket.call = call
        ticket.sources = sources
        text = f'{{"jsonrpc":"2.0","id":{ticket.id},"method":{encode(method)}{body}}}'
        try:
            frame = seal(text, self._max_frame)
        except PluginError:
            self._forget(ticket)
            raise
        if call is not None:
            call.tickets.append(ticket)
            if call.cancelled:
                ticket.settle()
                return ticket
        self._send(frame)
        return ticket

    def _give_up(self, call: Call | None, ticket: Ticket, *, answered: bool) -> None:
        """Forget a call we made; if it was not answered, the host may forget it too."""
        if call is not None:
            call.tickets.remove(ticket)
        if self._forget(ticket):
            reason = "caller" if answered else "deadline"
            self.notify("$/cancel", {"id": ticket.id, "reason": reason})

    def _forget(self, ticket: Ticket) -> bool:
        """Expect no answer, and send no more for it; tell whether there was none so far."""
        given_up = self._outbox.take(ticket.id) is not None
        if given_up:
            self._flow.withdraw(ticket.sources)
        return given_up

    def _outcome(self, call: Call | None, ticket: Ticket, *, answered: bool) -> Any:
        if ticket.error is not None:
            raise ticket.error
        if call is not None and call.cancelled:
            raise Cancelled
        if not answered:
            raise CallError(_errors.DEADLINE_EXCEEDED, "no answer in time")
        return ticket.result

    # Messages.

    def _receive(self, line: bytes | Unreadable) -> Call | None:
        """Deal with one message; a call that a thread must run is returned."""
        try:
            if isinstance(line, Unreadable):
                raise line
            message = decode(line)
            name = message["method"]
        except Unreadable as fault:
            self._unreadable(fault)
            return None
        except (KeyError, TypeError):
            self._no_call(message, refers=self._refers(line))
            return None
        params = message.get("params")
        id_ = message.get("id")
        if (
            message.get("jsonrpc") != "2.0"
            or type(name) is not str
            or not (_refusal.is_id(id_) or "id" not in message)
            or not (type(params) is dict or type(params) is list or params is None)
        ):
            self._refuse(id_ if _refusal.is_id(id_) else None, _refusal.invalid(message))
            return None
        method = self._methods.get(name)
        if method is not None:
            return self._accept(method, id_, params, line)
        return self._elsewhere(name, id_, params, line)

    def _accept(
        self, method: Method, id_: int | str | None, params: Any, line: bytes | Unreadable
    ) -> Call | None:
        """Take a call on, or refuse it at once."""
        if id_ in self._inflight:
            # Not under this id: that answer is the running call's.
            self._refuse(None, PluginError(_errors.INVALID_REQUEST, f"id {id_!r} is in use"))
            return None
        call = Call(id_, method, params, {})
        try:
            if type(params) is dict and "_meta" in params:
                _take_meta(call, params)
            self._make_room(call)
            if self._streams.agreed and id_ is not None and self._refers(line):
                call.params, call.streams = self._streams.opened(params, call)
        except PluginError as error:
            if id_ is None:
                self.log.warning("notification dropped", method=method.name, error=error.message)
            else:
                self._refuse(id_, error)
            return None
        if id_ is not None:
            self._inflight[id_] = call
        if method.is_async and self.loop is not None:
            self.loop.start(call, lambda: self._arun(call), self._done)
            return None
        return call

    async def _arun(self, call: Call) -> str | None:
        """Run an asynchronous call; what it returns is the answer, unless that is streamed."""
        method = call.method
        result = method.invoke(call.params, Context(self, call) if method.context else None)
        if hasattr(result, "__await__"):
            result = await result
        try:
            return encode(result)
        except HasStream:
            result, sources = await self._streams.aoffered(result, call)
        self._done(call, encode(result), None, sources)
        for source in sources[1:]:
            self._flow.pour_beside(call, source)
        for source in sources[:1]:
            if source.is_async:
                await self._flow.apour(call, source)
            else:
                self._flow.pour_beside(call, source)
        return None

    def _refers(self, line: bytes | Unreadable) -> bool:
        """Whether a message may refer to streams."""
        return self._streams.agreed and isinstance(line, bytes) and b'"$stream"' in line

    def _make_room(self, call: Call) -> None:
        """Refuse a call over the limits."""
        busy = self._crew.backlog() if call.id is None else len(self._inflight)
        limit = self._max_inflight
        if busy >= limit:
            raise _refusal.overloaded(limit)

    def _elsewhere(
        self, name: str, id_: int | str | None, params: Any, line: bytes | Unreadable
    ) -> Call | None:
        """Deal with what is not a method of the plugin."""
        if name == "$/ping":
            self._answer_to(id_, '"result":{}')
        elif id_ is None:
            self._noticed(name, params, line)
        elif name == "initialize" and self._state == "new":
            return self._begin_own(name, self._initialize, id_, params)
        elif name == "shutdown" and self._state in ("open", "leaving"):
            self._methods = {}
            self._state = "draining"
            return self._begin_own(name, self._shutdown, id_, None)
        elif name == "plugin/drain" and self._state == "open":
            self._methods = {}
            self._state = "leaving"
            return self._begin_own(name, self._drain, id_, params)
        elif name == "plugin/health" and self._plugin.tells_health and self._state != "new":
            self._crew.run_beside(self._begin_own(name, self._health, id_, None))
        elif name == "plugin/snapshot" and self._plugin.hands_over and self._state == "open":
            return self._begin_own(name, self._snapshot, id_, None)
        elif name == "plugin/restore" and self._plugin.hands_over and self._state == "open":
            return self._begin_own(name, self._restore, id_, params)
        else:
            self._refuse(id_, _refusal.unserved(name, self._state))
        return None

    def _noticed(self, name: str, params: Any, line: bytes | Unreadable) -> None:
        """Deal with a notification; one that nobody here knows is none."""
        if name == "$/cancel":
            self._cancel(params)
        elif name == "exit":
            self._left = True
        elif name == "initialized":
            self._opened = self._state == "open"
        elif name[:7] == "stream/" and isinstance(line, bytes):
            self._streams.notice(name, params, len(line))

    def _begin_own(
        self, name: str, function: Callable[..., Any], id_: int | str, params: Any
    ) -> Call:
        """Have a thread do what may take time, such as running the author's hooks."""
        # The one token that needs no asking for.
        meta = {"progressToken": name} if name == "initialize" else {}
        call = self._inflight[id_] = Call(id_, Method(name, function), params, meta)
        return call

    def _cancel(self, params: Any) -> None:
        id_ = params.get("id") if type(params) is dict else None
        if not _refusal.is_id(id_) or id_ not in self._inflight:  # answered meanwhile
            return
        call = self._inflight[id_]
        call.cancel()
        if self._crew.withdraw(call):
            self._done(call, None, Cancelled())

    def _no_call(self, message: Any, *, refers: bool) -> None:
        """Settle the call that a response answers; refuse what is not a message."""
        if type(message) is not dict:
            what = "batches are not part of" if type(message) is list else "not a message of"
            self._refuse(None, PluginError(_errors.INVALID_REQUEST, f"{what} this protocol"))
            return
        if "result" not in message and "error" not in message:
            id_ = message.get("id")
            error = PluginError(_errors.INVALID_REQUEST, "a message has a method or a result")
            self._refuse(id_ if _refusal.is_id(id_) else None, error)
            return
        ticket = self._outbox.take(message.get("id"))
        refused = message.get("error")
        if refused is None:
            self._arrived(ticket, message["result"], refers=refers)
        elif ticket is not None:
            self._failed(ticket, refused)

    def _arrived(self, ticket: Ticket | None, result: Any, *, refers: bool) -> None:
        """Settle a call of ours with a result, and take on the streams it refers to."""
        call = None if ticket is None else ticket.call
        found: list[Stream] = []
        if refers:
            try:
                result, found = self._streams.opened(result, call)
            except InvalidParams as error:
                if ticket is not None:
                    fault = {"code": _errors.PROTOCOL_VIOLATION, "message": error.message}
                    self._failed(ticket, fault)
                return
        if ticket is None:  # given up meanwhile
            for stream in found:
                stream.close()
            return
        for stream in found:
            stream.feeds = found, ticket.sources
        if call is not None and found:
            call.replies = [*call.replies, *found]
        if not found:
            self._flow.withdraw(ticket.sources)
        ticket.settle(result)

    def _failed(self, ticket: Ticket, refused: Any) -> None:
        """Settle a call of ours with an error."""
        self._flow.withdraw(ticket.sources)
        if type(refused) is not dict:
            refused = {"message": "a malformed answer", "data": refused}
        code = refused.get("code", _errors.INTERNAL_ERROR)
        message = str(refused.get("message", ""))
        ticket.settle(error=CallError(code, message, refused.get("data")))

    def _unreadable(self, fault: Unreadable) -> None:
        """Fail the call of ours that it answers, or answer it."""
        if not fault.answers:
            self._refuse(fault.id, fault)
            return
        ticket = self._outbox.take(fault.id)
        if ticket is not None:
            self._failed(ticket, {"code": fault.code, "message": fault.message})

    # Answers.

    def _done(
        self,
        call: Call,
        body: str | None,
        error: BaseException | None,
        sources: Sequence[Source] = (),
    ) -> None:
        """Answer a call, with the one answer it gets; ``sources`` are its streams."""
        if call.answered:  # and what came after it was a stream
            return
        body = f'"result":{body}' if error is None else self.explain(call, error)
        call.answered = True
        if sources:
            self._flow.begin(sources, useless=call.cancelled or call.id is None)
        elif call.streams or call.replies:
            self._streams.release(call)
        if call.id is None:
            return
        self._inflight.pop(call.id, None)
        if call.cancelled:
            body = _refusal.CANCELLED
        self._answer_to(call.id, body)
        if self._drained:
            self.settle_drained()

    def settle_drained(self) -> None:
        """Let who waits for the end of everything go on, if only they are left."""
        if len(self._inflight) <= len(self._drained) and not self._flow.goes_on:
            for ticket in self._drained:
                ticket.settle()

    def explain(self, call: Call | None, error: BaseException) -> str:
        """Turn what a handler raised into the error it means."""
        if isinstance(error, PluginError):
            refusal = error
        elif isinstance(error, Cancelled):
            return _refusal.CANCELLED
        elif isinstance(error, SystemExit):
            if get_ident() == self._home:
                raise error
            self._abandon(_exit_code(error))
            refusal = PluginError(_errors.HANDLER_FAILED, "exited")
        elif isinstance(error, KeyboardInterrupt):
            raise error
        else:
            refusal = _refusal.failure(error)
        if call is not None and call.id is None:
            self.log.error("notification handler failed", method=call.method.name, error=str(error))
        return _refusal.body(refusal)

    def _refuse(self, id_: int | str | None, error: PluginError) -> None:
        """Answer a request that did not become a call."""
        text = "null" if id_ is None else encode(id_)
        self._send(seal(f'{{"jsonrpc":"2.0","id":{text},{_refusal.body(error)}}}', self._max_frame))

    def _answer_to(self, id_: int | str | None, body: str) -> None:
        if id_ is None:
            return
        head = f'{{"jsonrpc":"2.0","id":{id_ if type(id_) is int else encode(id_)},'
        try:
            frame = seal(f"{head}{body}}}", self._max_frame)
        except PluginError as error:
            frame = seal(f"{head}{_refusal.body(error)}}}", self._max_frame)
        self._send(frame)

    def _send(self, frame: bytes) -> None:
        try:
            self._channel.write(frame)
        except OSError:  # the host has gone; reading will tell
            self._outbox.close()

    def _log(self, level: str, message: str, fields: dict[str, Any]) -> None:
        said: dict[str, Any] = {"level": level, "message": str(message)[:_LOG_MESSAGE]}
        if fields:
            said["fields"] = fields
        try:
            self.notify("$/log", said)
        except PluginError:  # logging must not fail: say it in words
            said["fields"] = {name: repr(part)[:_LOG_MESSAGE] for name, part in fields.items()}
            said["message"] = said["message"].encode("utf-8", "replace").decode()
            self.notify("$/log", said)

    # The session's own methods.

    def _initialize(self, ctx: Context, versions: list[int], **offer: Any) -> dict[str, Any]:
        common = [version for version in VERSIONS if version in versions]
        if not common:
            raise _refusal.unsupported(VERSIONS, versions)
        limits = offer.get("limits") or {}
        self._max_frame = limits.get("maxFrameBytes", self._max_frame)
        self._lines.max_frame = max(MAX_FRAME, self._max_frame)
        self._max_inflight = limits.get("maxInflight", self._max_inflight)
        self._streams.agreed = "streams" in offer.get("features", ())
        self.config = offer.get("config")
        if self._plugin.is_async:
            self._start_loop()
        self._plugin.started(ctx, self._finish)
        self._crew.limit = max(1, min(self._threads, self._max_inflight))
        self._methods = self._plugin.methods
        self._state = "open"
        return {
            "version": max(common),
            "features": self._features(),
            "plugin": {"name": self._plugin.name, "version": self._plugin.version},
            "methods": list(self._plugin.methods),
            "subscribes": [],
            "publishes": [],
        }

    def _features(self) -> list[str]:
        health = ["health"] if self._plugin.tells_health else []
        snapshot = ["snapshot"] if self._plugin.hands_over else []
        return [*FEATURES, *health, *snapshot]

    def _shutdown(self) -> None:
        """Answer once every other call is answered."""
        self._await_the_rest()
        self._plugin.stopped(self._finish)

    def _drain(self, ctx: Context, **_limit: Any) -> None:
        """Answer once nothing is running any more: a successor has taken over."""
        self._plugin.drained(ctx, self._finish)
        self._await_the_rest()

    def _await_the_rest(self) -> None:
        """Block until no call is running but those that do the same."""
        ticket = Ticket()
        self._drained.append(ticket)
        self.settle_drained()
        self._crew.wait(ticket, read=False)

    def _snapshot(self, ctx: Context) -> dict[str, Any]:
        return self._plugin.give_state(ctx, self._finish)

    def _restore(self, ctx: Context, **given: Any) -> None:
        version, state = given.get("stateVersion"), given.get("state")
        if type(version) is not int:
            raise PluginError(_errors.INVALID_PARAMS, "`stateVersion` is missing")
        self._plugin.take_state(version, state, ctx, self._finish)

    def _health(self, ctx: Context) -> dict[str, Any]:
        return self._plugin.health(ctx, self._finish)

    def _finish(self, coroutine: Any) -> Any:
        """Run a coroutine for a thread that has no event loop."""
        return self._start_loop().run(coroutine)

    def _start_loop(self) -> Loop:
        from plugbay._async import Loop  # noqa: PLC0415 - dear, and rarely needed

        with self._loop_mutex:
            if self.loop is None:
                self.loop = Loop()
            return self.loop

    def _stop_loop(self) -> None:
        if self.loop is not None:
            self.loop.stop()


def _inherited(call: Call | None, timeout: float | None) -> dict[str, Any]:
    """Say on whose behalf we call, so that its deadline and cancellation hold on."""
    meta: dict[str, Any] = {}
    if call is not None and "callId" in call.meta:
        meta["callId"] = call.meta["callId"]
    if timeout is not None:
        meta["deadlineMs"] = int(timeout * 1000)
    return meta


def _take_meta(call: Call, params: dict[str, Any]) -> None:
    """Move a call's metadata out of its parameters."""
    meta = params.pop("_meta")
    if meta is None:
        return
    if type(meta) is not dict:
        raise InvalidParams("`_meta` must be an object")
    for name in ("traceparent", "callId", "idempotencyKey"):
        if type(meta.get(name, "")) is not str:
            raise InvalidParams(f"`_meta.{name}` must be a string")
    if not _refusal.is_id(meta.get("progressToken", 0)):
        raise InvalidParams("`_meta.progressToken` must be a string or an integer")
    limit = meta.get("deadlineMs")
    if limit is not None:
        if type(limit) is not int or limit < 0:
            raise InvalidParams("`_meta.deadlineMs` must be a whole number, not negative")
        call.deadline = monotonic() + limit / 1000
    call.meta = meta


def _exit_code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    sys.stderr.write(f"{error.code}\n")
    return 1
