#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""While both sides spin over shared memory there is no system call on a request's path: strace counts
those of the server's worker and of the client, and they do not grow with the requests."""
import os
import re
import select
import shutil
import signal
import subprocess
import time
import unittest

from server import skip
from serving import LLRPH, PATIENCE, ServeTest

FEW = 2000
MANY = 202000
GROWTH_MAX = (MANY - FEW) / 1000
# What each side does by the clock and not for a request: after 10 ms without news it looks whether
# the other lives. How often that is depends on how long this machine keeps either side waiting.
LOOKS = ("recvfrom", "recvmsg")
LOOK_S = 0.010


def counted(path):
    """strace -c's table: looks, and all other calls."""
    looks = others = 0
    with open(path) as file:
        for line in file:
            match = re.fullmatch(r"\s*[\d.,]+\s+\S+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(\w+)\s*", line)
            if match and match[2] in LOOKS:
                looks += int(match[1])
            elif match and match[2] != "total":
                others += int(match[1])
    return looks, others


class NoSyscall(ServeTest):
    def trace_worker(self, pid, path):
        """strace -c of a running worker; it counts from now on."""
        strace = subprocess.Popen(["strace", "-f", "-c", "-o", path, "-p", str(pid)],
                                  stderr=subprocess.PIPE, bufsize=0)
        self.addCleanup(strace.stderr.close)
        said = b""
        until = time.monotonic() + PATIENCE
        while b"attached" not in said:
            ready = select.select([strace.stderr], [], [], max(0, until - time.monotonic()))[0]
            more = os.read(strace.stderr.fileno(), 4096) if ready else b""
            if not more:
                strace.kill()
                strace.wait()
                skip("strace can't attach here: " + said.decode(errors="replace").strip())
            said += more
        return strace

    def run_traced(self, server, requests):
        """Calls of worker and client while so many requests are answered."""
        worker_path = os.path.join(self.folder, f"log-worker-{requests}")
        client_path = os.path.join(self.folder, f"log-client-{requests}")
        # A tracer is in the way of the leak sanitizer, which is one itself.
        env = dict(os.environ, LLRPH_RUNTIME_DIR=self.folder,
                   ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0")
        strace = self.trace_worker(server.workers()[0], worker_path)
        start = time.monotonic()
        done = subprocess.run(["strace", "-f", "-c", "-o", client_path, LLRPH, "bench", server.uris[0],
                               "--requests", str(requests), "--warmup", "0", "--idle", "spin",
                               "--outstanding", "16", "--timeout", "60000"],
                              env=env, capture_output=True, text=True, timeout=120)
        strace.send_signal(signal.SIGINT)
        strace.wait(PATIENCE)
        looks_max = (time.monotonic() - start) / LOOK_S + 10
        self.assertEqual(done.returncode, 0, done.stderr)
        sides = []
        for path in (worker_path, client_path):
            looks, others = counted(path)
            self.assertLessEqual(looks, looks_max)
            self.assertGreater(others, 0)  # it was traced, for it attached a lane
            sides.append(others)
        return sides

    def test_calls_do_not_grow(self):
        server = self.serve("--listen", "shm:silent", "--service", "echo", "--idle", "spin")
        few = self.run_traced(server, FEW)
        many = self.run_traced(server, MANY)
        grown = [more - less for more, less in zip(many, few)]
        print(f"{MANY - FEW} requests more: {grown[0]} system calls more in the worker, "
              f"{grown[1]} in the client; before {few}")
        self.assertLess(max(grown), GROWTH_MAX)
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    if shutil.which("strace") is None:
        skip("strace is not installed")
    unittest.main()
