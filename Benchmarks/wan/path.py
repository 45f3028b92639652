"""A long path for UDP: passes datagrams on, late, at a rate, from a queue that ends somewhere, with losses.

  path.py LISTEN:PORT NODE:PORT RTT_MS MBIT_S QUEUE_KB LOSS_PERCENT

For kernels without netem. It plays one flow: whoever sent last to LISTEN gets what NODE answers. Half of the round trip
is spent on each way; both ways have a queue and losses of their own. Python passes on some 100 Mb/s.
"""
import heapq
import random
import select
import socket
import sys
import time


class Way:
    """One direction: when its link is free again."""

    def __init__(self, rate: float, queue: float, loss: float, delay: float) -> None:
        self.rate, self.queue, self.loss, self.delay = rate, queue, loss, delay
        self.free = 0.0

    def arrival(self, size: int, now: float) -> float | None:
        """When a datagram comes out at the other end; `None` when it does not."""
        if random.random() < self.loss:
            return None
        start = max(now, self.free)
        if (start - now) * self.rate > self.queue:
            return None
        self.free = start + size / self.rate
        return self.free + self.delay


def endpoint(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    near, far = endpoint(sys.argv[1]), endpoint(sys.argv[2])
    rtt, rate, queue, loss = (float(word) for word in sys.argv[3:7])
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    sockets[0].bind(near)
    sockets[1].connect(far)
    poll = select.poll()
    for one in sockets:
        one.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            one.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
        poll.register(one, select.POLLIN)
    ways = [Way(rate * 1e6 / 8, queue * 1e3, loss / 100, rtt / 2000) for _ in range(2)]
    peer = None
    flying: list[tuple[float, int, int, bytes]] = []
    order = 0
    while True:
        now = time.monotonic()
        while flying and flying[0][0] <= now:
            _, _, way, data = heapq.heappop(flying)
            try:
                if way == 0:
                    sockets[1].send(data)
                elif peer:
                    sockets[0].sendto(data, peer)
            except OSError:
                continue
        wait = (flying[0][0] - now) * 1000 if flying else 1000
        # poll() counts whole milliseconds, which is too coarse for the next datagram of a fast link.
        if not poll.poll(int(wait)) and 0 < wait < 1:
            time.sleep(wait / 1000)
        for way, one in enumerate(sockets):
            for _ in range(64):
                try:
                    data, source = one.recvfrom(65535)
                except (BlockingIOError, ConnectionRefusedError):
                    break
                if way == 0:
                    peer = source
                at = ways[way].arrival(len(data), time.monotonic())
                if at is not None:
                    order += 1
                    heapq.heappush(flying, (at, order, way, data))


if __name__ == "__main__":
    main()
