"""What a host asks to know how a plugin is, and what it gets when it kills one."""

from __future__ import annotations

import signal
import unittest
from threading import Event
from typing import Any
from unittest import mock

from plugbay import Context, Plugin
from plugbay._crew import Crew
from plugbay.testing import Host
from tests.process import Process
from tests.test_calls import refused


class State(unittest.TestCase):
    def plugin(self, count: int, version: int = 1) -> Plugin:
        plugin = Plugin("test", "1.0.0")
        kept = {"count": count}

        @plugin.snapshot(version=version)
        def snapshot() -> dict[str, int]:
            return kept

        @plugin.restore
        def restore(state: dict[str, int]) -> None:
            kept.update(state)

        @plugin.method
        def count_() -> int:
            return kept["count"]

        return plugin

    def test_what_one_gives_the_next_takes(self):
        with Host(self.plugin(41)) as host:
            self.assertIn("snapshot", host.hello["features"])
            given = host._start("plugin/snapshot", None).result()
        self.assertEqual(given, {"stateVersion": 1, "state": {"count": 41}})
        with Host(self.plugin(0)) as host:
            self.assertIsNone(host._start("plugin/restore", given).result())
            self.assertEqual(host.call("count_"), 41)

    def test_state_of_another_version_is_refused(self):
        with Host(self.plugin(5, version=2)) as host:
            given = {"stateVersion": 1, "state": {"count": 41}}
            error = refused(self, host._start("plugin/restore", given).result)
            self.assertEqual(error.code, -32602)
            self.assertIn("version 1, and only 2 is known", str(error))
            self.assertEqual(host.call("count_"), 5)

    def test_unless_the_plugin_can_read_it(self):
        plugin, read = Plugin("test", "1.0.0"), []
        plugin.snapshot(version=2)(lambda: None)

        @plugin.restore
        async def restore(state: object, version: int) -> None:
            read.append((state, version))

        with Host(plugin) as host:
            host._start("plugin/restore", {"stateVersion": 1, "state": [3]}).result()
        self.assertEqual(read, [([3], 1)])

    def test_a_plugin_without_state_is_not_to_be_asked(self):
        with Host(Plugin("test", "1.0.0")) as host:
            self.assertNotIn("snapshot", host.hello["features"])
            error = refused(self, host._start("plugin/snapshot", None).result)
            self.assertEqual(error.code, -32601)


class Health(unittest.TestCase):
    def asked(self, *hooks: Any) -> Any:
        plugin = Plugin("test", "1.0.0")
        for hook in hooks:
            plugin.on_health(hook)
        with Host(plugin) as host:
            self.assertIn("health", host.hello["features"])
            return host._start("plugin/health", None).result()

    def test_nothing_said_is_well(self):
        self.assertEqual(self.asked(lambda: None), {"status": "ok"})

    def test_what_is_said_is_degraded(self):
        said = self.asked(lambda: "no index", lambda: None, lambda ctx: ctx.method)
        self.assertEqual(said, {"status": "degraded", "message": "no index; plugin/health"})

    def test_what_is_raised_is_failing(self):
        said = self.asked(lambda: 1 / 0)
        self.assertEqual(said["status"], "failing")
        self.assertIn("ZeroDivisionError", said["message"])

    def test_a_hook_may_be_asynchronous(self):
        async def ask() -> str:
            return "so so"

        self.assertEqual(self.asked(ask)["message"], "so so")

    def test_being_busy_is_no_reason_to_be_late(self):
        plugin = Plugin("test", "1.0.0", threads=1)
        plugin.on_health(lambda: None)
        release = Event()

        @plugin.method
        def busy() -> None:
            release.wait(10)

        with Host(plugin) as host:
            busy_call = host.start("busy")
            self.assertEqual(host._start("plugin/health", None).result(), {"status": "ok"})
            with mock.patch("threading.Thread.start", side_effect=RuntimeError):
                self.assertEqual(host._start("plugin/health", None).result(), {"status": "ok"})
            release.set()
            busy_call.result()

    def test_the_end_waits_for_it_too(self):
        crew = Crew(mock.Mock())
        crew._over = True
        crew.run_beside(mock.Mock())
        self.assertTrue(crew.settle(10))

    def test_a_plugin_without_a_hook_is_not_to_be_asked(self):
        with Host(Plugin("test", "1.0.0")) as host:
            self.assertNotIn("health", host.hello["features"])
            self.assertEqual(refused(self, host._start("plugin/health", None).result).code, -32601)


class Drain(unittest.TestCase):
    def setUp(self):
        self.plugin = plugin = Plugin("test", "1.0.0")
        self.drained = Event()

        @plugin.on_drain
        def told() -> None:
            self.drained.set()

        @plugin.method
        def until_drained() -> str:
            self.drained.wait(10)
            return "done"

        @plugin.method
        def wait(ctx: Context) -> None:
            ctx.wait_cancelled()

    def test_it_lets_calls_end_and_takes_no_more(self):
        with Host(self.plugin) as host:
            running = host.start("until_drained")
            host._start("plugin/drain", {"deadlineMs": 5}).result()
            self.assertTrue(running.done)
            self.assertEqual(running.result(), "done")
            self.assertEqual(refused(self, host.call, "wait").code, -31009)
            self.assertEqual(refused(self, host._start("plugin/drain", None).result).code, -32601)

    def test_a_shutdown_may_come_before_it_is_done(self):
        with Host(self.plugin) as host:
            running = host.start("wait")
            drain = host._start("plugin/drain", None)
            self.assertTrue(self.drained.wait(10))
            shutdown = host.stop()
            host.ping()
            self.assertFalse(drain.done or shutdown.done)
            running.cancel()
            drain.result()
            shutdown.result()


class Killed(unittest.TestCase):
    def test_a_fatal_signal_leaves_the_stacks(self):
        code = (
            "import os, signal\n"
            "from plugbay import Plugin\n"
            "plugin = Plugin('test', '1.0.0')\n"
            "@plugin.method\n"
            "def hang():\n"
            "    os.kill(os.getpid(), signal.SIGABRT)\n"
            "plugin.run()\n"
        )
        with Process(code) as process:
            process.open()
            process.send({"id": 1, "method": "hang"})
            self.assertEqual(process.end(), -signal.SIGABRT)
            said = process.stderr()
        self.assertIn("Fatal Python error: Aborted", said)
        self.assertIn("in hang", said)

    def test_without_a_standard_error_it_runs_all_the_same(self):
        plugin = Plugin("test", "1.0.0")
        with (
            mock.patch("faulthandler.enable", side_effect=OSError),
            mock.patch.object(plugin, "session") as session,
            mock.patch("plugbay._plugin.claim"),
            mock.patch("sys.stdin", None),
        ):
            plugin.run()
        session.return_value.serve.assert_called_once_with()
