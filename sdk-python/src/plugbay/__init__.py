"""Write Plugbay plugins in Python.

::

    from plugbay import Plugin

    plugin = Plugin("words", "1.0.0")

    @plugin.method
    def count(path: str) -> dict[str, int]:
        with open(path) as file:
            return {"words": len(file.read().split())}

    if __name__ == "__main__":
        plugin.run()

Standard library only. ``plugbay.testing`` runs a plugin in memory, for unit
tests; ``plugbay.logs`` takes what the ``logging`` module says to the host.
"""

from plugbay._context import Context, Log
from plugbay._errors import CallError, Cancelled, InvalidParams, PluginError
from plugbay._plugin import Plugin
from plugbay._stream import Stream

__all__ = [
    "CallError",
    "Cancelled",
    "Context",
    "InvalidParams",
    "Log",
    "Plugin",
    "PluginError",
    "Stream",
]
__version__ = "0.1.0"
