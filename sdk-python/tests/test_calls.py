"""Calls, from their parameters to their answers."""

from __future__ import annotations

import functools
import threading
import unittest
from typing import Any

import plugbay
from plugbay import CallError, Cancelled, Context, InvalidParams, Plugin, PluginError
from plugbay.testing import Host


def refused(case: unittest.TestCase, call: Any, *arguments: Any, **named: Any) -> CallError:
    """The error that a call must end with."""
    with case.assertRaises(CallError) as caught:
        call(*arguments, **named)
    return caught.exception


class Parameters(unittest.TestCase):
    def setUp(self):
        self.plugin = plugin = Plugin("test", "1.0.0")

        @plugin.method
        def join(a: str, b: str = "-", *rest: str, **named: str) -> list[object]:
            return [a, b, *rest, sorted(named.items())]

        @plugin.method
        def nothing() -> None:
            pass

        @plugin.method("given-name")
        def _(ctx: Context, x: int) -> object:
            return [ctx.method, x, ctx.params]

    def test_members_become_keywords_and_elements_positions(self):
        with Host(self.plugin) as host:
            self.assertEqual(host.call("join", "1", "2", "3"), ["1", "2", "3", []])
            self.assertEqual(host.call("join", b="2", a="1", c="3"), ["1", "2", [["c", "3"]]])
            self.assertEqual(host.call("join", a="1", _meta={"later": 1}), ["1", "-", []])
            self.assertIsNone(host.call("nothing"))

    def test_parameters_that_do_not_fit_are_the_callers_fault(self):
        with Host(self.plugin) as host:
            for named, reason in (
                ({}, "missing 1 required positional argument: 'x'"),
                ({"x": 1, "y": 2}, "unexpected keyword argument 'y'"),
                ({"x": 1, "ctx": 2}, "no parameter `ctx`"),
            ):
                error = refused(self, host.call, "given-name", **named)
                self.assertEqual(error.code, -32602)
                self.assertIn(reason, error.message)
            self.assertEqual(refused(self, host.call, "nothing", 1).code, -32602)
            self.assertEqual(host.call("given-name", 3), ["given-name", 3, [3]])
            self.assertEqual(host.call("given-name", x=3), ["given-name", 3, {"x": 3}])

    def test_a_type_error_of_the_handler_itself_is_its_own(self):
        @self.plugin.method
        def broken() -> None:
            len(5)  # type: ignore[arg-type]

        with Host(self.plugin) as host:
            error = refused(self, host.call, "broken")
        self.assertEqual(error.code, -32000)
        self.assertTrue(error.message.startswith("TypeError: "))

    def test_metadata_is_checked(self):
        with Host(self.plugin) as host:
            for meta in (
                [],
                {"deadlineMs": -1},
                {"deadlineMs": 1.5},
                {"deadlineMs": True},
                {"progressToken": True},
                {"progressToken": 2**63},
                {"callId": 7},
                {"traceparent": None},
                {"idempotencyKey": []},
            ):
                with self.subTest(meta):
                    host.send({"id": "m", "method": "nothing", "params": {"_meta": meta}})
                    self.assertEqual(host.receive()["error"]["code"], -32602)
            host.send({"id": "m", "method": "nothing", "params": {"_meta": None}})
            self.assertIsNone(host.receive()["result"])

    def test_names_of_the_protocol_are_not_given_away(self):
        for name in ("initialize", "exit", "$/ping", "host/x", "plugin/health", "rpc.x", "join"):
            self.assertRaises(ValueError, self.plugin.method(name), len)
        self.plugin.method("text/count")(len)
        self.assertRaises(ValueError, Plugin, "x", "1", threads=0)


class ContextParameter(unittest.TestCase):
    def test_it_is_found_by_name_or_annotation(self):
        plugin = Plugin("test", "1.0.0")

        class Service:
            @staticmethod
            def fixed(ctx: object) -> bool:
                return isinstance(ctx, Context)

            def bound(self, c: plugbay.Context, x: int = 0) -> bool:
                return isinstance(c, Context) and x == 0

            def __call__(self, call: Context) -> bool:
                return isinstance(call, Context)

        def by_type(here):
            return isinstance(here, Context)

        by_type.__annotations__ = {"here": Context}

        def by_text(here: "'Context'") -> bool:  # noqa: UP037 - quoted twice, as people do
            return isinstance(here, Context)

        def stranger(here: Stranger.Kontext = None) -> bool:  # noqa: F821 - never evaluated
            return here is None

        def keyword(*, ctx) -> bool:
            return isinstance(ctx, Context)

        service = Service()
        for name, function in (
            ("fixed", Service.fixed),
            ("bound", service.bound),
            ("object", service),
            ("partial", functools.partial(service.bound, x=0)),
            ("by-type", by_type),
            ("by-text", by_text),
            ("stranger", stranger),
            ("keyword", keyword),
        ):
            plugin.method(name)(function)
        with Host(plugin) as host:
            for name in plugin.methods:
                with self.subTest(name):
                    self.assertIs(host.call(name), True)

    def test_an_annotation_nobody_can_evaluate_does_no_harm(self):
        class Lazy:
            __code__ = (lambda ctx: ctx).__code__
            __name__ = "lazy"

            @property
            def __annotations__(self):
                raise NameError("Stranger")

            def __call__(self, ctx: object) -> bool:
                return isinstance(ctx, Context)

        plugin = Plugin("test", "1.0.0")
        plugin.method(Lazy())
        with Host(plugin) as host:
            self.assertIs(host.call("lazy"), True)


class Errors(unittest.TestCase):
    def setUp(self):
        self.plugin = plugin = Plugin("test", "1.0.0")

        @plugin.method
        def fail(error: str) -> object:
            errors: dict[str, BaseException] = {
                "own": PluginError(17, "no", {"left": 3}),
                "params": InvalidParams("no such colour", ["red"]),
                "unsayable": PluginError(18, "no", {1, 2}),
                "exception": KeyError("x"),
                "empty": ValueError(),
                "undecodable": OSError("\udcff"),
                "odd": GeneratorExit(),
                "call": CallError(-31005, "not granted", {"capability": "x"}),
                "cancelled": Cancelled(),
            }
            raise errors[error]

        @plugin.method
        def give(what: str) -> object:
            return {"nan": float("nan"), "set": {1}, "utf8": "\udcff", "big": "x" * 500}[what]

    def test_an_error_of_the_authors_choosing_arrives_as_it_is(self):
        with Host(self.plugin) as host:
            error = refused(self, host.call, "fail", error="own")
            self.assertEqual((error.code, error.message, error.data), (17, "no", {"left": 3}))
            error = refused(self, host.call, "fail", error="params")
            self.assertEqual((error.code, error.data), (-32602, ["red"]))
            error = refused(self, host.call, "fail", error="unsayable")
            self.assertEqual((error.code, error.data), (18, None))
            self.assertEqual(str(error), "no (18)")

    def test_any_other_exception_is_told_with_type_message_and_traceback(self):
        with Host(self.plugin) as host:
            error = refused(self, host.call, "fail", error="exception")
            self.assertEqual((error.code, error.message), (-32000, "KeyError: 'x'"))
            self.assertEqual(error.data["type"], "KeyError")
            self.assertIn("raise errors[error]", error.data["traceback"])
            self.assertNotIn("_session.py", error.data["traceback"])
            for name, message in (
                ("empty", "ValueError"),
                ("undecodable", "OSError: ?"),
                ("odd", "GeneratorExit"),
            ):
                self.assertEqual(refused(self, host.call, "fail", error=name).message, message)

    def test_a_long_traceback_is_cut(self):
        def deep(levels: int) -> None:
            if levels:
                deep(levels - 1)
            raise ValueError("y" * 20_000)

        self.plugin.method(deep)
        with Host(self.plugin) as host:
            error = refused(self, host.call, "deep", levels=100)
        self.assertLess(len(error.data["traceback"]), 9000)
        self.assertLess(len(error.message), 9000)

    def test_a_refusal_of_the_host_is_not_passed_on_as_our_own(self):
        with Host(self.plugin) as host:
            error = refused(self, host.call, "fail", error="call")
        self.assertEqual(error.code, -32000)
        self.assertEqual(error.data["cause"]["code"], -31005)

    def test_giving_up_answers_like_a_cancellation(self):
        with Host(self.plugin) as host:
            self.assertEqual(refused(self, host.call, "fail", error="cancelled").code, -32800)

    def test_a_result_that_cannot_be_sent_is_an_error_that_says_so(self):
        with Host(self.plugin, limits={"maxFrameBytes": 400}) as host:
            for what, code in (("nan", -32603), ("set", -32603), ("utf8", -32603), ("big", -31007)):
                self.assertEqual(refused(self, host.call, "give", what=what).code, code)

    def test_what_fails_in_a_notification_is_logged(self):
        with Host(self.plugin) as host:
            host.notify("fail", error="exception")
            host.notify("fail", error="own")
            host.notify("fail", _meta=[])
            host.read_until(lambda: len(host.logs) == 3)
        self.assertEqual(
            sorted(entry.message for entry in host.logs),
            ["notification dropped", "notification handler failed", "notification handler failed"],
        )

    def test_errors_can_be_copied(self):
        import copy  # noqa: PLC0415 - for this only
        import pickle  # noqa: PLC0415

        for error in (PluginError(1, "a", [2]), InvalidParams("a", [2]), CallError(1, "a", [2])):
            for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
                self.assertIs(type(twin), type(error))
                self.assertEqual(vars(twin), vars(error))
        self.assertEqual(str(InvalidParams("a")), "a (-32602)")


class Cancellation(unittest.TestCase):
    def setUp(self):
        self.plugin = plugin = Plugin("test", "1.0.0", threads=2)
        self.started = threading.Semaphore(0)
        self.go = threading.Event()

        @plugin.method
        def work(ctx: Context) -> str:
            self.started.release()
            while not ctx.wait_cancelled(0.001):
                ctx.check_cancelled()
            try:
                ctx.check_cancelled()
            except Exception:  # noqa: BLE001 - that it is none is the claim
                return "swallowed"
            return "unreachable"

        @plugin.method
        def stubborn(ctx: Context) -> str:
            self.started.release()
            self.go.wait(10)
            return f"cancelled: {ctx.cancelled}"

        @plugin.method
        def patient(ctx: Context, wait: float) -> list[object]:
            left = ctx.remaining
            return [ctx.wait_cancelled(wait), left is not None and left > 0, ctx.deadline is None]

    def test_a_handler_that_listens_ends_early(self):
        with Host(self.plugin) as host:
            call = host.start("work")
            self.started.acquire()
            call.cancel()
            self.assertEqual(refused(self, call.result).code, -32800)

    def test_a_handler_that_does_not_is_answered_once_and_the_same(self):
        with Host(self.plugin) as host:
            call = host.start("stubborn")
            self.started.acquire()
            call.cancel()
            call.cancel()
            host.ping()
            self.assertFalse(call.done)
            self.go.set()
            self.assertEqual(refused(self, call.result).code, -32800)
            host.ping()

    def test_a_call_that_has_not_begun_is_withdrawn(self):
        with Host(self.plugin) as host:
            running = [host.start("stubborn") for _ in range(2)]
            self.started.acquire()
            self.started.acquire()
            waiting = host.start("stubborn")
            host.ping()
            waiting.cancel()
            self.assertEqual(refused(self, waiting.result).code, -32800)
            self.assertFalse(running[0].done)
            self.go.set()
            self.assertEqual([call.result() for call in running], ["cancelled: False"] * 2)

    def test_a_deadline_is_known_and_kept(self):
        with Host(self.plugin) as host:
            self.assertEqual(host.call("patient", wait=0.001), [False, False, True])
            soon = host.call("patient", wait=30, _meta={"deadlineMs": 20})
            self.assertEqual(soon, [True, True, False])
            call = host.start("work", _meta={"deadlineMs": 20})
            self.assertEqual(refused(self, call.result).code, -32800)


class Progress(unittest.TestCase):
    def test_it_is_sent_as_it_was_said_and_only_if_asked_for(self):
        plugin = Plugin("test", "1.0.0")

        @plugin.method
        def work(ctx: Context) -> object:
            ctx.progress()
            ctx.progress(1, 2.5, "half", {"a": 1})
            return ctx.meta.get("callId")

        with Host(plugin) as host:
            call = host.start("work")
            self.assertEqual(call.result(), f"call-{call.id}")
            said = {"value": 1, "total": 2.5, "message": "half", "data": {"a": 1}}
            self.assertEqual(call.progress, [{}, said])
            host.send({"id": 99, "method": "work"})
            self.assertIsNone(host.receive()["result"])


class Limits(unittest.TestCase):
    def test_more_calls_than_agreed_are_refused_at_once(self):
        plugin = Plugin("test", "1.0.0", threads=1)
        go = threading.Event()
        seen = []

        @plugin.method
        def work(number: int) -> int:
            seen.append(number)
            go.wait(10)
            return number

        with Host(plugin, limits={"maxInflight": 2}) as host:
            first, second = host.start("work", number=1), host.start("work", number=2)
            error = refused(self, host.call, "work", number=3)
            self.assertEqual((error.code, error.data["retryable"]), (-31004, True))
            for number in (4, 5, 6):
                host.notify("work", number=number)
            host.read_until(lambda: len(host.logs) == 2)
            self.assertEqual(host.logs[0].message, "notification dropped")
            go.set()
            self.assertEqual([first.result(), second.result()], [1, 2])
            self.assertEqual(host.call("work", number=7), 7)
        self.assertEqual(seen, [1, 2, 4, 7], "one after the other")

    def test_an_id_in_use_is_refused_and_the_first_call_unharmed(self):
        plugin = Plugin("test", "1.0.0")
        go = threading.Event()
        plugin.method("work")(lambda: go.wait(10))
        with Host(plugin) as host:
            host.send({"id": "a", "method": "work"})
            host.send({"id": "a", "method": "work"})
            error = host.receive()
            self.assertEqual((error["id"], error["error"]["code"]), (None, -32600))
            go.set()
            self.assertEqual(host.receive(), {"jsonrpc": "2.0", "id": "a", "result": True})

    def test_a_frame_over_the_cap_is_answered_to_its_sender(self):
        plugin = Plugin("test", "1.0.0")
        plugin.method("size")(lambda text: len(text) + 0)
        with Host(plugin) as host:
            head = b'{"jsonrpc":"2.0","id":41,"method":"size","params":{"text":"'
            host.send_raw(head + b"x" * (9 << 20) + b'"}}\n')
            answer = host.receive()
            self.assertEqual((answer["id"], answer["error"]["code"]), (41, -31007))
            self.assertEqual(host.call("size", text="x" * (7 << 20)), 7 << 20)

    def test_ids_beyond_64_bits_are_none(self):
        with Host(Plugin("test", "1.0.0")) as host:
            for id_, known in ((2**63 - 1, True), (-(2**63), True), (2**63, False)):
                host.send({"id": id_, "method": "nothing"})
                self.assertEqual(host.receive()["id"], id_ if known else None)
