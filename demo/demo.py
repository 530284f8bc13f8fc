#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""demo.py [PATH-OF-LLRPH]: a market's feed over shared memory, TCP and UDP, timed and checked.

Each file of data/itch is replayed through llrph.Book/Apply over each transport, against a fresh
server, for books start empty. What came back is compared with what an independent reference says of
the file: the SHA-256 over every change of a best price or its shares, the orders that live at the
end, and each book's best prices (by llrph.Book/Top). Exits 1 if anything differs.
"""
import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ITCH = os.path.join(ROOT, "data", "itch")
FILES = {"sample.itch": open, "day.itch.gz": gzip.open}
OUTSTANDING = {"shm": 16, "tcp": 16, "udp": 1}  # datagrams keep no order: one at a time there
RECORD = struct.Struct("<HHIIIQQQ")  # locate, status, 0, bid, ask, bid shares, ask shares, live
NO_RECORD = 0xFFFFFFFF  # instead of a reply's size: a status (u16) that is not 2xx follows
BOOK_MESSAGES = b"AFECXDU"


class Wrong(Exception):
    """Something is not as expected."""


def messages_of(feed):
    """BinaryFILE: u16 length, big-endian, then the message."""
    at = 0
    while at < len(feed):
        size = int.from_bytes(feed[at:at + 2], "big")
        yield feed[at + 2:at + 2 + size]
        at += 2 + size


def replies_of(saved):
    """Each reply's status, and its record where there is one, in the order of the requests."""
    at = 0
    while at < len(saved):
        size = int.from_bytes(saved[at:at + 4], "little")
        if size == NO_RECORD:
            yield int.from_bytes(saved[at + 4:at + 6], "little"), None
            at += 6
        elif size == RECORD.size:
            yield 200, RECORD.unpack_from(saved, at + 4)
            at += 4 + size
        else:
            raise Wrong(f"a reply has {size} bytes instead of {RECORD.size}")


def check_replay(feed, saved, expected):
    """The replies of a whole replay. A 422 brings no record: that is harmless as long as all of
    them are unknown references, which change no book, so that is checked first."""
    if set(expected["anomalies"]) - {"unknown_ref"}:
        raise Wrong("this check knows files without contradictions but unknown references")
    tops, digest, changes, refused, live = {}, hashlib.sha256(), 0, 0, 0
    replies = list(replies_of(saved))
    if len(replies) != expected["messages"]:
        raise Wrong(f"{len(replies)} replies to {expected['messages']} messages")
    for sequence, (message, (status, record)) in enumerate(zip(messages_of(feed), replies), 1):
        if record is None:
            if status != 422:
                raise Wrong(f"message {sequence} was answered {status}")
            refused += 1
            continue
        locate, _, _, bid, ask, bid_shares, ask_shares, live = record
        if locate != int.from_bytes(message[1:3], "big"):
            raise Wrong(f"message {sequence} was answered for stock {locate}")
        top = (bid, bid_shares, ask, ask_shares)
        if message[0] in BOOK_MESSAGES and top != tops.get(locate, (0, 0, 0, 0)):
            tops[locate] = top
            changes += 1
            digest.update(b"%d %d %d %d %d %d\n" % (sequence, locate, *top))
    found = (refused, live, changes, digest.hexdigest())
    wanted = (expected["anomalies"].get("unknown_ref", 0), expected["live_orders"],
              expected["bbo_changes"], expected["bbo_sha256"])
    if found != wanted:
        raise Wrong(f"contradictions, live orders, changes, digest: {found} instead of {wanted}")


def check_tops(locates, saved, expected):
    """The best prices at the end, as llrph.Book/Top gives them."""
    for locate, (status, record) in zip(locates, replies_of(saved), strict=True):
        book = expected["books"][str(locate)]
        bid, ask = (book[side][0][:2] if book[side] else [0, 0] for side in ("bid", "ask"))
        if status != 200 or record[3:7] != (bid[0], ask[0], bid[1], ask[1]):
            raise Wrong(f"book {locate} ({book['symbol']}): {record} instead of bid {bid}, ask {ask}")


class Demo:
    def __init__(self, command, folder):
        self.command = command
        self.folder = folder
        self.environment = dict(os.environ, LLRPH_RUNTIME_DIR=folder)
        self.log = tempfile.TemporaryFile("w+")  # what the server says besides
        self.server = None

    def start(self):
        """A fresh server; its endpoints by transport."""
        self.server = subprocess.Popen(
            [self.command, "serve", "--name", f"demo-{os.getpid()}", "--service", "book",
             "--listen", "shm:demo", "--listen", "tcp:127.0.0.1:0", "--listen", "udp:127.0.0.1:0"],
            env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=self.log, text=True)
        endpoints = {}
        for line in self.server.stdout:
            if found := re.search(r"ready\s+((shm|tcp|udp):\S+)", line):
                endpoints[found[2]] = found[1]
            if len(endpoints) == len(OUTSTANDING):
                return endpoints
        self.log.seek(0)
        raise Wrong("the server did not start: " + self.log.read())

    def stop(self):
        if self.server:
            self.server.terminate()
            try:
                self.server.wait(10)
            except subprocess.TimeoutExpired:
                self.server.kill()
            self.server.communicate()
            self.server = None

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data)

    def bench(self, uri, method, data, framing, outstanding):
        """Sends each message of a file once; the report, and the replies as they were saved."""
        done = subprocess.run(
            [self.command, "bench", uri, method, "--data", self.path(data), "--framing", framing,
             "--outstanding", str(outstanding), "--timeout", "10000", "--json",
             "--save", self.path("replies")],
            env=self.environment, capture_output=True, text=True, check=False)
        if not done.stdout.startswith("{"):
            raise Wrong(f"llrph bench ended with {done.returncode}: {done.stderr}")
        with open(self.path("replies"), "rb") as file:
            return json.loads(done.stdout), file.read()

    def replay(self, transport, name, feed, expected):
        uri = self.start()[transport]
        try:
            report, saved = self.bench(uri, "llrph.Book/Apply", name + ".itch", "itch",
                                       OUTSTANDING[transport])
            locates = sorted(map(int, expected["books"]))
            self.write("locates", b"".join(struct.pack("<IH", 2, locate) for locate in locates))
            _, tops = self.bench(uri, "llrph.Book/Top", "locates", "length32", 1)
        finally:
            self.stop()
        try:
            check_replay(feed, saved, expected)
            check_tops(locates, tops, expected)
            verdict = "as expected"
        except Wrong as wrong:
            verdict = f"WRONG: {wrong}"
        times = "".join(f"{report['latency_ns'][key] / 1000:11.1f}" for key in ("p50", "p99", "p99.9"))
        print(f"{transport:9}  {name:6}  {report['requests']:8}  {report['rate']:10,.0f}{times}  "
              f"books: {verdict}", flush=True)
        return verdict == "as expected"

    def run(self):
        print("transport  file    requests    requests/s  p50 (us)   p99 (us)  p99.9 (us)")
        good = True
        for name, opener in FILES.items():
            with opener(os.path.join(ITCH, name), "rb") as file:
                feed = file.read()
            name = name.split(".")[0]
            with open(os.path.join(ITCH, name + ".expected.json"), encoding="utf-8") as file:
                expected = json.load(file)
            self.write(name + ".itch", feed)
            for transport in OUTSTANDING:
                good &= self.replay(transport, name, feed, expected)
        return good


def main():
    command = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build", "llrph")
    if not os.access(command, os.X_OK):
        sys.exit(f"demo: no command at {command}: run make first, or name it")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = tempfile.mkdtemp(prefix="llrph-demo-")
    demo = Demo(command, folder)
    try:
        return 0 if demo.run() else 1
    except (Wrong, BrokenPipeError, KeyboardInterrupt) as ended:
        return f"demo: {ended or 'interrupted'}"
    finally:
        demo.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
