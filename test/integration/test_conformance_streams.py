#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What is TCP's own: pipelining, large frames, splits, connections that end, stop reading or say nothing."""
import random
import socket
import struct
import unittest

import llrp
from llrp import frame, pad, request
from server import Case, ECHO

BIG = "test.Slow/Big"


class Streams(Case):
    def test_pipelined(self):
        for index in (0, 1):
            peer, session = self.open_tcp(index, window=1024)
            sent = [request(session.id, sequence, ECHO, bytes([sequence % 256]) * (sequence % 100))
                    for sequence in range(1000)]
            peer.send_frames(*sent)
            for sequence in range(1000):
                reply = llrp.as_reply(peer.receive())
                self.assertEqual((reply.sequence, reply.payload),
                                 (sequence, bytes([sequence % 256]) * (sequence % 100)))

    def test_splits_anywhere(self):
        peer, session = self.open_tcp()
        data = b"".join(pad(request(session.id, sequence, ECHO, bytes(sequence * 37))) for sequence in range(20))
        chance = random.Random(5)
        while data:
            size = chance.choice((1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 500, 1500))
            peer.send(data[:size])
            data = data[size:]
        self.assertEqual([len(llrp.as_reply(peer.receive()).payload) for _ in range(20)],
                         [sequence * 37 for sequence in range(20)])

    def test_largest_payload(self):
        peer, session = self.open_tcp()
        payload = random.Random(1).randbytes(65536)
        reply = peer.reply(request(session.id, 1, ECHO, payload))
        self.assertEqual((reply.status, reply.payload), (200, payload))
        reply = peer.reply(request(session.id, 2, BIG, struct.pack("<I", 65536)))
        self.assertEqual(reply.payload, bytes(byte % 251 for byte in range(65536)))

    def test_too_large_is_stepped_over(self):
        for size in (65537, 70000, 300000):
            peer, session = self.open_tcp()
            peer.send_frames(request(session.id, 1, ECHO, bytes(size)), request(session.id, 2, ECHO, b"next"))
            self.assert_reason(llrp.as_reply(peer.receive()), 413)
            self.assertEqual(llrp.as_reply(peer.receive()).payload, b"next")
            # It is settled.
            self.assertEqual(peer.reply(request(session.id, 1, ECHO)).status, 409)

    def test_too_large_with_a_wrong_crc(self):
        peer, session = self.open_tcp()
        bad = bytearray(request(session.id, 1, ECHO, bytes(200000)))
        bad[-1] ^= 1
        peer.send(pad(bytes(bad)))
        self.assertTrue(peer.is_ended())

    def test_request_before_hello(self):
        peer = self.tcp()
        self.assertEqual(peer.reply(request(1, 1, ECHO)).status, 401)
        session = peer.open()
        self.assert_alive(peer, session, 1)

    def test_request_behind_its_hello(self):
        # The session's id is not known yet: 401, and the stream goes on.
        peer = self.tcp()
        peer.send_frames(llrp.hello(5), request(1, 1, ECHO))
        self.assertEqual(llrp.as_welcome(peer.receive()).status, 200)
        self.assertEqual(llrp.as_reply(peer.receive()).status, 401)

    def test_cookie_is_not_asked_for(self):
        peer = self.tcp()
        peer.send_frames(llrp.hello(5, 0x1234567890))
        answer = llrp.as_welcome(peer.receive())
        self.assertEqual((answer.status, answer.cookie, answer.nonce), (200, 0, 5))

    def test_fragment_ends_the_connection(self):
        peer, session = self.open_tcp()
        peer.send(pad(llrp.fragments(session.id, 1, ECHO, bytes(100))[0]))
        self.assertTrue(peer.is_ended())

    def test_peer_that_stops_reading(self):
        # Its replies meet a bounded buffer; whatever becomes of it, others are served.
        slow, session = self.open_tcp(window=1024)
        slow.socket.settimeout(2)
        try:
            for sequence in range(1024):
                slow.socket.sendall(pad(request(session.id, sequence, BIG, struct.pack("<I", 65536))))
        except OSError:
            pass  # the server has stopped reading, or has ended the connection
        for _ in range(3):
            self.assert_alive(*self.open_tcp(), 1)
            self.assert_alive(*self.open_udp(), 1)

    def test_slow_reader_of_large_replies(self):
        # 400 small requests make 26 MB of replies, far beyond what the server keeps for anybody: it
        # takes requests as replies are read, and nobody who reads is shown the door.
        peer, session = self.open_tcp(window=1024)
        peer.send_frames(*(request(session.id, sequence, BIG, struct.pack("<I", 65536))
                           for sequence in range(400)))
        whole = bytes(byte % 251 for byte in range(65536))
        for sequence in range(400):
            reply = llrp.as_reply(peer.receive())  # whose checksum in Python makes it slow
            self.assertEqual((reply.sequence, reply.status), (sequence, 200))
            self.assertEqual(reply.payload, whole)
        self.assert_alive(peer, session, 1000)

    def test_half_closed(self):
        peer, session = self.open_tcp()
        peer.send_frames(request(session.id, 1, ECHO, b"last"))
        self.assertEqual(llrp.as_reply(peer.receive()).payload, b"last")
        peer.socket.shutdown(socket.SHUT_WR)
        self.assertIsNone(peer.receive())

    def test_reset_while_a_reply_is_owed(self):
        for _ in range(20):
            peer, session = self.open_tcp()
            peer.send_frames(request(session.id, 1, "test.Slow/Defer", struct.pack("<I", 50)))
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
        self.assert_alive(*self.open_tcp(), 1)

    def test_many_that_say_little(self):
        silent = [(self.tcp(), llrp.hello(number + 1)) for number in range(200)]
        for number, (peer, hello) in enumerate(silent):
            peer.send(hello[:number % 128])
        self.assert_alive(*self.open_tcp(), 1)
        for number, (peer, hello) in enumerate(silent):
            peer.send(hello[number % 128:])
            self.assertEqual(llrp.as_welcome(peer.receive()).nonce, number + 1)

    def test_heartbeats_among_requests(self):
        peer, session = self.open_tcp()
        sent = []
        for sequence in range(1, 30):
            sent += [frame(llrp.HEARTBEAT, b"", sequence), request(session.id, sequence, ECHO)]
        peer.send_frames(*sent)
        received = [peer.receive() for _ in sent]
        self.assertEqual([answer.kind for answer in received], [llrp.ACK, llrp.REPLY] * 29)


if __name__ == "__main__":
    unittest.main(verbosity=2)
