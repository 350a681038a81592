"""What a handler may do besides returning: the face of a call, and of the log."""

from __future__ import annotations

from time import monotonic

from plugbay._call import Ticket
from plugbay._errors import Cancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from plugbay._call import Call
    from plugbay._session import Session


class Log:
    """Structured log lines for the host: a message, and fields that are data."""

    __slots__ = ("write",)

    def __init__(self, write: Callable[[str, str, dict[str, Any]], None]) -> None:
        """Take where lines go: ``write(level, message, fields)``."""
        self.write = write

    def trace(self, message: str, /, **fields: Any) -> None:
        """Log for whoever follows every step."""
        self.write("trace", message, fields)

    def debug(self, message: str, /, **fields: Any) -> None:
        """Log for whoever looks for a fault."""
        self.write("debug", message, fields)

    def info(self, message: str, /, **fields: Any) -> None:
        """Log what is worth keeping."""
        self.write("info", message, fields)

    def warning(self, message: str, /, **fields: Any) -> None:
        """Log what is worth a look."""
        self.write("warn", message, fields)

    def error(self, message: str, /, **fields: Any) -> None:
        """Log a failure."""
        self.write("error", message, fields)


class Context:
    """One call, as its handler sees it.

    A handler gets it by having a parameter annotated ``Context``, or named ``ctx``.
    """

    __slots__ = ("_call", "_session")

    def __init__(self, session: Session, call: Call) -> None:
        """Made by the session."""
        self._session = session
        self._call = call

    @property
    def method(self) -> str:
        """The method called."""
        return self._call.method.name

    @property
    def params(self) -> dict[str, Any] | list[Any] | None:
        """The parameters as they came, without ``_meta``; None if there were none."""
        return self._call.params

    @property
    def meta(self) -> Mapping[str, Any]:
        """The call's metadata: ``callId``, ``traceparent``, ``idempotencyKey`` and so on."""
        return self._call.meta

    @property
    def config(self) -> Any:
        """The plugin's configuration."""
        return self._session.config

    @property
    def log(self) -> Log:
        """Where to log."""
        return self._session.log

    @property
    def deadline(self) -> float | None:
        """When the answer will be of no more use, on the clock of ``time.monotonic``."""
        return self._call.deadline

    @property
    def remaining(self) -> float | None:
        """Seconds left until the deadline, at least 0; None without one."""
        deadline = self._call.deadline
        return None if deadline is None else max(0.0, deadline - monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether the answer is no longer wanted."""
        deadline = self._call.deadline
        return self._call.cancelled or (deadline is not None and monotonic() >= deadline)

    def check_cancelled(self) -> None:
        """Raise ``Cancelled`` if the answer is no longer wanted. Cheap; for inner loops."""
        if self.cancelled:
            raise Cancelled

    def wait_cancelled(self, timeout: float | None = None) -> bool:
        """Sleep for ``timeout`` seconds, or until cancelled; tell whether it was."""
        remaining = self.remaining
        if remaining is not None:
            timeout = remaining if timeout is None else min(timeout, remaining)
        ticket = Ticket()
        self._call.tickets.append(ticket)
        try:
            if not self._call.cancelled:
                self._session.wait(ticket, timeout)
        finally:
            self._call.tickets.remove(ticket)
        return self.cancelled

    def progress(
        self,
        value: float | None = None,
        total: float | None = None,
        message: str | None = None,
        data: Any = None,
    ) -> None:
        """Tell the caller how far the work is; free of charge if it did not ask."""
        token = self._call.meta.get("progressToken")
        if token is None:
            return
        said = {"token": token, "value": value, "total": total, "message": message, "data": data}
        said = {name: part for name, part in said.items() if part is not None}
        self._session.notify("$/progress", said)

    def call(
        self,
        method: str,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Call a method of the host, such as ``host/info``, and wait for the result."""
        return self._session.ask(self._call, method, params, timeout)

    def call_plugin(
        self,
        plugin: str,
        method: str,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Call a method of another plugin and wait for the result."""
        return self._session.ask(self._call, *_to(plugin, method, params), timeout)

    async def acall(
        self,
        method: str,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Do what ``call`` does, in an ``async def`` handler."""
        return await self._session.ask_async(self._call, method, params, timeout)

    async def acall_plugin(
        self,
        plugin: str,
        method: str,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Do what ``call_plugin`` does, in an ``async def`` handler."""
        return await self._session.ask_async(self._call, *_to(plugin, method, params), timeout)

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Tell the host something that has no answer."""
        self._session.notify(method, params)


def _to(
    plugin: str, method: str, params: Mapping[str, Any] | Sequence[Any] | None
) -> tuple[str, dict[str, Any]]:
    asked: dict[str, Any] = {"plugin": plugin, "method": method}
    if params is not None:
        asked["params"] = params
    return "host/call", asked
