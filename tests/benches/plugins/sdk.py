"""The same on the SDK."""

from plugbay import Plugin

plugin = Plugin("sdk", "1.0.0")


@plugin.method
def echo(text: str) -> dict[str, str]:
    """Answer with what was asked."""
    return {"text": text}


plugin.run()
