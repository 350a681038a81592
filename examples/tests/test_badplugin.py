"""The bad plugin really is: each sin is committed, within bounds, unsealed."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import unittest
from pathlib import Path

from tests import TEXT
from tests.harness import Failed, Gone, Plugin, methods


class Badplugin(unittest.TestCase):
    def start(self) -> Plugin:
        return Plugin("badplugin")

    def test_the_manifest_declares_every_sin(self):
        with self.start() as plugin:
            self.assertEqual(set(plugin.hello["methods"]), methods("badplugin"))

    def test_it_crashes_as_it_is_told(self):
        for how, status in (("segv", -11), ("abort", -6), ("kill", -9), ("exit", 3)):
            with self.subTest(how), self.start() as plugin:
                with self.assertRaises(Gone):
                    plugin.call("crash", how=how)
                self.assertEqual(plugin.child.wait(), status)

    def test_it_hangs_and_does_not_hear_that_it_is_cancelled(self):
        for how in ("sleep", "spin"):
            with self.subTest(how), self.start() as plugin:
                number = plugin.start("hang", how=how)
                plugin.notify("$/cancel", id=number)
                self.assertEqual(plugin.call("$/ping"), {}, "busy is not dead")
                self.assertEqual(plugin.said, [])

    def test_it_floods_the_wire_with_anything(self):
        with self.start() as plugin:
            for what in ("line", "lines", "brackets", "binary"):
                with self.subTest(what):
                    self.assertGreaterEqual(
                        plugin.call("flood", what=what, mib=1)["written"], 1 << 20
                    )
                    self.assertGreater(sum(map(len, plugin.noise)), 700_000)
                    plugin.noise.clear()

    def test_what_it_prints_does_not_reach_the_wire(self):
        with self.start() as plugin:
            self.assertEqual(plugin.call("noise", lines=50), {"lines": 50})
            self.assertEqual(plugin.noise, [])
            plugin.stop()
            self.assertIn("careless line 49", plugin.stderr())

    def test_it_lies(self):
        with self.start() as plugin:
            self.assertEqual(plugin.call("lie"), "lied")
            self.assertEqual(len(plugin.said), 4)

    def test_it_reads_and_writes_what_it_can(self):
        with tempfile.TemporaryDirectory() as directory, self.start() as plugin:
            path = Path(directory, "left-behind")
            self.assertEqual(
                plugin.call("read_file", path=str(TEXT)), {"read": TEXT.stat().st_size}
            )
            self.assertEqual(plugin.call("write_file", path=str(path)), {"written": 7})
            met = plugin.call("read_file", path="/nonexistent")
            self.assertEqual((met["denied"], met["errno"]), ("FileNotFoundError", 2))
            met = plugin.call("write_file", path="/nonexistent/x")
            self.assertEqual(met["denied"], "FileNotFoundError")

    def test_it_looks_around(self):
        with self.start() as plugin:
            self.assertIn(os.getpid(), plugin.call("list_processes")["visible"] + [os.getpid()])
            self.assertEqual(
                plugin.call("signal_host")["parent"], {"pid": os.getpid(), "allowed": True}
            )
            self.assertIn("PYTHONPATH", plugin.call("environment"))

    def test_it_takes_memory_and_processes(self):
        with self.start() as plugin:
            self.assertEqual(plugin.call("leak", mib=8), {"mib": 8})
            self.assertEqual(plugin.call("fork_bomb", children=5), {"children": 5})

    def test_it_calls_out(self):
        with socket.create_server(("127.0.0.1", 0)) as server, self.start() as plugin:
            port = server.getsockname()[1]
            self.assertEqual(plugin.call("connect", port=port), {"connected": True})
            server.close()
            self.assertEqual(plugin.call("connect", port=port)["denied"], "ConnectionRefusedError")

    def test_sins_it_does_not_know_it_declines(self):
        with self.start() as plugin:
            for method in ("crash", "hang"):
                with self.assertRaises(Failed) as caught:
                    plugin.call(method, how="softly")
                self.assertEqual(caught.exception.code, -32602)
            with self.assertRaises(Failed):
                plugin.call("flood", what="nothing")

    def test_a_signal_from_outside_ends_it_too(self):
        with self.start() as plugin:
            plugin.start("hang")
            plugin.call("$/ping")
            plugin.child.send_signal(signal.SIGTERM)
            self.assertEqual(plugin.child.wait(10), -15)
