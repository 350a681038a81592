"""The author's face: a plugin, its methods, and ``run``."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what `signal` wraps, without its enums
import os
import sys

from plugbay._call import Method
from plugbay._channel import RPC_FD, claim
from plugbay._context import Log
from plugbay._errors import InvalidParams
from plugbay._session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Final, TypeVar, overload

    from plugbay._context import Context

    Handler = TypeVar("Handler", bound=Callable[..., Any])

_RESERVED_GROUPS: Final = ("$", "host", "plugin", "event", "stream")
_RESERVED_WORDS: Final = ("initialize", "initialized", "shutdown", "exit")


class Plugin:
    """A named set of methods that a host can call.

    ::

        plugin = Plugin("words", "1.0.0")

        @plugin.method
        def count(path: str) -> dict[str, int]:
            with open(path) as file:
                return {"words": len(file.read().split())}

        if __name__ == "__main__":
            plugin.run()
    """

    def __init__(self, name: str, version: str, *, threads: int = 32) -> None:
        """Name the plugin as its ``plugin.toml`` does.

        At most ``threads`` handlers run at a time, so 1 means one after the
        other. It never is more than the host allows, and a thread is started
        only when it is needed.
        """
        if threads < 1:
            raise ValueError("a plugin needs at least one thread")
        self.name = name
        self.version = version
        self.methods: dict[str, Method] = {}
        self.is_async = False
        self._threads = threads
        self._start_hooks: list[Method] = []
        self._stop_hooks: list[Method] = []
        self._drain_hooks: list[Method] = []
        self._health_hooks: list[Method] = []
        self._snapshot: Method | None = None
        self._restore: Method | None = None
        self._state_version = 1
        self._session: Session | None = None
        self._log = Log(self._log_line)

    if TYPE_CHECKING:

        @overload
        def method(self, function: Handler, /) -> Handler: ...
        @overload
        def method(self, name: str, /) -> Callable[[Handler], Handler]: ...

    def method(self, given: Any, /) -> Any:
        """Make a function callable by its name, or by the name given.

        The parameters are the function's own: an object's members by name, an
        array's by position.
        """
        if isinstance(given, str):

            def named(function: Handler) -> Handler:
                self._add(given, function)
                return function

            return named
        self._add(given.__name__, given)
        return given

    def on_start(self, hook: Handler) -> Handler:
        """Run ``hook`` before the first call; what it raises fails the start.

        It may take a context, as a method may, to show its progress.
        """
        self._start_hooks.append(self._hook(hook))
        return hook

    def on_stop(self, hook: Handler) -> Handler:
        """Run ``hook`` after the last call."""
        self._stop_hooks.append(self._hook(hook))
        return hook

    def on_drain(self, hook: Handler) -> Handler:
        """Run ``hook`` when a successor takes over: calls that run go on, new ones are refused."""
        self._drain_hooks.append(self._hook(hook))
        return hook

    def on_health(self, hook: Handler) -> Handler:
        """Ask ``hook`` whether the plugin is able to work.

        Nothing returned is yes, a text says what is not as it should be, and
        what it raises that calls had better go elsewhere. It runs on a thread
        of its own, so that being busy is no reason to be late.
        """
        self._health_hooks.append(self._hook(hook))
        return hook

    def snapshot(self, given: Any = None, /, *, version: int = 1) -> Any:
        """Have the state that the next version of this plugin is to begin with.

        ``@plugin.snapshot`` or ``@plugin.snapshot(version=2)``: what the function
        returns is given to the ``restore`` of the successor. No call runs
        meanwhile; afterwards either it or this process goes on.
        """

        def taken(function: Handler) -> Handler:
            self._snapshot = self._hook(function)
            self._state_version = version
            return function

        return taken if given is None else taken(given)

    def restore(self, function: Handler) -> Handler:
        """Take the state of the version before this one, before the first call.

        State of another version than ``snapshot`` gives is refused, unless the
        function has a parameter ``version``, which tells it which one it is.
        """
        self._restore = self._hook(function)
        return function

    @property
    def config(self) -> Any:
        """The configuration the host gave, from the first ``on_start`` on."""
        return self._running().config

    @property
    def log(self) -> Log:
        """Where to log; before ``run``, that is standard error."""
        return self._log

    def call(
        self,
        method: str,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Call the host outside of any call, as from a thread of the plugin's own."""
        return self._running().ask(None, method, params, timeout)

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Tell the host something that has no answer."""
        self._running().notify(method, params)

    def run(self) -> None:
        """Serve the host on standard input and output, until it is done with us.

        From here on a fatal signal, such as a host's that finds us hanging,
        leaves the stack of every thread on standard error, and an interrupt ends
        the process at once. Python's own way with one, ``KeyboardInterrupt``,
        waits for the next byte from the host if it comes just before a read; a
        handler of your own for ``SIGINT`` is left as it is.
        """
        import faulthandler  # noqa: PLC0415 - of no use to who only imports us

        try:
            faulthandler.enable(2)
        except (OSError, ValueError):  # there is no standard error
            pass
        if RPC_FD not in os.environ and sys.stdin is not None and sys.stdin.isatty():
            sys.stderr.write(
                f"{self.name} is a Plugbay plugin and waits for a host on standard input; "
                f"to call it: plugbay call {os.path.dirname(sys.argv[0]) or '.'} METHOD\n"
            )
        _die_at_interrupts()
        self.session(claim(), _abandon).serve()

    def session(self, channel: Any, abandon: Callable[[int], None]) -> Session:
        """Begin a session over ``channel``: for ``run``, and for hosts in memory."""
        self._session = Session(self, channel, abandon, self._threads)
        return self._session

    def started(self, context: Context, finish: Callable[[Any], Any]) -> None:
        """Run the start hooks; called by the session."""
        _run_hooks(self._start_hooks, context, finish)

    def drained(self, context: Context, finish: Callable[[Any], Any]) -> None:
        """Run the drain hooks; called by the session."""
        _run_hooks(self._drain_hooks, context, finish)

    @property
    def tells_health(self) -> bool:
        """Whether somebody is to be asked."""
        return bool(self._health_hooks)

    def health(self, context: Context, finish: Callable[[Any], Any]) -> dict[str, Any]:
        """Ask the health hooks; called by the session."""
        try:
            said = _run_hooks(self._health_hooks, context, finish)
        except Exception as error:  # noqa: BLE001 - whatever it is, that is the answer
            return {"status": "failing", "message": f"{type(error).__name__}: {error}"}
        told = "; ".join(str(text) for text in said if text)
        return {"status": "degraded", "message": told} if told else {"status": "ok"}

    @property
    def hands_over(self) -> bool:
        """Whether it gives its state to a successor, and takes that of one before it."""
        return self._snapshot is not None and self._restore is not None

    def give_state(self, context: Context, finish: Callable[[Any], Any]) -> dict[str, Any]:
        """Take a snapshot; called by the session."""
        (state,) = _run_hooks([self._snapshot] if self._snapshot else [], context, finish)
        return {"stateVersion": self._state_version, "state": state}

    def take_state(
        self, version: int, state: Any, context: Context, finish: Callable[[Any], Any]
    ) -> None:
        """Restore a snapshot; called by the session."""
        if self._restore is None:
            return
        tells = self._restore.takes("version")
        if version != self._state_version and not tells:
            said = f"the state has version {version}, and only {self._state_version} is known here"
            raise InvalidParams(said)
        listed = [state, version] if tells else [state]
        result = self._restore.invoke(listed, context)
        if self._restore.is_async:
            finish(result)

    def stopped(self, finish: Callable[[Any], Any]) -> None:
        """Run the stop hooks; called by the session."""
        _run_hooks(self._stop_hooks, None, finish)

    def _add(self, name: str, function: Callable[..., Any]) -> None:
        if name.partition("/")[0] in _RESERVED_GROUPS and "/" in name:
            raise ValueError(f"`{name}`: names in that group belong to the protocol")
        if name in _RESERVED_WORDS or name.startswith("rpc."):
            raise ValueError(f"`{name}` belongs to the protocol")
        if name in self.methods:
            raise ValueError(f"there is a method `{name}` already")
        method = self.methods[name] = Method(name, function)
        self.is_async = self.is_async or method.is_async

    def _hook(self, function: Callable[..., Any]) -> Method:
        hook = Method(function.__name__, function)
        self.is_async = self.is_async or hook.is_async
        return hook

    def _running(self) -> Session:
        if self._session is None:
            raise RuntimeError("the plugin is not running yet")
        return self._session

    def _log_line(self, level: str, message: str, fields: dict[str, Any]) -> None:
        if self._session is not None:
            self._session.log.write(level, message, fields)
        else:
            said = "".join(f" {name}={value!r}" for name, value in fields.items())
            sys.stderr.write(f"{level} {message}{said}\n")


def _die_at_interrupts() -> None:
    if _signal.getsignal(_signal.SIGINT) is not _signal.default_int_handler:
        return
    try:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    except ValueError:  # this is not the main thread; whose signals they are knows better
        pass


def _run_hooks(
    hooks: list[Method], context: Context | None, finish: Callable[[Any], Any]
) -> list[Any]:
    results = []
    for hook in hooks:
        result = hook.invoke(None, context)
        results.append(finish(result) if hook.is_async else result)
    return results


def _abandon(code: int) -> None:
    """Leave although a handler does not return."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)
