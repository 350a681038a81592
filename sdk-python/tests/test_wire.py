"""Framing, JSON, and their bounds."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import random
import sys
import unittest
from unittest import mock

from plugbay import PluginError, _wire
from plugbay._wire import Lines, Unreadable, decode, deeper_than, encode, seal


def cut(*chunks: bytes, max_frame: int = 1 << 20) -> list[object]:
    """Read chunks to the end; an oversize frame shows as its id."""
    rest = [*chunks, b""]
    lines = Lines(lambda _: rest.pop(0), max_frame)
    found = []
    while (line := lines.next()) is not None:
        found.append(line if isinstance(line, bytes) else ("oversize", line.id))
    return found


class Framing(unittest.TestCase):
    def test_any_split_of_the_stream_gives_the_same_lines(self):
        chance = random.Random(4)
        lines = [chance.choice((b"a", b"{}", b"x" * chance.randrange(1, 99))) for _ in range(300)]
        stream = b"\n".join(lines) + b"\n"
        for _ in range(200):
            cuts = sorted(chance.randrange(len(stream)) for _ in range(chance.randrange(40)))
            chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)]) if a < b]
            self.assertEqual(cut(*chunks), lines)

    def test_blank_lines_are_skipped_and_a_part_without_an_end_is_dropped(self):
        self.assertEqual(cut(b"\n \t\n\r\na\r\n\n\nb\nc"), [b"a\r", b"b"])

    def test_a_frame_at_the_cap_passes_and_one_byte_more_does_not(self):
        for size, expected in ((9, [b"x" * 9]), (10, [b"x" * 10]), (11, [("oversize", None)])):
            self.assertEqual(cut(b"x" * size + b"\n", max_frame=10), expected)
            split = [b"x" * (size - 4), b"xxxx\n"]
            self.assertEqual(cut(*split, max_frame=10), expected)

    def test_an_endless_frame_is_reported_once_and_not_kept(self):
        frame = b'{"jsonrpc":"2.0","id":7,"method":"m","params":{"id":8,"t":"' + b"x" * 50_000
        rest = [b"a\n" + frame, *[b"x" * 50_000] * 100, b'"}}\nb\n', b""]
        lines = Lines(lambda _: rest.pop(0), 40_000)
        self.assertEqual(lines.next(), b"a")
        self.assertEqual(lines.next().id, 7)
        self.assertEqual(lines.next(), b"b")
        self.assertIsNone(lines.next())

    def test_frames_before_and_after_an_oversize_one_keep_their_order(self):
        big = b'{"id":1,"method":"m","params":"' + b"x" * 100 + b'"}'
        self.assertEqual(cut(b"a\n" + big + b"\nb\n", max_frame=60), [b"a", ("oversize", 1), b"b"])
        self.assertEqual(cut(b"a\nb\n" + big, max_frame=60), [b"a", b"b", ("oversize", 1)])


class Salvage(unittest.TestCase):
    def test_the_id_is_found_where_it_can_be_meant(self):
        for frame, id_, answers in (
            (b'{"jsonrpc":"2.0","id":7,"method":"m","params":{"x', 7, False),
            (b'{"id":"a\\"b","method":"m","params":{}', 'a"b', False),
            (b'{"id":-3,"result":{"id":4,"x', -3, True),
            (b'{"id":3,"error":{"code', 3, True),
            (b'{"method":"m","id":3,"params":', 3, False),
            (b'{"method":"m","params":{"id":3,', None, False),
            (b'{"id":12', None, False),
            (b"[[[[[", None, False),
        ):
            with self.subTest(frame):
                fault = Unreadable(-1, "", frame)
                self.assertEqual((fault.id, fault.answers), (id_, answers))


class Json(unittest.TestCase):
    def test_values_come_back_as_they_were(self):
        value = {"a": [1, -2.5, 1e300, True, None, 'é\u2028\0"\\/', {}], "": [], "n": 2**70}
        self.assertEqual(decode(encode(value).encode()), value)
        self.assertEqual(json.loads(encode(value)), value)
        self.assertEqual(encode({"a": [1, "é"]}), '{"a":[1,"é"]}')

    def test_what_is_not_json_is_refused_with_a_reason(self):
        for text in (b"", b"{", b"{'a':1}", b'{"a"}', b"1 2", b'"\x01"', b"\xff", b"tru", b"NaN",
                     b"-Infinity", b'{"a":Infinity}', b"\x00", b"[1,]", b'"\\x"'):  # fmt: skip
            with self.subTest(text), self.assertRaises(Unreadable) as caught:
                decode(text)
            self.assertEqual(caught.exception.code, -32700)
            self.assertRegex(caught.exception.message, "not JSON: .")

    def test_space_around_a_value_does_not_matter(self):
        self.assertEqual(decode(b" \t\r\n[1]\r"), [1])

    def test_dataclasses_and_paths_are_plain_enough(self):
        @dataclasses.dataclass
        class Inner:
            path: pathlib.PurePath

        @dataclasses.dataclass
        class Outer:
            inner: list[Inner]

        value = Outer([Inner(pathlib.PurePosixPath("/a"))])
        self.assertEqual(decode(encode(value).encode()), {"inner": [{"path": "/a"}]})
        for unknown in (Outer, object(), {1, 2}, b"bytes", {"a": 1 + 2j}):
            with self.assertRaises(PluginError) as caught:
                encode(unknown)
            self.assertEqual(caught.exception.code, -32603)

    def test_what_json_cannot_say_is_refused_with_a_reason(self):
        loop: list[object] = []
        loop.append(loop)
        deep: list[object] = []
        for _ in range(200):
            deep = [deep]
        for value, reason in (
            (float("nan"), "not JSON compliant|Out of range"),
            ({(1, 2): 3}, "keys must be"),
            (loop, "nested"),
        ):
            with self.subTest(reason), self.assertRaisesRegex(PluginError, reason):
                encode(value)
        with self.assertRaisesRegex(PluginError, "nested deeper"):
            seal(encode(deep), 1 << 20)
        with self.assertRaisesRegex(PluginError, "UTF-8"):
            seal(encode("\udc80"), 1 << 20)
        with self.assertRaisesRegex(PluginError, "over the cap"):
            seal('"xx"', 3)

    def test_without_the_c_half_all_is_the_same(self):
        loads, dumps = _wire._portable()
        value = {"a": [1, -2.5, "é\u2028", None], "p": pathlib.PurePosixPath("/x")}
        self.assertEqual(dumps(value), encode(value))
        self.assertEqual(loads(' {"a":1} '), decode(b' {"a":1} '))
        for text in ("NaN", "[1,]", "1 2"):
            self.assertRaises(ValueError, loads, text)

    def test_a_c_half_that_is_not_the_one_we_know_is_not_used(self):
        stranger = mock.MagicMock()
        stranger.make_encoder.return_value.return_value = ["[]"]
        with mock.patch.dict(sys.modules, _json=stranger):
            stranger.make_scanner.return_value = lambda text, _: ([], len(text))
            self.assertRaises(ImportError, _wire._accelerated)
        with mock.patch.dict(sys.modules, _json=None):
            self.assertRaises(ImportError, _wire._accelerated)


class Depth(unittest.TestCase):
    def test_the_limit_itself_is_allowed_and_one_more_is_not(self):
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            self.assertFalse(deeper_than(opening * 128 + b"1" + closing * 128, 128))
            self.assertTrue(deeper_than(opening * 129 + b"1" + closing * 129, 128))
        self.assertTrue(deeper_than(b"[" * 100_000, 128))

    def test_breadth_is_not_depth(self):
        self.assertFalse(deeper_than(b"[" + b"{},[]," * 10_000 + b"1]", 128))

    def test_brackets_in_strings_do_not_count(self):
        for inside in ("[" * 1000, '\\"' + "{" * 1000, "\\\\" + "]" * 9, '\\\\\\"' + "[" * 1000):
            frame = f'{{"a":"{inside}","b":{[[1]] * 200}}}'.replace("'", '"').encode()
            self.assertFalse(deeper_than(frame, 128), inside[:4])

    def test_it_agrees_with_a_parser_on_any_value(self):
        chance = random.Random(11)

        def value(depth: int) -> object:
            if depth <= 0 or chance.random() < 0.05:
                return chance.choice((1, "[", '{"', "\\", '\\"]', None))
            if chance.random() < 0.5:
                return {chance.choice('ab"\\['): value(depth - 1)}
            return [value(depth - chance.choice((1, 1, 5))), value(depth - 9)]

        def depth(found: object) -> int:
            inner = found.values() if isinstance(found, dict) else found
            if not isinstance(found, (dict, list)):
                return 0
            return 1 + max(map(depth, inner), default=0)

        for _ in range(400):
            made = value(chance.randrange(20))
            for limit in (3, 8, 14):
                self.assertEqual(deeper_than(json.dumps(made).encode(), limit), depth(made) > limit)

    def test_a_request_nested_too_deep_is_not_parsed_but_known_by_its_id(self):
        with self.assertRaises(Unreadable) as caught:
            decode(b'{"jsonrpc":"2.0","id":5,"method":"m","params":' + b"[" * 100_000)
        self.assertEqual(caught.exception.id, 5)
