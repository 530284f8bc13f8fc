#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A UDP endpoint on all addresses answers from the one that was asked: each client's socket is
connected, so that the kernel drops what comes from elsewhere."""
import ctypes
import os
import shutil
import socket
import struct
import subprocess
import unittest

import llrp
from llrp import request
from server import Case, ECHO

CLONE_NEWNET = 0x40000000
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.77", "127.1.2.3")
SIX = ("::1", "fd00::2", "fd00::3")
LINK_LOCAL = ("fe80::1", "fe80::2")
# The clients' own: else the kernel would answer from the right address by chance.
SIX_CLIENT, LINK_LOCAL_CLIENT = "fd00::9", "fe80::9"

why_not_six = ""  # why there is but one IPv6 address here


def add_addresses():
    """A network namespace of our own with more IPv6 addresses; why not, if so."""
    if shutil.which("ip") is None:
        return "no ip command to add IPv6 addresses with"
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return f"no network namespace: {os.strerror(ctypes.get_errno())}"
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (*SIX[1:], *LINK_LOCAL, SIX_CLIENT, LINK_LOCAL_CLIENT):
        done = subprocess.run(["ip", "addr", "add", f"{address}/64", "dev", "lo", "nodad"],
                              text=True, stderr=subprocess.PIPE)
        if done.returncode != 0:
            return f"no IPv6 address could be added: {done.stderr.strip()}"
    return ""


def setUpModule():
    global why_not_six
    why_not_six = add_addresses()


class Wildcard(Case):
    words = ("--listen", "udp:0.0.0.0:0", "--listen", "udp:[::]:0", "--service", "echo",
             "--service", "{folder}/slow.so")

    def connect(self, address, local="", scope=()):
        port = self.server.address("udp", 1 if ":" in address else 0)[1]
        peer = llrp.Udp((address, port, *scope), (local, 0, *scope) if local else None)
        self.addCleanup(peer.close)
        session = peer.open()
        self.addCleanup(lambda: peer.send(llrp.bye()))
        return peer, session

    def answered_in_full(self, peer, session):
        """Small, in fragments both ways, later, remembered, refused, and control frames."""
        self.assert_alive(peer, session, 1)
        peer.send_frames(request(session.id, 2, "test.Slow/Big", struct.pack("<I", 20000)))
        self.assertEqual(len(peer.whole_reply().payload), 20000)
        for part in llrp.fragments(session.id, 3, ECHO, bytes(5000)):
            peer.send_frames(part)
        self.assertEqual(peer.whole_reply().payload, bytes(5000))
        later = struct.pack("<I", 20)
        self.assertEqual(peer.reply(request(session.id, 4, "test.Slow/Defer", later)).payload, later)
        count = request(session.id, 5, "test.Slow/Count")
        first = peer.reply(count)
        self.assertEqual(peer.reply(count).payload, first.payload)
        self.assertEqual(peer.reply(request(session.id, 6, "no.such/Method")).status, 404)
        self.assertEqual(peer.until_ack(), [])

    def interleaved(self, peers):
        for sequence in range(10, 20):
            for number, (peer, session) in enumerate(peers):
                peer.send_frames(request(session.id, sequence, ECHO, bytes([number, sequence])))
        for sequence in range(10, 20):
            for number, (peer, _) in enumerate(peers):
                reply = llrp.as_reply(peer.receive())
                self.assertEqual((reply.sequence, reply.payload), (sequence, bytes([number, sequence])))

    def test_ipv4(self):
        peers = [self.connect(address) for address in ADDRESSES]
        for peer, session in peers:
            self.answered_in_full(peer, session)
        self.interleaved(peers)

    def test_ipv6(self):
        if why_not_six:
            self.skipTest(why_not_six)
        scope = (0, socket.if_nametoindex("lo"))
        peers = [self.connect(address, SIX_CLIENT) for address in SIX[1:]]
        peers += [self.connect(address, LINK_LOCAL_CLIENT, scope) for address in LINK_LOCAL]
        peers.append(self.connect(SIX[0]))
        for peer, session in peers:
            self.answered_in_full(peer, session)
        self.interleaved(peers)

    def test_one_client_asks_two_addresses(self):
        # One address and port, so one session: each answer leaves from where its request came to,
        # whatever came since; a remembered one from where the repeat came to.
        port = self.server.address("udp")[1]
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        client.settimeout(llrp.PATIENCE_S)
        client.bind(("127.0.0.1", 0))

        def exchange(address, *frames):
            for sent in frames:
                client.sendto(sent, (address, port))
            data, (host, _) = client.recvfrom(65536)
            return host, llrp.unpack(data)

        host, challenge = exchange("127.0.0.3", llrp.hello(7))
        self.assertEqual(host, "127.0.0.3")
        host, welcome = exchange("127.0.0.2", llrp.hello(7, llrp.as_welcome(challenge).cookie))
        self.assertEqual(host, "127.0.0.2")
        session = llrp.terms_of(llrp.as_welcome(welcome), 7)
        client.sendto(request(session.id, 1, "test.Slow/Defer", struct.pack("<I", 200)), ("127.0.0.3", port))
        host, reply = exchange("127.0.0.4", request(session.id, 2, "test.Slow/Count"))
        self.assertEqual((host, reply.sequence), ("127.0.0.4", 2))
        data, (host, _) = client.recvfrom(65536)
        self.assertEqual((host, llrp.unpack(data).sequence), ("127.0.0.3", 1))
        host, again = exchange("127.0.0.5", request(session.id, 2, "test.Slow/Count"))
        self.assertEqual((host, again.body[16:]), ("127.0.0.5", reply.body[16:]))


if __name__ == "__main__":
    unittest.main()
