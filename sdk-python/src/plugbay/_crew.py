"""The threads of a session, and which of them reads: leader and followers.

Exactly one thread, the *leader*, reads from the host. Handing each call to a
worker through a queue would cost two thread switches per call, several times
what a small call takes. So the leader runs the call it has read itself, and
passes the lead on only when that turns out to be needed::

      serve          call read            answered
    ────────► leading ───────► running ──────────────► leading again
                 ▲                │ somebody took the lead meanwhile
                 │ lead taken     ▼
              watching ◄────── waiting to watch

While a call runs, the lead is free. One thread *watches*: it wakes every
``TICK`` and takes the lead if the same call has been running since its last
look. So a ping is answered and a cancellation heard a few milliseconds into
any call, and a call shorter than that costs no switch at all. Where waiting is
known to be pointless (a method that was slow before, an answer the handler
waits for) the watcher is told to hurry. When nothing was called for a while
the watcher sleeps for good, until told of the next call: an idle plugin never
wakes up.

Not here: what the frames mean (``_session``).
"""

from __future__ import annotations

from _thread import allocate_lock
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from typing import Final, Protocol

    from plugbay._call import Call, Ticket

    class Work(Protocol):
        """What the crew asks of its session."""

        def take(self) -> Call | None:
            """Read until there is a call to run; None at the end."""

        def take_answer(self, ticket: Ticket) -> bool:
            """Read until ``ticket`` is settled; False if a call or the end came first."""

        def run(self, call: Call) -> None:
            """Run a call and answer it."""

        def awaits(self) -> bool:
            """Whether anybody waits for an answer from the host."""

        def end(self) -> None:
            """Wind up, on the thread that saw the end."""


#: How often the watcher looks. Two looks decide, so a long call keeps the host
#: waiting for a ping at most twice this; Python's own thread switch is 5 ms too.
TICK: Final = 0.005
#: Looks without any call after which the watcher goes to sleep.
QUIET: Final = 10
#: Two calls in a row longer than this make their method slow: the next one is
#: not waited for. One may have been the scheduler's fault.
SLOW: Final = TICK


class Crew:
    """Runs calls on as few threads as they need."""

    def __init__(self, work: Work) -> None:
        """Serve ``work``, one call at a time until ``limit`` says otherwise."""
        self.limit = 1  # calls running at a time
        self.alone = False  # whether this process was refused a second thread
        self._work = work
        self._over = False
        self._lead = allocate_lock()  # held by who reads
        self._watch = allocate_lock()  # held by who is next to read
        self._bell = _locked()  # released to wake the watcher
        self._hurry = False
        self._asleep = False
        self._turn = 0  # calls begun, as the watcher's clock
        self._mutex = allocate_lock()  # guards what follows
        self._running = 0
        self._threads = 1
        self._backlog: list[Call] = []
        self._idle = _locked()  # released when over and nothing runs

    def serve(self) -> None:
        """Read and run until the end; other threads join as needed."""
        self._lead.acquire()
        self._read_and_run()
        self._follow()

    def wait(self, ticket: Ticket, timeout: float | None = None, *, read: bool = True) -> bool:
        """Block until ``ticket`` is settled; False if that takes too long.

        If nobody reads just now, this thread does: the answer then needs no
        switch either. Only with ``read``, which says that it takes a message to
        settle the ticket, and another thread cannot.
        """
        if self.alone:
            self._wait_alone(ticket)
            return True
        if read and timeout is None and self._lead.acquire(blocking=False):
            answered = self._work.take_answer(ticket)
            self._pass_lead(hurry=not answered or self._work.awaits())
            if answered:
                return True
        else:
            self.hurry()
        return ticket.lock.acquire(timeout=-1 if timeout is None else max(0.0, timeout))

    def _wait_alone(self, ticket: Ticket) -> None:
        """Read until ``ticket`` is settled, putting off the calls that come first."""
        while not self._work.take_answer(ticket):
            call = self._work.take()
            if call is None:
                return
            self._backlog.append(call)

    def run_beside(self, call: Call) -> None:
        """Run a call that must not wait for its turn, on a thread that is gone after it."""
        from threading import Thread  # noqa: PLC0415 - not before it is needed

        with self._mutex:
            self._running += 1
        try:
            Thread(target=self._run_one, args=(call,), daemon=True).start()
        except RuntimeError:  # a limit of the sandbox: here, then
            self._run_one(call)

    def _run_one(self, call: Call) -> None:
        self._work.run(call)
        with self._mutex:
            self._running -= 1
            if self._over and not self._running:
                self._idle.release()

    def hurry(self) -> None:
        """Have the watcher take the lead without a second look, if it is free."""
        if not self._lead.locked():
            self._hurry = True
            self._ring()

    def withdraw(self, call: Call) -> bool:
        """Take back a call that has not begun."""
        with self._mutex:
            if call not in self._backlog:
                return False
            self._backlog.remove(call)
            return True

    def backlog(self) -> int:
        """Count the calls waiting for a thread."""
        return len(self._backlog)

    def settle(self, grace: float) -> bool:
        """After the end, wait for what still runs; False if it takes too long."""
        with self._mutex:
            if not self._running:
                return True
        return self._idle.acquire(timeout=grace)

    def _follow(self) -> None:
        """Take the lead whenever it is to be had, until the end."""
        while self._take_lead():
            self._read_and_run()

    def _read_and_run(self) -> None:
        """Lead until another thread does."""
        work = self._work
        while True:
            call = work.take()
            if call is None:
                self._over = True
                self._ring()  # everyone goes home; the lead stays taken
                work.end()
                return
            if not self._admit(call):
                continue
            turn = self._pass_lead(hurry=call.method.slow > 1 or work.awaits())
            running: Call | None = call
            while running is not None:
                begun = monotonic()
                work.run(running)
                method = running.method
                method.slow = method.slow + 1 if monotonic() - begun > SLOW else 0
                running = self._next()
            if not self._resume(turn):
                return

    def _resume(self, turn: int) -> bool:
        """Lead again, if nobody else has led since ``turn``.

        Otherwise there are two threads with calls too short to be worth a
        second one, that would pass Python's lock between them at every call.
        """
        return self.alone or (self._turn == turn and self._lead.acquire(blocking=False))

    def _take_lead(self) -> bool:
        """Wait for the lead, as the one watcher; False at the end."""
        with self._watch:
            seen, quiet = -1, 0
            while not self._over:
                if quiet < QUIET:
                    self._bell.acquire(timeout=TICK)
                else:
                    self._sleep()
                    quiet = 0
                hurry, self._hurry = self._hurry, False
                turn = self._turn
                if (hurry or turn == seen) and self._lead.acquire(blocking=False):
                    return True
                quiet = quiet + 1 if turn == seen else 0
                seen = turn
            return False

    def _sleep(self) -> None:
        # Announced first, looked at second; `_pass_lead` does it the other way
        # round, so a lead set free in between is seen by one of the two.
        self._asleep = True
        if self._lead.locked() and not self._over:
            self._bell.acquire()
        self._asleep = False

    def _pass_lead(self, *, hurry: bool) -> int:
        """Set the lead free, for the watcher or for this thread when it is back."""
        if self.alone:
            return 0
        turn = self._turn = self._turn + 1
        self._lead.release()
        if hurry:
            self._hurry = True
        if hurry or self._asleep:
            self._ring()
        return turn

    def _ring(self) -> None:
        try:
            self._bell.release()
        except RuntimeError:  # rung already
            pass

    def _admit(self, call: Call) -> bool:
        """Decide whether ``call`` runs now; if not, it waits for a thread."""
        with self._mutex:
            spare = self._threads - self._running - 1  # besides this one
            if self.alone or (self._running < self.limit and (spare or self._one_more())):
                self._running += 1
                return True
            self._backlog.append(call)
            return False

    def _one_more(self) -> bool:
        """Start a thread, so that one is left to read if this one runs a call."""
        try:
            self._start()
        except RuntimeError:
            # A limit of the sandbox. Make do with the threads there are.
            self.limit = max(1, self._running)
            self.alone = self._threads == 1
            return self.alone
        self._threads += 1
        return True

    def _start(self) -> None:
        """Start one more thread."""
        from threading import Thread  # noqa: PLC0415 - not before the first call

        Thread(target=self._follow, name=f"plugbay-{self._threads}", daemon=True).start()

    def _next(self) -> Call | None:
        """End a call; the thread takes one that waited, if any."""
        with self._mutex:
            if self._backlog:
                return self._backlog.pop(0)
            self._running -= 1
            if self._over and not self._running:
                self._idle.release()
            return None


def _locked() -> LockType:
    lock = allocate_lock()
    lock.acquire()
    return lock
