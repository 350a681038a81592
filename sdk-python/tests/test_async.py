"""Handlers that are coroutines."""

from __future__ import annotations

import asyncio
import threading
import unittest
from typing import Any

from plugbay import CallError, Cancelled, Context, Plugin
from plugbay.testing import Host
from tests.test_calls import refused


class Coroutines(unittest.TestCase):
    def setUp(self):
        self.plugin = plugin = Plugin("test", "1.0.0")
        self.met: list[object] = []

        @plugin.method
        async def echo(value: object, ctx: Context) -> object:
            await asyncio.sleep(0)
            return [ctx.method, value]

        @plugin.method
        async def forever(ctx: Context) -> None:
            ctx.progress(0)
            try:
                await asyncio.sleep(3600)
            finally:
                self.met.append(ctx.cancelled)

        @plugin.method
        async def ask(ctx: Context, method: str, timeout: Any = None) -> object:
            return await ctx.acall(method, timeout=timeout)

        @plugin.method
        async def ask_other(ctx: Context) -> object:
            return await ctx.acall_plugin("other", "m", {"a": 1})

        @plugin.method
        async def fail() -> None:
            raise KeyError("x")

        @plugin.method
        async def mistake(ctx: Context) -> object:
            return ctx.call("host/info")

        @plugin.method
        def threaded(ctx: Context) -> object:
            return ctx.call("host/info")

    def test_they_answer_like_any_other(self):
        with Host(self.plugin) as host:
            self.assertEqual(host.call("echo", value=1), ["echo", 1])
            self.assertEqual(refused(self, host.call, "echo").code, -32602)
            self.assertEqual(refused(self, host.call, "fail").message, "KeyError: 'x'")
            host.notify("echo", value=1)
            self.assertEqual(host.call("threaded")["name"], "plugbay.testing")

    def test_many_run_at_once_on_one_thread(self):
        with Host(self.plugin) as host:
            calls = [host.start("forever") for _ in range(50)]
            host.read_until(lambda: all(call.progress for call in calls))
            for call in calls:
                call.cancel()
            for call in calls:
                self.assertEqual(refused(self, call.result).code, -32800)
        self.assertEqual(self.met, [True] * 50)

    def test_one_that_is_cancelled_before_it_begins_is_answered(self):
        with Host(self.plugin) as host:
            calls = [host.start("forever") for _ in range(20)]
            for call in calls:
                call.cancel()
                self.assertEqual(refused(self, call.result).code, -32800)

    def test_they_ask_without_blocking_each_other(self):
        with Host(self.plugin) as host:
            first = host.start("ask", method="host/a")
            second = host.start("ask", method="host/b")
            asked = [host.receive(), host.receive()]
            self.assertEqual([message["method"] for message in asked], ["host/a", "host/b"])
            host.send({"id": asked[1]["id"], "result": "b"})
            self.assertEqual(second.result(), "b")
            host.send({"id": asked[0]["id"], "error": {"code": 5, "message": "no"}})
            self.assertEqual(refused(self, first.result).data["cause"]["code"], 5)
            host.stub_plugin("other", "m", lambda params: params)
            self.assertEqual(host.call("ask_other"), {"a": 1})

    def test_an_answer_too_late_is_none(self):
        with Host(self.plugin) as host:
            call = host.start("ask", method="host/a", timeout=0.01)
            asked = host.receive()
            self.assertEqual(host.receive()["params"], {"id": asked["id"], "reason": "deadline"})
            self.assertEqual(refused(self, call.result).data["cause"]["code"], -31003)

    def test_one_that_is_cancelled_cancels_what_it_asked(self):
        with Host(self.plugin) as host:
            call = host.start("ask", method="host/a")
            asked = host.receive()
            call.cancel()
            self.assertEqual(host.receive()["params"]["id"], asked["id"])
            self.assertEqual(refused(self, call.result).code, -32800)

    def test_blocking_the_loop_is_refused_with_advice(self):
        with Host(self.plugin) as host:
            self.assertIn("await ctx.acall", refused(self, host.call, "mistake").message)

    def test_waiting_asynchronously_needs_a_loop(self):
        plugin = Plugin("test", "1.0.0")

        @plugin.method
        def stray(ctx: Context) -> None:
            coroutine = ctx.acall("host/info")
            try:
                coroutine.send(None)
            except RuntimeError as error:
                self.met.append(str(error))

        with Host(plugin) as host:
            host.call("stray")
        self.assertIn("ctx.call", self.met[0])

    def test_a_function_that_returns_a_coroutine_is_awaited_too(self):
        plugin = Plugin("test", "1.0.0")

        async def work(value: int) -> int:
            return value + 1

        @plugin.method
        def decorated(**params: int) -> object:
            return work(**params)

        with Host(plugin) as host:
            self.assertEqual(host.call("decorated", value=1), 2)

    def test_hooks_may_be_coroutines(self):
        order: list[str] = []

        @self.plugin.on_start
        async def load(ctx: Context) -> None:
            await asyncio.sleep(0)
            order.append(ctx.method)

        @self.plugin.on_stop
        async def save() -> None:
            order.append("saved")

        with Host(self.plugin):
            pass
        self.assertEqual(order, ["initialize", "saved"])

    def test_what_still_runs_at_the_end_is_cancelled(self):
        host = Host(self.plugin)
        with self.assertRaises(ZeroDivisionError), host:
            call = host.start("forever")
            host.read_until(lambda: bool(call.progress))
            raise ZeroDivisionError
        self.assertEqual(len(self.met), 1)

    def test_shutdown_waits_for_them(self):
        go = threading.Event()

        @self.plugin.method
        async def last() -> str:
            await asyncio.get_running_loop().run_in_executor(None, go.wait)
            return "done"

        with Host(self.plugin) as host:
            call = host.start("last")
            stopping = host.stop()
            host.ping()
            self.assertFalse(stopping.done)
            go.set()
            self.assertEqual(call.result(), "done")
            stopping.result()
            host.send({"method": "exit"})

    def test_an_exception_of_the_system_is_an_answer_too(self):
        @self.plugin.method
        async def give_up() -> None:
            raise Cancelled

        with Host(self.plugin) as host:
            self.assertEqual(refused(self, host.call, "give_up").code, -32800)
            self.assertIsInstance(refused(self, host.call, "fail"), CallError)
