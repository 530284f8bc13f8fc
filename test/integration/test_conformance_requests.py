#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Requests: at most once, slots, statuses, budgets, CANCEL, deferred replies, draining, a dead worker."""
import struct
import time
import unittest

import llrp
from llrp import request
from server import Case, ECHO, Server

COUNT, IDEM, SLEEP, DEFER = ("test.Slow/" + name for name in ("Count", "Idem", "Sleep", "Defer"))


def u32(value):
    return struct.pack("<I", value)


def counted(reply):
    return struct.unpack("<Q", reply.payload)[0]


def remembered_part(reply):
    return reply.sequence, reply.route, reply.status, reply.service_ns, reply.queue_ns, reply.payload


class Plain(Case):
    def test_echo(self):
        for index in (0, 1):
            for peer, session in ((self.open_udp(index)), self.open_tcp(index)):
                for sequence, size in enumerate((0, 1, 15, 16, 17, 255, 1000, 1388, 1389), 1):
                    payload = bytes(byte % 256 for byte in range(size))
                    reply = peer.reply(request(session.id, sequence, ECHO, payload))
                    self.assertEqual((reply.sequence, reply.route, reply.status, reply.flags, reply.payload),
                                     (sequence, llrp.route_of(ECHO), 200, 0, payload))

    def test_no_such_method(self):
        for peer, session in self.open_each():
            for sequence, route in enumerate((0, 1, llrp.route_of("llrph.Echo/echo"), 2**32 - 1), 1):
                reply = peer.reply(request(session.id, sequence, route, b"x"))
                self.assert_reason(reply, 404)
                self.assertEqual((reply.sequence, reply.route), (sequence, route))

    def test_any_sequence_starts(self):
        for peer, session in self.open_each(window=4):
            for sequence in (2**63, 2**64 - 2, 2**40 + 3, 0, 2**64 - 3, 1000):
                if sequence % 4 in (0, 2) and sequence in (0, 1000):
                    continue  # their slots have gone on
                self.assert_alive(peer, session, sequence)

    def test_sequence_zero(self):
        for peer, session in self.open_each():
            self.assert_alive(peer, session, 0)

    def test_declared_statuses(self):
        for peer, session in self.open_each():
            reply = peer.reply(request(session.id, 1, "test.Slow/Declared"))
            self.assertEqual((reply.status, reply.payload), (455, b"\xff" * 400))
            reply = peer.reply(request(session.id, 2, "test.Slow/Reason"))
            # 256 bytes would end inside a character.
            self.assertEqual((reply.status, reply.payload.decode()), (456, "x" + "\u00e9" * 127))

    def test_statuses_that_are_not_the_handlers(self):
        for peer, session in self.open_each():
            unknown = (0, 1, 100, 199, 300, 399, 401, 409, 410, 454, 457, 499, 504, 599, 600, 777, 299999,
                       65536 + 200, 2**31, 2**32 - 1)
            for sequence, status in enumerate(unknown, 1):
                with self.subTest(status):
                    self.assert_reason(peer.reply(request(session.id, sequence, "test.Slow/Unknown", u32(status))), 500)
            for sequence, status in enumerate((200, 201, 299, 455), 100):
                reply = peer.reply(request(session.id, sequence, "test.Slow/Unknown", u32(status)))
                self.assertEqual((reply.status, reply.payload), (status, b""))
            # The protocol's own that a handler may use without declaring them.
            for sequence, status in enumerate((400, 404, 413, 429, 500, 503), 200):
                self.assert_reason(peer.reply(request(session.id, sequence, "test.Slow/Unknown", u32(status))), status)

    def test_no_room_for_a_greedy_handler(self):
        for peer, session in self.open_each():
            reply = peer.reply(request(session.id, 1, "test.Slow/Greedy"))
            self.assertEqual((reply.status, reply.payload), (455, b"no room"))

    def test_parts(self):
        peer, session = self.open_tcp()
        peer.send_frames(request(session.id, 1, "test.Slow/Parts", u32(5)))
        replies = [llrp.as_reply(peer.receive()) for _ in range(5)]
        self.assertEqual([reply.payload for reply in replies], [u32(part) for part in range(5)])
        self.assertEqual([reply.flags for reply in replies], [llrp.MORE] * 4 + [0])
        self.assertEqual({(reply.sequence, reply.status) for reply in replies}, {(1, 200)})
        self.assert_alive(peer, session, 2)
        # A datagram may be lost or overtaken: no parts there.
        peer, session = self.open_udp()
        self.assertEqual(peer.reply(request(session.id, 1, "test.Slow/Parts", u32(5))).payload, b"no parts here")


class AtMostOnce(Case):
    def test_repeat_gets_what_is_remembered(self):
        peer, session = self.open_udp()
        sent = request(session.id, 5, COUNT, b"one")
        first = peer.reply(sent)
        self.assertEqual(first.status, 200)
        repeats = (sent, request(session.id, 5, COUNT, b"one", llrp.RETRY, 1000000),
                   request(session.id, 5, COUNT, b"payloads are not compared"))
        for repeat in repeats:
            self.assertEqual(remembered_part(peer.reply(repeat)), remembered_part(first))
        self.assertEqual(counted(peer.reply(request(session.id, 6, COUNT))), counted(first) + 1)

    def test_any_answer_that_settles_is_remembered(self):
        peer, session = self.open_udp(max_message=1000)
        for sequence, (method, payload) in enumerate((
                (ECHO, b"echo"), ("test.Slow/Declared", b""), ("test.Slow/Reason", b""), ("no.Such/Method", b""),
                ("test.Slow/Unknown", u32(777)), (ECHO, bytes(1001)), ("test.Slow/Big", u32(200))), 1):
            sent = request(session.id, sequence, method, payload)
            first = peer.reply(sent)
            self.assertEqual(remembered_part(peer.reply(sent)), remembered_part(first))
            # Settled: another method under the same sequence gets the same answer.
            again = peer.reply(request(session.id, sequence, COUNT))
            self.assertEqual((again.status, again.payload), (first.status, first.payload))

    def test_what_may_be_tried_again(self):
        peer, session = self.open_udp()
        for sequence, status in enumerate((429, 503), 1):
            refused = request(session.id, sequence, "test.Slow/Unknown", u32(status))
            self.assertEqual([peer.reply(refused).status for _ in range(2)], [status, status])
            self.assert_alive(peer, session, sequence)
            self.assertEqual(peer.reply(refused).payload, b"alive")

    def test_older_is_dropped_and_newer_runs(self):
        peer, session = self.open_udp(window=4)
        first = counted(peer.reply(request(session.id, 10, COUNT)))
        sent = [request(session.id, sequence, method, b"", flags) for sequence in (2, 6)
                for method in (COUNT, IDEM, "no.Such/Method") for flags in (0, llrp.IDEMPOTENT, llrp.RETRY)]
        self.assertEqual(peer.answers(*sent), [])
        self.assertEqual(counted(peer.reply(request(session.id, 14, COUNT))), first + 1)
        # Skipping any of its sequences, up to the last.
        self.assertEqual(counted(peer.reply(request(session.id, 2**64 - 2, COUNT))), first + 2)
        self.assertEqual(peer.answers(request(session.id, 14, COUNT)), [])

    def test_slots_are_independent(self):
        peer, session = self.open_udp(window=4)
        first = {sequence: peer.reply(request(session.id, sequence, COUNT)) for sequence in (7, 4, 1, 2)}
        for sequence in (2, 7, 4, 1):
            self.assertEqual(remembered_part(peer.reply(request(session.id, sequence, COUNT))),
                             remembered_part(first[sequence]))
        self.assertEqual(len({counted(reply) for reply in first.values()}), 4)
        # 3 has gone, 8 is the next of 4's slot, and 1 knows nothing of it.
        self.assertEqual(peer.answers(request(session.id, 3, COUNT)), [])
        peer.reply(request(session.id, 8, COUNT))
        self.assertEqual(counted(peer.reply(request(session.id, 1, COUNT))), counted(first[1]))

    def test_window_of_one(self):
        peer, session = self.open_udp(window=1)
        first = peer.reply(request(session.id, 5, COUNT))
        self.assertEqual(peer.answers(request(session.id, 4, COUNT)), [])
        self.assertEqual(counted(peer.reply(request(session.id, 6, COUNT))), counted(first) + 1)
        self.assertEqual(peer.answers(request(session.id, 5, COUNT)), [])

    def test_idempotent_runs_again(self):
        peer, session = self.open_udp(window=4)
        for method, flags in ((IDEM, 0), (COUNT, llrp.IDEMPOTENT)):
            sent = request(session.id, 5, method, b"", flags)
            first = counted(peer.reply(sent))
            self.assertEqual([counted(peer.reply(sent)) for _ in range(3)], [first + 1, first + 2, first + 3])
            peer.reply(request(session.id, 9, ECHO))
            self.assertEqual(peer.answers(sent), [])
            peer, session = self.open_udp(window=4)

    def test_repeats_in_one_datagram(self):
        peer, session = self.open_udp()
        sent = request(session.id, 1, COUNT)
        replies = peer.replies(llrp.pack([sent] * 10))
        self.assertEqual(len({remembered_part(reply) for reply in replies}), 1)
        self.assertEqual(len(replies), 10)

    def test_small_replies_are_all_remembered(self):
        for window in (1, 4, 64, 1024):
            peer, session = self.open_udp(window=window)
            if session.window != window:
                continue
            first = {sequence: peer.reply(request(session.id, sequence, "test.Slow/Big", u32(200)))
                     for sequence in range(window)}
            for sequence in range(window):
                self.assertEqual(remembered_part(peer.reply(request(session.id, sequence, ECHO))),
                                 remembered_part(first[sequence]))
            peer.send(llrp.bye())

    def test_forgotten(self):
        # More replies than any byte budget of 64 slots is sure to hold: each is whole, or 410.
        peer, session = self.open_udp(window=64)
        for sequence in range(64):
            peer.send(request(session.id, sequence, "test.Slow/Big", u32(20000)))
            self.assertEqual(len(peer.whole_reply().payload), 20000)
        statuses = []
        for sequence in range(64):
            peer.send(request(session.id, sequence, "test.Slow/Big", u32(20000)))
            reply = peer.whole_reply()
            statuses.append(reply.status)
            if reply.status == 200:
                self.assertEqual(len(reply.payload), 20000)
            else:
                self.assert_reason(reply, 410)
        self.assertIn(410, statuses)

    def test_connections_refuse_what_is_not_newer(self):
        peer, session = self.open_tcp(window=4)
        first = counted(peer.reply(request(session.id, 10, COUNT)))
        for sequence in (10, 6, 2):
            for method, flags in ((COUNT, 0), (COUNT, llrp.RETRY), (IDEM, 0), (COUNT, llrp.IDEMPOTENT)):
                self.assert_reason(peer.reply(request(session.id, sequence, method, b"", flags)), 409)
        self.assertEqual(counted(peer.reply(request(session.id, 14, COUNT))), first + 1)
        self.assertEqual(counted(peer.reply(request(session.id, 3, COUNT))), first + 2)


class Time(Case):
    def test_order_on_connections(self):
        peer, session = self.open_tcp(window=256)
        peer.send_frames(*(request(session.id, sequence, COUNT) for sequence in range(1, 201)))
        replies = [llrp.as_reply(peer.receive()) for _ in range(200)]
        self.assertEqual([reply.sequence for reply in replies], list(range(1, 201)))
        self.assertEqual([counted(reply) - counted(replies[0]) for reply in replies], list(range(200)))

    def test_service_and_queue_time(self):
        for peer, session in self.open_each():
            peer.send_frames(request(session.id, 1, SLEEP, u32(300)))
            peer.send_frames(request(session.id, 2, ECHO))
            slept, waited = (llrp.as_reply(peer.receive()) for _ in range(2))
            self.assertEqual((slept.sequence, waited.sequence), (1, 2))
            self.assertGreaterEqual(slept.service_ns, 299 * 10**6)
            self.assertLess(waited.service_ns, 299 * 10**6)
            if isinstance(peer, llrp.Udp):
                # The kernel's time of receipt counts, and it came soon after the first.
                self.assertGreater(waited.queue_ns, 50 * 10**6)

    def test_budget_spent_in_the_queue(self):
        peer, session = self.open_udp()
        before = counted(peer.reply(request(session.id, 1, COUNT)))
        peer.send(request(session.id, 2, SLEEP, u32(300)))
        late = request(session.id, 3, COUNT, b"", 0, 1000)
        peer.send(late)
        peer.send(request(session.id, 4, COUNT, b"", 0, 3600 * 10**6))
        replies = {reply.sequence: reply for reply in (llrp.as_reply(peer.receive()) for _ in range(3))}
        self.assert_reason(replies[3], 504)
        self.assertEqual(counted(replies[4]), before + 1)
        # It is settled, so never run, whatever the repeat's budget.
        self.assert_reason(peer.reply(late), 504)
        self.assert_reason(peer.reply(request(session.id, 3, COUNT)), 504)

    def test_no_limit(self):
        peer, session = self.open_udp()
        peer.send(request(session.id, 1, SLEEP, u32(100)))
        peer.send(request(session.id, 2, ECHO, b"patient", 0, 0))
        self.assertEqual([llrp.as_reply(peer.receive()).status for _ in range(2)], [200, 200])

    def test_deferred(self):
        for peer, session in self.open_each():
            peer.send_frames(request(session.id, 1, DEFER, u32(150) + b"later"))
            peer.send_frames(request(session.id, 2, ECHO, b"meanwhile"))
            first, second = (llrp.as_reply(peer.receive()) for _ in range(2))
            self.assertEqual((first.sequence, first.payload), (2, b"meanwhile"))
            self.assertEqual((second.sequence, second.status, second.payload), (1, 200, u32(150) + b"later"))

    def test_repeat_of_what_still_runs(self):
        peer, session = self.open_udp()
        sent = request(session.id, 1, DEFER, u32(300))
        self.assertEqual(peer.answers(sent, sent, sent), [])
        first = llrp.as_reply(peer.receive())
        self.assertEqual(peer.until_ack(), [])
        self.assertEqual(remembered_part(peer.reply(sent)), remembered_part(first))

    def test_newer_comes_while_older_still_runs(self):
        for peer, session in self.open_each(window=1):
            peer.send_frames(request(session.id, 1, DEFER, u32(200)))
            self.assert_alive(peer, session, 2)
            # The older one's reply would have come before this one's.
            peer.send_frames(request(session.id, 3, DEFER, u32(400)))
            self.assertEqual(llrp.as_reply(peer.receive()).sequence, 3)

    def test_many_deferred(self):
        for peer, session in self.open_each(window=64):
            peer.send_frames(*(request(session.id, sequence, DEFER, u32(20 + sequence * 7 % 40))
                               for sequence in range(20)))
            replies = [llrp.as_reply(peer.receive()) for _ in range(20)]
            self.assertEqual(sorted(reply.sequence for reply in replies), list(range(20)))
            for reply in replies:
                self.assertEqual(reply.payload, u32(20 + reply.sequence * 7 % 40))


class Cancel(Case):
    def test_before_it_started(self):
        peer, session = self.open_udp()
        before = counted(peer.reply(request(session.id, 0, COUNT)))

        def attempt(number):
            parts = llrp.fragments(session.id, number, COUNT, bytes(3000))
            for sent in (parts[0], parts[2], llrp.cancel(session.id, number)):
                peer.send(sent)
            replies = [llrp.as_reply(received) for received in peer.until_ack()]
            if not replies:
                return False
            self.assert_reason(replies[0], 499)
            self.assertEqual(len(replies), 1)
            # It never runs, not even when all of it comes.
            for reply in peer.replies(*parts, *parts):
                self.assert_reason(reply, 499)
            # The slot goes on.
            self.assert_alive(peer, session, 64 + number)
            return True

        self.unless_stalled(attempt)
        self.assertEqual(counted(peer.reply(request(session.id, 64, COUNT))), before + 1)

    def test_of_another_session(self):
        peer, session = self.open_udp()
        other, other_session = self.open_udp()

        def attempt(number):
            parts = llrp.fragments(session.id, number, COUNT, bytes(3000))
            for sent in parts[:2]:
                peer.send(sent)
            other.send(llrp.cancel(session.id, number))
            other.send(llrp.cancel(other_session.id, number))
            peer.send(parts[2])
            self.assertEqual(other.until_ack(), [])
            return [reply.status for reply in peer.replies()] == [200]

        self.unless_stalled(attempt)

    def test_nothing_happens(self):
        for peer, session in self.open_each():
            # Unknown: nothing is remembered.
            self.assertEqual(peer.answers(llrp.cancel(session.id, 1), llrp.cancel(session.id, 2**63)), [])
            self.assert_alive(peer, session, 1)
            # Done.
            self.assertEqual(peer.answers(llrp.cancel(session.id, 1)), [])
            # Running.
            peer.send_frames(request(session.id, 2, DEFER, u32(100)), llrp.cancel(session.id, 2))
            reply = llrp.as_reply(peer.receive())
            self.assertEqual((reply.sequence, reply.status), (2, 200))
            self.assertEqual(peer.until_ack(), [])
        # No session at all.
        self.assertEqual(self.udp().answers(llrp.cancel(5, 1), llrp.cancel(0, 1)), [])


class Ends(unittest.TestCase):
    def serve(self):
        return Server(*Case.words, listens=4)

    def test_drain(self):
        server = self.serve()
        self.addCleanup(lambda: server.process.poll() is None and server.kill())
        peers = [llrp.Udp(server.address("udp")), llrp.Tcp(server.address("tcp"))]
        sessions = [peer.open() for peer in peers]
        for peer, session in zip(peers, sessions):
            self.addCleanup(peer.close)
            peer.send_frames(request(session.id, 1, DEFER, u32(1500)))
            peer.until_ack()
        server.terminate()
        time.sleep(0.3)
        for peer, session in zip(peers, sessions):
            reply = peer.reply(request(session.id, 2, ECHO))
            self.assertEqual((reply.sequence, reply.status), (2, 503))
            self.assertLessEqual(len(reply.payload), 256)
            self.assertGreater(reply.queue_ns, 0)
        for peer in peers:
            # What was inside finishes.
            reply = llrp.as_reply(peer.receive())
            self.assertEqual((reply.sequence, reply.status), (1, 200))
        self.assertEqual(server.wait(), 0, "".join(server.lines))

    def test_worker_dies(self):
        server = self.serve()
        self.addCleanup(server.stop)
        peer = llrp.Udp(server.address("udp"))
        self.addCleanup(peer.close)
        session = peer.open()
        done = peer.reply(request(session.id, 1, ECHO, b"before"))
        crash = request(session.id, 2, "test.Slow/Crash")
        peer.send(crash)
        self.assert_answered_500(peer, crash)
        # The session goes on, with what it remembers.
        self.assertEqual(remembered_part(peer.reply(request(session.id, 1, ECHO, b"before"))), remembered_part(done))
        self.assertEqual(peer.reply(request(session.id, 3, ECHO, b"after")).payload, b"after")
        connection = llrp.Tcp(server.address("tcp"))
        self.addCleanup(connection.close)
        again = connection.open()
        self.assertEqual(connection.reply(request(again.id, 1, ECHO)).status, 200)
        connection.send_frames(request(again.id, 2, "test.Slow/Crash"))
        self.assertTrue(connection.is_ended())
        self.assertEqual(peer.reply(request(session.id, 4, ECHO, b"after")).payload, b"after")

    def assert_answered_500(self, peer, crash):
        """At once, or when the client repeats."""
        try:
            reply = llrp.as_reply(peer.receive(2))
        except TimeoutError:
            reply = peer.reply(crash)
        self.assertEqual((reply.sequence, reply.status), (2, 500))


if __name__ == "__main__":
    unittest.main(verbosity=2)
