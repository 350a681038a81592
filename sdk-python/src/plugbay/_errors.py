"""Error codes and exceptions.

The tree::

    Exception
      PluginError        a handler's refusal: the caller gets it as it is
        InvalidParams    ... code -32602
      CallError          the host, or another plugin, refused what we asked
    BaseException
      Cancelled          the call being served is no longer wanted
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
HANDLER_FAILED: Final = -32000
NOT_INITIALIZED: Final = -32002
REQUEST_CANCELLED: Final = -32800
UNAVAILABLE: Final = -31001
DEADLINE_EXCEEDED: Final = -31003
OVERLOADED: Final = -31004
FRAME_TOO_LARGE: Final = -31007
UNSUPPORTED_VERSION: Final = -31008
DRAINING: Final = -31009
PROTOCOL_VIOLATION: Final = -31012


class PluginError(Exception):
    """What a handler raises to answer its call with an error of its choosing."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        """Take the JSON-RPC code, a message for people, and data for programs."""
        super().__init__(code, message, data)
        self.code = code
        self.message = message
        self.data = data

    def __str__(self) -> str:
        """Show the message and the code."""
        return f"{self.message} ({self.code})"


class InvalidParams(PluginError):
    """The caller sent parameters this method cannot use."""

    def __init__(self, message: str, data: Any = None) -> None:
        """Say what is wrong with them."""
        super().__init__(INVALID_PARAMS, message, data)

    def __reduce__(self) -> tuple[type[InvalidParams], tuple[str, Any]]:
        """Copy and pickle by this class's own arguments, not the parent's."""
        return InvalidParams, (self.message, self.data)


class CallError(Exception):
    """A call this plugin made, to the host or another plugin, did not succeed."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        """Take the answer's error object apart."""
        super().__init__(code, message, data)
        self.code = code
        self.message = message
        self.data = data

    def __str__(self) -> str:
        """Show the message and the code."""
        return f"{self.message} ({self.code})"


class Cancelled(BaseException):
    """The call being served was cancelled, or its deadline passed.

    Not an ``Exception``, so that ``except Exception`` in a handler's loop does
    not swallow it. Let it pass: the SDK answers the call.
    """
