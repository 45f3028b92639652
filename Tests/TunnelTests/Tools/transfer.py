"""One TCP connection that carries a known number of bytes.

  transfer.py receive ADDRESS PORT              prints "ready", then "<bytes> <sha256>"
  transfer.py send ADDRESS PORT BYTES SEED      prints "<bytes> <sha256>"
"""
import hashlib
import random
import socket
import sys

role, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
digest = hashlib.sha256()
total = 0
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
