"""Handlers that are ``async def``: an event loop in a thread of its own.

Imported only by a plugin that has one, since ``asyncio`` alone takes longer to
import than everything else here together. The loop's thread never reads from
the host, so a ping is answered however long a handler blocks the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from threading import Thread
from typing import TYPE_CHECKING, Any, Optional

from plugbay._errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from plugbay._call import Call, Ticket

    Outcome = tuple[Any, Optional[BaseException]]
    Begin = Callable[[], Coroutine[Any, Any, Any]]
    Done = Callable[[Call, Any, Optional[BaseException]], None]


class Loop:
    """Runs coroutines for the threads that have none."""

    def __init__(self) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = Thread(target=self._run, name="plugbay-async", daemon=True)
        self._thread.start()

    @property
    def thread(self) -> int | None:
        """The thread that must not be blocked."""
        return self._thread.ident

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end, blocking this thread meanwhile."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def start(self, call: Call, begin: Begin, done: Done) -> None:
        """Run a handler as a task; ``done`` hears how it ended."""
        self._loop.call_soon_threadsafe(self._start, call, begin, done)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine beside the others, from the loop's own thread."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait(self, ticket: Ticket, timeout: float | None) -> bool:
        """Wait for ``ticket`` on the loop; False if that takes too long."""
        answered = asyncio.Event()
        ticket.wake = lambda: self._wake(answered)
        if ticket.settled:  # between its sending and now
            return True
        try:
            await asyncio.wait_for(answered.wait(), timeout)
        except asyncio.TimeoutError:
            return False
        return True

    def stop(self) -> None:
        """Cancel what still runs and end the thread."""
        with contextlib.suppress(RuntimeError):  # closed already
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1.0)

    def _wake(self, answered: asyncio.Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, nobody waits
            self._loop.call_soon_threadsafe(answered.set)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            self._loop.run_until_complete(asyncio.wait(self._tasks))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _start(self, call: Call, begin: Begin, done: Done) -> None:
        def ended(task: asyncio.Task[Outcome]) -> None:
            self._tasks.discard(task)
            # A task cancelled before its first step never gets to `_outcome`.
            done(call, *((None, Cancelled()) if task.cancelled() else task.result()))

        task = self._loop.create_task(_outcome(begin))
        self._tasks.add(task)
        task.add_done_callback(ended)
        call.cancel_task = lambda: self._cancel(task)
        if call.cancelled:
            task.cancel()

    def _cancel(self, task: asyncio.Task[Outcome]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and so has the task
            self._loop.call_soon_threadsafe(task.cancel)


async def _outcome(begin: Begin) -> Outcome:
    try:
        return await begin(), None
    except asyncio.CancelledError:
        return None, Cancelled()
    except BaseException as error:  # noqa: BLE001 - whatever it is, the call is answered
        return None, error
