"""The golden plugin, as ``protocol/golden/README.md`` describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plugbay import CallError, Context, InvalidParams, Plugin, PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator

plugin = Plugin("golden", "1.0.0")


@plugin.method
def add(a: float, b: float, **_others: Any) -> float:
    for number in (a, b):
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise InvalidParams("`a` and `b` must be numbers")
    return a + b


@plugin.method
def ask(ctx: Context, method: str, params: Any = None) -> Any:
    try:
        return ctx.call(method, params)
    except CallError as error:
        raise PluginError(error.code, error.message) from None


@plugin.method
def config(ctx: Context) -> Any:
    return ctx.config


@plugin.method
def echo(*_listed: Any, ctx: Context, **_named: Any) -> Any:
    return ctx.params


@plugin.method
def fail(message: str) -> None:
    raise PluginError(-32000, message)


@plugin.method("range")
def count_up(count: int, fail: str | None = None) -> Iterator[int]:
    yield from range(count)
    if fail is not None:
        raise PluginError(-32000, fail)


@plugin.method
def slow(ctx: Context, steps: int) -> str:
    for step in range(1, steps + 1):
        ctx.progress(step, steps)
    return "done"


@plugin.method
def total(numbers: Iterator[float]) -> float:
    return sum(numbers)


@plugin.method("upper")
def in_upper_case(bytes: Iterator[bytes]) -> Iterator[bytes]:  # noqa: A002 - as the transcripts say
    for piece in bytes:
        yield piece.upper()


@plugin.method
def wait(ctx: Context) -> None:
    ctx.wait_cancelled()


if __name__ == "__main__":
    plugin.run()
