"""One TCP connection that carries a known number of bytes, or as many as it can.

  transfer.py receive ADDRESS PORT              prints "ready", then "<bytes> <sha256>"
  transfer.py send ADDRESS PORT BYTES SEED      prints "<bytes> <sha256>"
  transfer.py drain ADDRESS PORT                prints "ready", then "<bytes>"; looks at nothing
  transfer.py blast ADDRESS PORT SECONDS        prints "<bytes>"; sends zeros
"""
import hashlib
import random
import socket
import sys
import time

role, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
digest = hashlib.sha256()
total = 0


def drain():
    total, room = 0, bytearray(1 << 20)
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(1)
    print("ready", flush=True)
    connection, _ = listener.accept()
    while count := connection.recv_into(room):
        total += count
    print(total, flush=True)


def blast():
    total, zeros = 0, bytes(1 << 20)
    connection = socket.create_connection((address, port), 30)
    end = time.monotonic() + float(sys.argv[4])
    while time.monotonic() < end:
        connection.sendall(zeros)
        total += len(zeros)
    connection.close()
    print(total, flush=True)


if role in ("drain", "blast"):
    drain() if role == "drain" else blast()
    sys.exit(0)
if role == "receive":
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(1)
    print("ready", flush=True)
    connection, _ = listener.accept()
    while True:
        chunk = connection.recv(1 << 18)
        if not chunk:
            break
        digest.update(chunk)
        total += len(chunk)
    connection.sendall(b"!")
    connection.close()
else:
    size, seed = int(sys.argv[4]), sys.argv[5]
    numbers = random.Random(seed)
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(30)
    connection.connect((address, port))
    while total < size:
        chunk = numbers.randbytes(min(1 << 18, size - total))
        connection.sendall(chunk)
        digest.update(chunk)
        total += len(chunk)
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)
print(total, digest.hexdigest(), flush=True)
