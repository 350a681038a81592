"""The ends of the wire, and what two threads settle at once."""

from __future__ import annotations

import os
import sys
import unittest
from unittest import mock

from plugbay import Plugin, _channel, _plugin
from plugbay._call import Method, Ticket
from plugbay._channel import Channel
from plugbay.testing import Host


class Wire(unittest.TestCase):
    def test_a_frame_written_in_parts_is_written_whole(self):
        written = bytearray()

        def little(_: int, data: bytes) -> int:
            written.extend(data[:3])
            return min(3, len(data))

        with mock.patch("os.write", little):
            Channel(0, 1).write(b"0123456789")
        self.assertEqual(written, b"0123456789")

    def test_what_is_closed_lets_nothing_out(self):
        channel = Channel(0, 1)
        channel.close()
        self.assertRaises(BrokenPipeError, channel.write, b"x")

    def test_an_end_that_cannot_be_read_is_the_end(self):
        reader, writer = os.pipe()
        os.close(writer)
        os.close(reader)
        self.assertEqual(Channel(reader, reader).read(1), b"")

    def test_it_can_be_claimed_where_there_is_no_standard_output(self):
        reader, writer = os.pipe()
        with mock.patch.object(sys, "stdout", None):
            channel = _channel.claim({_channel.RPC_FD: str(reader)})
        self.assertEqual((channel.reader, channel.writer), (reader, reader))
        self.assertFalse(os.get_inheritable(reader))
        os.close(reader)
        os.close(writer)

    def test_leaving_by_force_loses_nothing_that_was_printed(self):
        with mock.patch("os._exit") as leave, mock.patch.object(sys, "stdout") as stream:
            _plugin._abandon(3)
            with mock.patch.object(sys, "stderr", None):
                _plugin._abandon(4)
        self.assertEqual(stream.flush.call_count, 2)
        self.assertEqual([call.args for call in leave.call_args_list], [(3,), (4,)])


class Races(unittest.TestCase):
    def test_a_ticket_settled_by_two_threads_at_once_wakes_once(self):
        ticket = Ticket()
        ticket.wake = mock.Mock()
        ticket.lock.release()  # as the other thread has, just now
        ticket.settle()
        ticket.settle()
        ticket.wake.assert_not_called()

    def test_a_call_cancelled_on_its_way_to_a_thread_is_not_run(self):
        plugin = Plugin("test", "1.0.0")
        run = mock.Mock(return_value=None, __name__="run")
        plugin.methods["run"] = Method("run", run)
        with Host(plugin) as host:
            session = plugin._session
            accept = session._accept

            def cancelled(*arguments: object) -> object:
                call = accept(*arguments)
                call.cancel()
                return call

            with mock.patch.object(session, "_accept", cancelled):
                host.send({"id": 9, "method": "run"})
                self.assertEqual(host.receive()["error"]["code"], -32800)
        run.assert_not_called()
