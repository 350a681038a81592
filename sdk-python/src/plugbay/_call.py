"""Calls in both directions as values: what is being served, what we wait for.

No I/O here and no threads, only what they share.
"""

from __future__ import annotations

from _thread import allocate_lock

from plugbay._errors import UNAVAILABLE, CallError, InvalidParams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

    from plugbay._context import Context
    from plugbay._stream import Source, Stream

_CO_ASYNC: Final = 0x80 | 0x200  # a coroutine, or an asynchronous generator


class Method:
    """A function of the plugin, and what was learned of it when it was registered."""

    __slots__ = ("context", "function", "is_async", "name", "names", "place", "slow")

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        """Look at ``function``, without importing ``inspect`` if it is a plain one."""
        self.name = name
        self.function = function
        names, positional = _parameters(function)
        self.names = names
        self.context = _context_parameter(names)
        #: Where the context stands among arguments given by position.
        self.place = positional.index(self.context) if self.context in positional else None
        self.is_async = _is_async(function)
        self.slow = 0  # how many of its last calls were, see `_crew`

    def takes(self, name: str) -> bool:
        """Whether the function has a parameter of this name."""
        return name in self.names

    def invoke(self, params: dict[str, Any] | list[Any] | None, context: Context | None) -> Any:
        """Call the function; parameters that do not fit are the caller's mistake."""
        listed: Sequence[Any] = params if type(params) is list else ()
        named = params if type(params) is dict else {}
        if self.context is not None:
            if self.context in named:
                raise InvalidParams(f"{self.name} has no parameter `{self.context}`")
            if self.place is not None and len(listed) >= self.place:
                listed = [*listed[: self.place], context, *listed[self.place :]]
            else:
                named = {**named, self.context: context}
        try:
            return self.function(*listed, **named)
        except TypeError as error:
            trace = error.__traceback__
            if trace is not None and trace.tb_next is None:  # raised by the call, not in it
                raise InvalidParams(str(error)) from None
            raise


class Call:
    """One call being served."""

    __slots__ = (
        "answered",
        "cancel_task",
        "cancelled",
        "deadline",
        "id",
        "meta",
        "method",
        "params",
        "replies",
        "streams",
        "tickets",
    )

    def __init__(
        self,
        id_: int | str | None,
        method: Method,
        params: dict[str, Any] | list[Any] | None,
        meta: dict[str, Any],
    ) -> None:
        """Take a request apart; a notification has no id."""
        self.id = id_
        self.method = method
        self.params = params
        self.meta = meta
        self.deadline: float | None = None
        self.cancelled = False
        self.answered = False
        self.tickets: list[Ticket] = []  # what its handler waits for
        self.streams: Sequence[Stream] = ()  # of its parameters
        self.replies: Sequence[Stream] = ()  # of what it asked for
        self.cancel_task: Callable[[], None] | None = None

    def cancel(self) -> None:
        """Tell the handler to stop, waking it if it waits."""
        self.cancelled = True
        for ticket in list(self.tickets):
            ticket.settle()
        if self.cancel_task is not None:
            self.cancel_task()


class Ticket:
    """Something a handler waits for: an answer from the host, or being cancelled."""

    __slots__ = ("call", "error", "id", "lock", "result", "settled", "sources", "wake")

    def __init__(self, id_: int = 0) -> None:
        """Not settled yet."""
        self.id = id_
        self.lock = allocate_lock()
        self.lock.acquire()
        self.settled = False
        self.result: Any = None
        self.error: CallError | None = None
        self.wake: Callable[[], None] | None = None
        self.call: Call | None = None  # on whose behalf it was asked
        self.sources: Sequence[Source] = ()  # streams that are its parameters

    def settle(self, result: Any = None, error: CallError | None = None) -> None:
        """Wake whoever waits; only the first time counts."""
        if self.settled:
            return
        self.result = result
        self.error = error
        self.settled = True
        try:
            self.lock.release()
        except RuntimeError:  # two threads settled it at once
            return
        if self.wake is not None:
            self.wake()


class Outbox:
    """The calls this plugin made and waits for, by id."""

    def __init__(self) -> None:
        """Nothing asked yet."""
        self._mutex = allocate_lock()
        self._open: dict[int, Ticket] = {}
        self._last = 0
        self._closed = False

    def __len__(self) -> int:
        """Count the calls without an answer."""
        return len(self._open)

    def open(self) -> Ticket:
        """Begin a call."""
        with self._mutex:
            if self._closed:
                raise CallError(UNAVAILABLE, "the host is gone")
            self._last += 1
            ticket = self._open[self._last] = Ticket(self._last)
            return ticket

    def take(self, id_: Any) -> Ticket | None:
        """End a call; None if it is not ours, or was given up."""
        return self._open.pop(id_, None) if type(id_) is int else None

    def close(self) -> None:
        """Fail every call: there will be no more answers."""
        with self._mutex:
            self._closed = True
            lost, self._open = self._open, {}
        for ticket in lost.values():
            ticket.settle(error=CallError(UNAVAILABLE, "the host is gone"))


def _parameters(function: Callable[..., Any]) -> tuple[dict[str, Any], list[str]]:
    """List the parameters with their annotations, and those that have a position."""
    try:
        code = function.__code__
        notes = function.__annotations__
    except AttributeError:  # a class, a partial, an instance with `__call__`
        import inspect  # noqa: PLC0415 - rare, and dear to import

        found = inspect.signature(function).parameters.values()
        placed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        positional = [parameter.name for parameter in found if parameter.kind in placed]
        return {parameter.name: parameter.annotation for parameter in found}, positional
    except NameError:  # Python 3.14 could not evaluate an annotation
        code, notes = function.__code__, {}
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    first = 1 if hasattr(function, "__self__") else 0
    return {name: notes.get(name) for name in names}, list(names[first : code.co_argcount])


def _context_parameter(names: dict[str, Any]) -> str | None:
    """Find the parameter that takes the context: annotated so, or called ``ctx``."""
    for name, note in names.items():
        if isinstance(note, type):
            note = note.__name__ if note.__module__.startswith("plugbay.") else None  # noqa: PLW2901
        if isinstance(note, str) and note.strip("\"'").rpartition(".")[2] == "Context":
            return name
    return "ctx" if "ctx" in names else None


def _is_async(function: Callable[..., Any]) -> bool:
    code = getattr(function, "__code__", None)
    if code is not None:
        return bool(code.co_flags & _CO_ASYNC)
    import inspect  # noqa: PLC0415 - rare, and dear to import

    call = getattr(function, "__call__", None)  # noqa: B004 - wanted as a value
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    return any(is_kind(it) for is_kind in kinds for it in (function, call))
