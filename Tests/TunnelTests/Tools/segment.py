#!/usr/bin/env python3
"""Prints the segment size that a TCP connection settled on.

  segment.py listen ADDRESS PORT      prints "ready", takes one connection
  segment.py connect ADDRESS PORT     prints the size in bytes
"""
import socket
import sys

role, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
if role == "listen":
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1)
        print("ready", flush=True)
        connection, _ = listener.accept()
        connection.recv(1)
else:
    with socket.create_connection((address, port), timeout=10) as connection:
        print(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), flush=True)
