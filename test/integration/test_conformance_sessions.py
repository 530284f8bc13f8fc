#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sessions: cookies, nonces, terms, whose they are, how they end."""
import struct
import time
import unittest

import llrp
from llrp import frame, request
from server import Case, ECHO, Server

MAX_U16, MAX_U32, MAX_U64 = 2**16 - 1, 2**32 - 1, 2**64 - 1


class Cookies(Case):
    def test_challenge(self):
        for index in (0, 1):
            peer = self.udp(index)
            peer.send(llrp.hello(77, 0, max_message=100, window=4, features=1))
            answer = llrp.as_welcome(peer.receive())
            self.assertEqual((answer.status, answer.nonce), (401, 77))
            self.assertEqual((answer.session, answer.window, answer.max_message, answer.features), (0,) * 4)
            self.assertNotEqual(answer.cookie, 0)

    def test_challenge_leaves_nothing_behind(self):
        peer = self.udp()
        cookie = peer.cookie(5)
        # Nobody has a session here, whatever id is tried, until the cookie comes back.
        self.assertEqual(peer.reply(request(0, 1, ECHO)).status, 401)
        peer.send(llrp.hello(6, cookie))
        self.assertEqual(llrp.as_welcome(peer.receive()).status, 200)
        peer.send(llrp.bye())

    def test_cookie_of_another_address(self):
        first, second = self.udp(), self.udp()
        cookie = first.cookie(5)
        second.send(llrp.hello(5, cookie))
        self.assertEqual(llrp.as_welcome(second.receive()).status, 401)

    def test_cookie_with_a_bit_flipped(self):
        peer = self.udp()
        cookie = peer.cookie(5)
        for bit in range(64):
            peer.send(llrp.hello(5, cookie ^ 1 << bit))
            self.assertEqual(llrp.as_welcome(peer.receive()).status, 401)

    def test_cookie_is_good_for_ten_seconds(self):
        peer = self.udp()
        cookie = peer.cookie(5)
        time.sleep(9.5)
        peer.send(llrp.hello(5, cookie))
        self.assertEqual(llrp.as_welcome(peer.receive()).status, 200)
        peer.send(llrp.bye())

    def test_bytes_that_mean_nothing_are_ignored(self):
        peer = self.udp()
        cookie = peer.cookie(5)
        body = bytearray(llrp.HELLO_BODY.pack(5, cookie, 0, 0, 0, 0))
        body[22:24] = b"\xff\xff"
        body[32:96] = b"\xff" * 64
        peer.send(frame(llrp.HELLO, bytes(body)))
        self.assertEqual(llrp.as_welcome(peer.receive()).status, 200)
        peer.send(llrp.bye())


class Nonces(Case):
    def test_same_nonce_same_session_on_its_first_terms(self):
        peer = self.udp()
        first = peer.open(5, window=4, max_message=1000)
        self.assertEqual(peer.open(5, window=32, max_message=50, features=1), first)
        self.assertEqual(peer.reply(request(first.id, 1, ECHO)).status, 200)
        peer.send(llrp.bye())

    def test_new_nonce_replaces(self):
        peer = self.udp()
        first, second = peer.open(5), peer.open(6)
        self.assertNotEqual(first.id, second.id)
        self.assertEqual(peer.reply(request(first.id, 1, ECHO)).status, 401)
        self.assert_alive(peer, second, 1)
        # What the first one ran is not the second one's.
        self.assertEqual(peer.reply(request(second.id, 2, ECHO)).status, 200)
        peer.send(llrp.bye())

    def test_hello_without_cookie_leaves_the_session_alone(self):
        peer, session = self.open_udp()
        peer.cookie(123)
        self.assert_alive(peer, session, 1)

    def test_on_connections(self):
        peer, first = self.open_tcp(nonce=5, window=4)
        self.assertEqual(peer.open(5, window=16), first)
        self.assert_alive(peer, first, 1)
        second = peer.open(6, window=16)
        self.assertNotEqual(first.id, second.id)
        self.assertEqual(second.window, 16)
        self.assertEqual(peer.reply(request(first.id, 2, ECHO)).status, 401)
        self.assert_alive(peer, second, 1)


class Terms(Case):
    WINDOWS = {0: 64, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 63: 32, 64: 64, 65: 64, 100: 64, 127: 64, 128: 128,
               1000: 512, 1023: 512, 1024: 1024, 1025: 1024, 2048: 1024, 65535: 1024}
    MESSAGES = {0: 65536, 1: 1, 3: 3, 16: 16, 100: 100, 1000: 1000, 65535: 65535, 65536: 65536,
                65537: 65536, 1 << 24: 65536, MAX_U32: 65536}

    def openers(self):
        for opener in (self.open_udp, self.open_tcp):
            for index in (0, 1):
                yield opener, index

    def test_window(self):
        for opener, index in self.openers():
            for asked, granted in self.WINDOWS.items():
                with self.subTest(opener=opener.__name__, index=index, asked=asked):
                    peer, session = opener(index, window=asked, max_message=256)
                    self.assertEqual(session.window, granted)
                    peer.send_frames(llrp.bye())

    def test_max_message(self):
        for opener, index in self.openers():
            for asked, granted in self.MESSAGES.items():
                with self.subTest(opener=opener.__name__, index=index, asked=asked):
                    peer, session = opener(index, max_message=asked)
                    self.assertEqual(session.max_message, granted)
                    peer.send_frames(llrp.bye())

    def test_features(self):
        for opener, index in self.openers():
            for asked in (0, 1, 2, 3, 1 << 63, MAX_U64):
                peer, session = opener(index, features=asked)
                self.assertEqual(session.features, asked & llrp.FEATURE_EXT)
                peer.send_frames(llrp.bye())

    def test_ids_and_epoch(self):
        sessions = [opener(index)[1] for opener, index in self.openers() for _ in range(4)]
        self.assertEqual(len({session.id for session in sessions}), len(sessions))
        self.assertEqual(len({session.epoch for session in sessions}), 1)

    def test_credits(self):
        for peer, session in self.open_each(window=8):
            for sequence in range(1, 20):
                reply = peer.reply(request(session.id, sequence, ECHO))
                self.assertTrue(1 <= reply.credits <= 8, reply.credits)

    def test_max_message_is_kept(self):
        for peer, session in self.open_each(max_message=100):
            self.assertEqual(peer.reply(request(session.id, 1, ECHO, bytes(100))).status, 200)
            self.assert_reason(peer.reply(request(session.id, 2, ECHO, bytes(101))), 413)
            # The reply is bound by it too: the handler gets no room.
            reply = peer.reply(request(session.id, 3, "test.Slow/Big", struct.pack("<I", 101)))
            self.assertEqual((reply.status, reply.payload), (455, b"no room"))
            reply = peer.reply(request(session.id, 4, "test.Slow/Big", struct.pack("<I", 100)))
            self.assertEqual((reply.status, len(reply.payload)), (200, 100))


class Owners(Case):
    def test_no_session(self):
        for peer in (self.udp(0), self.udp(1), self.tcp(0), self.tcp(1)):
            for session in (0, 1, MAX_U64):
                reply = peer.reply(request(session, 3, ECHO, bytes(300)))
                self.assert_reason(reply, 401)
                self.assertEqual((reply.sequence, reply.route, reply.credits), (3, llrp.route_of(ECHO), 0))

    def test_session_of_another_address(self):
        _, session = self.open_udp()
        for peer in (self.udp(0), self.udp(1), self.open_udp()[0], self.tcp(), self.open_tcp()[0]):
            self.assertEqual(peer.reply(request(session.id, 1, ECHO)).status, 401)

    def test_session_of_another_connection(self):
        owner, session = self.open_tcp()
        for peer in (self.tcp(), self.open_tcp()[0], self.udp()):
            self.assertEqual(peer.reply(request(session.id, 1, ECHO)).status, 401)
        self.assert_alive(owner, session, 1)

    def test_what_strangers_cannot_end(self):
        owner, session = self.open_udp()
        connected, other = self.open_tcp()
        for peer in (self.udp(), self.open_udp()[0], self.open_tcp()[0]):
            for target in (session, other):
                peer.answers(llrp.bye(target.id), llrp.cancel(target.id, 1))
        self.assert_alive(owner, session, 1)
        self.assert_alive(connected, other, 1)

    def test_401_settles_nothing(self):
        peer, session = self.open_tcp()
        self.assertEqual(peer.reply(request(session.id ^ 1, 5, ECHO)).status, 401)
        self.assert_alive(peer, session, 5)


class Ends(Case):
    def test_bye_with_its_session(self):
        for peer, session in self.open_each():
            self.assert_alive(peer, session, 1)
            peer.send_frames(llrp.bye(session.id))
            self.assertEqual(peer.reply(request(session.id, 2, ECHO)).status, 401)

    def test_bye_with_an_empty_body(self):
        for peer, session in self.open_each():
            peer.send_frames(llrp.bye())
            self.assertEqual(peer.reply(request(session.id, 1, ECHO)).status, 401)

    def test_open_again_after_bye(self):
        for peer, session in self.open_each(nonce=9):
            peer.send_frames(llrp.bye(session.id))
            again = peer.open(9)
            self.assertNotEqual(again.id, session.id)
            self.assert_alive(peer, again, 1)

    def test_bye_for_another_session_than_its_own(self):
        peer, session = self.open_udp()
        peer.send(llrp.bye(session.id ^ 1))
        self.assert_alive(peer, session, 1)

    def test_heartbeats(self):
        for peer, session in self.open_each():
            for body in (b"", struct.pack("<Q", session.id)):
                for sequence in (0, 1, MAX_U64):
                    peer.send_frames(frame(llrp.HEARTBEAT, body, sequence))
                    received = peer.receive()
                    self.assertEqual((received.kind, received.sequence), (llrp.ACK, sequence))
                    self.assertIn(received.body, (b"", struct.pack("<Q", session.id)))

    def test_connection_takes_its_session_with_it(self):
        peer, session = self.open_tcp()
        peer.close()
        other, _ = self.open_tcp()
        self.assertEqual(other.reply(request(session.id, 1, ECHO)).status, 401)


class Sessionless(Case):
    words = (*Case.words, "--sessionless")

    def test_idempotent_request(self):
        for index in (0, 1):
            peer = self.udp(index)
            for _ in range(2):
                reply = peer.reply(request(0, 7, ECHO, b"stranger", llrp.IDEMPOTENT))
                self.assertEqual((reply.sequence, reply.status, reply.payload), (7, 200, b"stranger"))

    def test_it_runs_each_time(self):
        peer = self.udp()
        replies = [peer.reply(request(0, 7, "test.Slow/Count", bytes(8), llrp.IDEMPOTENT)) for _ in range(2)]
        first, second = (struct.unpack("<Q", reply.payload)[0] for reply in replies)
        self.assertEqual(second, first + 1)

    def test_not_flagged(self):
        for flags in (0, llrp.RETRY):
            self.assertEqual(self.udp().reply(request(0, 7, ECHO, b"stranger", flags)).status, 401)

    def test_other_session_than_none(self):
        self.assertEqual(self.udp().reply(request(5, 7, ECHO, b"", llrp.IDEMPOTENT)).status, 401)

    def test_reply_is_no_larger_than_its_request(self):
        peer = self.udp()
        payload = struct.pack("<I", 12) + bytes(8)
        self.assertEqual(peer.reply(request(0, 1, "test.Slow/Big", payload, llrp.IDEMPOTENT)).status, 200)
        for asked in (13, 16, 1000):
            payload = struct.pack("<I", asked) + bytes(8)
            sent = request(0, 1, "test.Slow/Big", payload, llrp.IDEMPOTENT)
            reply = peer.reply(sent)
            self.assertIn(reply.status, (413, 455))  # 455: the handler was given no room and said so
            self.assertLessEqual(reply.size, len(sent))
        sent = request(0, 1, "no.Such/Method", b"", llrp.IDEMPOTENT)
        reply = peer.reply(sent)
        self.assertEqual((reply.status, reply.size), (404, len(sent)))

    def test_not_on_connections(self):
        self.assertEqual(self.tcp().reply(request(0, 7, ECHO, b"stranger", llrp.IDEMPOTENT)).status, 401)


class Full(unittest.TestCase):
    def test_no_session_free(self):
        server = Server("--listen", "udp:127.0.0.1:0", "--service", "echo", "--sessions", "4",
                        listens=1)
        self.addCleanup(server.stop)
        opened = []
        while True:
            peer = llrp.Udp(server.address("udp"))
            self.addCleanup(peer.close)
            peer.send(llrp.hello(5, peer.cookie(5)))
            answer = llrp.as_welcome(peer.receive())
            if answer.status != 200:
                break
            opened.append(peer)
            self.assertLess(len(opened), 16)
        self.assertEqual((answer.status, answer.session, answer.window, answer.max_message,
                          answer.features, answer.nonce), (503, 0, 0, 0, 0, 5))
        self.assertEqual(len(opened), 4)
        opened[0].send(llrp.bye())
        opened[0].until_ack()
        peer.open(5)


if __name__ == "__main__":
    unittest.main(verbosity=2)
