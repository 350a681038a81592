"""What a plugin asks of its host: calls, notifications, log lines; hooks."""

from __future__ import annotations

import logging
import threading
import unittest
from typing import Any
from unittest import mock

from plugbay import CallError, Context, Plugin, PluginError, logs
from plugbay.testing import Host
from tests.test_calls import refused


class Asking(unittest.TestCase):
    def setUp(self):
        self.plugin = plugin = Plugin("test", "1.0.0")

        @plugin.method
        def ask(ctx: Context, method: str, params: Any = None, timeout: float = -1) -> Any:
            return ctx.call(method, params, timeout=timeout if timeout >= 0 else None)

        @plugin.method
        def other(ctx: Context, method: str, params: Any = None) -> Any:
            return ctx.call_plugin("other", method, params)

    def test_the_host_answers(self):
        with Host(self.plugin, config={"a": 1}) as host:
            self.assertEqual(host.call("ask", method="host/info")["name"], "plugbay.testing")
            self.assertEqual(host.call("ask", method="host/config.get"), {"a": 1})
            host.stub("host/sum", sum)
            self.assertEqual(host.call("ask", method="host/sum", params=[1, 2]), 3)

    def test_another_plugin_answers(self):
        with Host(self.plugin) as host:
            host.stub_plugin("other", "fixed", {"b": 2})
            host.stub_plugin("other", "echo", lambda params: params)
            self.assertEqual(host.call("other", method="fixed"), {"b": 2})
            self.assertEqual(host.call("other", method="echo", params={"x": 1}), {"x": 1})
            error = refused(self, host.call, "other", method="unknown")
            self.assertEqual(error.data["cause"]["code"], -32601)

    def test_a_refusal_is_raised_with_all_it_says(self):
        def refuse(_: object) -> None:
            raise PluginError(-31005, "not granted", {"capability": "host/info"})

        met: list[CallError] = []

        @self.plugin.method
        def probe(ctx: Context) -> None:
            try:
                ctx.call("host/info")
            except CallError as error:
                met.append(error)

        with Host(self.plugin) as host:
            host.stub("host/info", refuse)
            host.call("probe")
        self.assertEqual(str(met[0]), "not granted (-31005)")
        self.assertEqual(met[0].data, {"capability": "host/info"})

    def test_no_answer_in_time_is_an_error_and_the_host_is_told(self):
        with Host(self.plugin) as host:
            call = host.start("ask", method="host/slow", timeout=0.01)
            asked = host.receive()
            self.assertEqual(asked["params"]["_meta"]["deadlineMs"], 10)
            cancelled = host.receive()
            self.assertEqual(cancelled["method"], "$/cancel")
            self.assertEqual(cancelled["params"], {"id": asked["id"], "reason": "deadline"})
            error = refused(self, call.result)
            self.assertEqual(error.data["cause"]["code"], -31003)
            host.send({"id": asked["id"], "result": "too late"})
            host.ping()

    def test_many_handlers_wait_for_the_host_at_once(self):
        with Host(self.plugin) as host:
            calls = [host.start("ask", method="host/echo", params={"n": n}) for n in range(20)]
            asked = [host.receive() for _ in calls]
            for message in reversed(asked):
                host.send({"id": message["id"], "result": message["params"]["n"]})
            self.assertEqual([call.result() for call in calls], list(range(20)))

    def test_malformed_answers_fail_the_call_they_belong_to(self):
        for answer, code in (
            ({"error": "text"}, -32603),
            ({"error": {"message": "no code"}}, -32603),
            ({"error": {"code": 5}}, 5),
        ):
            with self.subTest(answer), Host(self.plugin) as host:
                call = host.start("ask", method="host/x")
                host.send({"id": host.receive()["id"], **answer})
                self.assertEqual(refused(self, call.result).data["cause"]["code"], code)

    def test_an_answer_that_cannot_be_read_fails_the_call_it_belongs_to(self):
        for body, code in (
            (b'"' + b"x" * (9 << 20) + b'"', -31007),
            (b"[" * 200 + b"]" * 200, -32700),
            (b"NaN", -32700),
        ):
            with self.subTest(code), Host(self.plugin) as host:
                call = host.start("ask", method="host/x")
                head = b'{"jsonrpc":"2.0","id":%d,"result":' % host.receive()["id"]
                host.send_raw(head + body + b"}\n")
                self.assertEqual(refused(self, call.result).data["cause"]["code"], code)
                host.send_raw(head + body + b"}\n")  # nobody waits any more
                host.ping()

    def test_what_cannot_be_sent_is_raised_where_it_was_said(self):
        @self.plugin.method
        def unsayable(ctx: Context) -> list[str]:
            met = []
            for params in ({"x": {1}}, {"x": "y" * 5000}):
                try:
                    ctx.call("host/x", params)
                except PluginError as error:
                    met.append(error.code)
            return met

        with Host(self.plugin, limits={"maxFrameBytes": 2000}) as host:
            self.assertEqual(host.call("unsayable"), [-32603, -31007])

    def test_a_host_that_goes_away_fails_every_wait(self):
        met: list[str] = []
        done = threading.Event()

        @self.plugin.method
        def lonely(ctx: Context) -> None:
            for _ in range(2):
                try:
                    ctx.call("host/x")
                except CallError as error:
                    met.append(error.message)
            done.set()

        host = Host(self.plugin)
        with host:
            host.start("lonely")
            host.receive()
            host.hang_up()
            self.assertTrue(done.wait(10))
            host.close()
            host._thread.join()
        self.assertEqual(met, ["the host is gone"] * 2)

    def test_a_thread_of_the_plugins_own_may_ask_too(self):
        answers: list[Any] = []

        @self.plugin.method
        def background() -> None:
            def ask() -> None:
                answers.append(self.plugin.call("host/info", timeout=5))
                answers.append(self.plugin.call("host/info"))
                self.plugin.notify("host/done", {"ok": True})

            threading.Thread(target=ask).start()

        with Host(self.plugin) as host:
            host.call("background")
            host.read_until(lambda: bool(host.notifications))
            self.assertEqual(host.notifications, [("host/done", {"ok": True})])
        self.assertEqual([answer["name"] for answer in answers], ["plugbay.testing"] * 2)

    def test_a_handler_may_notify(self):
        @self.plugin.method
        def tell(ctx: Context) -> None:
            ctx.notify("host/told")

        with Host(self.plugin) as host:
            host.call("tell")
            self.assertEqual(host.notifications, [("host/told", None)])

    def test_a_call_cancelled_before_it_asks_does_not_ask(self):
        @self.plugin.method
        def late(ctx: Context) -> None:
            ctx.wait_cancelled()
            ctx.call("host/never")

        with Host(self.plugin) as host:
            call = host.start("late")
            call.cancel()
            self.assertEqual(refused(self, call.result).code, -32800)
            # The id was taken, so giving it up is told; the question itself never was.
            self.assertEqual([name for name, _ in host.notifications], ["$/cancel"])

    def test_before_the_session_there_is_nobody_to_ask(self):
        fresh = Plugin("fresh", "1.0.0")
        for use in (
            lambda: fresh.call("host/info"),
            lambda: fresh.notify("x"),
            lambda: fresh.config,
        ):
            self.assertRaisesRegex(RuntimeError, "not running", use)


class Hooks(unittest.TestCase):
    def test_they_run_before_the_first_call_and_after_the_last(self):
        plugin = Plugin("test", "1.0.0")
        order: list[Any] = []
        go = threading.Event()

        @plugin.on_start
        def load(ctx: Context) -> None:
            ctx.progress(1, 2, "loading")
            ctx.log.info("loading")
            order.append(plugin.config)

        @plugin.on_stop
        def save() -> None:
            order.append("saved")

        @plugin.method
        def work() -> None:
            go.wait(10)
            order.append("worked")

        with Host(plugin, config={"a": 1}) as host:
            told = [
                (
                    "$/progress",
                    {"token": "initialize", "value": 1, "total": 2, "message": "loading"},
                )
            ]
            self.assertEqual(host.notifications, told)
            self.assertEqual(host.logs[0].message, "loading")
            call = host.start("work")
            host.ping()
            stopping = host.stop()
            error = refused(self, host.call, "work")
            self.assertEqual(error.code, -31009)
            go.set()
            call.result()
            self.assertIsNone(stopping.result())
            host.send({"method": "exit"})
            host._thread.join(10)
        self.assertEqual(order, [{"a": 1}, "worked", "saved"])
        self.assertEqual(host.exit_code, 0)

    def test_a_start_that_fails_fails_the_handshake_and_may_be_tried_again(self):
        plugin = Plugin("test", "1.0.0")
        outcomes = [RuntimeError("no model"), None]

        @plugin.on_start
        def load() -> None:
            outcome = outcomes.pop(0)
            if outcome:
                raise outcome

        host = Host(plugin)
        error = refused(self, host.__enter__)
        self.assertEqual((error.code, error.message), (-32000, "RuntimeError: no model"))
        with Host(plugin) as host:
            self.assertEqual(host.hello["version"], 1)

    def test_nothing_can_be_asked_before_the_host_is_ready(self):
        plugin = Plugin("test", "1.0.0")
        plugin.on_start(lambda ctx: ctx.call("host/info"))
        error = refused(self, Host(plugin).__enter__)
        self.assertIn("before it has opened the session", error.message)

    def test_they_run_at_the_end_of_input_too(self):
        plugin = Plugin("test", "1.0.0")
        stopped = threading.Event()
        plugin.on_stop(stopped.set)
        host = Host(plugin)
        with self.assertRaises(ZeroDivisionError), host:
            raise ZeroDivisionError
        self.assertTrue(stopped.is_set())


class Logging(unittest.TestCase):
    def test_lines_have_a_level_a_message_and_fields(self):
        plugin = Plugin("test", "1.0.0")

        @plugin.method
        def talk(ctx: Context) -> None:
            for level in ("trace", "debug", "info", "warning", "error"):
                getattr(ctx.log, level)("said", level=level, message=1)
            plugin.log.info("x" * 100_000)
            ctx.log.info("odd\udcff", thing={1})

        with Host(plugin) as host:
            host.call("talk")
        self.assertEqual(
            [entry.level for entry in host.logs[:5]], ["trace", "debug", "info", "warn", "error"]
        )
        self.assertEqual(host.logs[0].fields, {"level": "trace", "message": 1})
        self.assertEqual(len(host.logs[5].message), 16 << 10)
        self.assertEqual(host.logs[6], ("info", "odd?", {"thing": "{1}"}))

    def test_before_the_session_lines_go_to_standard_error(self):
        with mock.patch("sys.stderr") as stream:
            Plugin("test", "1.0.0").log.warning("early", a=1)
        stream.write.assert_called_once_with("warn early a=1\n")

    def test_the_logging_module_can_be_taken_along(self):
        plugin = Plugin("test", "1.0.0")
        root = logging.getLogger()
        before = root.level
        handler = logs.install(plugin, logging.DEBUG)
        self.addCleanup(root.setLevel, before)
        self.addCleanup(root.removeHandler, handler)

        @plugin.method
        def talk() -> None:
            logger = logging.getLogger("words")
            logger.info("built %d", 3, extra={"words": 7})
            logger.debug("fine")
            logger.warning("hm")
            try:
                int("inside")
            except ValueError:
                logger.exception("failed")
            handler.handle(logging.makeLogRecord({"levelno": 1, "msg": "low"}))
            with mock.patch.object(handler, "handleError") as lost:
                logger.info("%d", "not a number")
            assert lost.called

        with Host(plugin) as host:
            host.call("talk")
        said = [(entry.level, entry.message) for entry in host.logs]
        expected = [
            ("info", "built 3"),
            ("debug", "fine"),
            ("warn", "hm"),
            ("error", "failed"),
            ("trace", "low"),
        ]
        self.assertEqual(said, expected)
        self.assertEqual(host.logs[0].fields, {"words": 7, "logger": "words"})
        self.assertIn("ValueError: invalid literal", host.logs[3].fields["exception"])


class TheHostItself(unittest.TestCase):
    def test_parameters_are_named_or_listed(self):
        with Host(Plugin("test", "1.0.0")) as host:
            self.assertRaises(TypeError, host.start, "m", 1, a=2)

    def test_a_plugin_that_hangs_is_not_waited_for_forever(self):
        plugin = Plugin("test", "1.0.0")
        go = threading.Event()
        plugin.method("hang")(go.wait)
        host = Host(plugin, timeout=2)
        with self.assertRaises(TimeoutError), host:
            host.call("hang")
        go.set()
        host._thread.join(10)

    def test_the_end_of_the_plugin_is_noticed(self):
        plugin = Plugin("test", "1.0.0")

        @plugin.method
        def leave() -> None:
            raise SystemExit(3)

        with Host(plugin) as host:
            self.assertRaises(EOFError, host.call, "leave")
        self.assertEqual(host.exit_code, 3)
