#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Death of a worker, of the supervisor, of both: what goes on, what ends, what is left."""
import json
import os
import re
import signal
import subprocess
import time
import unittest

from serving import LLRPH, ServeTest, is_alive, wait_until

UDP = ("--listen", "udp:127.0.0.1:0")


class WorkerDies(ServeTest):
    def kill_worker(self, server, index=0, number=signal.SIGKILL):
        """Returns when a successor is there."""
        before = server.workers()
        os.kill(before[index], number)
        wait_until(lambda: len(server.workers()) == len(before) and
                   before[index] not in server.workers(), "a successor")
        return before[index]

    def test_session_goes_on(self):
        server = self.serve(*UDP, "--listen", "shm:crash", "--service", "echo")
        client = self.client(server.uris[0])
        first = client.call("llrph.Echo/Echo", b"before")
        for i in range(5):
            pid = self.kill_worker(server)
            server.wait_log(f"worker 0 (pid {pid}) died of signal 9 (Killed) after ")
            reply = client.call("llrph.Echo/Echo", b"after %d" % i)
            self.assertEqual((reply.status, reply.payload), (200, b"after %d" % i))
        # What its dead worker answered is remembered, not run again.
        again = client.repeat(first.sequence, "llrph.Echo/Echo", b"other")
        self.assertEqual((again.status, again.payload), (200, b"before"))
        self.assertEqual((again.service_ns, again.queue_ns), (first.service_ns, first.queue_ns))
        self.assertEqual(server.stop(), 0)
        self.assertEqual(self.left(), ["llrph.stats"])

    def test_epoch_stays(self):
        server = self.serve(*UDP, "--service", "echo")
        epoch = self.client(server.uris[0]).terms.epoch
        self.kill_worker(server)
        self.assertEqual(self.client(server.uris[0]).terms.epoch, epoch)

    def test_request_inside_is_answered_500(self):
        server = self.serve(*UDP, "--service", self.compile())
        other = self.client(server.uris[0])
        self.assertEqual(other.call("test.Test/Who").status, 200)
        client = self.client(server.uris[0])
        self.assertEqual(client.call("test.Test/Die").status, 500)
        self.assertEqual(client.repeat(client.sequence, "test.Test/Die").status, 500)
        self.assertEqual(server.log().count("died of signal 6"), 1)  # it ran once
        self.assertEqual(client.call("test.Test/Who").status, 200)
        self.assertEqual(other.call("test.Test/Who").status, 200)

    def test_one_of_two(self):
        server = self.serve(*UDP, "--service", self.compile(), "--workers", "2")
        clients = {}
        for _ in range(200):
            client = self.client(server.uris[0])
            clients[int(client.call("test.Test/Who").payload.split()[0])] = client
            if len(clients) == 2:
                break
        self.assertEqual(len(clients), 2)
        dead = self.kill_worker(server, 1)
        for pid, client in clients.items():
            now = int(client.call("test.Test/Who").payload.split()[0])
            if pid == dead:
                self.assertNotIn(now, clients)
            else:
                self.assertEqual(now, pid)
            self.assertIn(now, server.workers())

    def test_keeps_dying(self):
        server = self.serve(*UDP, "--service", self.compile())
        client = self.client(server.uris[0])
        self.assertEqual(client.call("test.Test/Who").status, 200)

        def kill_all():
            for pid in server.workers():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            return "keeps dying" in server.log()

        wait_until(kill_all, "told of it")
        self.assertEqual(client.call("test.Test/Who").status, 200)
        self.assertEqual(server.log().count("keeps dying"), 1)
        self.assertEqual(server.stop(), 0)

    def test_state_is_lost_and_sessions_with_it(self):
        for kind in ("LLRPH_STATE_SINGLE", "LLRPH_STATE_PER_WORKER"):
            server = self.serve(*UDP, "--service", self.compile(f"-DSTATE={kind}"))
            client = self.client(server.uris[0])
            self.assertEqual(client.call("test.Test/Who").status, 200)
            self.kill_worker(server)
            self.assertEqual(client.call("test.Test/Who").status, 401)
            self.assertNotEqual(self.client(server.uris[0]).terms.epoch, client.terms.epoch)
            self.assertEqual(server.stop(), 0)

    def test_state_is_recovered_and_sessions_stay(self):
        server = self.serve(*UDP, "--service",
                            self.compile("-DSTATE=LLRPH_STATE_SINGLE", "-DRECOVER"))
        client = self.client(server.uris[0])
        self.assertEqual(client.call("test.Test/Who").payload.split()[2], b"1")
        self.kill_worker(server)
        self.assertEqual(client.call("test.Test/Who").payload.split()[2], b"1001")
        self.assertEqual(self.client(server.uris[0]).terms.epoch, client.terms.epoch)

    def test_successor_that_cannot_start(self):
        """It is tried again and again, slowly, and said why."""
        server = self.serve(*UDP, "--service",
                            self.compile("-DSTATE=LLRPH_STATE_SINGLE", "-DRECOVER",
                                         "-DRECOVER_FAILS"))
        os.kill(server.workers()[0], signal.SIGKILL)
        server.wait_log("worker 0 can't start: service test: beyond recovery")
        server.wait_log("keeps dying")
        tries = server.log().count("can't start")
        wait_until(lambda: server.log().count("can't start") > tries, "another try")
        self.assertIsNone(server.process.poll())
        self.assertEqual(server.stop(), 0)

    def bench(self, method):
        """A second of requests over shared memory, with two kills in it; what bench counted."""
        with subprocess.Popen([LLRPH, "bench", "shm:crash", method, "--duration", "1.5",
                               "--warmup", "10", "--json"], stdout=subprocess.PIPE,
                              env=dict(os.environ, LLRPH_RUNTIME_DIR=self.folder)) as bench:
            for _ in range(2):
                time.sleep(0.5)
                self.kill_worker(self.server)
            done = json.loads(bench.stdout.read())
        done["errors"] = {kind: count for kind, count in done["errors"].items() if count}
        return done

    def test_lanes_go_on(self):
        self.server = self.serve("--listen", "shm:crash", "--service", "echo")
        done = self.bench("llrph.Echo/Echo")
        self.assertGreater(done["requests"], 0)
        # At most the one that was inside is answered 500, at each death.
        self.assertLessEqual(sum(done["errors"].values()), 2, done["errors"])
        self.assertFalse(set(done["errors"]) & {"peer_dead", "maybe_ran", "deadline"})
        self.assertEqual(self.server.stop(), 0)

    def test_lanes_end_with_lost_state(self):
        """Their clients are told at once, and attach again."""
        self.server = self.serve("--listen", "shm:crash", "--service",
                                 self.compile("-DSTATE=LLRPH_STATE_SINGLE"))
        done = self.bench("test.Test/Who")
        self.assertGreater(done["requests"], 0)
        self.assertTrue(done["errors"])
        self.assertLessEqual(set(done["errors"]), {"peer_dead", "maybe_ran", "refused", "no_session"})
        self.assertEqual(self.server.stop(), 0)

    def test_killed_while_stopping(self):
        server = self.serve(*UDP, "--service", self.compile())
        client = self.client(server.uris[0])
        self.assertIsNone(client.answer(client.begin("test.Test/Hang"), 0.2))
        worker = server.workers()[0]
        server.signal(signal.SIGTERM)
        server.wait_log("stopping")
        os.kill(worker, signal.SIGKILL)
        self.assertEqual(server.wait(), 0)

    def test_any_signal(self):
        server = self.serve(*UDP, "--service", "echo")
        client = self.client(server.uris[0])
        for number in (signal.SIGQUIT, signal.SIGALRM, signal.SIGTRAP):
            pid = self.kill_worker(server, number=number)
            server.wait_log(f"(pid {pid}) died of signal {int(number)} ")
            self.assertEqual(client.call("llrph.Echo/Echo", b"x").status, 200)


class SupervisorDies(ServeTest):
    WORDS = (*UDP, "--listen", "shm:orphan", "--service", "echo", "--workers", "2")

    def test_workers_end_and_nothing_is_left(self):
        for idle in ("park", "spin"):
            server = self.serve(*self.WORDS, "--idle", idle)
            workers = server.workers()
            self.assertEqual(len(workers), 2)
            server.signal(signal.SIGKILL)
            killed = time.monotonic()
            wait_until(lambda: not any(map(is_alive, workers)), "the workers' end")
            self.assertLess(time.monotonic() - killed, 10)  # one second on an idle machine
            self.assertEqual(self.left(), ["llrph.stats"])
            server.wait()

    def test_killed_at_any_moment_of_its_start(self):
        for i in range(12):
            server = self.serve(*self.WORDS, ready=False)
            time.sleep(i * 0.004)
            workers = server.workers()
            server.signal(signal.SIGKILL)
            server.wait()
            wait_until(lambda: not any(map(is_alive, workers)), "the workers' end")
        server = self.serve(*self.WORDS)  # whatever they left does not matter
        self.assertEqual(server.stop(), 0)
        self.assertEqual(self.left(), ["llrph.stats"])

    def test_all_die_at_once(self):
        server = self.serve(*self.WORDS)
        workers = server.workers()
        for pid in (server.process.pid, *workers):
            os.kill(pid, signal.SIGSTOP)  # so that none replaces another, or runs its handler
        for pid in (*workers, server.process.pid):
            os.kill(pid, signal.SIGKILL)
        server.wait()
        wait_until(lambda: not any(map(is_alive, workers)), "the workers' end")
        self.assertEqual(self.left(), ["llrph.stats", "orphan.sock"])
        server = self.serve(*self.WORDS)
        self.assertEqual(self.client(server.uris[0]).call("llrph.Echo/Echo", b"x").status, 200)
        self.assertEqual(server.stop(), 0)
        self.assertEqual(self.left(), ["llrph.stats"])

    def test_new_epoch_after_restart(self):
        server = self.serve(*UDP, "--service", "echo")
        first = self.client(server.uris[0])
        server.stop()
        port = server.uris[0]
        server = self.serve("--listen", port, "--service", "echo")
        self.assertEqual(first.call("llrph.Echo/Echo", b"x").status, 401)
        self.assertNotEqual(first.terms.epoch, self.client(port).terms.epoch)


class StartFails(ServeTest):
    def test_service_that_dies(self):
        server = self.serve(*UDP, "--service", self.compile("-DOPEN_DIES"), "--workers", "2",
                            ready=False)
        self.assertEqual(server.wait(), 1)
        self.assertRegex(server.log(), re.compile(
            r"^llrph serve: worker 0 \(pid \d+\) died of signal 6 \(Aborted\) after .* s.*\n$"))

    def test_service_that_refuses(self):
        path = self.compile("-DOPEN_FAILS")
        server = self.serve(*UDP, "--service", path + ":vanilla", "--workers", "2", ready=False)
        self.assertEqual(server.wait(), 2)
        self.assertEqual(server.log(), "llrph serve: service test: 'vanilla' is not to my taste "
                         "(see llrph serve --help)\n")


if __name__ == "__main__":
    unittest.main()
