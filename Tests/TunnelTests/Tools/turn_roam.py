"""A client that is answered in a channel, goes on from another port with its ticket (RFC 8016), and is denied its peer.

usage: turn_roam.py RELAY PORT PEER PEER-PORT FLAG

Prints how many of 50 messages came back: before and after the move, at the port that was left, and, once the file FLAG is
there, when the peer is allowed no more.
"""
import os
import struct
import sys
import time

from turn_client import ALLOCATE, REFRESH, TRANSPORT, Client, attribute, attributes, code

TICKET = 0x8030
CHANNEL, COUNT = 0x4001, 50
relay, port, peer, peer_port, flag = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5]


def echoes(client):
    found = set()
    client.socket.settimeout(1)
    for number in range(COUNT):
        text = b"message %03d" % number + b"." * 89
        client.socket.send(struct.pack("!HH", CHANNEL, len(text)) + text)
        try:
            found.add(client.socket.recv(2048))
        except TimeoutError:
            if number >= 2:
                break
    client.socket.settimeout(3)
    return len(found)


first, second = Client(relay, port), Client(relay, port)
answer = first.request(ALLOCATE, lambda _: [attribute(TRANSPORT, bytes([17, 0, 0, 0])), attribute(TICKET, b"")])
assert code(answer) == 0, code(answer)
ticket = attributes(answer)[TICKET]
assert first.bind(CHANNEL, peer, peer_port) == 0
print("first", echoes(first), flush=True)
answer = second.request(REFRESH, lambda _: [attribute(TICKET, ticket)])
assert code(answer) == 0, code(answer)
print("moved", echoes(second), "left", echoes(first), flush=True)
while not os.path.exists(flag):
    time.sleep(0.05)
print("denied", echoes(second), second.bind(CHANNEL, peer, peer_port), flush=True)
