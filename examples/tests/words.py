"""What every plugin that counts words must do, whatever it is written in."""

from __future__ import annotations

import subprocess
from typing import Any

from tests import TEXT
from tests.harness import Failed, Plugin, methods, require


class CountsWords:
    """Claims shared by the plugins; mixed into a test case with a `name`."""

    name: str
    language: str

    @classmethod
    def setUpClass(cls):
        require(cls.language)

    def start(self) -> Plugin:
        return Plugin(self.name)

    def test_the_handshake_says_what_the_manifest_says(self):
        with self.start() as plugin:
            self.assertEqual(plugin.hello["plugin"], {"name": self.name, "version": "1.0.0"})
            self.assertEqual(plugin.hello["version"], 1)
            self.assertEqual(set(plugin.hello["methods"]), methods(self.name))

    def test_a_real_text_has_as_many_words_as_wc_says(self):
        said = subprocess.run(["wc", TEXT], capture_output=True, check=True).stdout.split()
        lines, words, size = map(int, said[:3])
        expected = {"lines": lines, "words": words, "bytes": size}
        with self.start() as plugin:
            self.assertEqual(plugin.call("count", path=str(TEXT)), expected)
            self.assertEqual(plugin.call("count", path="../data/declaration.txt"), expected)
            self.assertGreater(words, 1300)

    def test_a_file_that_is_not_there_is_an_error_and_not_the_end(self):
        with self.start() as plugin:
            for path in ("/nonexistent", "/"):
                with self.assertRaises(Failed) as caught:
                    plugin.call("count", path=path)
                self.assertEqual(caught.exception.code, -32000)
            self.assertEqual(plugin.call("count", path="plugin.toml")["lines"] > 5, True)

    def test_what_it_does_not_know_it_says(self):
        with self.start() as plugin:
            for method, params, code in (
                ("cuont", {}, -32601),
                ("count", {}, -32602),
                ("toString", {}, -32601),
            ):
                with self.assertRaises(Failed) as caught:
                    plugin.call(method, **params)
                self.assertEqual(caught.exception.code, code)
            plugin.notify("no/such")
            self.assertEqual(plugin.call("$/ping"), {})

    def test_text_that_is_no_message_does_not_stop_it(self):
        with self.start() as plugin:
            plugin.send_raw(b"hello?\n")
            self.assertEqual(plugin.receive()["error"]["code"], -32700)
            plugin.send_raw(b"\n")
            self.assertEqual(plugin.call("$/ping"), {})

    def test_it_leaves_when_told_to(self):
        with self.start() as plugin:
            self.assertEqual(plugin.stop(), 0)

    def test_it_leaves_when_the_host_is_gone(self):
        with self.start() as plugin:
            plugin.child.stdin.close()
            self.assertEqual(plugin.child.wait(10), 0)


class TakesText(CountsWords):
    """More claims, on those that also take a text as a parameter."""

    def test_a_text_can_be_given_as_it_is(self):
        with self.start() as plugin:
            self.assertEqual(plugin.call("count", text="to be or\nnot to be\n"), _counts(2, 6, 19))
            self.assertEqual(plugin.call("count", text=" caf\u00e9 "), _counts(0, 1, 7))
            self.assertEqual(plugin.call("count", text=""), _counts(0, 0, 0))


def _counts(lines: int, words: int, size: int) -> dict[str, Any]:
    return {"lines": lines, "words": words, "bytes": size}
