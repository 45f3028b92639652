#!/usr/bin/env python3
"""Plays one end of a recorded conversation with the other end on real sockets, and says where the other end differs.

    replay.py client tcp|udp ADDRESS:PORT FILE     says the lines with `>`, expects those with `<`
    replay.py server tcp|udp ADDRESS:PORT FILE     the reverse
    replay.py echo ADDRESS FILE                    sends the pings of the `>` lines by itself, expects those of `<`
    replay.py envelope ADDRESS FILE                sends the `>` lines, which are echo requests, and reads the answers

A line is one write of the recorded program. A line in brackets is said, or let pass, but not expected: what the kernel
added to the recording, and does not add again. What is read is compared as datagrams or, over tcp, as frames behind the
relay's own message, so that another split does no harm. Of an IP packet the identification, the checksum over it and
the flow label are not compared: a kernel chose them, and what a kernel says to all neighbours is passed over. Prints SAME or
DIFFERENT; any other output is a story.
"""
import socket
import struct
import sys
import time

LIMIT = 10


def comparable(data):
    """A packet without what a kernel draws by lot."""
    data = bytearray(data)
    if len(data) >= 20 and data[0] == 0x45:
        data[4:6] = data[10:12] = b"\0\0"
    elif len(data) >= 40 and data[0] >> 4 == 6:
        data[1] &= 0xF0
        data[2:4] = b"\0\0"
    return bytes(data)


def is_noise(data):
    """A packet to a link-local group of IPv6: what an interface says when it comes up."""
    return len(data) >= 40 and data[0] >> 4 == 6 and data[24] == 0xFF


def lines(path):
    """(who, bytes, is expected) of each line."""
    with open(path) as file:
        for line in file:
            word = line.split()
            if word:
                yield word[0], bytes.fromhex(word[1].strip("[]")), not word[1].startswith("[")


class Different(Exception):
    pass


class Stream:
    """TCP: the relay's message first, then frames."""

    def __init__(self, connection):
        self.connection = connection
        self.is_open = False
        self.expected = self.announcement = self.answer = b""

    def say(self, data):
        if data[:4] == b"GOST":
            self.answer = data
        self.connection.sendall(data)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.connection.recv(count - len(data))
            if not part:
                raise Different("ended after %s" % data.hex())
            data += part
        return data

    def unit(self):
        """The next message or frame, whole."""
        if not self.is_open:
            self.is_open = True
            header = self.exactly(4)
            return header + self.exactly(struct.unpack("!H", header[2:])[0])
        header = self.exactly(2)
        return header + self.exactly(struct.unpack("!H", header)[0])

    def expect(self, data):
        self.expected += data
        while self.expected:
            size = 4 if not self.is_open else 2
            if len(self.expected) < size:
                return
            size += struct.unpack("!H", self.expected[size - 2 : size])[0]
            if len(self.expected) < size:
                return
            unit, self.expected = self.expected[:size], self.expected[size:]
            head = 0 if not self.is_open else 2
            got = self.unit()
            # An announcement that comes once more while a packet is awaited is a matter of time, not of bytes.
            while is_noise(got[2:]) or got == self.announcement != unit:
                if got == self.announcement:
                    self.connection.sendall(struct.pack("!H", len(self.answer)) + self.answer)
                got = self.unit()
            if unit[2:6] == b"GOST":
                self.announcement = unit
            compare(got, unit, head)


class Datagrams:
    def __init__(self, connection, is_server):
        self.connection = connection
        self.is_server = is_server
        self.announcement = self.answer = b""

    def say(self, data):
        if data[:4] == b"GOST":
            self.answer = data
        self.connection.send(data)

    def expect(self, data):
        got, source = self.connection.recvfrom(65535)
        # As above.
        while is_noise(got) or got == self.announcement != data:
            if got == self.announcement:
                self.connection.send(self.answer)
            got, source = self.connection.recvfrom(65535)
        if data[:4] == b"GOST":
            self.announcement = data
        if self.is_server:
            self.connection.connect(source)
            self.is_server = False
        compare(got, data, 0)


def compare(got, expected, head):
    if got[:head] != expected[:head] or comparable(got[head:]) != comparable(expected[head:]):
        raise Different("\n  expected %s\n  got      %s" % (expected.hex(), got.hex()))
    print("as recorded:", got.hex()[:80], flush=True)


def endpoint(text):
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    return socket.AF_INET6 if ":" in host else socket.AF_INET, (host, int(port))


def converse(role, kind, place, path):
    family, address = endpoint(place)
    own, other = (">", "<") if role == "client" else ("<", ">")
    raw = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    raw.settimeout(LIMIT)
    if role == "client":
        raw.connect(address)
    else:
        raw.bind(address)
        if kind == "tcp":
            raw.listen()
    print("READY", flush=True)
    if role == "server" and kind == "tcp":
        raw = raw.accept()[0]
        raw.settimeout(LIMIT)
    if kind == "tcp":
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = Stream(raw)
    else:
        end = Datagrams(raw, role == "server")
    for who, data, is_expected in lines(path):
        if who == own:
            end.say(data)
        elif who == other and is_expected:
            end.expect(data)


def echo(address, path):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if ":" in address else socket.IPPROTO_ICMP)
    raw.settimeout(LIMIT)
    head, request, reply = (40, 128, 129) if ":" in address else (20, 8, 0)
    for who, data, _ in lines(path):
        message = data[head:]
        is_packet = len(data) > head and data[0] == (0x60 if head == 40 else 0x45) and data[head] in (request, reply)
        if not is_packet:
            continue
        if who == ">":
            raw.sendto(message, (address, 0))
            continue
        while True:
            got = raw.recv(65535)[0 if head == 40 else 20 :]
            if got[0] == reply:
                break
        compare(got, message, 0)


def envelope(address, path):
    is_v6 = ":" in address
    kind = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if is_v6 else (socket.AF_INET, socket.IPPROTO_ICMP)
    raw = socket.socket(kind[0], socket.SOCK_RAW, kind[1])
    raw.settimeout(0.5)
    sent = [data for who, data, _ in lines(path) if who == ">"]
    for data in sent:
        raw.sendto(data, (address, 0))
    answered = 0
    end = time.monotonic() + LIMIT
    while answered < 2 and time.monotonic() < end:
        try:
            message = raw.recv(65535)
        except TimeoutError:
            continue
        if not is_v6:
            message = message[(message[0] & 15) * 4 :]
        if message[0] != (129 if is_v6 else 0) or message[12:14] == b"\0\0":
            continue  # Neighbours, and the kernel's own echo of our envelope.
        check_envelope(message, sent, is_v6)
        answered += 1
        print("answered:", message.hex()[:80], flush=True)
    if answered < 2:
        raise Different("%d answers" % answered)


def check_envelope(message, sent, is_v6):
    """An answer as the recorded client would take it: the echo's own fields, the envelope, a QUIC packet for it."""
    expected = {(data[4:6], data[6:8]) for data in sent}
    if message[1] != 0 or (message[4:6], message[6:8]) not in expected:
        raise Different("the code, the identifier or the sequence: %s" % message[:8].hex())
    if not is_v6:
        padded = message + b"\0" * (len(message) & 1)
        total = sum(struct.unpack("!%dH" % (len(padded) // 2), padded))
        if total % 0xFFFF != 0:
            raise Different("the checksum")
    magic, flags, reserved, length = struct.unpack("!4sHHH", message[8:18])
    if (magic, flags, reserved, length) != (b"GOST", 1, 0, len(message) - 18):
        raise Different("the envelope: %s" % message[8:18].hex())
    # A long header of version 1 for a client whose connection IDs are empty.
    quic = message[18:]
    if quic[0] & 0xC0 != 0xC0 or quic[1:5] != b"\0\0\0\1" or quic[5] != 0:
        raise Different("no QUIC for the recorded client: %s" % quic[:24].hex())


def main():
    try:
        if sys.argv[1] in ("client", "server"):
            converse(*sys.argv[1:])
        elif sys.argv[1] == "echo":
            echo(*sys.argv[2:])
        else:
            envelope(*sys.argv[2:])
    except (Different, OSError) as difference:
        print("DIFFERENT", difference, flush=True)
        sys.exit(1)
    print("SAME", flush=True)


main()
