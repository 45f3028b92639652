"""Messages to a relay on this host from many addresses of loopback, whose answers nobody reads.

usage: turn_strangers.py binding|allocate|forged COUNT
"""
import socket
import sys

from turn_client import ALLOCATE, INTEGRITY, NONCE, REALM, TRANSPORT, USERNAME, attribute, message

kind, count = sys.argv[1], int(sys.argv[2])
asked = [attribute(TRANSPORT, bytes([17, 0, 0, 0]))]
if kind == "forged":
    asked += [attribute(USERNAME, b"ada"), attribute(REALM, b"example.org"), attribute(NONCE, b"obMatJos2wAAA" + b"A" * 16),
              attribute(INTEGRITY, bytes(20))]
for number in range(count):
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stranger.bind((f"127.{1 + number // 60000}.{number // 250 % 250}.{1 + number % 250}", 0))
    stranger.sendto(message(1, []) if kind == "binding" else message(ALLOCATE, asked), ("127.0.0.1", 3478))
    stranger.close()
print("sent", count)
