# SPDX-License-Identifier: MIT
"""llrph call against a real server: what goes in comes out, over each transport; endpoints where
nobody is; words that make no sense."""
import errno
import json
import os
import subprocess
import tempfile
import unittest

from server import ECHO, Server, command

KEYS = ["endpoint", "method", "status", "reason", "service_ns", "queue_ns", "latency_ns", "attempts",
        "size", "payload"]


class Call(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--listen", "shm:call-{}".format(os.getpid()), "--listen", "udp:127.0.0.1:0",
                            "--listen", "udp:[::1]:0", "--listen", "tcp:127.0.0.1:0",
                            "--service", "echo", listens=4)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def call(self, *words, code=0, data=b""):
        done = subprocess.run([command(), "call", *words], env=self.server.environment, input=data,
                              capture_output=True, timeout=60)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def wrong(self, *words, code, says):
        done = self.call(*words, code=code)
        self.assertEqual(done.stdout, b"")
        self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith(b"llrph call: "), done.stderr)
        self.assertIn(says.encode(), done.stderr)

    def test_payloads(self):
        noise = os.urandom(65536)
        with tempfile.NamedTemporaryFile(prefix="llrph-test-") as file:
            file.write(noise)
            file.flush()
            for uri in self.server.uris:
                self.assertEqual(self.call(uri, ECHO).stdout, b"")
                self.assertEqual(self.call(uri, ECHO, "--text", "héllo").stdout, "héllo".encode())
                self.assertEqual(self.call(uri, ECHO, "--hex", "00fFa5").stdout, b"\x00\xff\xa5")
                self.assertEqual(self.call(uri, ECHO, "--data", file.name).stdout, noise)
                self.assertEqual(self.call(uri, ECHO, "--data", "-", data=noise[:1500]).stdout,
                                 noise[:1500])
                self.assertEqual(self.call(uri, ECHO, "--idle", "spin", "--text", "x").stdout, b"x")

    def test_status_line(self):
        done = self.call(self.server.uris[0], ECHO, "--text", "hello")
        self.assertRegex(done.stderr.decode(),
                         r"\Allrph call: 200 done: 5 bytes in [\d.]+ us, handler [\d.]+ us, queue .*\n\Z")
        done = self.call(self.server.uris[0], "llrph.Echo/None", code=1)
        self.assertIn(b"404", done.stderr)

    def test_json(self):
        for uri in self.server.uris:
            done = self.call(uri, ECHO, "--json", "--hex", "00ff", "--idempotent")
            answer = json.loads(done.stdout)
            self.assertEqual(list(answer), KEYS)
            self.assertEqual(done.stderr, b"")
            self.assertEqual([answer[key] for key in ("endpoint", "method", "status", "size", "payload")],
                             [uri, ECHO, 200, 2, "00ff"])
            self.assertGreater(answer["latency_ns"], 0)
            answer = json.loads(self.call(uri, "llrph.Echo/None", "--json", code=1).stdout)
            self.assertEqual((answer["status"], answer["reason"]), (404, "no such method"))
        answer = json.loads(self.call("shm:nobody-serves-this", ECHO, "--json", code=1).stdout)
        self.assertEqual((answer["status"], answer["error"]), (0, -errno.ECONNREFUSED))

    def test_the_next_endpoint(self):
        uris = ",".join(["shm:nobody-serves-this", "tcp:127.0.0.1:9", "udp:127.0.0.1:9", self.server.uris[1]])
        answer = json.loads(self.call(uris, ECHO, "--json", "--timeout", "2000").stdout)
        self.assertEqual(answer["endpoint"], self.server.uris[1])

    def test_nobody_there(self):
        self.wrong("shm:nobody-serves-this", ECHO, code=1, says="start the server")
        self.wrong("tcp:127.0.0.1:9", ECHO, code=1, says="tcp:127.0.0.1:9")
        self.wrong("udp:127.0.0.1:9", ECHO, "--timeout", "300", code=1, says="udp:127.0.0.1:9")

    def test_too_large(self):
        with tempfile.NamedTemporaryFile(prefix="llrph-test-") as file:
            file.truncate(65537)
            self.wrong(self.server.uris[0], ECHO, "--data", file.name, code=1, says="--max-message")
            file.truncate((16 << 20) + 1)
            self.wrong(self.server.uris[0], ECHO, "--data", file.name, code=1, says="16777216")

    def test_words_that_make_no_sense(self):
        uri = self.server.uris[0]
        self.wrong(code=2, says="endpoint")
        self.wrong(uri, code=2, says="method")
        self.wrong(uri, ECHO, "more", code=2, says="'more' is too much")
        self.wrong(uri, ECHO, "--text", "a", "--hex", "00", code=2, says="one of")
        self.wrong(uri, ECHO, "--hex", "0", code=2, says="odd")
        self.wrong(uri, ECHO, "--hex", "0g", code=2, says="'0g'")
        self.wrong(uri, ECHO, "--timeout", "0", code=2, says="--timeout")
        self.wrong(uri, ECHO, "--idle", "walk", code=2, says="--idle")
        self.wrong(uri, ECHO, "--txt", "a", code=2, says="--text")
        self.wrong(uri, ECHO, "--data", "/nonexistent/file", code=1, says="/nonexistent/file")
        self.wrong("foo", ECHO, code=1, says="shm:NAME")
        self.wrong(",".join([uri] * 9), ECHO, code=1, says="more than 8")
        self.assertIn(b"usage: llrph call", self.call("--help").stdout)


if __name__ == "__main__":
    unittest.main()
