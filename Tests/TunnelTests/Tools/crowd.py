"""Many TUN clients at once, each with a socket and an inner address of its own.

  crowd.py ADDRESS PORT COUNT SERVER

Announces COUNT addresses from 10.90.64.0 on to the TUN server at ADDRESS, plain UDP; then every client pings the inner
address SERVER once. Prints "<answers> <echoes>" when all is through, and lives until its input ends.
"""
import ipaddress
import select
import socket
import struct
import sys
import time

address, port, count, server = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), ipaddress.ip_address(sys.argv[4])
first = ipaddress.ip_address("10.90.64.1")


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def announcement(inner):
    return b"GOST" + bytes(16) + b"\0" * 10 + b"\xff\xff" + inner.packed


def ping(inner):
    echo = struct.pack(">BBHHH", 8, 0, 0, 1, 1) + b"how much is one"
    echo += b"\0"
    echo = echo[:2] + struct.pack(">H", checksum(echo)) + echo[4:]
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(echo), 1, 0, 64, 1, 0, inner.packed, server.packed)
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + echo


def answered(sockets, make, is_answer):
    """Sends to the server until every socket has had an answer, for ten seconds at most."""
    open_ones, end = dict(sockets), time.monotonic() + 10
    poll = select.poll()
    for number in open_ones:
        poll.register(number, select.POLLIN)
    while open_ones and time.monotonic() < end:
        for place, (connection, inner) in enumerate(list(open_ones.values())):
            connection.send(make(inner))
            if place % 100 == 99:
                time.sleep(0.002)
        pause = time.monotonic() + 1
        while open_ones and time.monotonic() < pause:
            for number, _ in poll.poll(100):
                data = sockets[number][0].recv(2048)
                if is_answer(data):
                    open_ones.pop(number, None)
    return len(sockets) - len(open_ones)


sockets = {}
for index in range(count):
    connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    connection.connect((address, port))
    sockets[connection.fileno()] = (connection, first + index)
answers = answered(sockets, announcement, lambda data: data[:4] == b"GOST")
echoes = answered(sockets, ping, lambda data: len(data) > 28 and data[0] == 0x45 and data[20] == 0)
print(answers, echoes, flush=True)
sys.stdin.read()
