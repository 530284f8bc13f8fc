#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The life of a server: ready, serving, stopping, with one worker or two, and with sockets that a
service manager opened."""
import os
import signal
import socket
import subprocess
import threading
import time
import unittest

from serving import LLRPH, ServeTest, is_alive

UDP = ("--listen", "udp:127.0.0.1:0")


class Life(ServeTest):
    def test_echo_and_stop(self):
        server = self.serve(*UDP, "--listen", "shm:life", "--service", "echo", "--name", "life")
        self.assertRegex(server.uris[0], r"^udp:127\.0\.0\.1:[1-9][0-9]*$")
        self.assertEqual(server.uris[1], "shm:life")
        self.assertEqual(self.left(), ["life.sock", "life.stats"])
        reply = self.client(server.uris[0]).call("llrph.Echo/Echo", b"hello")
        self.assertEqual((reply.status, reply.payload), (200, b"hello"))
        workers = server.workers()
        self.assertEqual(len(workers), 1)

        self.assertEqual(server.stop(), 0)
        self.assertFalse(any(is_alive(pid) for pid in workers))
        self.assertEqual(self.left(), ["life.stats"])

    def test_what_it_prints(self):
        server = self.serve(*UDP, "--service", "echo")
        self.assertEqual(server.stop(), 0)
        self.assertRegex(server.log(), r"llrph: memory: +[0-9.]+ MiB  session tables\n")
        self.assertRegex(server.log(), r"llrph: memory: +[0-9.]+ MiB  in all\n")
        self.assertEqual(server.process.stdout.read(), b"")

    def test_what_a_service_took(self):
        server = self.serve(*UDP, "--service", self.compile(), "--service", "book:orders=1000",
                            "--workers", "1")
        self.assertEqual(server.stop(), 0)
        self.assertRegex(server.log(), r"llrph: memory: +3\.00 MiB  service test\n")
        self.assertNotIn("service book", server.log())  # it is told in detail
        self.assertIn("book: orders", server.log())

    def test_default_memory(self):
        server = self.serve(*UDP, "--listen", "shm:memory", "--listen", "tcp:127.0.0.1:0",
                            "--service", "echo")
        total = [line for line in server.log().splitlines() if line.endswith("in all")][0]
        self.assertLessEqual(float(total.split()[2]), 64)
        self.assertEqual(server.stop(), 0)

    def test_interrupt(self):
        server = self.serve(*UDP, "--service", "echo")
        server.signal(signal.SIGINT)
        self.assertEqual(server.wait(), 0)

    def test_interrupt_of_the_whole_group(self):
        """A terminal's ^C reaches the workers too: it is the supervisor who decides."""
        server = self.serve(*UDP, "--service", self.compile(), start_new_session=True)
        client = self.client(server.uris[0])
        sequence = client.begin("test.Test/Later", b"300")
        wait_for_deferred(client)
        os.killpg(server.process.pid, signal.SIGINT)
        self.assertEqual(client.answer(sequence).payload, b"late")
        self.assertEqual(server.wait(), 0)
        self.assertNotIn("died", server.log())

    def test_drain(self):
        server = self.serve(*UDP, "--service", self.compile())
        client = self.client(server.uris[0])
        sequence = client.begin("test.Test/Later", b"1500")
        wait_for_deferred(client)
        server.signal(signal.SIGTERM)
        server.wait_log("stopping")
        refused = []
        while not refused or refused[-1].status != 503:  # the worker learns it a moment later
            refused.append(client.call("test.Test/Who"))
            self.assertIn(refused[-1].status, (200, 503))
        late = client.answer(sequence)
        self.assertEqual((late.status, late.payload), (200, b"late"))
        self.assertEqual(server.wait(), 0)

    def test_drain_has_an_end(self):
        server = self.serve(*UDP, "--service", self.compile())
        client = self.client(server.uris[0])
        client.begin("test.Test/Later", b"never")
        wait_for_deferred(client)
        self.assertEqual(server.stop(), 0)
        self.assertIn("1 requests were not answered", server.log())

    def test_second_signal_ends_at_once(self):
        server = self.serve(*UDP, "--service", self.compile(), "--listen", "shm:second")
        client = self.client(server.uris[0])
        self.assertIsNone(client.answer(client.begin("test.Test/Hang"), 0.2))
        server.signal(signal.SIGTERM)
        server.wait_log("stopping")
        self.assertIsNone(server.process.poll())
        server.signal(signal.SIGINT)
        self.assertEqual(server.wait(), 0)
        self.assertIn("at once", server.log())
        self.assertEqual(self.left(), ["llrph.stats"])

    def test_hanging_worker_is_ended(self):
        server = self.serve(*UDP, "--service", self.compile())
        client = self.client(server.uris[0])
        self.assertIsNone(client.answer(client.begin("test.Test/Hang"), 0.2))
        self.assertEqual(server.stop(), 0)
        self.assertIn("did not end in time", server.log())

    def test_signals_that_mean_nothing(self):
        """SIGHUP, SIGPIPE and SIGCHLD to all of them, as fast as they can be sent, under load."""
        for idle in ("park", "spin"):
            server = self.serve(*UDP, "--service", "echo", "--idle", idle)
            client = self.client(server.uris[0])
            pids = [server.process.pid, *server.workers()]
            done = threading.Event()

            def storm():
                while not done.is_set():
                    for pid in pids:
                        for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
                            os.kill(pid, number)
                    for pid in pids[1:]:
                        os.kill(pid, signal.SIGTERM)  # without its supervisor's word

            thread = threading.Thread(target=storm)
            thread.start()
            try:
                for i in range(300):
                    reply = client.call("llrph.Echo/Echo", b"%d" % i)
                    self.assertEqual((reply.status, reply.payload), (200, b"%d" % i))
            finally:
                done.set()
                thread.join()
            self.assertEqual([server.process.pid, *server.workers()], pids)
            self.assertEqual(server.stop(), 0)

    def test_stop_before_ready(self):
        for delay in (0, 0.001, 0.003, 0.01, 0.02, 0.03):
            server = self.serve(*UDP, "--listen", "shm:early", "--service", "book", ready=False)
            time.sleep(delay)
            server.signal(signal.SIGTERM)
            self.assertIn(server.wait(), (0, -signal.SIGTERM))  # before it could catch it
            self.assertNotIn("early.sock", self.left())

    def test_help(self):
        run = subprocess.run([LLRPH, "serve", "--help"], capture_output=True, text=True)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        for word in ("--listen", "--service", "--workers", "--cpus", "--idle", "--name",
                     "--config", "--allow", "--sessionless", "--window", "--max-message",
                     "--sessions", "--session-memory", "--connections", "--lanes", "--shm-mode",
                     "--shm-uid", "--shm-trust", "--hugepages", "echo", "book"):
            self.assertIn(word, run.stdout)
        self.assertLessEqual(max(len(line) for line in run.stdout.splitlines()), 130)

    def test_config_file(self):
        path = os.path.join(self.folder, "log-serve.conf")
        with open(path, "w") as file:
            file.write("[server]\nlisten = udp:127.0.0.1:0\nlisten = shm:filed\n"
                       "service = echo\nname = filed\n")
        server = self.serve("--config", path, ready=False)
        server.wait_ready(2)
        self.assertEqual(self.left(), ["filed.sock", "filed.stats"])
        self.assertEqual(server.stop(), 0)
        server = self.serve("--config", path, "--listen", "shm:typed", "--name", "typed")
        self.assertEqual(server.uris, ["shm:typed"])
        self.assertEqual(server.stop(), 0)


def wait_for_deferred(client):
    """A reply to what was sent later says that the one before is inside."""
    assert client.call("test.Test/Who").status == 200


class Workers(ServeTest):
    def test_two_share_a_port(self):
        server = self.serve(*UDP, "--service", self.compile(), "--workers", "2")
        workers = server.workers()
        self.assertEqual(len(workers), 2)
        seen = set()
        for _ in range(200):  # the kernel spreads clients by their port
            pid = int(self.client(server.uris[0]).call("test.Test/Who").payload.split()[0])
            self.assertIn(pid, workers)
            seen.add(pid)
            if len(seen) == 2:
                break
        self.assertEqual(seen, set(workers))
        self.assertEqual(server.stop(), 0)

    def test_pinned(self):
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            self.skipTest("needs two cpus")
        cpus = [allowed[1], allowed[0]]
        server = self.serve(*UDP, "--service", "echo", "--workers", "2", "--idle", "park",
                            "--cpus", ",".join(map(str, cpus)))
        self.assertEqual([os.sched_getaffinity(pid) for pid in server.workers()],
                         [{cpu} for cpu in cpus])
        self.assertEqual(os.sched_getaffinity(server.process.pid), set(allowed))
        self.assertEqual(server.stop(), 0)

    def test_spin_and_park(self):
        def cpu_ticks(pid):
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        cpu = str(min(os.sched_getaffinity(0)))
        for words, spins in ((("--cpus", cpu), True), ((), False),
                             (("--cpus", cpu, "--idle", "park"), False),
                             (("--idle", "spin"), True)):
            server = self.serve(*UDP, "--service", "echo", *words)
            pid = server.workers()[0]
            if spins:  # it uses what the machine gives it: 20 ticks are 0.2 s
                until = time.monotonic() + 30
                while cpu_ticks(pid) < 20 and time.monotonic() < until:
                    time.sleep(0.05)
                self.assertGreaterEqual(cpu_ticks(pid), 20)
            else:
                time.sleep(1)
                self.assertLess(cpu_ticks(pid), 20)
            self.assertEqual(server.stop(), 0)


class HandedDown(ServeTest):
    """Sockets as systemd passes them: from descriptor 3 on, LISTEN_PID and LISTEN_FDS."""

    def serve_with(self, sockets, *words, count=1):
        def place():
            for number, one in enumerate(sockets):
                os.dup2(one.fileno(), 100 + number)
            for number in range(len(sockets)):
                os.dup2(100 + number, 3 + number)
                os.close(100 + number)
            os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sockets)),
                              LLRPH_RUNTIME_DIR=self.folder)

        server = self.serve(*words, ready=False, env=None, preexec_fn=place, close_fds=False)
        server.wait_ready(count)
        return server

    def bound(self, kind):
        one = socket.socket(socket.AF_INET, kind)
        self.addCleanup(one.close)
        one.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            one.listen()
        return one

    def test_datagram(self):
        one = self.bound(socket.SOCK_DGRAM)
        uri = "udp:127.0.0.1:%d" % one.getsockname()[1]
        server = self.serve_with([one], "--service", "echo")
        self.assertEqual(server.uris, [uri])
        one.close()
        self.assertEqual(self.client(uri).call("llrph.Echo/Echo", b"x").payload, b"x")
        self.assertEqual(server.stop(), 0)

    def test_stream_beside_our_own(self):
        one = self.bound(socket.SOCK_STREAM)
        uri = "tcp:127.0.0.1:%d" % one.getsockname()[1]
        server = self.serve_with([one], "--listen", "udp:127.0.0.1:0", "--listen", uri,
                                 "--service", "echo", "--workers", "2", count=2)
        self.assertEqual(server.uris[1], uri)
        one.close()
        with socket.create_connection(("127.0.0.1", int(uri.split(":")[2])), 10) as connection:
            connection.sendall(b"not LLRP at all, so the server closes" + bytes(27))
            connection.settimeout(30)
            self.assertEqual(connection.recv(1), b"")
        self.assertEqual(server.stop(), 0)

    def test_shared_memory(self):
        path = os.path.join(self.folder, "handed.sock")
        one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(one.close)
        one.bind(path)
        one.listen()
        server = self.serve_with([one], "--service", "echo")
        self.assertEqual(server.uris, ["shm:handed"])
        self.assertEqual(server.stop(), 0)
        self.assertIn("handed.sock", self.left())  # the service manager's: it stays


if __name__ == "__main__":
    unittest.main()
