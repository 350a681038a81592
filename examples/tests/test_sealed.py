"""The examples in Plugbay itself: what the READMEs promise, and every sin of the bad plugin.

Only if the variable ``PLUGBAY`` names the program, as ``target/debug/plugbay``.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import unittest
from pathlib import Path

from tests import EXAMPLES, TEXT
from tests.harness import require

PROGRAM = os.environ.get("PLUGBAY")
LANGUAGES = {
    "wordstats": "python3",
    "badplugin": "python3",
    "nodewords": "node",
    "shellwords": "jq",
}


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `plugbay` from the top of the repository, as the READMEs say."""
    return subprocess.run(
        [Path(PROGRAM).resolve(), *arguments],
        cwd=EXAMPLES.parent,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def blocks(text: str, kind: str) -> list[str]:
    """The lines of every fenced block of a kind."""
    found = re.findall(rf"(?ms)^```{kind}\n(.*?)^```", text)
    return [line for block in found for line in block.splitlines() if line]


@unittest.skipUnless(PROGRAM, "PLUGBAY does not name the program")
class Readmes(unittest.TestCase):
    def test_every_command_prints_what_is_said(self):
        for name, language in LANGUAGES.items():
            require(language)
            text = (EXAMPLES / name / "README.md").read_text()
            commands, results = blocks(text, "sh"), blocks(text, "json")
            self.assertTrue(results)
            for number, command in enumerate(commands):
                program, *arguments = shlex.split(command, comments=True)
                with self.subTest(command):
                    self.assertEqual(program, "plugbay")
                    done = run(arguments)
                    if number < len(results):
                        self.assertEqual(done.returncode, 0, done.stderr)
                        self.assertEqual(json.loads(done.stdout), json.loads(results[number]))
                    else:
                        code = re.search(r"# (\d+)", command)[1]
                        self.assertEqual(done.returncode, int(code), done.stderr)
                        self.assertTrue(done.stderr)

    def test_without_the_grant_there_is_nothing_to_read(self):
        for name, language in LANGUAGES.items():
            if name == "badplugin":
                continue
            require(language)
            with self.subTest(name):
                done = run(["call", f"examples/{name}", "count", json.dumps({"path": str(TEXT)})])
                self.assertEqual((done.returncode, done.stdout), (1, ""))


@unittest.skipUnless(PROGRAM, "PLUGBAY does not name the program")
class Sins(unittest.TestCase):
    def commit(self, method: str, **params: object) -> dict[str, object]:
        """Commit one, and return what the plugin met."""
        done = run(["call", "examples/badplugin", method, json.dumps(params), "--json"])
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_every_way_to_die_is_told_apart(self):
        for how, word in (
            ("segv", "SIGSEGV"),
            ("abort", "SIGABRT"),
            ("kill", "SIGKILL"),
            ("exit", "3"),
        ):
            done = run(["call", "examples/badplugin", "crash", json.dumps({"how": how})])
            self.assertEqual(done.returncode, 5, done.stderr)
            self.assertIn(word, done.stderr)

    def test_every_way_to_hang_is_ended(self):
        for how in ("sleep", "spin", "lock"):
            done = run(
                ["call", "examples/badplugin", "hang", json.dumps({"how": how}), "--deadline", "1s"]
            )
            self.assertEqual(done.returncode, 6, done.stderr)

    def test_what_is_none_of_its_business_is_not_there_or_denied(self):
        for path in ("/etc/shadow", str(Path.home() / ".ssh"), str(TEXT), "/proc/1/environ"):
            self.assertIn("denied", self.commit("read_file", path=path), path)
        for path in ("main.py", "/etc/x", "/usr/bin/x", str(TEXT)):
            self.assertIn("denied", self.commit("write_file", path=path), path)

    def test_its_private_places_are_gone_with_it(self):
        self.assertEqual(self.commit("write_file", path="/tmp/plugbay-left-behind"), {"written": 7})
        self.assertFalse(Path("/tmp/plugbay-left-behind").exists())

    def test_it_is_alone(self):
        seen = self.commit("list_processes")
        self.assertLessEqual(len(seen["visible"]), 4)
        self.assertNotIn(os.getpid(), seen["visible"])
        met = self.commit("signal_host")
        self.assertEqual(
            {name: "denied" in one for name, one in met.items()}, {"parent": True, "init": True}
        )

    def test_it_finds_no_secret(self):
        os.environ["PLUGBAY_TEST_SECRET"] = "secret"
        self.addCleanup(os.environ.pop, "PLUGBAY_TEST_SECRET")
        self.assertNotIn("PLUGBAY_TEST_SECRET", self.commit("environment"))

    def test_it_gets_no_more_than_its_limits(self):
        done = run(["call", "examples/badplugin", "leak", "--json"])
        if done.returncode == 0:
            # The limit of each process: it is refused more, and lives.
            self.assertLessEqual(json.loads(done.stdout)["mib"], 256)
        else:
            # The limit of all of them together: the kernel ends it.
            self.assertEqual(done.returncode, 5, done.stderr)
            self.assertIn("memory limit", done.stderr)
        self.assertLessEqual(self.commit("fork_bomb", children=2000)["children"], 64)

    def test_prints_and_lies_do_no_harm(self):
        self.assertEqual(self.commit("noise", lines=5000), {"lines": 5000})
        self.assertEqual(self.commit("lie"), "lied")
