"""A web server for what passes through proxies: HTTP/1.1 with connections that stay, on Python's own classes.

  web.py ADDRESS PORT [CERTIFICATE KEY]     with a certificate over TLS; prints "ready"

  GET /bytes/COUNT      that many bytes, the same each time
  GET /chunked/COUNT    the same in chunks
  GET /head             the request's own header, as it arrived
  GET /until-close      an answer without a length, which ends with the connection
  POST or PUT /digest   the SHA-256 of the body, with a length or in chunks
"""
import hashlib
import http.server
import random
import socket
import ssl
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        words = self.path.strip("/").split("/")
        if words[0] == "bytes":
            self.answer(content(int(words[1])))
        elif words[0] == "chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            body = content(int(words[1]))
            for start in range(0, len(body), 5000):
                piece = body[start : start + 5000]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        elif words[0] == "head":
            self.answer((self.requestline + "\n" + str(self.headers)).encode())
        elif words[0] == "until-close":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content(100_000))
            self.close_connection = True
        else:
            self.answer(b"nothing here", 404)

    do_HEAD = do_GET

    def do_POST(self):
        digest = hashlib.sha256()
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                digest.update(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
        else:
            digest.update(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        self.answer(digest.hexdigest().encode())

    do_PUT = do_POST

    def log_message(self, *words):
        pass


def content(size):
    return random.Random(size).randbytes(size)


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
    request_queue_size = 256


server = Server((sys.argv[1], int(sys.argv[2])), Handler)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
