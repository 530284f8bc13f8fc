#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fragments of requests and replies, and extension blocks."""
import random
import struct
import time
import unittest

import llrp
from llrp import EXT_END, ext_block, fragments, request
from server import Case, ECHO

COUNT, IDEM, BIG = "test.Slow/Count", "test.Slow/Idem", "test.Slow/Big"
TRACE = bytes(range(1, 26))


def bytes_of(size):
    return random.Random(size).randbytes(size)


def counted(reply):
    return struct.unpack("<Q", reply.payload)[0]


def part(session, sequence, method, payload, offset, size, total=None, message_crc=None, **more):
    """One part of a payload, wherever it lies."""
    block = llrp.FRAGMENT_BLOCK.pack(offset, len(payload) if total is None else total,
                                     llrp.crc32c(payload) if message_crc is None else message_crc)
    return request(session.id, sequence, method, payload[offset:offset + size],
                   more.pop("flags", 0) | llrp.FRAGMENT, blocks=block, **more)


class Requests(Case):
    def echoed(self, peer, payload, *parts):
        for sent in parts:
            peer.send(sent)
        reply = peer.whole_reply()
        self.assertEqual((reply.status, reply.payload), (200, payload))
        return reply

    def test_sizes(self):
        for index in (0, 1):
            peer, session = self.open_udp(index)
            largest = peer.datagram_size - 32 - 16 - 16
            sizes = [(3000, 16), (1000, 512), (largest, largest // 16 * 16), (5000, 1024), (65536, largest // 16 * 16)]
            for sequence, (size, part_size) in enumerate(sizes, 1):
                with self.subTest(size=size, part_size=part_size):
                    payload = bytes_of(size)
                    self.echoed(peer, payload, *fragments(session.id, sequence, ECHO, payload, part_size))

    def test_one_part(self):
        peer, session = self.open_udp()
        for sequence, size in enumerate((1, 15, 16, 17, 1000)):
            self.echoed(peer, bytes_of(size), *fragments(session.id, sequence, ECHO, bytes_of(size), 1024))

    def test_any_order_and_repeats(self):
        peer, session = self.open_udp()
        payload = bytes_of(5000)
        for sequence in range(12):
            parts = fragments(session.id, sequence, COUNT, payload, 512) * 2
            random.Random(sequence).shuffle(parts)
            replies = peer.replies(*parts)
            # Once whole, what still comes is a repeat: the same reply again, never another run.
            self.assertGreaterEqual(len(replies), 1)
            self.assertEqual({reply.payload for reply in replies}, {replies[0].payload})
            if sequence:
                self.assertEqual(counted(replies[0]), before + 1)
            before = counted(replies[0])

    def test_repeat_fills_the_holes(self):
        peer, session = self.open_udp()
        before = counted(peer.reply(request(session.id, 1, COUNT)))
        parts = fragments(session.id, 2, COUNT, bytes_of(5000), 512)
        self.assertEqual(peer.answers(*(parts[:3] + parts[5:])), [])
        replies = peer.replies(*parts)
        self.assertEqual({counted(reply) for reply in replies}, {before + 1})

    def test_parts_off_the_grid(self):
        peer, session = self.open_udp()
        payload = bytes_of(4096)

        def attempt(number):
            bad = [part(session, number, ECHO, payload, 1, 512), part(session, number, ECHO, payload, 1024, 512),
                   part(session, number, ECHO, payload, 16, 1024), part(session, number, ECHO, payload, 1008, 1024),
                   part(session, number, ECHO, payload, 1024, 1008), part(session, number, ECHO, payload, 3072, 1000),
                   part(session, number, ECHO, payload, 4096, 0), part(session, number, ECHO, payload, 2**32 - 1024, 0),
                   part(session, number, ECHO, payload + b"x" * 64, 3072, 1088, total=4096),
                   part(session, number, ECHO, payload + bytes(1024), 4096, 1024, total=4096),
                   part(session, number, ECHO, payload, 2**32 - 16, 1024)]
            good = fragments(session.id, number, ECHO, payload, 1024)
            for sent in (good[0], *bad, good[2], *bad, good[3], *bad):
                peer.send(sent)
            self.assertEqual(peer.until_ack(), [])
            peer.send(good[1])
            try:
                reply = peer.whole_reply(1)
            except TimeoutError:
                return False
            self.assertEqual(reply.payload, payload)
            return True

        self.unless_stalled(attempt)

    def test_wrong_message_crc(self):
        peer, session = self.open_udp()
        payload = bytes_of(3000)
        wrong = fragments(session.id, 1, ECHO, payload, message_crc=llrp.crc32c(payload) ^ 1)
        self.assertEqual(peer.answers(*wrong, *wrong), [])
        self.echoed(peer, payload, *fragments(session.id, 1, ECHO, payload))

    def test_another_total_or_crc_starts_afresh(self):
        peer, session = self.open_udp()
        old, new = bytes_of(3000), bytes_of(4000)
        parts_old, parts_new = (fragments(session.id, 1, ECHO, payload) for payload in (old, new))
        self.assertEqual(peer.answers(*parts_old[:2]), [])
        self.assertEqual(peer.answers(parts_new[0]), [])
        # The old one has gone: what it lacked does not complete it.
        self.assertEqual(peer.answers(parts_old[2]), [])
        self.echoed(peer, new, *parts_new)
        # As large, but another message.
        other = bytes(reversed(old))
        parts_old, parts_new = (fragments(session.id, 2, ECHO, payload) for payload in (old, other))
        self.assertEqual(peer.answers(parts_old[0], parts_old[1], parts_new[0], parts_old[2]), [])
        self.echoed(peer, other, *parts_new)

    def test_part_size_that_is_no_multiple_of_16(self):
        peer, session = self.open_udp()
        payload = bytes_of(96)
        for part_size in (1, 8, 24):
            self.assertEqual(peer.answers(*fragments(session.id, 1, ECHO, payload, part_size)), [])
        self.echoed(peer, payload, *fragments(session.id, 1, ECHO, payload, 48))

    def test_newer_message_replaces(self):
        peer, session = self.open_udp()
        payload = bytes_of(3000)
        self.assertEqual(peer.answers(*fragments(session.id, 1, ECHO, payload)[:2]), [])
        self.echoed(peer, payload, *fragments(session.id, 2, ECHO, payload))
        self.echoed(peer, payload, *fragments(session.id, 1, ECHO, payload))

    def test_incomplete_after_100_ms(self):
        peer, session = self.open_udp()
        payload = bytes_of(3000)
        parts = fragments(session.id, 1, ECHO, payload)
        self.assertEqual(peer.answers(*parts[:2]), [])
        time.sleep(0.3)
        self.assertEqual(peer.answers(parts[2]), [])
        self.echoed(peer, payload, *parts)

    def test_first_part_decides(self):
        peer, session = self.open_udp()
        payload = bytes_of(3000)
        before = counted(peer.reply(request(session.id, 1, COUNT)))
        first = fragments(session.id, 2, COUNT, payload)[0]
        others = fragments(session.id, 2, ECHO, payload, budget_us=1, flags=llrp.IDEMPOTENT)[1:]
        time.sleep(0.01)
        reply = peer.replies(*others, first)[0]
        self.assertEqual((reply.status, reply.route, counted(reply)), (200, llrp.route_of(COUNT), before + 1))
        # So it is not idempotent either: the repeat is remembered.
        for repeat in peer.replies(first, *others):
            self.assertEqual(repeat.payload, reply.payload)

    def test_not_run_before_it_is_whole(self):
        peer, session = self.open_udp()
        before = counted(peer.reply(request(session.id, 1, COUNT)))
        for missing in range(4):
            parts = fragments(session.id, 2, COUNT, bytes_of(4096))
            self.assertEqual(peer.answers(*(parts[:missing] + parts[missing + 1:])), [])
            time.sleep(0.15)
        self.assertEqual(counted(peer.reply(request(session.id, 3, COUNT))), before + 1)

    def test_without_a_block(self):
        peer, session = self.open_udp()
        bad = [request(session.id, 1, ECHO, bytes(size), llrp.FRAGMENT) for size in range(16)]
        self.assertEqual(peer.answers(*bad), [])
        self.assert_alive(peer, session, 1)

    def test_no_session(self):
        for sent in fragments(5, 1, ECHO, bytes_of(3000)):
            self.assertEqual(self.udp().reply(sent).status, 401)

    def test_too_large(self):
        peer, session = self.open_udp(max_message=2000)
        parts = fragments(session.id, 1, ECHO, bytes_of(2001))
        self.assert_reason(peer.reply(parts[0]), 413)
        self.assertLessEqual({reply.status for reply in peer.replies(*parts)}, {413})
        self.echoed(peer, bytes_of(2000), *fragments(session.id, 2, ECHO, bytes_of(2000)))

    def test_two_sessions_at_once(self):
        payload = bytes_of(3000)
        both = [self.open_udp() for _ in range(2)]
        parts = [fragments(session.id, 1, ECHO, payload) for _, session in both]
        for step in range(3):
            for (peer, _), own in zip(both, parts):
                peer.send(own[step])
        for peer, _ in both:
            self.assertEqual(peer.whole_reply().payload, payload)


class Replies(Case):
    def test_large_replies(self):
        for index in (0, 1):
            peer, session = self.open_udp(index)
            for sequence, size in enumerate((1300, 1400, 1424, 1425, 2000, 20000, 65536), 1):
                sent = request(session.id, sequence, BIG, struct.pack("<I", size))
                peer.send(sent)
                received = 0
                while received < size:
                    datagram = peer.receive_datagram()
                    self.assertLessEqual(len(datagram), peer.datagram_size)
                    for reply in map(llrp.as_reply, llrp.unpack_datagram(datagram)):
                        self.assertEqual((reply.sequence, reply.status), (sequence, 200))
                        if reply.fragment:
                            self.assertEqual(reply.fragment[:2], (received, size))
                            self.assertGreater(48 + size, peer.datagram_size)
                        received += len(reply.payload)
                self.assertEqual(received, size)

    def test_repeat_gets_all_parts_again(self):
        peer, session = self.open_udp()
        for sequence, flags in enumerate((0, llrp.IDEMPOTENT), 1):
            sent = request(session.id, sequence, BIG, struct.pack("<I", 10000), flags)
            replies = []
            for _ in range(3):
                peer.send(sent)
                replies.append(peer.whole_reply()._replace(credits=0, timestamp=0))
            self.assertEqual(replies[0].payload, bytes(byte % 251 for byte in range(10000)))
            # Remembered even where it is idempotent: so nothing in it differs.
            self.assertEqual(replies[1:], replies[:1] * 2)

    def test_reply_to_fragments_is_remembered(self):
        peer, session = self.open_udp()
        parts = fragments(session.id, 1, IDEM, bytes_of(3000))
        first = counted(peer.replies(*parts)[0])
        time.sleep(0.05)
        self.assertEqual({counted(reply) for reply in peer.replies(*parts)}, {first})
        self.assertEqual(counted(peer.reply(request(session.id, 2, IDEM))), first + 1)

    def test_a_repeated_part_is_enough_for_the_reply(self):
        peer, session = self.open_udp()
        parts = fragments(session.id, 1, ECHO, bytes_of(3000))
        for sent in parts:
            peer.send(sent)
        first = peer.whole_reply()
        for sent in parts:
            time.sleep(0.05)
            peer.send(sent)
            self.assertEqual(peer.whole_reply().payload, first.payload)


class Extensions(Case):
    def test_not_granted(self):
        peer, session = self.open_udp()
        sent = [request(session.id, 1, ECHO, b"", llrp.EXT, blocks=blocks)
                for blocks in (EXT_END, ext_block(1, TRACE) + EXT_END, b"")]
        self.assertEqual(peer.answers(*sent), [])
        self.assert_alive(peer, session, 1)
        peer, session = self.open_tcp()
        peer.send_frames(sent[0][:40] + struct.pack("<Q", session.id) + sent[0][48:])
        self.assertTrue(peer.is_ended())

    def test_granted(self):
        wholes = (EXT_END, ext_block(1, TRACE) + EXT_END, ext_block(9, b"") + EXT_END,
                  ext_block(9, bytes(500)) + ext_block(1, TRACE) + ext_block(65535, b"odd") + EXT_END,
                  ext_block(1, TRACE) * 2 + EXT_END)
        for peer, session in self.open_each(features=llrp.FEATURE_EXT):
            for sequence, blocks in enumerate(wholes, 1):
                with self.subTest(len(blocks)):
                    reply = peer.reply(request(session.id, sequence, ECHO, b"payload", llrp.EXT, blocks=blocks))
                    self.assertEqual((reply.status, reply.payload), (200, b"payload"))
            self.assert_alive(peer, session, 100)

    def test_broken(self):
        broken = (b"", b"\x01", bytes(8), bytes(15), ext_block(1, TRACE), ext_block(9, bytes(20)),
                  struct.pack("<HH", 9, 65535) + bytes(12), struct.pack("<HH", 9, 13) + bytes(12),
                  ext_block(9, b"x" * 12)[:15], ext_block(1, TRACE)[:31])
        for peer, session in self.open_each(features=llrp.FEATURE_EXT):
            for sequence, blocks in enumerate(broken, 1):
                with self.subTest(blocks):
                    reply = peer.reply(request(session.id, sequence, COUNT, b"", llrp.EXT, blocks=blocks))
                    self.assert_reason(reply, 400)
            self.assert_alive(peer, session, 100)

    def test_broken_is_settled(self):
        peer, session = self.open_udp(features=llrp.FEATURE_EXT)
        self.assertEqual(peer.reply(request(session.id, 1, COUNT, b"", llrp.EXT)).status, 400)
        self.assertEqual(peer.reply(request(session.id, 1, COUNT)).status, 400)

    def test_with_fragments(self):
        peer, session = self.open_udp(features=llrp.FEATURE_EXT)
        payload = bytes_of(3000)
        parts = fragments(session.id, 1, ECHO, payload, blocks=ext_block(1, TRACE) + EXT_END)
        for sent in reversed(parts):
            peer.send(sent)
        self.assertEqual(peer.whole_reply().payload, payload)


if __name__ == "__main__":
    unittest.main(verbosity=2)
