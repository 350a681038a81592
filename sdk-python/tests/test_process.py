"""A real process: whose output is whose, and how it ends."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import time
import unittest

from tests import SOURCE
from tests.process import Process

NOISY = """
    import os, subprocess, sys
    print("before the SDK is even there")
    from plugbay import Plugin
    plugin = Plugin("noisy", "1.0.0")

    @plugin.method
    def shout():
        print("from print")
        os.write(1, b"from the descriptor\\n")
        subprocess.run(["sh", "-c", "echo from a child; cat; echo its input is over"], check=True)
        return {"stdin": sys.stdin.read(), "fds": sorted(os.listdir("/proc/self/fd"), key=int)}

    @plugin.method
    def child_fds():
        listed = subprocess.run(["ls", "/proc/self/fd"], stdout=subprocess.PIPE, check=True).stdout
        return listed.decode().split()

    plugin.run()
"""

ENDINGS = """
    import os, sys, threading, time
    from plugbay import Plugin
    plugin = Plugin("endings", "1.0.0")

    @plugin.method
    def leave(code):
        sys.exit(code)

    @plugin.method
    def leave_elsewhere(code):
        # By now another thread reads, and this is not the one that called `run`.
        while threading.current_thread() is threading.main_thread():
            raise RuntimeError("try again")
        print("last words")
        sys.exit(code)

    @plugin.method
    def hang(ctx):
        ctx.progress(0)
        while True:
            time.sleep(60)

    @plugin.method
    def hang_listening(ctx):
        ctx.progress(0)
        while not ctx.cancelled:
            time.sleep(0.01)

    plugin.run()
"""


class Output(unittest.TestCase):
    def test_nothing_that_is_printed_reaches_the_wire(self):
        with Process(NOISY) as process:
            process.open()
            answer = process.call("shout")["result"]
            self.assertEqual(answer["stdin"], "")
            process.hang_up()
            self.assertEqual(process.end(), 0)
            self.assertIsNone(process.receive())
            said = process.stderr()
        for line in ("before the SDK is even there", "from print", "from the descriptor",
                     "from a child", "its input is over"):  # fmt: skip
            self.assertIn(line + "\n", said)

    def test_a_child_inherits_no_end_of_the_wire(self):
        with Process(NOISY) as process:
            process.open()
            # 0, 1, 2, and the directory being listed.
            self.assertEqual(process.call("child_fds")["result"], ["0", "1", "2", "3"])

    def test_the_wire_may_be_a_socket_instead(self):
        script = """
            import os, sys
            from plugbay import Plugin
            plugin = Plugin("socket", "1.0.0")
            plugin.method("look")(lambda: [os.environ.get("PLUGBAY_RPC_FD"), sys.stdin.read()])
            plugin.run()
        """
        ours, theirs = socket.socketpair()
        with ours, theirs:
            environment = {"PLUGBAY_RPC_FD": str(theirs.fileno())}
            with Process(script, env=environment, pass_fds=[theirs.fileno()]) as process:
                theirs.close()
                process.child.stdin.close()
                ours.settimeout(20)
                with ours.makefile("rw") as wire:
                    for line in (
                        '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"versions":[1]}}',
                        '{"jsonrpc":"2.0","id":2,"method":"look"}',
                    ):
                        wire.write(line + "\n")
                        wire.flush()
                        answer = wire.readline()
                    self.assertIn('"result":[null,""]', answer)
                    wire.write('{"jsonrpc":"2.0","method":"exit"}\n')
                    wire.flush()
                    self.assertEqual(process.end(), 0)

    def test_at_a_terminal_it_says_what_it_is(self):
        leader, follower = pty.openpty()
        script = "from plugbay import Plugin; Plugin('words', '1.0.0').run()"
        child = subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=follower,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        os.close(follower)
        os.write(leader, b"\x04")
        out, err = child.communicate(timeout=20)
        os.close(leader)
        self.assertEqual((child.returncode, out), (0, b""))
        self.assertIn(b"words is a Plugbay plugin", err)


class End(unittest.TestCase):
    def test_exit_in_a_handler_ends_the_process_with_its_code(self):
        for given, status in ((3, 3), (0, 0), (None, 0), ("bye", 1)):
            with self.subTest(given), Process(ENDINGS) as process:
                process.open()
                self.assertIsNone(process.call("leave", {"code": given}))
                self.assertEqual(process.end(), status)
                self.assertEqual(process.stderr().strip(), "bye" if given == "bye" else "")

    def test_exit_works_from_any_thread(self):
        with Process(ENDINGS) as process:
            process.open()
            process.send({"id": 5, "method": "hang", "params": {"_meta": {"progressToken": 1}}})
            process.receive()
            while process.call("leave_elsewhere", {"code": 7}) is not None:
                pass
            self.assertEqual(process.end(), 7)
            self.assertIn("last words", process.stderr())

    def test_the_end_of_input_ends_it_within_a_second_whatever_runs(self):
        for method in ("hang", "hang_listening"):
            with self.subTest(method), Process(ENDINGS) as process:
                process.open()
                process.send({"id": 5, "method": method, "params": {"_meta": {"progressToken": 1}}})
                process.receive()
                begun = time.monotonic()
                process.hang_up()
                self.assertEqual(process.end(), 0)
                # A second is promised; a loaded machine may need another to run us at all.
                self.assertLess(time.monotonic() - begun, 2)
                self.assertIsNone(process.receive(), "a cancellation nobody sent is not answered")
                self.assertEqual(process.stderr(), "")

    def test_a_host_that_does_not_read_any_more_is_gone(self):
        with Process(ENDINGS) as process:
            process.open()
            process.child.stdout.close()
            process.send({"id": 5, "method": "$/ping"})
            process.hang_up()
            self.assertEqual(process.end(), 0)
            self.assertEqual(process.stderr(), "")

    def test_an_interrupt_ends_it_quietly_and_at_once(self):
        # Just after an answer is where Python's own handler can miss one until the next byte.
        for _ in range(20):
            with Process(ENDINGS) as process:
                process.open()
                process.child.send_signal(signal.SIGINT)
                self.assertEqual(process.end(), -signal.SIGINT)
                self.assertEqual(process.stderr(), "")

    def test_an_interrupt_in_a_handler_does_too(self):
        with Process(ENDINGS) as process:
            process.open()
            process.send({"id": 5, "method": "hang", "params": {"_meta": {"progressToken": 1}}})
            process.receive()
            process.child.send_signal(signal.SIGINT)
            self.assertEqual(process.end(), -signal.SIGINT)
            self.assertEqual(process.stderr(), "")

    def test_a_handler_of_its_own_keeps_the_interrupt(self):
        script = """
            import signal, sys
            from plugbay import Plugin
            signal.signal(signal.SIGINT, lambda *_: sys.exit(7))
            plugin = Plugin("own", "1.0.0")

            @plugin.method
            def interrupt():
                signal.raise_signal(signal.SIGINT)

            plugin.run()
        """
        with Process(script) as process:
            process.open()
            self.assertIsNone(process.call("interrupt"))
            self.assertEqual(process.end(), 7)


class Cost(unittest.TestCase):
    def test_importing_it_imports_nothing_dear(self):
        script = (
            "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules);"
            "import plugbay; print(*sorted(set(sys.modules) - before))"
        )
        said = subprocess.run(
            [sys.executable, "-I", "-c", script, str(SOURCE)], capture_output=True, check=True
        ).stdout.decode()
        foreign = {name for name in said.split() if name.split(".")[0] != "plugbay"}
        self.assertLessEqual(foreign, {"_json", "__future__"})
        ours = {name for name in said.split() if name.startswith("plugbay.")}
        self.assertFalse(ours & {"plugbay.testing", "plugbay.logs", "plugbay._async"})
        self.assertLessEqual(len(ours), 11)
