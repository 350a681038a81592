"""Refusals: what a plugin answers when it does not answer with a result.

Pure: nothing is sent from here.
"""

from __future__ import annotations

import os

from plugbay._errors import (
    DRAINING,
    HANDLER_FAILED,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    NOT_INITIALIZED,
    OVERLOADED,
    UNSUPPORTED_VERSION,
    CallError,
    PluginError,
)
from plugbay._wire import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

CANCELLED: Final = '"error":{"code":-32800,"message":"cancelled"}'
_OURS: Final = os.path.dirname(__file__)
_TRACEBACK: Final = 8 << 10


def body(error: PluginError) -> str:
    """Write the error member; data that cannot be written is left out."""
    said = {"code": error.code, "message": error.message}
    if error.data is not None:
        try:
            return f'"error":{encode({**said, "data": error.data})}'
        except PluginError:
            pass
    return f'"error":{encode(said)}'


def failure(error: BaseException) -> PluginError:
    """Describe an exception that the author of the handler did not expect."""
    import traceback  # noqa: PLC0415 - dear, and rarely needed

    name = type(error).__name__
    trace = error.__traceback__
    while trace is not None and os.path.dirname(trace.tb_frame.f_code.co_filename) == _OURS:
        trace = trace.tb_next  # the author knows nothing of our frames
    lines = traceback.format_exception(type(error), error, trace)
    data: dict[str, Any] = {"type": name, "traceback": _printable("".join(lines))[-_TRACEBACK:]}
    if isinstance(error, CallError):
        data["cause"] = {"code": error.code, "message": error.message, "data": error.data}
    text = _printable(str(error))[:_TRACEBACK]
    return PluginError(HANDLER_FAILED, f"{name}: {text}" if text else name, data)


def invalid(message: dict[str, Any]) -> PluginError:
    """Say what keeps an object with a method from being a request."""
    if message.get("jsonrpc") != "2.0":
        fault = '`jsonrpc` must be "2.0"'
    elif type(message["method"]) is not str:
        fault = "`method` must be a string"
    elif "id" in message and not is_id(message["id"]):
        fault = "`id` must be a string or an integer"
    else:
        fault = "`params` must be an object or an array"
    return PluginError(INVALID_REQUEST, fault)


def unserved(name: str, state: str) -> PluginError:
    """Say why a request is not served, in this state of the session."""
    if state == "new":
        return PluginError(NOT_INITIALIZED, "`initialize` comes first")
    if name == "initialize":
        return PluginError(INVALID_REQUEST, "initialized already")
    if state in ("leaving", "draining") and "/" not in name:
        return PluginError(DRAINING, "shutting down")
    return PluginError(METHOD_NOT_FOUND, f"no method `{name}`")


def overloaded(limit: int) -> PluginError:
    """Say that there are calls enough."""
    data = {"origin": "plugin", "retryable": True, "limit": limit}
    return PluginError(OVERLOADED, f"{limit} calls are running already", data)


def unsupported(ours: Sequence[int], theirs: Sequence[int]) -> PluginError:
    """Say which versions would have done."""
    message = f"no common protocol version: {list(theirs)} offered, {list(ours)} supported"
    return PluginError(UNSUPPORTED_VERSION, message, {"origin": "plugin", "supported": list(ours)})


def is_id(value: object) -> bool:
    """Whether ``value`` can be a request's id; ``True`` and ``1.0`` cannot."""
    if type(value) is int:
        return -(1 << 63) <= value < 1 << 63
    return type(value) is str


def _printable(text: str) -> str:
    """Replace what UTF-8 cannot say, such as parts of undecodable file names."""
    return text.encode("utf-8", "replace").decode()
