#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Frames: every bit flipped, every truncation, every lie about length, padding, packing, types."""
import socket
import struct
import unittest

import llrp
from llrp import frame, pack, pad, request
from server import Case, ECHO


def with_crc(data):
    """The same frame with a checksum that fits it again."""
    data = bytearray(data)
    struct.pack_into("<I", data, 28, llrp.crc32c(data[32:], llrp.crc32c(data[:28])))
    return bytes(data)


def flipped(data, bit):
    data = bytearray(data)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


class Datagrams(Case):
    def test_every_header_bit(self):
        peer, session = self.open_udp()
        good = request(session.id, 1, ECHO, b"sixteen bytes...")
        self.assertEqual(peer.answers(*(flipped(good, bit) for bit in range(256))), [])
        self.assert_alive(peer, session, 1)

    def test_every_bit_of_body(self):
        peer, session = self.open_udp()
        good = request(session.id, 1, ECHO, b"body")
        bits = range(256, 8 * len(good))
        self.assertEqual(peer.answers(*(flipped(good, bit) for bit in bits)), [])
        self.assert_alive(peer, session, 1)

    def test_magic_and_version_with_a_good_crc(self):
        peer, session = self.open_udp()
        good = request(session.id, 1, ECHO)
        bad = [with_crc(flipped(good, bit)) for bit in range(40)]
        self.assertEqual(peer.answers(*bad), [])
        self.assert_alive(peer, session, 1)

    def test_flags_not_listed_or_not_allowed(self):
        peer, session = self.open_udp()
        bad = [request(session.id, 1, ECHO, bytes(32), 1 << bit) for bit in (0, 4, 5, *range(6, 16))]
        bad.append(frame(llrp.REQUEST, bytes(16), 1, llrp.NO_CRC, crc=0))
        bad += [frame(llrp.HEARTBEAT, b"", 1, 1 << bit) for bit in range(16)]
        bad += [frame(llrp.BYE, b"", 0, 1 << bit) for bit in range(16)]
        bad += [frame(llrp.CANCEL, struct.pack("<Q", session.id), 1, 1 << bit) for bit in range(16)]
        self.assertEqual(peer.answers(*bad), [])
        self.assert_alive(peer, session, 1)

    def test_hello_with_flags(self):
        peer = self.udp()
        good = llrp.hello(5)
        bad = [with_crc(good[:6] + struct.pack("<H", 1 << bit) + good[8:]) for bit in range(16)]
        self.assertEqual(peer.answers(*bad), [])

    def test_every_truncation(self):
        peer, session = self.open_udp()
        good = request(session.id, 1, ECHO, b"payload of some bytes")
        self.assertEqual(peer.answers(*(good[:size] for size in range(len(good)))), [])
        good = llrp.hello(7)
        self.assertEqual(peer.answers(*(good[:size] for size in range(len(good)))), [])
        self.assert_alive(peer, session, 1)

    def test_length_above_what_arrived(self):
        peer, session = self.open_udp()
        body = llrp.REQUEST_ROUTE.pack(llrp.route_of(ECHO), 0, session.id) + bytes(20)
        lies = [len(body) + more for more in (1, 2, 15, 16, 1000, 65536)]
        lies += [1 << bit for bit in range(6, 32)] + [(16 << 20) + 4096, (16 << 20) + 4097, 2**32 - 1]
        bad = [frame(llrp.REQUEST, body, 1, length=lie) for lie in lies]
        self.assertEqual(peer.answers(*bad), [])
        self.assert_alive(peer, session, 1)

    def test_length_below_what_arrived(self):
        # The frame is good as far as it says; what follows is no frame, or no zeros.
        peer, session = self.open_udp()
        for sequence, size in enumerate((0, 1, 16, 17, 31), 1):
            with self.subTest(size):
                data = request(session.id, sequence, ECHO, b"x" * size) + b"x" * (32 - size)
                self.assertEqual([reply.payload for reply in peer.replies(data)], [b"x" * size])

    def test_request_with_less_than_a_route_block(self):
        peer, session = self.open_udp()
        bad = [frame(llrp.REQUEST, bytes(size), 1) for size in range(16)]
        self.assertEqual(peer.answers(*bad), [])
        self.assert_alive(peer, session, 1)

    def test_several_frames_in_one_datagram(self):
        peer, session = self.open_udp()
        payloads = [bytes([size]) * size for size in range(16)]
        sent = [request(session.id, size + 1, ECHO, payload) for size, payload in enumerate(payloads)]
        peer.send_frames(*sent)
        replies = [llrp.as_reply(peer.receive()) for _ in sent]
        self.assertEqual([reply.payload for reply in sorted(replies)], payloads)

    def test_bad_frame_ends_its_datagram(self):
        peer, session = self.open_udp()
        good = [request(session.id, sequence, ECHO, b"good!") for sequence in (1, 2)]
        for bad in (frame(llrp.REQUEST, bytes(16), 3, crc=1), b"x" * 48, bytes(48),
                    frame(llrp.HEARTBEAT, version=2), frame(llrp.HEARTBEAT, magic=b"LLRQ")):
            replies = peer.replies(pack([good[0], bad, good[1]]))
            self.assertEqual([reply.sequence for reply in replies], [1])
        self.assertEqual(peer.reply(good[1]).sequence, 2)

    def test_padding_between_frames(self):
        peer, session = self.open_udp()
        first, second = (request(session.id, sequence, ECHO, b"odd") for sequence in (1, 2))
        self.assertEqual(len(first) % 16, 3)
        for at in range(len(first), len(pad(first))):
            with self.subTest(at):
                data = bytearray(pack([first, second]))
                data[at] = 1
                self.assertEqual([reply.sequence for reply in peer.replies(bytes(data))], [1])
        # Without padding, with too little and with too much of it.
        for gap in (0, 1, 12, 14, 15, 16, 29):
            data = first + bytes(gap) + second
            self.assertEqual([reply.sequence for reply in peer.replies(data)], [1])
        self.assertEqual(peer.reply(second).sequence, 2)

    def test_tail_after_the_last_frame(self):
        peer, session = self.open_udp()
        before = self.server.counters()["reject_padding"]
        for sequence, tail in enumerate((b"\0", bytes(13), bytes(16), bytes(29), b"x", b"x" * 40), 1):
            data = request(session.id, sequence, ECHO, b"odd") + tail
            self.assertEqual([reply.sequence for reply in peer.replies(data)], [sequence])
        # 16 and 29 zeros behind the 13 that pad are no padding any more, but no frame either.
        after = self.server.counters()
        self.assertGreaterEqual(after["reject_padding"], before + 4)

    def test_counted_by_reason(self):
        peer, session = self.open_udp()
        good = request(session.id, 1, ECHO, b"odd")
        route = llrp.REQUEST_ROUTE.pack(llrp.route_of(ECHO), 0, session.id)
        reasons = {
            "reject_magic": frame(llrp.HEARTBEAT, magic=b"LLRX"),
            "reject_version": frame(llrp.HEARTBEAT, version=2),
            "reject_length": frame(llrp.HEARTBEAT, length=1),
            "reject_crc": frame(llrp.HEARTBEAT, crc=1),
            "reject_flags": frame(llrp.HEARTBEAT, flags=llrp.ORDERED),
            "reject_route": frame(llrp.REQUEST, bytes(15)),
            "reject_fragment": frame(llrp.REQUEST, route + bytes(15), 1, llrp.FRAGMENT),
            "reject_padding": good + b"x",
            "skipped": frame(200),
        }
        for reason, bad in reasons.items():
            with self.subTest(reason):
                before = self.server.counters()
                peer.answers(bad)
                after = self.server.counters()
                changed = {name: after[name] - before[name] for name in after
                           if name.startswith("reject_") or name == "skipped"}
                self.assertEqual(changed, {name: int(name == reason) for name in changed})

    def test_types_that_are_skipped(self):
        peer, session = self.open_udp()
        skipped = [frame(kind, bytes(size)) for kind in (0, 1, 2, 5, 10, *range(13, 256)) for size in (0, 16)]
        skipped += [frame(llrp.REPLY, bytes(16), 1), frame(llrp.WELCOME, bytes(48)), frame(llrp.ACK)]
        skipped += [frame(llrp.HELLO, bytes(size)) for size in (0, 1, 95, 97, 128)]
        skipped += [frame(llrp.CANCEL, bytes(size), 1) for size in (0, 7, 9, 16)]
        skipped += [frame(kind, bytes(size)) for kind in (llrp.HEARTBEAT, llrp.BYE) for size in (1, 7, 9, 16)]
        for sequence, bad in enumerate(skipped, 1):
            replies = peer.replies(pack([bad, request(session.id, sequence, ECHO, b"on")]))
            self.assertEqual([(reply.sequence, reply.payload) for reply in replies], [(sequence, b"on")])

    def test_strangers_get_no_more_than_they_sent(self):
        sent = [pack([llrp.hello(1)]), pack([llrp.hello(1), llrp.hello(2)])]
        sent += [request(5, 1, ECHO, bytes(size)) for size in (0, 1, 15, 16, 100, 1000)]
        sent += [request(5, 1, "no.Such/Method"), request(0, 1, ECHO, b"", llrp.IDEMPOTENT)]
        sent += [pack([request(5, sequence, ECHO, bytes(size)) for sequence in range(20)])
                 for size in (0, 1, 8, 15)]
        sent += [frame(llrp.HEARTBEAT, b"", 1), frame(llrp.HEARTBEAT, bytes(8), 1)]
        sent += [pack([frame(llrp.HEARTBEAT, b"", 1), request(9, 1, ECHO), frame(llrp.HEARTBEAT, bytes(8), 2)])]
        sent += [llrp.cancel(5, 1), llrp.bye(), llrp.bye(5)]
        sent += [llrp.fragments(5, 1, ECHO, bytes(3000))[0]]
        for data in sent:
            peer = self.udp()
            peer.send(data)
            peer.send(frame(llrp.HEARTBEAT, b"", 1 << 60))
            received = 0
            while True:
                datagram = peer.receive_datagram()
                received += len(datagram)
                if llrp.unpack_datagram(datagram)[-1].sequence == 1 << 60:
                    break
            self.assertLessEqual(received - 32, len(data))


class Streams(Case):
    def refused(self, data, session_first=True):
        """Whether the connection ends without an answer."""
        peer, session = self.open_tcp() if session_first else (self.tcp(), None)
        peer.send(data(session) if callable(data) else data)
        while (received := peer.receive()) is not None:
            self.fail(f"answered: {received}")

    def test_every_header_bit(self):
        for bit in range(256):
            with self.subTest(bit):
                peer, session = self.open_tcp()
                good = request(session.id, 1, ECHO, b"sixteen bytes...")
                bad = flipped(good, bit)
                length = struct.unpack_from("<I", bad, 24)[0]
                if len(good) - 32 < length <= (16 << 20) + 4096:
                    # It waits for the rest of the body, in which the checksum's fault comes out.
                    if length > 65536:
                        continue
                    bad += bytes(length - len(good) + 32)
                peer.send(pad(bad))
                self.assertIsNone(peer.receive())

    def test_length_above_the_maximum(self):
        for length in ((16 << 20) + 4097, 1 << 25, 2**32 - 1):
            self.refused(lambda session: frame(llrp.REQUEST, bytes(16), 1, length=length))

    def test_flags_not_listed_or_not_allowed(self):
        for bit in (0, 1, 4, 5, *range(6, 16)):
            with self.subTest(bit):
                self.refused(lambda session: request(session.id, 1, ECHO, bytes(32), 1 << bit))
        self.refused(lambda session: frame(
            llrp.REQUEST, llrp.REQUEST_ROUTE.pack(llrp.route_of(ECHO), 0, session.id), 1, llrp.NO_CRC, crc=0))

    def test_every_truncation(self):
        for size in range(0, 69, 3):
            peer, session = self.open_tcp()
            peer.send(request(session.id, 1, ECHO, b"payload of some bytes")[:size])
            peer.socket.shutdown(socket.SHUT_WR)
            self.assertIsNone(peer.receive())

    def test_request_with_less_than_a_route_block(self):
        for size in range(16):
            self.refused(pad(frame(llrp.REQUEST, bytes(size), 1)))

    def test_garbage(self):
        for data in (b"GET / HTTP/1.1\r\nHost: llrph.example\r\n\r\n", bytes(64), b"\xff" * 64):
            self.refused(data, session_first=False)

    def test_padding(self):
        for at in range(13):
            peer, session = self.open_tcp()
            padding = bytearray(13)
            padding[at] = 1
            peer.send(request(session.id, 1, ECHO, b"odd") + padding)
            self.assertEqual(llrp.as_reply(peer.receive()).payload, b"odd")
            self.assertTrue(peer.is_ended())

    def test_answered_before_its_padding(self):
        peer, session = self.open_tcp()
        for sequence in range(1, 20):
            sent = request(session.id, sequence, ECHO, b"odd")
            peer.send(sent)
            self.assertEqual(llrp.as_reply(peer.receive()).sequence, sequence)
            peer.send(bytes(-len(sent) % 16))

    def test_bad_frame_ends_what_follows(self):
        peer, session = self.open_tcp()
        peer.send_frames(request(session.id, 1, ECHO), frame(llrp.HEARTBEAT, crc=5), request(session.id, 2, ECHO))
        self.assertEqual(llrp.as_reply(peer.receive()).sequence, 1)
        self.assertIsNone(peer.receive())

    def test_types_that_are_skipped(self):
        peer, session = self.open_tcp()
        skipped = [frame(kind, bytes(16)) for kind in (0, 1, 2, 5, 10, *range(13, 256))]
        skipped += [frame(llrp.REPLY, bytes(16), 1), frame(llrp.WELCOME, bytes(48)), frame(llrp.ACK)]
        skipped += [frame(llrp.HELLO, bytes(size)) for size in (0, 95, 97)]
        skipped += [frame(llrp.CANCEL, bytes(size), 1) for size in (0, 7, 9)]
        skipped += [frame(kind, bytes(size)) for kind in (llrp.HEARTBEAT, llrp.BYE) for size in (1, 7, 9)]
        peer.send_frames(*skipped)
        self.assert_alive(peer, session, 1)

    def test_byte_at_a_time(self):
        peer, session = self.open_tcp()
        data = b"".join(pad(request(session.id, sequence, ECHO, bytes(sequence))) for sequence in range(1, 6))
        for at in range(len(data)):
            peer.send(data[at:at + 1])
        for sequence in range(1, 6):
            self.assertEqual(llrp.as_reply(peer.receive()).payload, bytes(sequence))

    def test_hello_byte_at_a_time(self):
        peer = self.tcp()
        for byte in llrp.hello(99):
            peer.send(bytes([byte]))
        self.assertEqual(llrp.as_welcome(peer.receive()).status, 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
