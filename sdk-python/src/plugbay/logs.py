"""What the ``logging`` module says, said to the host.

::

    from plugbay import logs

    logs.install(plugin)
    logging.getLogger("words").info("index built", extra={"words": 1320})
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from plugbay._plugin import Plugin

_PLAIN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class Handler(logging.Handler):
    """Sends records as structured log lines: ``extra`` and the logger's name become fields."""

    def __init__(self, plugin: Plugin, level: int = logging.NOTSET) -> None:
        """Send to the host of ``plugin``; before it runs, to standard error."""
        super().__init__(level)
        self._plugin = plugin

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        try:
            fields: dict[str, Any] = {
                name: value for name, value in record.__dict__.items() if name not in _PLAIN
            }
            fields["logger"] = record.name
            if record.exc_info:
                formatter = self.formatter or logging.Formatter()
                fields["exception"] = formatter.formatException(record.exc_info)
            self._plugin.log.write(_level(record.levelno), record.getMessage(), fields)
        except Exception:  # noqa: BLE001 - as every handler of `logging` does
            self.handleError(record)


def install(plugin: Plugin, level: int = logging.INFO) -> Handler:
    """Have the root logger send everything from ``level`` up to the host of ``plugin``."""
    handler = Handler(plugin)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    return handler


def _level(number: int) -> str:
    for limit, name in (
        (logging.ERROR, "error"),
        (logging.WARNING, "warn"),
        (logging.INFO, "info"),
        (logging.DEBUG, "debug"),
    ):
        if number >= limit:
            return name
    return "trace"
