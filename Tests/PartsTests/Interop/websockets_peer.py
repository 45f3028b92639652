"""The other end of the WebSocket interoperability tests: the package websockets, in either role.

server                    echoes each message at /ws, until killed; prints READY PORT, and CLOSED CODE for each client
client PORT               sends binary, text and fragmented messages and pings to an echoing server at /ws, checks that
                          all bytes come back and that the close frames cross; prints OK
refused PORT              asks for a path that is not served, and prints the status of the answer
"""

import asyncio
import os
import sys
from http import HTTPStatus

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve


async def echo(connection):
    try:
        async for message in connection:
            await connection.send(message)
    finally:
        print("CLOSED", connection.close_code, flush=True)


def only_ws(connection, request):
    if request.path != "/ws":
        return connection.respond(HTTPStatus.NOT_FOUND, "nothing here\n")


async def run_server():
    async with serve(echo, "127.0.0.1", 0, process_request=only_ws, max_size=None, ping_interval=0.05) as server:
        print("READY", server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()


async def run_client(port):
    sent = bytearray()
    back = bytearray()
    # Nothing is read before all is sent, and a queue of messages that is full would keep the pong back behind it.
    async with connect(
        "ws://127.0.0.1:%d/ws" % port, max_size=None, max_queue=None, ping_interval=0.05
    ) as connection:
        # It was offered, and an answer that takes it would be a violation: nothing was compressed below.
        assert not connection.protocol.extensions, connection.protocol.extensions

        async def read():
            while len(back) < len(sent):
                back.extend(await connection.recv(decode=False))

        for size in (0, 1, 125, 126, 65535, 65536, 700_000):
            data = os.urandom(size)
            sent.extend(data)
            await connection.send(data)
        text = "Grüße " * 1000
        sent.extend(text.encode())
        await connection.send(text)
        pieces = [os.urandom(n) for n in (3, 1000, 70_000)]
        sent.extend(b"".join(pieces))
        await connection.send(pieces)
        await asyncio.wait_for(await connection.ping(b"are you there"), 10)
        await asyncio.wait_for(read(), 20)
        assert back == sent
    assert connection.close_code == 1000, connection.close_code
    print("OK", flush=True)


async def run_refused(port):
    try:
        async with connect("ws://127.0.0.1:%d/other" % port):
            print("taken", flush=True)
    except websockets.exceptions.InvalidStatus as error:
        print("STATUS", error.response.status_code, flush=True)


role = sys.argv[1]
if role == "server":
    asyncio.run(run_server())
elif role == "client":
    asyncio.run(run_client(int(sys.argv[2])))
else:
    asyncio.run(run_refused(int(sys.argv[2])))
