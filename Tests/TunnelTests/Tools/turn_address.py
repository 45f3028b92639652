"""Asks a relay for an IPv6 allocation, and sends to a peer, before and after the relay's host has other addresses.

usage: turn_address.py RELAY PORT PEER FLAG

Prints the codes for the allocation, the permission and the channel; waits for the file FLAG in between.
"""
import os
import struct
import sys
import time

from turn_client import Client, code

relay, port, peer, flag = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
client = Client(relay, port)
assert code(client.allocate()) == 0


def ask():
    return code(Client(relay, port).allocate(family=6)), client.permit(peer), client.bind(0x4001, peer, 7)


print("before:", *ask(), flush=True)
while not os.path.exists(flag):
    time.sleep(0.05)
for _ in range(3):
    client.socket.send(struct.pack("!HH", 0x4001, 4) + b"none")
    client.indicate(peer, 7, b"none")
print("after:", *ask(), flush=True)
