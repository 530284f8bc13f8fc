# SPDX-License-Identifier: MIT
"""LLRP/1 from Python's standard library alone, written from the protocol's page and from nothing else.

Frames and bodies to bytes and back, and a peer on UDP or TCP that sends exactly the bytes it is
given: it repeats, reorders and corrects nothing. What comes back is checked against the page as it
is read: magic, version, checksum, flags, padding.
"""
import itertools
import os
import socket
import struct
import time
from collections import namedtuple

PUBLISH, SUBSCRIBE, ACK, HEARTBEAT, BATCH, REQUEST, REPLY, HELLO, WELCOME, NAK, BYE, CANCEL = range(1, 13)
NO_CRC, FRAGMENT, IDEMPOTENT, RETRY, MORE, EXT, ORDERED = (1 << bit for bit in range(7))
FEATURE_EXT = 1

HEADER = struct.Struct("<4sBBHQQII")
HELLO_BODY = struct.Struct("<QQIHHQ64x")
WELCOME_BODY = struct.Struct("<QQIHHQQQ")
REQUEST_ROUTE = struct.Struct("<IIQ")
REPLY_ROUTE = struct.Struct("<IHHII")
FRAGMENT_BLOCK = struct.Struct("<III4x")
assert (HEADER.size, HELLO_BODY.size, WELCOME_BODY.size) == (32, 96, 48)

PATIENCE_S = 10.0  # how long an answer may take that must come; never waited for in full


def _crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


def route_of(method):
    """FNV-1a, 32 bits, of the method's full name."""
    value = 2166136261
    for byte in method.encode():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value


def pad(data):
    return data + bytes(-len(data) % 16)


def pack(frames):
    """Frames in one datagram: each starts at a multiple of 16, nothing after the last."""
    return b"".join(pad(frame) for frame in frames[:-1]) + frames[-1]


def frame(kind, body=b"", sequence=0, flags=0, *, version=1, magic=b"LLRP", length=None, crc=None,
          timestamp=None):
    """A frame's bytes, honest unless told otherwise."""
    timestamp = time.time_ns() if timestamp is None else timestamp
    length = len(body) if length is None else length
    header = HEADER.pack(magic, version, kind, flags, sequence, timestamp, length, 0)[:28]
    crc = crc32c(body, crc32c(header)) if crc is None else crc
    return header + struct.pack("<I", crc) + body


def hello(nonce, cookie=0, max_message=0, window=0, features=0):
    return frame(HELLO, HELLO_BODY.pack(nonce, cookie, max_message, window, 0, features))


def request(session, sequence, method, payload=b"", flags=0, budget_us=0, blocks=b""):
    """blocks: extension blocks, fragment block or both, as they are to stand behind the route."""
    route = method if isinstance(method, int) else route_of(method)
    body = REQUEST_ROUTE.pack(route, budget_us, session) + blocks + payload
    return frame(REQUEST, body, sequence, flags)


def cancel(session, sequence):
    return frame(CANCEL, struct.pack("<Q", session), sequence)


def bye(session=None):
    return frame(BYE, b"" if session is None else struct.pack("<Q", session))


def ext_block(kind, data):
    return pad(struct.pack("<HH", kind, len(data)) + data)


EXT_END = bytes(16)


def fragments(session, sequence, method, payload, part_size=1024, flags=0, budget_us=0,
              message_crc=None, blocks=b""):
    """The parts of a request as frames; extension blocks go into the first."""
    message_crc = crc32c(payload) if message_crc is None else message_crc
    parts = []
    for offset in range(0, max(len(payload), 1), part_size):
        block = FRAGMENT_BLOCK.pack(offset, len(payload), message_crc)
        with_ext = blocks if offset == 0 else b""
        part_flags = flags | FRAGMENT | (EXT if with_ext else 0)
        parts.append(request(session, sequence, method, payload[offset:offset + part_size],
                             part_flags, budget_us, with_ext + block))
    return parts


Frame = namedtuple("Frame", "kind flags sequence timestamp body size")
Welcome = namedtuple("Welcome", "session cookie max_message window status epoch features nonce")
Reply = namedtuple("Reply", "sequence flags route status credits service_ns queue_ns payload fragment"
                   " size timestamp")


def unpack(data, at=0):
    """The frame at an offset; asserts what the page says of every frame."""
    assert len(data) - at >= 32, "a header's bytes are missing"
    magic, version, kind, flags, sequence, timestamp, length, crc = HEADER.unpack_from(data, at)
    assert magic == b"LLRP" and version == 1, "magic or version"
    assert at + 32 + length <= len(data), "a body's bytes are missing"
    body = bytes(data[at + 32:at + 32 + length])
    assert crc == crc32c(body, crc32c(bytes(data[at:at + 28]))), "crc"
    allowed = FRAGMENT | MORE if kind == REPLY else 0
    assert flags & ~allowed == 0, f"flags {flags:#x} on type {kind}"
    assert abs(timestamp - time.time_ns()) < 3600 * 10**9, "timestamp is not wall-clock time"
    return Frame(kind, flags, sequence, timestamp, body, 32 + length)


def unpack_datagram(data):
    frames = []
    at = 0
    while at < len(data):
        frames.append(unpack(data, at))
        at += frames[-1].size
        if at < len(data):
            after = at + -at % 16
            assert after < len(data), "a tail after the last frame"
            assert not any(data[at:after]), "padding is not zero"
            at = after
    return frames


def as_welcome(received):
    assert received.kind == WELCOME and received.sequence == 0 and len(received.body) == 48
    return Welcome(*WELCOME_BODY.unpack(received.body))


def as_reply(received):
    assert received.kind == REPLY and len(received.body) >= 16
    route, status, credits, service_ns, queue_ns = REPLY_ROUTE.unpack_from(received.body)
    payload = received.body[16:]
    fragment = None
    if received.flags & FRAGMENT:
        fragment = FRAGMENT_BLOCK.unpack_from(payload)
        assert not any(payload[12:16]), "the fragment block's zeros"
        payload = payload[16:]
    return Reply(received.sequence, received.flags, route, status, credits, service_ns, queue_ns,
                 payload, fragment, received.size, received.timestamp)


class Terms(namedtuple("Terms", "id window max_message features epoch nonce")):
    """What a session was granted."""


def new_nonce():
    return int.from_bytes(os.urandom(8), "little") | 1


_marks = itertools.count(1 << 48)


class Peer:
    """What UDP and TCP have in common: frames come in order from self.receive()."""

    def send_frames(self, *frames):
        raise NotImplementedError

    def receive(self, timeout=PATIENCE_S):
        """The next frame; None: the other end has closed. Raises TimeoutError."""
        raise NotImplementedError

    def until_ack(self):
        """Sends a HEARTBEAT and returns every frame that came before its ACK: a server that
        answers in turn has then answered, or dropped, all that was sent before."""
        mark = next(_marks)
        self.send_frames(frame(HEARTBEAT, b"", mark))
        frames = []
        while True:
            received = self.receive()
            assert received is not None, "connection closed"
            if received.kind == ACK and received.sequence == mark:
                assert len(received.body) in (0, 8)
                return frames
            frames.append(received)

    def answers(self, *frames):
        """Sends frames each in a datagram (or write) of its own; the frames that come back."""
        for sent in frames:
            self.send_frames(sent)
        return self.until_ack()

    def replies(self, *frames):
        return [as_reply(received) for received in self.answers(*frames)]

    def reply(self, sent):
        """The one reply to a frame."""
        self.send_frames(sent)
        return as_reply(self.receive())


class Udp(Peer):
    def __init__(self, address, local=None):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        if local:
            self.socket.bind(local)
        self.socket.connect(address)
        self.address = address
        self.datagram_size = 1452 if family == socket.AF_INET6 else 1472
        self.frames = []

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.send(data)

    def send_frames(self, *frames):
        self.send(pack(frames))

    def receive_datagram(self, timeout=PATIENCE_S):
        self.socket.settimeout(timeout)
        return self.socket.recv(65536)

    def receive(self, timeout=PATIENCE_S):
        if not self.frames:
            self.frames = unpack_datagram(self.receive_datagram(timeout))
        return self.frames.pop(0)

    def cookie(self, nonce, **terms):
        self.send(hello(nonce, 0, **terms))
        challenge = as_welcome(self.receive())
        assert challenge.status == 401, challenge
        return challenge.cookie

    def open(self, nonce=None, **terms):
        nonce = nonce or new_nonce()
        self.send(hello(nonce, self.cookie(nonce, **terms), **terms))
        return terms_of(as_welcome(self.receive()), nonce)

    def whole_reply(self, timeout=PATIENCE_S):
        """A reply put together from its parts, whatever their order; repeats of parts may come."""
        first = as_reply(self.receive(timeout))
        if first.fragment is None:
            return first
        parts = {}
        part = first
        _, total, message_crc = first.fragment
        while True:
            offset, part_total, part_crc = part.fragment
            assert (part_total, part_crc) == (total, message_crc)
            assert (part.sequence, part.route, part.status) == (first.sequence, first.route, first.status)
            parts[offset] = part.payload
            if sum(map(len, parts.values())) == total:
                break
            part = as_reply(self.receive())
        payload = b"".join(parts[offset] for offset in sorted(parts))
        sizes = [len(parts[offset]) for offset in sorted(parts)]
        assert all(size == sizes[0] and size % 16 == 0 for size in sizes[:-1])
        assert sizes[-1] <= sizes[0]
        assert crc32c(payload) == message_crc, "message_crc of a fragmented reply"
        return first._replace(payload=payload, flags=first.flags & ~FRAGMENT, fragment=None)


class Tcp(Peer):
    def __init__(self, address):
        self.socket = socket.create_connection(address, PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.padding = 0  # bytes that must come, as zeros, before the next frame
        self.sent = 0

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)
        self.sent += len(data)

    def send_frames(self, *frames):
        self.send(b"".join(pad(sent) for sent in frames))

    def _fill(self, size, deadline):
        while len(self.buffer) < size:
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                return False
            self.buffer += data
        return True

    def receive(self, timeout=PATIENCE_S):
        deadline = time.monotonic() + timeout
        if not self._fill(self.padding + 32, deadline):
            assert not any(self.buffer[:self.padding]) and len(self.buffer) <= self.padding, \
                "the connection ends inside a frame"
            return None
        assert not any(self.buffer[:self.padding]), "padding is not zero"
        self.buffer = self.buffer[self.padding:]
        size = 32 + HEADER.unpack_from(self.buffer)[6]
        assert self._fill(size, deadline), "the connection ends inside a frame"
        received = unpack(self.buffer[:size])
        self.buffer = self.buffer[size:]
        self.padding = -size % 16
        return received

    def is_ended(self, timeout=PATIENCE_S):
        """True once the server has closed; what still came is dropped."""
        while self.receive(timeout) is not None:
            pass
        return True

    def open(self, nonce=None, **terms):
        nonce = nonce or new_nonce()
        self.send_frames(hello(nonce, 0, **terms))
        return terms_of(as_welcome(self.receive()), nonce)


def terms_of(welcome, nonce):
    assert welcome.status == 200, welcome
    assert welcome.nonce == nonce and welcome.cookie == 0 and welcome.session != 0, welcome
    return Terms(welcome.session, welcome.window, welcome.max_message, welcome.features,
                 welcome.epoch, nonce)
