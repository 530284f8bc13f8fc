#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A thousand silent clients over shared memory beside a busy one, and strangers that send garbage to
the lanes' socket: the busy one goes on, and what they took comes back."""
import json
import os
import random
import resource
import signal
import socket
import subprocess
import unittest

from server import skip
from serving import LLRPH, PATIENCE, ROOT, ServeTest, wait_until

SILENT = 1000
DESCRIPTORS = 10 * SILENT  # a client has some, its worker and the supervisor some more
SLACK = 1 << 20  # bytes; a lane has more than 100 KiB
HELPER = os.path.join(os.environ.get("LLRPH_BUILD", os.path.join(ROOT, "build")),
                      "test/unit/silent_lanes")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def mappings(pid):
    """Of lanes: memfds."""
    with open(f"/proc/{pid}/maps") as file:
        return sum("memfd:" in line for line in file)


def private(pid):
    """Bytes of memory that is this process's own. Lanes are none of it, and are counted apart; nor
    is the table of sessions, of which each next one touches the next pages until all are."""
    with open(f"/proc/{pid}/status") as file:
        return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


class Lanes(ServeTest):
    def setUp(self):
        super().setUp()
        if not os.access(HELPER, os.X_OK):
            skip(f"{HELPER} is not built")
        self.env = dict(os.environ, LLRPH_RUNTIME_DIR=self.folder)

    def start(self):
        server = self.serve("--listen", "shm:many", "--service", "echo", "--name", "many",
                            "--lanes", str(SILENT + 10))
        return server, [server.process.pid, *server.workers()]

    def call(self, text="x"):
        done = subprocess.run([LLRPH, "call", "shm:many", "llrph.Echo/Echo", "--text", text,
                               "--timeout", "20000"], env=self.env, capture_output=True, timeout=60)
        self.assertEqual(done.stdout, text.encode(), done.stderr)

    def counters(self):
        done = subprocess.run([LLRPH, "stats", "many", "--json"], env=self.env, capture_output=True,
                              text=True, check=True, timeout=30)
        total = json.loads(done.stdout)["total"]
        return total["counters"], total["listeners"][0]

    def silent(self, count):
        """A process with so many clients, all of them open."""
        helper = subprocess.Popen([HELPER, "shm:many", str(count)], env=self.env, bufsize=0,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(helper.wait)
        self.addCleanup(helper.kill)
        self.addCleanup(helper.stdin.close)
        self.addCleanup(helper.stdout.close)
        self.assertEqual(helper.stdout.readline(), b"ready\n")
        return helper

    def taken(self, pids):
        return [(descriptors(pid), mappings(pid)) for pid in pids]

    def test_beside_a_thousand(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < DESCRIPTORS:
            self.skipTest(f"{hard} descriptors are too few for {SILENT} clients")
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        server, pids = self.start()
        # What is taken once, with the first client, is no loss.
        self.call()
        wait_until(lambda: self.counters()[0]["sessions_open"] == 0, "the first client is gone")
        before, memory = self.taken(pids), None
        for leave in ("close", "kill"):
            with self.subTest(leave):
                helper = self.silent(SILENT)
                counters, _ = self.counters()
                self.assertEqual(counters["sessions_open"], SILENT)
                done = subprocess.run([LLRPH, "bench", "shm:many", "--requests", "20000", "--warmup",
                                       "0", "--timeout", "20000", "--json"], env=self.env,
                                      capture_output=True, text=True, timeout=120)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(json.loads(done.stdout)["requests"], 20000)
                if leave == "close":
                    helper.stdin.close()
                else:
                    helper.send_signal(signal.SIGKILL)
                helper.wait(PATIENCE)
                wait_until(lambda: self.counters()[0]["sessions_open"] == 0, "all sessions ended")
                wait_until(lambda: self.taken(pids) == before,
                           f"{before} descriptors and mappings, as before")
                _, listener = self.counters()
                self.assertEqual(listener["accepted"], listener["closed"])
                # The first time tables are touched, which stay; then it is always the same.
                after = [private(pid) for pid in pids]
                for now, then in zip(after, memory or after):
                    self.assertLess(now, then + SLACK)
                memory = memory or after
        self.call()
        self.assertEqual(server.stop(), 0)

    def test_no_lane_is_free(self):
        server, _ = self.start()
        helper = self.silent(SILENT + 10)
        done = subprocess.run([LLRPH, "call", "shm:many", "llrph.Echo/Echo", "--text", "x"],
                              env=self.env, capture_output=True, text=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn("lane", done.stderr)
        helper.stdin.close()
        helper.wait(PATIENCE)
        wait_until(lambda: self.counters()[0]["sessions_open"] == 0, "all sessions ended")
        self.call()
        self.assertEqual(server.stop(), 0)

    def test_garbage_on_the_socket(self):
        server, pids = self.start()
        self.call()
        wait_until(lambda: self.counters()[0]["sessions_open"] == 0, "the first client is gone")
        before = self.taken(pids)
        path = os.path.join(self.folder, "many.sock")
        noise = random.Random(4711)
        strangers = []
        for size in (0, 1, 15, 16, 17, 64, 4096, 65536) * 8:
            stranger = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            strangers.append(stranger)
            stranger.settimeout(PATIENCE)
            stranger.connect(path)
            for _ in range(3):
                try:
                    if size % 2:
                        # Descriptors that nobody asked for.
                        socket.send_fds(stranger, [noise.randbytes(size)], [0, 1, 2])
                    else:
                        stranger.send(noise.randbytes(size))
                except (BrokenPipeError, ConnectionResetError):
                    break
            if len(strangers) % 16 == 0:
                self.call(f"beside {len(strangers)}")
        for stranger in strangers:
            stranger.close()
        wait_until(lambda: self.taken(pids) == before, f"{before} descriptors, as before")
        self.assertEqual([server.process.pid, *server.workers()], pids)
        self.call()
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    unittest.main()
