"""Clients of DTLS that never finish a handshake, by RFC 6347 and nothing of ours.

usage: turn_dtls.py strangers COUNT     ClientHellos to 127.0.0.1:5349 from many addresses of loopback, read by nobody
       turn_dtls.py answer ADDRESS      what one ClientHello is answered with, and what garbage is
       turn_dtls.py halves ADDRESS COUNT   handshakes that stop behind the cookie
"""
import os
import socket
import struct
import sys
import time

PORT = 5349
# ECDHE with ECDSA and RSA, AES-128-GCM; two curves, their points uncompressed, SHA-256 with both.
SUITES = bytes.fromhex("c02bc02f")
EXTENSIONS = b"".join(
    struct.pack("!HH", kind, len(value)) + value
    for kind, value in [(10, bytes.fromhex("0004001d0017")), (11, b"\1\0"), (13, bytes.fromhex("000404030401")),
                        (23, b""), (0xFF01, b"\0")])


def record(sequence, body, kind=22):
    return struct.pack("!BHHHI", kind, 0xFEFD, 0, 0, sequence) + struct.pack("!H", len(body)) + body


def hello(cookie=b"", sequence=0, random=None):
    body = b"\xfe\xfd" + (random or os.urandom(32)) + b"\0" + bytes([len(cookie)]) + cookie
    body += struct.pack("!H", len(SUITES)) + SUITES + b"\1\0" + struct.pack("!H", len(EXTENSIONS)) + EXTENSIONS
    length = struct.pack("!I", len(body))[1:]
    return record(sequence, b"\1" + length + struct.pack("!H", sequence) + b"\0\0\0" + length + body)


def connected(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family, socket.SOCK_DGRAM)
    one.connect((address, PORT))
    one.settimeout(2)
    return one


def cookie(one, random):
    first = hello(random=random)
    one.send(first)
    answer = one.recv(2048)
    assert answer[0] == 22 and answer[13] == 3, answer.hex()
    assert len(answer) <= len(first), (len(answer), len(first))
    return first, answer, answer[28:28 + answer[27]]


kind = sys.argv[1]
if kind == "strangers":
    count = int(sys.argv[2])
    for number in range(count):
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stranger.bind((f"127.{1 + number // 60000}.{number // 250 % 250}.{1 + number % 250}", 0))
        # Every other with a cookie that somebody else might have been given.
        stranger.sendto(hello(os.urandom(16) if number % 2 else b"", number % 2), ("127.0.0.1", PORT))
        stranger.close()
    print("sent", count)
elif kind == "halves":
    for number in range(int(sys.argv[3])):
        one, random = connected(sys.argv[2]), os.urandom(32)
        one.send(hello(cookie(one, random)[2], 1, random))
        flight = one.recv(2048)
        assert flight[0] == 22 and flight[13] == 2, flight.hex()
    print("half open", sys.argv[3])
else:
    one, random = connected(sys.argv[2]), os.urandom(32)
    first, answer, own = cookie(one, random)
    print(f"{len(answer)} bytes answer {len(first)}, cookie of {len(own)}")
    # Another cannot use it, nor the same one at another port.
    other = connected(sys.argv[2])
    other.send(hello(own, 1, random))
    answer = other.recv(2048)
    assert answer[13] == 3, answer.hex()
    # In the clear, cut off, in pieces, of other keys, of an older protocol, of no protocol.
    whole = hello(own, 1, random)
    stun = struct.pack("!HHI", 1, 0, 0x2112A442) + os.urandom(12)
    half = bytearray(whole)
    half[22:25] = b"\0\0\20"
    epoch = bytearray(whole)
    epoch[4] = 1
    garbage = [stun, whole[:40], bytes(half), bytes(epoch), record(3, b"\2\50", 21), b"\x40\0\0\4abcd", b"\26\376\375",
               b"\26", os.urandom(1200), bytes(13), record(4, b"")]
    silent = connected(sys.argv[2])
    for bytes_ in garbage:
        silent.send(bytes_)
    silent.settimeout(0.3)
    try:
        print("answered", silent.recv(2048).hex())
    except TimeoutError:
        print("silence for", len(garbage))
    # The budget of one source: a thousand questions do not get a thousand answers.
    flood = connected(sys.argv[2])
    flood.setblocking(False)
    answers = 0


    def drain():
        global answers
        try:
            while flood.recv(2048):
                answers += 1
        except BlockingIOError:
            pass


    for number in range(3000):
        flood.send(first)
        drain()
    time.sleep(0.5)
    drain()
    print("flood:", answers, "of 3000 answered")
