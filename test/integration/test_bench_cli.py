# SPDX-License-Identifier: MIT
"""llrph bench against a real server: its figures add up, its input is checked, its ends are clean."""
import gzip
import json
import os
import signal
import struct
import subprocess
import tempfile
import time
import unittest

from server import ECHO, Server, command

KEYS = ["endpoint", "method", "size", "requests", "errors", "seconds", "rate", "latency_ns"]
LATENCY = ["min", "p50", "p90", "p95", "p99", "p99.9", "p99.99", "max", "mean", "stddev"]
NO_REPLY = 0xFFFFFFFF


def itch(messages):
    return b"".join(struct.pack(">H", len(message)) + message for message in messages)


def length32(messages):
    return b"".join(struct.pack("<I", len(message)) + message for message in messages)


def read_length32(path):
    """Records of --save: bytes, or the status of what was not answered 2xx."""
    with open(path, "rb") as file:
        data = file.read()
    records = []
    while data:
        size, = struct.unpack_from("<I", data)
        if size == NO_REPLY:
            records.append(struct.unpack_from("<H", data, 4)[0])
            size = 2
        else:
            records.append(data[4:4 + size])
        data = data[4 + size:]
    return records


class Bench(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--listen", "shm:bench-{}".format(os.getpid()), "--listen", "udp:127.0.0.1:0",
                            "--listen", "tcp:127.0.0.1:0", "--service", "echo", "--service", "book",
                            listens=3)
        cls.shm, cls.udp, cls.tcp = cls.server.uris

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="llrph-test-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name, content=None):
        path = os.path.join(self.folder, name)
        if content is not None:
            with open(path, "wb") as file:
                file.write(content)
        return path

    def run_bench(self, *words, code=0):
        done = subprocess.run([command(), "bench", *words], env=self.server.environment, text=True,
                              capture_output=True, timeout=120)
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        return done

    def bench(self, *words, code=0):
        """The JSON report, whose shape never changes."""
        report = json.loads(self.run_bench(*words, "--json", code=code).stdout)
        self.assertEqual(list(report), KEYS)
        self.assertEqual(list(report["latency_ns"]), LATENCY)
        order = [report["latency_ns"][name] for name in LATENCY[:8]]
        self.assertEqual(order, sorted(order))
        return report

    def assert_complaint(self, words, code, *parts):
        with self.subTest(words=words):
            done = self.run_bench(*words, code=code)
            self.assertEqual(done.stdout, "")
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            for part in parts:
                self.assertIn(part, done.stderr)

    def test_every_transport_size_and_window(self):
        for uri in self.server.uris:
            for words in ((), ("--size", "0"), ("--size", "1"), ("--size", "60K"),
                          ("--outstanding", "7"), ("--outstanding", "64", "--size", "3000"),
                          ("--idle", "spin", "--cpu", str(min(os.sched_getaffinity(0)))), ("--idempotent",)):
                with self.subTest(uri=uri, words=words):
                    report = self.bench(uri, "--requests", "200", "--warmup", "20", *words)
                    self.assertEqual((report["requests"], report["errors"]), (200, {}))
                    self.assertEqual((report["endpoint"], report["method"]), (uri, ECHO))
                    self.assertGreater(report["latency_ns"]["min"], 0)
                    self.assertAlmostEqual(report["rate"] * report["seconds"] / 200, 1, delta=0.01)

    def test_table(self):
        text = self.run_bench(self.tcp, "--requests", "50", "--warmup", "0").stdout
        self.assertIn(self.tcp, text)
        self.assertRegex(text, r"requests +50 in [\d.]+ s\n")
        self.assertRegex(text, r"\n  p99\.9 +[\d.]+\n")

    def test_duration(self):
        started = time.monotonic()
        report = self.bench(self.tcp, "--duration", "300ms", "--warmup", "0")
        self.assertGreaterEqual(report["seconds"], 0.3)
        self.assertGreaterEqual(time.monotonic() - started, 0.3)
        self.assertGreater(report["requests"], 0)

    def test_warmup_is_not_counted(self):
        report = self.bench(self.shm, "--requests", "10", "--warmup", "500")
        self.assertEqual(report["requests"], 10)

    def test_data_comes_back_in_order(self):
        messages = [b"", b"\0", b"line one", b"x" * 5000, b"\n\r", bytes(range(256))]
        messages += [b"%d" % number for number in range(300)]
        lines = [message for message in messages if b"\n" not in message]
        whole = [message for message in messages if message]
        for framing, sent, content in (
                ("length32", messages, length32(messages)),
                ("itch", whole, itch(whole)),
                ("itch", whole, itch(whole) + b"\0\0 what follows the end"),
                ("lines", lines, b"\n".join(lines)),
                ("lines", lines, b"\n".join(lines) + b"\n")):
            for uri, outstanding in ((self.shm, "16"), (self.udp, "8"), (self.tcp, "1")):
                with self.subTest(framing=framing, uri=uri):
                    save = self.path("save")
                    report = self.bench(uri, "--data", self.path("data", content), "--framing", framing,
                                        "--outstanding", outstanding, "--save", save)
                    self.assertEqual((report["requests"], report["errors"]), (len(sent), {}))
                    self.assertEqual(read_length32(save), sent)

    def test_data_wraps_around(self):
        save = self.path("save")
        data = self.path("data", b"a\nbb\nccc\n")
        report = self.bench(self.tcp, "--data", data, "--framing", "lines", "--requests", "7", "--save", save)
        self.assertEqual((report["requests"], report["size"]), (7, 2))
        self.assertEqual(read_length32(save), [b"a", b"bb", b"ccc", b"a", b"bb", b"ccc", b"a"])

    def test_malformed_data(self):
        for framing, content, parts in (
                ("itch", itch([b"abc"]) + b"\0", ["offset 5", "half a length"]),
                ("itch", itch([b"abc"]) + b"\0\x09short", ["offset 5", "longer than the rest"]),
                ("length32", length32([b"abc"]) + b"\1\0", ["offset 7", "half a length"]),
                ("length32", length32([b"abc"]) + b"\1\0\0\0", ["offset 7", "longer than the rest"]),
                ("length32", b"\xff\xff\xff\xff", ["offset 0", "16 MiB"]),
                ("itch", gzip.compress(b"abc"), ["gunzip it first"]),
                ("itch", b"", ["holds no message"]),
                ("itch", b"\0\0", ["holds no message"])):
            self.assert_complaint((self.tcp, "--data", self.path("data", content), "--framing", framing),
                                  1, "--data", *parts)
        self.assert_complaint((self.tcp, "--data", self.folder, "--framing", "itch"), 1, "no file")
        self.assert_complaint((self.tcp, "--data", "/nonexistent", "--framing", "itch"), 1, "No such file")

    def test_statuses_are_errors_by_kind(self):
        save = self.path("save")
        report = self.bench(self.tcp, "llrph.Echo/Nothing", "--requests", "30", "--save", save, code=1)
        self.assertEqual((report["requests"], report["errors"]), (30, {"status_404": 30}))
        self.assertEqual((report["rate"], report["latency_ns"]["max"]), (0, 0))
        self.assertEqual(read_length32(save), [404] * 30)
        table = self.run_bench(self.tcp, "llrph.Echo/Nothing", "--requests", "3", code=1).stdout
        self.assertIn("status_404: no such method", table)

    def test_what_the_server_does_not_take(self):
        self.assert_complaint((self.udp, "--size", "70000"), 1, "65536", "70000")

    def test_nobody_there(self):
        self.assert_complaint(("shm:nobody", "--requests", "1"), 1, "nobody")
        self.assert_complaint(("tcp:127.0.0.1:1", "--requests", "1"), 1, "127.0.0.1")

    def test_nonsense(self):
        for words, parts in (
                ((), ["give its URI"]),
                (("demo",), ["shm:NAME"]),
                ((self.tcp, ECHO, "more"), ["'more' is too much"]),
                ((self.tcp, "--sise", "3"), ["did you mean --size"]),
                ((self.tcp, "--size", "x"), ["is no size"]),
                ((self.tcp, "--size", "17M"), ["0 to 16M"]),
                ((self.tcp, "--size", "99999999999999999999G"), ["is no size"]),
                ((self.tcp, "--requests", "-1"), ["is no count"]),
                ((self.tcp, "--requests", "0"), ["out of range"]),
                ((self.tcp, "--outstanding", "1025"), ["1 to 1024"]),
                ((self.tcp, "--idle", "sleep"), ["park or spin"]),
                ((self.tcp, "--duration", "1y"), ["is no time"]),
                ((self.tcp, "--timeout", "0"), ["out of range"]),
                ((self.tcp, "--data", "x"), ["--framing"]),
                ((self.tcp, "--framing", "itch"), ["--data"]),
                ((self.tcp, "--data", "x", "--framing", "csv"), ["itch, lines or length32"]),
                ((self.tcp, "--data", "x", "--framing", "itch", "--size", "1"), ["exclude"])):
            self.assert_complaint(words, 2, "llrph bench: ", "--help", *parts)
        self.assert_complaint((self.tcp, "--cpu", "1000"), 1, "--cpu 1000")
        self.assert_complaint((self.tcp, "--save", os.path.join(self.folder, "a", "b")), 1, "--save")

    def test_a_signal_ends_it_with_a_report(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            for uri in self.server.uris:
                with self.subTest(uri=uri, signal=number):
                    bench = subprocess.Popen([command(), "bench", uri, "--duration", "100", "--json"],
                                             env=self.server.environment, text=True, stdout=subprocess.PIPE)
                    time.sleep(1)
                    bench.send_signal(number)
                    report = json.loads(bench.communicate(timeout=60)[0])
                    self.assertEqual(report["errors"], {})
                    self.assertLess(report["seconds"], 100)

    def test_the_book_is_no_echo(self):
        # A system event: the reply is the book's record, which is not what was sent.
        event = b"S" + bytes(10) + b"O"
        save = self.path("save")
        report = self.bench(self.shm, "llrph.Book/Apply", "--data", self.path("data", itch([event] * 5)),
                            "--framing", "itch", "--save", save)
        self.assertEqual(report["errors"], {})
        self.assertEqual([len(record) for record in read_length32(save)], [40] * 5)


class DyingServer(unittest.TestCase):
    def test_requests_of_a_dead_server_fail_by_kind(self):
        server = Server("--listen", "tcp:127.0.0.1:0", "--service", "echo", listens=1)
        bench = subprocess.Popen([command(), "bench", server.uris[0], "--duration", "4", "--timeout", "200",
                                  "--json"],
                                 env=server.environment, text=True, stdout=subprocess.PIPE)
        time.sleep(1.5)
        server.stop()
        report = json.loads(bench.communicate(timeout=120)[0])
        self.assertEqual(bench.returncode, 1)
        self.assertGreater(report["requests"], sum(report["errors"].values()))
        self.assertTrue(report["errors"])
        for kind in report["errors"]:
            self.assertIn(kind, ("peer_dead", "maybe_ran", "refused", "deadline", "no_session", "stopping",
                                 "status_503", "status_401", "ring_full"))


if __name__ == "__main__":
    unittest.main()
