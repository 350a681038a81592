"""Threads: who reads, who runs, and that nobody is woken for nothing."""

from __future__ import annotations

import threading
import time
import unittest
from typing import Any
from unittest import mock

from plugbay import Context, Plugin, _crew
from plugbay.testing import Host
from tests.test_calls import refused


def crew(host: Host) -> Any:
    return host.plugin._session._crew


def until(condition: Any) -> None:
    """Wait for another thread to get somewhere."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never happens"
        time.sleep(0.001)


class Turns(unittest.TestCase):
    def setUp(self):
        self.plugin = plugin = Plugin("test", "1.0.0")
        self.go = threading.Event()
        self.threads: list[str] = []

        @plugin.method
        def who() -> str:
            return threading.current_thread().name

        @plugin.method
        def block() -> str:
            self.threads.append(threading.current_thread().name)
            self.go.wait(20)
            return threading.current_thread().name

        @plugin.method
        def spin(seconds: float) -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                pass

    def test_short_calls_stay_on_one_thread(self):
        # No tick may take the lead, however slow this machine is at the moment.
        with mock.patch.object(_crew, "TICK", 10.0), Host(self.plugin) as host:
            names = {host.call("who") for _ in range(200)}
            self.assertEqual(len(names), 1)
            self.assertLessEqual(crew(host)._threads, 2)

    def test_a_ping_is_answered_while_a_handler_computes(self):
        with Host(self.plugin) as host:
            call = host.start("spin", seconds=0.2)
            for _ in range(3):
                host.ping()
                self.assertFalse(call.done)
            call.result()

    def test_calls_that_wait_run_beside_each_other(self):
        with Host(self.plugin) as host:
            calls = [host.start("block") for _ in range(12)]
            until(lambda: len(self.threads) == 12)
            self.assertEqual(host.call("who").count("plugbay"), 1)
            self.go.set()
            self.assertEqual(len({call.result() for call in calls}), 12)
            self.assertEqual(len(set(self.threads)), 12)

    def test_a_method_that_was_slow_twice_is_not_waited_for(self):
        with Host(self.plugin) as host, mock.patch.object(_crew, "SLOW", 0.0):
            self.go.set()
            host.call("block")
            host.call("block")
            self.go.clear()
            method = self.plugin.methods["block"]
            until(lambda: method.slow == 2)
            with mock.patch.object(_crew, "TICK", 60.0):  # only the bell can wake the watcher
                host.ping()
                call = host.start("block")
                self.assertIsNotNone(host.call("who"))
                self.go.set()
                call.result()

    def test_an_idle_plugin_does_not_wake_up(self):
        with Host(self.plugin) as host:
            host.call("who")
            until(lambda: crew(host)._asleep)
            turns, spent = crew(host)._turn, time.process_time()
            self.assertFalse(threading.Event().wait(10 * _crew.TICK))
            self.assertTrue(crew(host)._asleep)
            self.assertEqual(crew(host)._turn, turns)
            self.assertLess(time.process_time() - spent, _crew.TICK)
            call = host.start("block")
            host.ping()
            self.go.set()
            call.result()

    def test_no_more_threads_than_allowed(self):
        plugin = Plugin("test", "1.0.0", threads=3)
        running: list[int] = []
        most: list[int] = []

        @plugin.method
        def work(ctx: Context) -> None:
            running.append(1)
            most.append(len(running))
            ctx.wait_cancelled(0.002)
            running.pop()

        with Host(plugin) as host:
            for call in [host.start("work") for _ in range(30)]:
                call.result()
            self.assertLessEqual(crew(host)._threads, 4)
        self.assertEqual(max(most), 3)

    def test_a_stampede_is_answered_call_by_call(self):
        with Host(self.plugin, limits={"maxInflight": 5000}) as host:
            calls = [host.start("who") for _ in range(3000)]
            self.assertTrue(all(call.result() for call in calls))


class Alone(unittest.TestCase):
    """Where the sandbox allows no second thread."""

    def setUp(self):
        self.plugin = plugin = Plugin("test", "1.0.0")
        self.met: list[object] = []

        @plugin.method
        def ask(ctx: Context, n: int) -> object:
            self.met.append(n)
            return ctx.call("host/echo", {"n": n})["n"]

        plugin.method("echo")(lambda n: n)
        plugin.method("sleep")(lambda ctx: ctx.wait_cancelled())

        patch = mock.patch("plugbay._crew.Crew._start", side_effect=RuntimeError("no thread"))
        patch.start()
        self.addCleanup(patch.stop)

    def test_it_works_one_call_at_a_time(self):
        with Host(self.plugin) as host:
            host.stub("host/echo", lambda params: params)
            self.assertEqual([host.call("echo", n=n) for n in range(5)], list(range(5)))
            calls = [host.start("ask", n=n) for n in range(5)]
            self.assertEqual([call.result() for call in calls], list(range(5)))
            self.assertEqual(self.met, list(range(5)))
            self.assertTrue(crew(host).alone)

    def test_a_wait_ends_by_being_cancelled(self):
        with Host(self.plugin) as host:
            call = host.start("sleep")
            after = host.start("echo", n=1)
            host.ping()
            call.cancel()
            self.assertEqual(refused(self, call.result).code, -32800)
            self.assertEqual(after.result(), 1)

    def test_the_end_of_input_ends_a_wait(self):
        host = Host(self.plugin)
        host.open()
        host._start("initialize", {"versions": [1]}).result()
        host.send({"method": "initialized"})
        call = host.start("ask", n=1)
        host.receive()
        host.hang_up()
        self.assertIn("the host is gone", refused(self, call.result).message)
        host.close()
        self.assertEqual(host.exit_code, 0)


class FewThreads(unittest.TestCase):
    def test_when_threads_run_out_calls_wait_for_those_there_are(self):
        plugin = Plugin("test", "1.0.0")
        go = threading.Event()
        plugin.method("block")(lambda: go.wait(20))
        start = _crew.Crew._start

        def scarce(crew: Any) -> None:
            if crew._threads >= 3:
                raise RuntimeError("no more")
            start(crew)

        with mock.patch("plugbay._crew.Crew._start", scarce), Host(plugin) as host:
            calls = [host.start("block") for _ in range(6)]
            until(lambda: crew(host).backlog() == 4)
            host.ping()
            go.set()
            self.assertEqual([call.result() for call in calls], [True] * 6)
            self.assertEqual(crew(host)._threads, 3)


class Endings(unittest.TestCase):
    def test_a_call_may_finish_after_the_host_has_gone(self):
        plugin = Plugin("test", "1.0.0")
        finished = threading.Event()

        @plugin.method
        def work(ctx: Context) -> None:
            ctx.wait_cancelled(0.05)
            if not ctx.cancelled:
                finished.set()

        host = Host(plugin)
        with self.assertRaises(ZeroDivisionError), host:
            host.start("work")
            raise ZeroDivisionError
        self.assertTrue(finished.is_set())

    def test_a_call_that_takes_longer_is_cancelled_then(self):
        plugin = Plugin("test", "1.0.0")
        cancelled = threading.Event()

        @plugin.method
        def work(ctx: Context) -> None:
            if ctx.wait_cancelled(20):
                cancelled.set()

        host = Host(plugin)
        with self.assertRaises(ZeroDivisionError), host:
            host.start("work")
            raise ZeroDivisionError
        self.assertTrue(cancelled.is_set())
        self.assertEqual(host.exit_code, 0)
