"""Servers that are not what a tunnel's client takes them for.

  strangers.py close ADDRESS PORT [CERTIFICATE KEY]    reads what comes first, then closes without a byte
  strangers.py reset ADDRESS PORT [CERTIFICATE KEY]    closes with what came unread, which resets the connection
  strangers.py silent ADDRESS PORT [CERTIFICATE KEY]   reads and never answers
  strangers.py talk ADDRESS PORT [CERTIFICATE KEY]     answers as a web server does

With a certificate the connection is TLS. Prints "ready" when it listens.
"""
import socket
import ssl
import sys
import threading
import time

way, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
context = None
if len(sys.argv) > 4:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[4], sys.argv[5])


def serve(connection):
    try:
        if context:
            connection = context.wrap_socket(connection, server_side=True)
        if way == "reset":
            time.sleep(0.2)
        elif way == "close":
            connection.recv(65536)
        elif way == "talk":
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        else:
            while connection.recv(65536):
                pass
    except OSError:
        pass
    connection.close()


listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((address, port))
listener.listen(64)
print("ready", flush=True)
while True:
    accepted, _ = listener.accept()
    threading.Thread(target=serve, args=(accepted,), daemon=True).start()
