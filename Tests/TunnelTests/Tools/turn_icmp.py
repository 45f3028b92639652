"""Sends through a relay where nobody listens, and too much for a link behind the peer; looks for what the relay tells of
the ICMP errors, and that no datagram to a peer that does listen is lost over them.

usage: turn_icmp.py RELAY PORT LISTENING-PORT
"""
import ipaddress
import os
import socket
import struct
import sys

from turn_client import COOKIE, DATA, PEER, Client, attributes, code

ICMP = 0x8004
relay, port, listening = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = Client(relay, port)
assert code(client.allocate(both=True)) == 0
assert client.permit("10.99.0.3", "203.0.113.9") == 0
assert client.permit("fd00:1::3", "2001:db8:9::9") == 0
assert client.bind(0x4001, "10.99.0.3", 11) == 0

expected = {
    ("10.99.0.3", 9): (3, 3, 0),
    ("10.99.0.3", 11): (3, 3, 0),
    ("fd00:1::3", 9): (1, 4, 0),
    ("203.0.113.9", 9): (3, 4, 1300),
    ("2001:db8:9::9", 9): (2, 0, 1300),
}
told, echoed = {}, set()


def read(packet):
    if struct.unpack_from("!H", packet)[0] != 0x0017:
        return
    found = attributes(packet)
    mask = struct.pack("!I", COOKIE) + packet[8:20]
    family, masked = struct.unpack_from("!xBH", found[PEER])
    address = ipaddress.ip_address(bytes(a ^ b for a, b in zip(found[PEER][4:], mask)))
    if ICMP in found:
        assert DATA not in found and len(found[ICMP]) == 8
        _, bits, mtu = struct.unpack("!HHI", found[ICMP])
        told[(str(address), masked ^ COOKIE >> 16)] = (bits >> 9, bits & 0x1FF, mtu)
    else:
        echoed.add(found[DATA])


def drain(seconds):
    client.socket.settimeout(seconds)
    try:
        while True:
            read(client.socket.recv(65536))
    except socket.timeout:
        pass


for turn in range(8):
    client.indicate("10.99.0.3", 9, b"nobody")
    client.socket.send(struct.pack("!HH", 0x4001, 4) + b"none")
    client.indicate("fd00:1::3", 9, b"nobody")
    client.indicate("203.0.113.9", 9, bytes(1350))
    client.indicate("2001:db8:9::9", 9, bytes(1350))
    drain(0.1)
    for number in range(10):
        client.indicate("10.99.0.3", listening, b"%d %d" % (turn, number))
    drain(0.1)
    if told == expected:
        break
drain(0.3)
lost = {b"%d %d" % (one, number) for one in range(turn + 1) for number in range(10)} - echoed
print("all as they should be" if told == expected and not lost else f"told {told}, lost {lost}")
sys.exit(0 if told == expected and not lost else 1)
