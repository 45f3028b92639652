"""The other end of the QUIC interoperability tests: aioquic, in either role.

server PORT CERT KEY   echoes each stream and each datagram, until killed
client PORT            opens streams and sends datagrams to an echoing server, checks what comes back, prints OK
"""

import asyncio
import os
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import DatagramFrameReceived, StreamDataReceived

SIZE = 300_000


class Echo(QuicConnectionProtocol):
    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            self._quic.send_stream_data(event.stream_id, event.data, event.end_stream)
            self.transmit()
        elif isinstance(event, DatagramFrameReceived):
            self._quic.send_datagram_frame(event.data)
            self.transmit()


class Collect(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.streams = {}
        self.ended = {}
        self.datagrams = asyncio.Queue()

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            self.streams.setdefault(event.stream_id, bytearray()).extend(event.data)
            if event.end_stream and event.stream_id in self.ended:
                self.ended[event.stream_id].set()
        elif isinstance(event, DatagramFrameReceived):
            self.datagrams.put_nowait(event.data)


async def run_server(port, certificate, key):
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3", "quic/v1"], max_datagram_frame_size=65535)
    configuration.load_cert_chain(certificate, key)
    await serve("127.0.0.1", port, configuration=configuration, create_protocol=Echo)
    print("READY", flush=True)
    await asyncio.Event().wait()


async def run_client(port):
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=["h3", "quic/v1"], max_datagram_frame_size=65535, verify_mode=ssl.CERT_NONE
    )
    async with connect("127.0.0.1", port, configuration=configuration, create_protocol=Collect) as client:
        sent = {}
        for _ in range(5):
            stream = client._quic.get_next_available_stream_id()
            client.ended[stream] = asyncio.Event()
            sent[stream] = os.urandom(SIZE)
            client._quic.send_stream_data(stream, sent[stream], end_stream=True)
        for index in range(10):
            client._quic.send_datagram_frame(bytes([index]) * 100)
        client.transmit()
        for stream, event in client.ended.items():
            await asyncio.wait_for(event.wait(), 20)
            assert bytes(client.streams[stream]) == sent[stream], "stream %d differs" % stream
        for _ in range(10):
            datagram = await asyncio.wait_for(client.datagrams.get(), 5)
            assert len(datagram) == 100 and len(set(datagram)) == 1
    print("OK", flush=True)


if sys.argv[1] == "server":
    asyncio.run(run_server(int(sys.argv[2]), sys.argv[3], sys.argv[4]))
else:
    asyncio.run(run_client(int(sys.argv[2])))
