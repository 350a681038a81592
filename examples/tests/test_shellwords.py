"""The shell example, with jq and without."""

from __future__ import annotations

import os
import shutil
import tempfile
import unittest
from pathlib import Path

from tests import TEXT
from tests.harness import Plugin, require
from tests.words import CountsWords

ODD_NAMES = (
    "plain",
    "two words",
    "a'b\"c\\d",
    "-rf",
    "$(id)`id`",
    "tab\tand\nline feed\n",
    "\u00e9\U0001f980",
    "*",
)


class Shellwords(CountsWords, unittest.TestCase):
    name = "shellwords"
    language = "jq"

    def test_any_name_a_file_can_have_will_do(self):
        with tempfile.TemporaryDirectory() as directory, self.start() as plugin:
            for name in ODD_NAMES:
                path = Path(directory, name)
                path.write_text("one two\n")
                with self.subTest(name):
                    answer = plugin.call("count", path=str(path), _meta={"callId": "c"})
                    self.assertEqual(answer, {"lines": 1, "words": 2, "bytes": 8})

    def test_ids_come_back_as_they_were(self):
        with self.start() as plugin:
            for id_ in (-7, "text", '\u00e9"\\\n', "", 2**53):
                plugin.send({"id": id_, "method": "shutdown"})
                self.assertEqual(plugin.receive(), {"jsonrpc": "2.0", "id": id_, "result": None})

    def test_order_and_space_in_a_message_do_not_matter(self):
        with self.start() as plugin:
            params = '{ "a":[{"path":"no"}, [ ] ,{}, 1.5e3, true], "path" : "%s" }'
            text = f' {{"params" : {params} ,\t"method":"count","id" : 5 }}\n'
            plugin.send_raw((text % TEXT).encode())
            self.assertEqual(plugin.receive()["result"]["words"], 1335)

    def test_half_a_message_is_none(self):
        with self.start() as plugin:
            for text in (
                '{"id":1',
                '{"id":1,}',
                '{"id" 1}',
                "[1,",
                '{"id":"a}',
                '{"id":1} x',
                "{'id':1}",
            ):
                with self.subTest(text):
                    plugin.send_raw(text.encode() + b"\n")
                    self.assertEqual(plugin.receive()["error"]["code"], -32700)


class WithoutJq(Shellwords):
    """The same claims, where jq is not to be found and awk has to do."""

    language = "awk"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        for program in ("sh", "awk", "wc", "dirname"):
            require(program)
            os.symlink(shutil.which(program), Path(directory.name, program))
        cls.path = directory.name

    def start(self) -> Plugin:
        return Plugin(self.name, env={"PATH": self.path})
