"""What stands behind a recipe: a web page, a name server with one answer, and a port that greets.

usage: recipe_hosts.py (http|dns|greet) PORT
"""

import http.server
import socket
import socketserver
import sys


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"a page of web.example\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Greeting(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"greetings from the client\n")


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True


def answer_names(port):
    """Answers every question for an address with 192.0.2.77 (RFC 1035, section 4)."""
    names = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    names.bind(("::", port))
    while True:
        question, source = names.recvfrom(4096)
        end = 12
        while question[end]:
            end += question[end] + 1
        end += 5
        head = question[:2] + b"\x81\x80" + b"\x00\x01\x00\x01\x00\x00\x00\x00"
        answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04" + bytes([192, 0, 2, 77])
        names.sendto(head + question[12:end] + answer, source)


kind, port = sys.argv[1], int(sys.argv[2])
print("ready", flush=True)
if kind == "dns":
    answer_names(port)
else:
    Server(("::", port), Page if kind == "http" else Greeting).serve_forever()
