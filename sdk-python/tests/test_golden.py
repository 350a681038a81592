"""The golden transcripts, in memory and through real pipes."""

from __future__ import annotations

import unittest

from plugbay.testing import Host
from tests.golden_plugin import plugin
from tests.process import Process
from tests.replay import Mismatch, Replay, transcripts


class Golden(unittest.TestCase):
    def test_there_are_transcripts(self):
        self.assertGreaterEqual(len(transcripts()), 14)

    def test_the_session_in_memory_follows_every_transcript(self):
        for path in transcripts():
            with self.subTest(path.name):
                host = Host(plugin)
                host.open()

                def receive(host=host):
                    try:
                        return host.receive()
                    except EOFError:
                        return None

                Replay(host.send_raw, host.hang_up, receive).run(path)
                host.close()
                self.assertEqual(host.exit_code, 0)

    def test_a_process_follows_every_transcript(self):
        for path in transcripts():
            with (
                self.subTest(path.name),
                Process("from tests.golden_plugin import plugin as p; p.run()") as process,
            ):
                Replay(process.send_raw, process.hang_up, process.receive).run(path)
                self.assertEqual(process.end(), 0)
                self.assertEqual(process.stderr(), "")


class TheReplayItself(unittest.TestCase):
    def _replay(self, *answers: object) -> Replay:
        said = iter(answers)
        return Replay(lambda _: None, lambda: None, lambda: next(said))

    def _expect(self, frame: object, *answers: object, later: tuple[object, ...] = ()) -> None:
        self._replay(*answers)._expect({"frame": frame}, list(later))

    def test_a_wrong_answer_is_noticed(self):
        for wanted, got in (
            ({"id": 1, "result": 1}, {"id": 1, "result": 2}),
            ({"id": 1, "result": 1}, {"id": 1, "result": True}),
            ({"id": 1, "result": "*"}, {"id": 1}),
            ({"id": 1, "result": [1, "*"]}, {"id": 1, "result": [1]}),
            ({"id": 1, "result": 1}, {"method": "$/progress", "params": {}}),
            (None, {"id": 1, "result": 1}),
        ):
            with self.subTest(got=got), self.assertRaises(Mismatch):
                self._expect(wanted, got)

    def test_log_lines_are_skipped_and_early_progress_is_kept(self):
        progress = {"method": "$/progress", "params": {}}
        log = {"method": "$/log", "params": {}}
        self._expect({"id": 1}, log, progress, {"id": 1}, later=(progress,))

    def test_a_name_stands_for_one_value(self):
        replay = self._replay({"id": 7}, {"id": 8})
        replay._expect({"frame": {"id": "*a"}}, [])
        self.assertEqual(replay._fill({"id": "*a"}), {"id": 7})
        with self.assertRaises(Mismatch):
            replay._expect({"frame": {"id": "*a"}}, [])
