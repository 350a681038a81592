"""Results and parameters that come bit by bit."""

from __future__ import annotations

import asyncio
import unittest
from itertools import count, islice
from threading import Event
from typing import Any
from unittest import mock

from plugbay import CallError, Cancelled, Context, Plugin, PluginError, Stream
from plugbay._call import Call, Method
from plugbay.testing import Host
from tests.test_calls import refused


class Streams(unittest.TestCase):
    def setUp(self):  # noqa: C901, PLR0915 - many small methods
        self.plugin = plugin = Plugin("test", "1.0.0")
        self.closed = Event()
        self.seen: list[object] = []

        @plugin.method
        def numbers(n: int, *, fail: bool = False) -> Any:
            yield from range(n)
            if fail:
                raise PluginError(17, "no more")

        @plugin.method
        def forever(ctx: Context) -> Any:
            try:
                yield from count()
            finally:
                self.seen.append(ctx.cancelled)
                self.closed.set()

        @plugin.method
        def total(numbers: Any) -> int:
            return sum(numbers)

        @plugin.method
        def first(numbers: Stream) -> int:
            return next(numbers)

        @plugin.method
        def double(numbers: Any) -> Any:
            return (2 * number for number in numbers)

        @plugin.method
        def two(n: int) -> Any:
            return {"odd": iter(range(1, n, 2)), "rest": {"even": [iter(range(0, n, 2))]}}

        @plugin.method
        def pieces(data: Any, size: int) -> Any:
            whole = b"".join(data)
            return (whole[at : at + size] for at in range(0, len(whole), size))

        @plugin.method
        def mixed() -> Any:
            yield b"bytes"
            yield "text"

        @plugin.method
        def crowd() -> Any:
            return [iter(()) for _ in range(17)]

        @plugin.method
        def unsayable() -> Any:
            yield 1
            yield object()

        @plugin.method
        async def anumbers(n: int, *, fail: bool = False) -> Any:
            for number in range(n):
                yield number
            if fail:
                raise PluginError(17, "no more")

        @plugin.method
        async def atotal(numbers: Any) -> int:
            return sum([number async for number in numbers])

        @plugin.method
        async def aforever(ctx: Context) -> Any:
            try:
                for number in count():
                    yield number
            finally:
                self.seen.append(ctx.cancelled)
                self.closed.set()

        @plugin.method
        async def amixed(n: int) -> Any:
            return {"sync": iter(range(n)), "async": anumbers(n), "none": anumbers(0)}

        @plugin.method
        async def async_iterator_only(n: int) -> Any:
            return iter(range(n))

        @plugin.method
        def mistaken() -> Any:
            return anumbers(1)

        @plugin.method
        async def blocking(numbers: Any) -> int:
            return sum(numbers)

        @plugin.method
        def threaded(numbers: Any) -> Any:
            return numbers.__anext__().send(None)

        @plugin.method
        def forward(ctx: Context, n: int) -> Any:
            return ctx.call_plugin("other", "total", {"numbers": iter(range(n))})

        @plugin.method
        def backward(ctx: Context) -> list[int]:
            return list(ctx.call_plugin("other", "numbers"))

        @plugin.method
        def glance(ctx: Context) -> int:
            stream = ctx.call_plugin("other", "numbers")
            return next(stream)

        @plugin.method
        def through(ctx: Context, numbers: Any) -> Any:
            return ctx.call_plugin("other", "double", {"numbers": numbers})

        @plugin.method
        async def aforward(ctx: Context, n: int) -> Any:
            return await ctx.acall_plugin("other", "total", {"numbers": anumbers(n)})

        @plugin.method
        async def abackward(ctx: Context) -> list[int]:
            stream = await ctx.acall_plugin("other", "numbers")
            return [number async for number in stream]

        @plugin.method
        def upload_async(ctx: Context) -> Any:
            return ctx.call("host/info", {"x": anumbers(1)})

    def test_a_generator_is_a_stream_of_what_it_yields(self):
        with Host(self.plugin) as host:
            for method in ("numbers", "anumbers", "async_iterator_only"):
                for n in (0, 1, 64, 65, 1000):
                    self.assertEqual(list(host.call(method, n=n)), list(range(n)))

    def test_what_fails_before_the_first_item_fails_the_call(self):
        with Host(self.plugin) as host:
            for method in ("numbers", "anumbers"):
                self.assertEqual(refused(self, host.call, method, n=0, fail=True).code, 17)
            self.assertEqual(refused(self, host.call, "numbers").code, -32602)

    def test_what_fails_later_comes_after_the_items(self):
        with Host(self.plugin) as host:
            for method in ("numbers", "anumbers"):
                stream = host.call(method, n=2, fail=True)
                self.assertEqual((next(stream), next(stream)), (0, 1))
                self.assertEqual(refused(self, next, stream).code, 17)
                self.assertEqual(refused(self, next, stream).code, 17)

    def test_a_dropped_stream_closes_its_generator(self):
        for method in ("forever", "aforever"):
            self.closed.clear()
            with Host(self.plugin) as host:
                stream = host.call(method)
                self.assertEqual(list(islice(stream, 100)), list(range(100)))
                stream.close()
                stream.close()
                self.assertTrue(self.closed.wait(5))
            self.assertEqual(self.seen.pop(), True)

    def test_a_producer_waits_for_its_consumer(self):
        with Host(self.plugin) as host:
            stream = host.call("forever")
            host.ping()
            host.ping()
            self.assertEqual(len(stream._frames), 64)
            stream.close()

    def test_a_parameter_is_an_iterator(self):
        with Host(self.plugin) as host:
            for method in ("total", "atotal"):
                for n in (0, 1, 1000):
                    self.assertEqual(host.call(method, numbers=iter(range(n))), sum(range(n)))

    def test_what_is_not_read_to_the_end_is_given_up(self):
        with Host(self.plugin) as host:
            self.assertEqual(host.call("first", numbers=count(5)), 5)
            self.assertEqual(host.call("total", numbers=iter([1])), 1)

    def test_a_result_may_be_made_from_a_parameter_as_it_comes(self):
        with Host(self.plugin) as host:
            doubled = host.call("double", numbers=count())
            self.assertEqual(list(islice(doubled, 200)), list(range(0, 400, 2)))
            doubled.close()

    def test_a_result_may_hold_several(self):
        with Host(self.plugin) as host:
            got = host.call("two", n=300)
            self.assertEqual(list(got["rest"]["even"][0]), list(range(0, 300, 2)))
            self.assertEqual(list(got["odd"]), list(range(1, 300, 2)))
            got = host.call("amixed", n=100)
            self.assertEqual(list(got["none"]), [])
            self.assertEqual(list(got["async"]), list(range(100)))
            self.assertEqual(list(got["sync"]), list(range(100)))
            self.assertEqual(refused(self, host.call, "crowd").code, -32603)

    def test_bytes_are_bytes(self):
        data = bytes(range(256)) * 4000
        with Host(self.plugin) as host:
            pieces = host.call("pieces", data=iter([data[:9], bytearray(data[9:])]), size=300_000)
            self.assertEqual(pieces.kind, "bytes")
            self.assertEqual(b"".join(pieces), data)
            mixed = host.call("mixed")
            self.assertEqual(next(mixed), b"bytes")
            self.assertIn("a str in a stream of bytes", refused(self, next, mixed).message)

    def test_what_json_cannot_say_ends_the_stream(self):
        with Host(self.plugin) as host:
            stream = host.call("unsayable")
            self.assertEqual(next(stream), 1)
            self.assertEqual(refused(self, next, stream).code, -32603)

    def test_asynchronous_iterators_are_for_asynchronous_handlers(self):
        with Host(self.plugin) as host:
            self.assertEqual(refused(self, host.call, "mistaken").code, -32603)
            self.assertEqual(refused(self, host.call, "upload_async").code, -32603)
            self.assertIn(
                "block the event loop",
                refused(self, host.call, "blocking", numbers=count()).message,
            )

    def test_a_notification_has_no_stream(self):
        with Host(self.plugin) as host:
            host.notify("numbers", n=5)
            host.notify("total", numbers={"$stream": "x", "kind": "json"})
            self.assertEqual(host.call("total", numbers=iter([1])), 1)

    def test_another_plugin_is_sent_streams_and_sends_them(self):
        with Host(self.plugin) as host:
            host.stub_plugin("other", "total", lambda params: sum(params["numbers"]))
            host.stub_plugin("other", "numbers", lambda _: count())
            for method in ("forward", "aforward"):
                self.assertEqual(host.call(method, n=500), sum(range(500)))
            self.assertEqual(host.call("glance"), 0)
            host.stub_plugin("other", "numbers", lambda _: iter(range(300)))
            for method in ("backward", "abackward"):
                self.assertEqual(host.call(method), list(range(300)))

    def test_a_stream_may_go_through_a_plugin_to_another_and_back(self):
        with Host(self.plugin) as host:
            host.stub_plugin("other", "double", lambda params: (2 * n for n in params["numbers"]))
            through = host.call("through", numbers=iter(range(300)))
            self.assertEqual(list(through), list(range(0, 600, 2)))

    def test_an_uploaded_stream_ends_with_its_call(self):
        with Host(self.plugin) as host:
            host.stub_plugin("other", "total", lambda params: next(params["numbers"]))
            self.assertEqual(host.call("forward", n=10_000), 0)

            def refuse(_: object) -> object:
                raise PluginError(5, "no")

            host.stub_plugin("other", "total", refuse)
            self.assertEqual(refused(self, host.call, "forward", n=10_000).code, -32000)

    def test_a_host_without_streams_is_sent_none(self):
        host = Host(self.plugin)
        host.open()
        host.send({"id": 1, "method": "initialize", "params": {"versions": [1]}})
        host.receive()
        host.send({"id": 2, "method": "numbers", "params": {"n": 3}})
        self.assertEqual(host.receive()["error"]["code"], -32603)
        host.send({"id": 3, "method": "total", "params": {"numbers": [1, 2]}})
        self.assertEqual(host.receive()["result"], 3)
        host.close()


class Wire(unittest.TestCase):
    """What a host may get wrong, or have sent before it knew."""

    def setUp(self):
        self.plugin = plugin = Plugin("test", "1.0.0")
        self.stopped: list[object] = []

        @plugin.method
        def take(items: Any) -> Any:
            try:
                return [repr(item) for item in items]
            except CallError as error:
                return error.code
            except Cancelled:
                self.stopped.append("cancelled")
                raise

        @plugin.method
        def give() -> Any:
            return count()

        @plugin.method
        def ask(ctx: Context) -> Any:
            return list(ctx.call("host/list"))

        @plugin.method
        def keep() -> Any:
            return list(plugin.call("host/list"))

    def open(self, host: Host, kind: str = "json", *more: object) -> None:
        reference = {"$stream": "h1", "kind": kind}
        host.send({"id": 7, "method": "take", "params": {"items": reference, **dict(more)}})

    def data(self, host: Host, **content: object) -> None:
        host.send({"method": "stream/data", "params": {"id": "h1", **content}})

    def answer(self, host: Host) -> Any:
        while True:
            message = host.receive()
            if message.get("id") == 7:
                return message.get("result", message.get("error"))

    def test_a_frame_that_breaks_the_rules_breaks_the_stream(self):
        for kind, content in (
            ("json", {"seq": 2, "items": [1]}),
            ("json", {"items": [1]}),
            ("json", {"seq": 1, "items": []}),
            ("json", {"seq": 1, "items": [1] * 65}),
            ("json", {"seq": 1, "b64": "YQ=="}),
            ("bytes", {"seq": 1, "items": ["a"]}),
            ("bytes", {"seq": 1, "b64": ""}),
            ("bytes", {"seq": 1, "b64": "Y"}),
            ("bytes", {"seq": 1, "b64": "YR=="}),
            ("bytes", {"seq": 1, "b64": "YQ==", "items": []}),
            ("bytes", {"seq": 1, "b64": "ü"}),
        ):
            with self.subTest(content), Host(self.plugin) as host:
                self.open(host, kind)
                self.data(host, **content)
                self.assertEqual(self.answer(host), -31012)

    def test_a_host_that_does_not_wait_for_credit_breaks_the_stream(self):
        host = Host(self.plugin)
        told: list[str] = []
        host.tell = lambda method, _: told.append(method)
        _, [stream] = host._streams.opened({"$stream": "h1", "kind": "json"}, None)
        for seq in range(1, 66):
            self.assertEqual(told, [])
            host._streams.notice("stream/data", {"id": "h1", "seq": seq, "items": [1]}, 9)
        self.assertEqual(told, ["stream/drop"])
        self.assertEqual(list(islice(stream, 64)), [1] * 64)
        self.assertEqual(refused(self, next, stream).code, -31012)

    def test_a_malformed_end_is_an_end(self):
        for error, code in (({}, -32603), ("no", -32603), ({"code": 4}, 4)):
            with self.subTest(error), Host(self.plugin) as host:
                self.open(host)
                host.send({"method": "stream/end", "params": {"id": "h1", "error": error}})
                self.assertEqual(self.answer(host), code)

    def test_what_is_about_no_stream_is_ignored(self):
        with Host(self.plugin) as host:
            for method in ("data", "end", "ack", "drop", "more"):
                for params in (None, [], {"id": 7}, {"id": "unheard-of"}):
                    message = {"method": f"stream/{method}"}
                    host.send({**message, "params": params} if params is not None else message)
            host.send({"id": 3, "method": "stream/data", "params": {"id": "x"}})
            self.assertEqual(host.receive()["error"]["code"], -32601)
            host.ping()

    def test_an_id_is_not_used_twice(self):
        with Host(self.plugin) as host:
            again = {"$stream": "h1", "kind": "json"}
            self.open(host, "json", ("more", again))
            self.assertEqual(self.answer(host)["code"], -32602)
            self.open(host)
            host.send({"id": 8, "method": "take", "params": {"items": again}})
            self.assertEqual(host.receive()["error"]["code"], -32602)
            host.send({"method": "stream/end", "params": {"id": "h1"}})
            self.assertEqual(self.answer(host), [])

    def test_only_exact_references_are_any(self):
        with Host(self.plugin) as host:
            for value in (
                {"$stream": "x"},
                {"kind": "json", "$stream": "x"},
                {"$stream": "x", "kind": "text"},
                {"$stream": 1, "kind": "json"},
                {"$stream": "", "kind": "json"},
                {"$stream": "x" * 65, "kind": "json"},
                {"$stream": "x", "kind": "json", "more": 1},
            ):
                self.assertEqual(host.call("take", items=[value]), [repr(value)])

    def test_a_call_that_waits_for_an_item_can_be_cancelled(self):
        with Host(self.plugin) as host:
            self.open(host)
            host.send({"method": "$/cancel", "params": {"id": 7}})
            self.assertEqual(self.answer(host)["code"], -32800)
        self.assertIn(self.stopped, (["cancelled"], []))

    def test_a_host_that_goes_ends_every_stream(self):
        host = Host(self.plugin)
        with host:
            self.open(host)
            host.send({"id": 8, "method": "give"})
            while host.receive().get("method") != "stream/data":
                pass
            host.hang_up()
            host._stopping = True
        self.assertEqual(host.exit_code, 0)

    def test_an_acknowledgement_of_nothing_gives_nothing(self):
        with Host(self.plugin) as host:
            host.send({"id": 7, "method": "give"})
            self.answer(host)
            for _ in range(64):
                host.receive()
            for seq in (None, 0, -5):
                host.send({"method": "stream/ack", "params": {"id": "p1", "seq": seq}})
            host.send({"id": 9, "method": "$/ping"})
            self.assertEqual(host.receive()["id"], 9)
            host.send({"method": "stream/drop", "params": {"id": "p1"}})

    def test_an_answer_to_us_may_refer_only_to_new_streams(self):
        with Host(self.plugin) as host:
            reference = {"$stream": "a1", "kind": "json"}
            host.send({"id": 7, "method": "ask"})
            asked = host.receive()
            host.send({"id": asked["id"], "result": [reference, reference]})
            self.assertEqual(self.answer(host)["code"], -32000)

    def test_a_stream_that_came_too_late_is_dropped(self):
        with Host(self.plugin) as host:
            host.send({"id": 7, "method": "ask"})
            asked = host.receive()
            host.send({"method": "$/cancel", "params": {"id": 7}})
            self.assertEqual(self.answer(host)["code"], -32800)
            reference = {"$stream": "a1", "kind": "json"}
            host.send({"id": asked["id"], "result": reference})
            self.assertEqual(host.receive()["method"], "stream/drop")
            host.send({"id": asked["id"], "result": [reference, reference]})
            host.ping()

    def test_outside_of_a_call_streams_come_too(self):
        with Host(self.plugin) as host:
            host.stub("host/list", lambda _: iter(range(100)))
            self.assertEqual(host.call("keep"), list(range(100)))


class Moments(unittest.TestCase):
    """What happens between one look and the next."""

    def setUp(self):
        self.plugin = plugin = Plugin("test", "1.0.0")
        self.flow: Any = None

        @plugin.method
        def two() -> Any:
            return [iter(range(3)), iter(range(3))]

        @plugin.method
        async def rows(n: int) -> Any:
            class Rows:
                def __init__(self) -> None:
                    self.left = n

                def __aiter__(self) -> Any:
                    return self

                async def __anext__(self) -> int:
                    if not self.left:
                        raise StopAsyncIteration
                    self.left -= 1
                    return self.left

            return {"rows": [Rows()]}

    def end(self, *, moved: bool) -> Any:
        return mock.Mock(moved=moved, ticket=None)

    def test_an_end_that_has_moved_is_not_waited_for(self):
        session = self.plugin.session(mock.Mock(), lambda _: None)
        session._flow.block(None, self.end(moved=True))
        session.loop = mock.Mock()
        asyncio.run(session._flow.pause(None, self.end(moved=True)))
        session.loop.wait.assert_not_called()

    def test_there_is_no_waiting_on_a_loop_that_is_not_there(self):
        session = self.plugin.session(mock.Mock(), lambda _: None)
        with self.assertRaises(RuntimeError):
            asyncio.run(session._flow.pause(None, self.end(moved=False)))

    def test_a_cancelled_call_does_not_wait(self):
        session = self.plugin.session(mock.Mock(), lambda _: None)
        call = Call(1, Method("two", lambda: None), None, {})
        call.cancelled = True
        with self.assertRaises(Cancelled):
            session._flow.block(call, self.end(moved=False))
        self.assertEqual(call.tickets, [])

    def test_a_stream_that_may_have_no_thread_has_failed(self):
        with (
            Host(self.plugin) as host,
            mock.patch("plugbay._flow.Flow._start", side_effect=RuntimeError("no more")),
        ):
            first, second = host.call("two")
            self.assertEqual(list(first), [0, 1, 2])
            self.assertIn("no more", refused(self, next, second).message)

    def test_an_iterator_needs_no_more_than_an_iterators_methods(self):
        with Host(self.plugin) as host:
            [rows] = host.call("rows", n=200)["rows"]

            async def take() -> list[int]:
                return [row async for row in rows]

            self.assertEqual(asyncio.run(take()), list(range(199, -1, -1)))
            [rows] = host.call("rows", n=200)["rows"]
            next(rows)
            rows.close()

    def test_after_the_end_nothing_is_opened(self):
        session = self.plugin.session(mock.Mock(), lambda _: None)
        streams = session._streams
        streams.agreed = True
        streams.close()
        _, [stream] = streams.opened({"$stream": "x", "kind": "json"}, None)
        self.assertEqual(refused(self, next, stream).code, -31001)
        _, [source] = streams.offered(iter([1]), None)
        self.assertTrue(source.sink.over)

    def test_nothing_is_sent_of_a_stream_that_is_over(self):
        session = self.plugin.session(mock.Mock(), lambda _: None)
        session._streams.agreed = True

        async def numbers() -> Any:
            yield 1

        async def pour() -> None:
            _, [source] = await session._streams.aoffered(numbers(), None)
            source.sink.finish()
            await session._flow.apour(None, source)

        asyncio.run(pour())
        session._channel.write.assert_not_called()
