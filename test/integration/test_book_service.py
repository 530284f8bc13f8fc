#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The service `book` behind a real server: its record, its contradictions, its counters, its options."""
import json
import os
import struct
import subprocess
import tempfile
import unittest

import llrp
from llrp import request
from server import Case, Server, command

APPLY, TOP = "llrph.Book/Apply", "llrph.Book/Top"


def message(kind, locate, size, **fields):
    """An ITCH message: named fields are offset_size=value, big-endian."""
    data = bytearray(size)
    data[0] = ord(kind)
    struct.pack_into(">H", data, 1, locate)
    for place, value in fields.items():
        offset, count = map(int, place[1:].split("_"))
        data[offset:offset + count] = value.to_bytes(count, "big")
    return bytes(data)


def add(locate, reference, side, shares, price):
    return message("A", locate, 36, f11_8=reference, f19_1=ord(side), f20_4=shares, f32_4=price)


def record(locate, bid=(0, 0), ask=(0, 0), live=0):
    return struct.pack("<HHIIIQQQ", locate, 200, 0, bid[0], ask[0], bid[1], ask[1], live)


class Book(Case):
    words = ("--listen", "udp:127.0.0.1:0", "--listen", "tcp:127.0.0.1:0", "--service", "book:orders=5")

    def test_a_short_day(self):
        peer, session = self.open_tcp()
        sequence = iter(range(1, 1000))

        def ask(method, payload):
            reply = peer.reply(request(session.id, next(sequence), method, payload))
            return reply.status, reply.payload

        self.assertEqual(ask(TOP, b"\x39\x05"), (200, record(1337)))
        self.assertEqual(ask(APPLY, add(1337, 1, "B", 100, 990000)), (200, record(1337, (990000, 100), live=1)))
        self.assertEqual(ask(APPLY, add(1337, 2, "S", 7, 990100)),
                         (200, record(1337, (990000, 100), (990100, 7), 2)))
        # Live orders are those of all books.
        self.assertEqual(ask(APPLY, message("S", 0, 12, f11_1=ord("O"))), (200, record(0, live=2)))
        status, reason = ask(APPLY, add(1337, 2, "B", 1, 1))
        self.assertEqual((status, reason.decode()), (422, "a live order has this reference: not added"))
        # Over-execution is a contradiction, and yet it takes effect.
        self.assertEqual(ask(APPLY, message("E", 1337, 31, f11_8=2, f19_4=8))[0], 422)
        self.assertEqual(ask(TOP, b"\x39\x05"), (200, record(1337, (990000, 100), live=1)))
        for wrong in (b"", b"A", add(1, 1, "B", 1, 1) + b"x", b"Z" * 20):
            self.assertEqual(ask(APPLY, wrong)[0], 422)
        for wrong in (b"", b"\1", b"\1\2\3"):
            self.assertEqual(ask(TOP, wrong)[0], 422)
        for reference in range(10, 14):
            self.assertEqual(ask(APPLY, add(2, reference, "S", 1, reference))[0], 200)
        status, reason = ask(APPLY, add(2, 14, "S", 1, 14))
        self.assertEqual((status, reason.decode()), (422, "order store full: serve with book:orders=N"))
        self.assert_counters({"book.duplicate_ref": 1, "book.over_size": 1, "book.wrong_length": 3,
                              "book.unknown_type": 1, "book.full": 1, "book.live_orders": 5,
                              "book.live_orders_max": 5, "book.type_S": 1})

    def assert_counters(self, expected):
        """Somewhere in what `llrph stats --json` prints, under these names."""
        found = {}
        todo = [json.loads(self.server.stats())]
        while todo:
            item = todo.pop()
            if isinstance(item, dict):
                found.update({key: value for key, value in item.items() if isinstance(value, int)})
                if isinstance(item.get("name"), str):
                    found.update({item["name"]: value for value in item.values() if isinstance(value, int)})
            todo.extend(item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        self.assertEqual({name: found.get(name) for name in expected}, expected)

    def test_at_most_once(self):
        # A repeated add is not a second order: its reply is remembered.
        peer, session = self.open_udp()
        sent = request(session.id, 1, APPLY, message("D", 9, 19, f11_8=99))
        first, second = peer.reply(sent), peer.reply(sent)
        self.assertEqual((first.status, first.service_ns), (422, second.service_ns))


class Options(unittest.TestCase):
    def refused(self, *words):
        with tempfile.TemporaryDirectory(prefix="llrph-test-") as folder:
            done = subprocess.run([command(), "serve", "--listen", "udp:127.0.0.1:0", *words], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False,
                                  env=dict(os.environ, LLRPH_RUNTIME_DIR=folder))
        self.assertNotEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_what_makes_no_sense(self):
        for options in ("orders=0", "orders=x", "orders=", "orders=67108865", "depth=5"):
            self.assertIn("orders=N", self.refused("--service", "book:" + options))

    def test_one_worker(self):
        self.assertIn("worker", self.refused("--service", "book", "--workers", "2"))

    def test_books_start_empty(self):
        for _ in range(2):
            server = Server("--listen", "udp:127.0.0.1:0", "--service", "book", listens=1)
            try:
                peer = llrp.Udp(server.address("udp"))
                session = peer.open()
                reply = peer.reply(request(session.id, 1, APPLY, add(1, 1, "B", 5, 50)))
                self.assertEqual(reply.payload, record(1, (50, 5), live=1))
                peer.close()
            finally:
                server.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
