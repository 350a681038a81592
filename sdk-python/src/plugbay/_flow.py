"""Who waits for streams and who pours them out: threads, and tasks of the event loop.

Not here: what a stream is (``_stream``), nor whose answer it is (``_session``).
"""

from __future__ import annotations

from plugbay._call import Ticket
from plugbay._errors import Cancelled
from plugbay._stream import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from plugbay._call import Call
    from plugbay._session import Session
    from plugbay._stream import Sink, Source, Stream


class Flow:
    """The streams of a session on their way."""

    def __init__(self, session: Session) -> None:
        """None yet."""
        self.streams = Streams(self)
        self._session = session
        self._pouring: set[Source] = set()  # of results that were answered with
        self._blocked: set[Ticket] = set()  # of those who wait

    @property
    def goes_on(self) -> bool:
        """Whether a result is still being poured out."""
        return bool(self._pouring)

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits for what only reading brings."""
        return bool(self._blocked)

    def begin(self, sources: Sequence[Source], *, useless: bool) -> None:
        """Count the streams of a result, before it is answered with them, if it is."""
        self._pouring.update(sources)
        if useless:
            self.withdraw(sources)

    def pour_all(self, call: Call, sources: Sequence[Source]) -> None:
        """Pour out the streams of a result, the first one on this thread."""
        for source in sources[1:]:
            self.pour_beside(call, source)
        self.pour(call, sources[0])

    def withdraw(self, sources: Iterable[Source]) -> None:
        """Send no more of them."""
        for source in sources:
            self.streams.withdraw(source.sink)

    def tell(self, method: str, params: str) -> None:
        """Send a notification whose parameters are JSON already."""
        self._session.tell(method, params)

    def block(self, call: Call | None, end: Sink | Stream) -> None:
        """Wait until a stream has moved on; a cancelled call raises ``Cancelled``."""
        ticket = self._expect(call, end)
        if ticket is not None:
            try:
                self._session.wait(ticket, None)
            finally:
                self._stop_expecting(call, ticket)

    async def pause(self, call: Call | None, end: Sink | Stream) -> None:
        """Do what ``block`` does, on the event loop."""
        if self._session.loop is None:
            raise RuntimeError("only for `async def` handlers; use `for`")
        ticket = self._expect(call, end)
        if ticket is not None:
            try:
                await self._session.loop.wait(ticket, None)
            finally:
                self._stop_expecting(call, ticket)

    def _expect(self, call: Call | None, end: Sink | Stream) -> Ticket | None:
        """Have a ticket settled when ``end`` moves on; None if it has."""
        ticket = end.ticket = Ticket()
        if end.moved:
            return None
        if call is not None:
            call.tickets.append(ticket)
            if call.cancelled:
                ticket.settle()
        self._blocked.add(ticket)
        return ticket

    def _stop_expecting(self, call: Call | None, ticket: Ticket) -> None:
        self._blocked.discard(ticket)
        if call is not None:
            call.tickets.remove(ticket)
            if call.cancelled:
                raise Cancelled

    def pour_beside(self, call: Call | None, source: Source) -> None:
        """Pour out a stream on a thread of its own, or on the event loop."""
        loop = self._session.loop
        if source.is_async and loop is not None:
            loop.spawn(self.apour(call, source))
            return
        try:
            self._start(call, source)
        except RuntimeError as error:  # a limit of the sandbox
            source.close()
            self._poured(call, source, self._session.explain(call, error))

    def _start(self, call: Call | None, source: Source) -> None:
        from threading import Thread  # noqa: PLC0415 - rarely needed

        Thread(target=self.pour, args=(call, source), name="plugbay-stream", daemon=True).start()

    def pour(self, call: Call | None, source: Source) -> None:
        """Send what an iterator brings, as fast as it is taken."""
        sink, failure = source.sink, ""
        try:
            for item in source:
                for text in sink.texts(item):
                    while not sink.moved:
                        self.block(call, sink)
                    if sink.over:
                        return
                    sink.send(text)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the stream has ended
            failure = self._session.explain(call, error)
        finally:
            source.close()
            self._poured(call, source, failure)

    async def apour(self, call: Call | None, source: Source) -> None:
        """Do what ``pour`` does, for an asynchronous iterator."""
        sink, failure = source.sink, ""
        try:
            async for item in source:
                for text in sink.texts(item):
                    while not sink.moved:
                        await self.pause(call, sink)
                    if sink.over:
                        return
                    sink.send(text)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the stream has ended
            failure = self._session.explain(call, error)
        finally:
            await source.aclose()
            self._poured(call, source, failure)

    def _poured(self, call: Call | None, source: Source, failure: str) -> None:
        """Be done with a stream, and with its call if it was the last of the result."""
        self.streams.end(source.sink, failure)
        self._pouring.discard(source)
        if call is not None and call.answered:
            if not any(other.sink.call is call for other in list(self._pouring)):
                self.streams.release(call)
            self._session.settle_drained()
