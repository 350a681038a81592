"""The Python example: as a process, and in the SDK's host in memory."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import tempfile
import threading
import unittest
from pathlib import Path

from plugbay import CallError
from plugbay.testing import Host
from tests import EXAMPLES, TEXT
from tests.words import TakesText


def load():
    """Import a fresh copy of the plugin."""
    spec = importlib.util.spec_from_file_location("wordstats", EXAMPLES / "wordstats" / "main.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Wordstats(TakesText, unittest.TestCase):
    name = "wordstats"
    language = "python3"


class InMemory(unittest.TestCase):
    def test_the_most_frequent_words_come_first(self):
        with Host(load().plugin) as host:
            found = host.call("top", path=str(TEXT), limit=3)
            self.assertEqual(
                found,
                [
                    {"word": "of", "count": 78},
                    {"word": "the", "count": 78},
                    {"word": "to", "count": 65},
                ],
            )
            self.assertEqual(len(host.call("top", path=str(TEXT))), 10)

    def test_the_configuration_says_what_counts(self):
        config = {"ignore": ["their", "people"], "shortest": 5}
        with Host(load().plugin, config=config) as host:
            found = [entry["word"] for entry in host.call("top", path=str(TEXT), limit=4)]
            self.assertEqual(found, ["these", "which", "states", "right"])

    def test_progress_and_a_log_line_tell_how_it_goes(self):
        with Host(load().plugin) as host:
            call = host.start("top", path=str(TEXT))
            call.result()
            size = TEXT.stat().st_size
            self.assertEqual(call.progress[-1], {"value": size, "total": size, "message": "read"})
            self.assertEqual(host.logs[0].message, "text read")
            self.assertGreater(host.logs[0].fields["words"], 1300)

    def test_words_across_the_edge_of_a_chunk_are_one(self):
        module = load()
        text = "".join(random.Random(7).choices("ab \n", k=2000))
        expected = {"lines": text.count("\n"), "words": len(text.split()), "bytes": 2000}
        with tempfile.TemporaryDirectory() as directory, Host(module.plugin) as host:
            path = Path(directory) / "text"
            path.write_text(text)
            for module.CHUNK in (1, 2, 3, 7, 1999, 2000):
                self.assertEqual(host.call("count", path=str(path)), expected)

    def test_a_large_text_reports_on_the_way_and_can_be_cancelled(self):
        with tempfile.TemporaryDirectory() as directory, Host(load().plugin) as host:
            path = Path(directory) / "text"
            os.mkfifo(path)

            def write_until_nobody_reads():
                # Far more than is read before the cancellation arrives, on any machine.
                with contextlib.suppress(BrokenPipeError), path.open("wb", buffering=0) as text:
                    for _ in range(10_000):
                        text.write(b"all the king's men\n" * 4096)

            writer = threading.Thread(target=write_until_nobody_reads)
            writer.start()
            call = host.start("top", path=str(path))
            host.read_until(lambda: bool(call.progress))
            call.cancel()
            with self.assertRaises(CallError) as caught:
                call.result()
            self.assertEqual(caught.exception.code, -32800)
            writer.join()

    def test_either_path_or_text_must_be_given(self):
        with Host(load().plugin) as host, self.assertRaises(CallError) as caught:
            host.call("count", path="a", text="b")
        self.assertEqual(caught.exception.code, -32602)
