# SPDX-License-Identifier: MIT
"""A server as a user starts it, in a runtime folder of its own, and what tests of it share."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

import llrp

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ECHO = "llrph.Echo/Echo"
START_S = 30


def skip(reason):
    """Ends a script that can't run here, loudly."""
    print(f"SKIP: {reason}")
    sys.exit(77)


def command():
    path = os.environ.get("LLRPH", os.path.join(ROOT, "build", "llrph"))
    if not os.access(path, os.X_OK):
        skip(f"no llrph command at {path}: build it, or set LLRPH")
    return path


def build_slow_service(folder):
    """test/support/slow_service.c as a shared object; its path."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        skip("no C compiler to build test/support/slow_service.c with")
    path = os.path.join(folder, "slow.so")
    subprocess.run([*compiler.split(), "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC",
                    "-I", os.path.join(ROOT, "include"),
                    os.path.join(ROOT, "test", "support", "slow_service.c"), "-o", path], check=True)
    return path


def address_of(uri):
    host, port = re.fullmatch(r"(?:udp|tcp):\[?([^\]]*)\]?:(\d+)", uri).groups()
    return host, int(port)


class Server:
    """`llrph serve` with these words after it. listens: how many ready lines to wait for."""

    def __init__(self, *words, listens):
        self.command = command()
        self.folder = tempfile.mkdtemp(prefix="llrph-test-")
        self.words = [word.replace("{folder}", self.folder) for word in words]
        if any("slow.so" in word for word in self.words):
            build_slow_service(self.folder)
        self.name = f"test-{os.getpid()}-{os.path.basename(self.folder)[11:]}"
        self.environment = dict(os.environ, LLRPH_RUNTIME_DIR=self.folder)
        self.lines = []
        self.uris = []
        self.ready = threading.Event()
        self.listens = listens
        self.process = subprocess.Popen(
            [self.command, "serve", "--name", self.name, *self.words], env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        if not self.ready.wait(START_S) or len(self.uris) < listens:
            self.kill()
            raise AssertionError("server is not ready:\n" + "".join(self.lines))

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            found = re.search(r"ready\s+((udp|tcp|shm):\S+)", line)
            if found:
                self.uris.append(found[1])
            if len(self.uris) == self.listens:
                self.ready.set()
        self.ready.set()

    def address(self, scheme, index=0):
        """Of the nth endpoint of a scheme, in the order of --listen."""
        return address_of([uri for uri in self.uris if uri.startswith(scheme)][index])

    def stats(self):
        return subprocess.run([self.command, "stats", self.name, "--json"], env=self.environment, text=True,
                              capture_output=True, check=True, timeout=30).stdout

    def counters(self):
        """Of all workers together, by name."""
        return json.loads(self.stats())["total"]["counters"]

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout=START_S):
        code = self.process.wait(timeout)
        self.reader.join(timeout)
        self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return code

    def kill(self):
        self.process.kill()
        self.wait()

    def stop(self):
        """SIGTERM, and an orderly end."""
        self.terminate()
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("server does not end after SIGTERM:\n" + "".join(self.lines)) from None
        if code != 0:
            raise AssertionError(f"server ended with {code}:\n" + "".join(self.lines))


class Case(unittest.TestCase):
    """Tests that share one server for each class, on UDP and TCP, IPv4 and IPv6."""

    words = ("--listen", "udp:127.0.0.1:0", "--listen", "tcp:127.0.0.1:0",
             "--listen", "udp:[::1]:0", "--listen", "tcp:[::1]:0",
             "--service", "echo", "--service", "{folder}/slow.so")

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.words, listens=cls.words.count("--listen"))

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def udp(self, index=0):
        """A peer without a session."""
        peer = llrp.Udp(self.server.address("udp", index))
        self.addCleanup(peer.close)
        return peer

    def tcp(self, index=0):
        peer = llrp.Tcp(self.server.address("tcp", index))
        self.addCleanup(peer.close)
        return peer

    def open_udp(self, index=0, **terms):
        """A peer with a session, which ends with the test; and its terms."""
        peer = self.udp(index)
        session = peer.open(**terms)
        self.addCleanup(lambda: peer.send(llrp.bye()))
        return peer, session

    def open_tcp(self, index=0, **terms):
        peer = self.tcp(index)
        return peer, peer.open(**terms)

    def open_each(self, **terms):
        """A session over each transport, one after the other, as subtests."""
        for name, opener in (("udp", self.open_udp), ("tcp", self.open_tcp)):
            with self.subTest(name):
                yield opener(**terms)

    def unless_stalled(self, attempt):
        """For what must happen within the 100 ms that a message may be incomplete: a machine that
        stops for longer makes attempt(number) return False, and it is tried again."""
        self.assertTrue(any(attempt(number) for number in range(1, 6)))

    def assert_reason(self, reply, status):
        self.assertEqual(reply.status, status)
        self.assertLessEqual(len(reply.payload), 256)
        reply.payload.decode("utf-8")

    def assert_alive(self, peer, session, sequence):
        """The session still answers, so whatever came before did no harm."""
        reply = peer.reply(llrp.request(session.id, sequence, ECHO, b"alive"))
        self.assertEqual((reply.sequence, reply.status, reply.payload), (sequence, 200, b"alive"))
