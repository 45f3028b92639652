"""Three network namespaces in a row, client - relay - peer, and the cores that work for each.

Why it is made this way. A veth pair delivers a packet in the time of whoever sent it, unless its receiving end has a
queue of its own. Then the relay's receiving would be paid for by the generator, and its peer's receiving by the relay.
So each end of each pair gets such a queue (GRO on, and with it NAPI) and a kernel thread that serves it; the threads of
the relay's two ends are pinned to the relay's core, those of the other ends to the generator's. That is the split that
separate machines have. And the kernel counts the processor time of its threads as exactly as that of programs: what a
relay costs is the time of its process and of its two interfaces' threads, however busy others keep the machine.

Checksums are computed by the senders (tx off), as a network card would deliver them: a veth pair leaves them out, which
no program that reads a packet before the kernel's stack does could work with.
"""
import glob
import os
import subprocess
import time

import lab

GENERATOR_CORE, RELAY_CORE = 0, 1
_URGENT = "1"
"""Priority (SCHED_FIFO) of the threads of the generator's interfaces: those ends are hardware, as it were."""


class Rig(lab.Lab):
    relay_address, relay_address6 = "10.99.1.2", "fd00:1::2"
    """Of the relay towards its clients."""
    relay_far, relay_far6 = "10.99.2.2", "fd00:2::2"
    """And towards the peers."""
    peer_address, peer_address6 = "10.99.2.1", "fd00:2::1"

    def __init__(self) -> None:
        super().__init__()
        self.peer = f"cvbench-{os.getpid()}-c"
        self.relay = self.server
        mark = f"{os.getpid() % 100_000}"
        self.links = {"client": f"cl{mark}", "near": f"ne{mark}", "far": f"fa{mark}", "peer": f"pe{mark}"}

    def create(self) -> None:
        for name in (self.client, self.relay, self.peer):
            lab.command(["ip", "netns", "add", name])
            lab.command(["ip", "-n", name, "link", "set", "lo", "up"])
        self._join(self.client, "client", "10.99.1.1", "fd00:1::1", self.relay, "near", self.relay_address,
                   self.relay_address6)
        self._join(self.relay, "far", self.relay_far, self.relay_far6, self.peer, "peer", self.peer_address,
                   self.peer_address6)
        # A relay may relay from either of its addresses.
        for name, network, network6, via, via6 in (
                (self.client, "10.99.2.0/24", "fd00:2::/64", self.relay_address, self.relay_address6),
                (self.peer, "10.99.1.0/24", "fd00:1::/64", self.relay_far, self.relay_far6)):
            lab.command(["ip", "-n", name, "route", "add", network, "via", via])
            lab.command(["ip", "-n", name, "route", "add", network6, "via", via6])

    def _join(self, place: str, end: str, address: str, address6: str, other_place: str, other_end: str,
              other_address: str, other_address6: str) -> None:
        lab.command(["ip", "link", "add", self.links[end], "netns", place, "type", "veth",
                     "peer", "name", self.links[other_end], "netns", other_place])
        for name, link, four, six in ((place, self.links[end], address, address6),
                                      (other_place, self.links[other_end], other_address, other_address6)):
            lab.command(["ip", "-n", name, "address", "add", f"{four}/24", "dev", link])
            lab.command(["ip", "-n", name, "address", "add", f"{six}/64", "dev", link, "nodad"])
            lab.command(["ip", "-n", name, "link", "set", link, "up"])
        # Once both are up: only then does the one end learn that the other takes what a program sends to it (XDP).
        for name, link in ((place, self.links[end]), (other_place, self.links[other_end])):
            lab.command(["ip", "netns", "exec", name, "ethtool", "-K", link, "gro", "on", "tx", "off"])
            lab.command(["ip", "netns", "exec", name, "sh", "-c", f"echo 1 >/sys/class/net/{link}/threaded"])
        self.pin()

    def pin(self) -> None:
        """Gives each interface's thread its core; also after something that makes new threads."""
        for end, link in self.links.items():
            is_relays = end in ("near", "far")
            for pid in threads(link):
                lab.command(["taskset", "-pc", str(RELAY_CORE if is_relays else GENERATOR_CORE), str(pid)])
                if is_relays:
                    lab.command(["renice", "-n", "-19", "-p", str(pid)])
                else:
                    lab.command(["chrt", "-f", "-p", _URGENT, str(pid)])

    def relay_threads(self) -> list[int]:
        found = threads(self.links["near"]) + threads(self.links["far"])
        if len(found) != 2:
            raise lab.Failure(f"the relay's interfaces have {len(found)} threads, not 2")
        return found

    def meet(self) -> None:
        """Lets everyone know everyone's link address, so that no first packet waits for it."""
        for place, target in ((self.client, self.relay_address), (self.client, self.relay_address6),
                              (self.peer, self.relay_far), (self.peer, self.relay_far6)):
            limit = time.monotonic() + 10
            while True:
                try:
                    lab.command(["ip", "netns", "exec", place, "ping", "-n", "-c", "1", "-W", "1", target], seconds=5)
                    break
                except lab.Failure:
                    if time.monotonic() > limit:
                        raise
                    time.sleep(0.1)

    def remove(self) -> None:
        super().remove()
        if os.path.exists(f"/run/netns/{self.peer}"):
            subprocess.run(["ip", "netns", "delete", self.peer], timeout=10, check=False, capture_output=True)


def prefer(pid: int) -> None:
    """Lets a process go before what else runs on the machine, as the threads of its interfaces do."""
    lab.command(["renice", "-n", "-19", "-p", str(pid)])
    try:
        # Its session is a group of its own to the scheduler, where the kernel makes such groups (sched(7), autogroup).
        with open(f"/proc/{pid}/autogroup", "w") as file:
            file.write("-19")
    except OSError:
        pass


def threads(link: str) -> list[int]:
    """The kernel threads that serve an interface, by their names."""
    found = []
    for file in glob.glob("/proc/[0-9]*/comm"):
        try:
            with open(file) as text:
                if text.read().startswith(f"napi/{link}-"):
                    found.append(int(file.split("/")[2]))
        except OSError:
            continue
    return found
