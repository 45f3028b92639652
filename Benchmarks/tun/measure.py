"""One transfer: iperf3 with its own ping beside it, and what it cost the tunnel's two processes.

What is what. Throughput is what the receiver got. CPU seconds are user and system time of the two tunnel processes,
all threads, from /proc/PID/stat before and after (ticks of 10 ms). Peak RSS is VmHWM since the transfer's start.
The ping runs beside the transfer, twenty a second unless said otherwise, from half a second after its start. `others`
is user time that neither the tunnel nor iperf3 nor ping took, in cores: on a machine that is shared it says which runs
to distrust.
"""
import dataclasses
import json
import os
import re
import resource
import select
import statistics
import subprocess
import time

import lab

_TICKS = os.sysconf("SC_CLK_TCK")
_QUIET_CORES = 0.15

quiet_limit = 0
"""How long a transfer waits for a quiet machine, in seconds."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """What iperf3 is asked for."""

    protocol: str
    down: bool
    streams: int = 1
    rate: str = ""
    length: int = 1300

    def __str__(self) -> str:
        way = "down" if self.down else "up"
        if self.protocol == "tcp":
            return way if self.streams == 1 else f"{way} x{self.streams}"
        return f"{way} udp {self.length}B" if self.rate == "0" else f"{way} udp {self.rate}"

    @property
    def slug(self) -> str:
        return str(self).replace(" ", "-")

    def arguments(self) -> list[str]:
        found = ["-R"] if self.down else []
        if self.protocol == "tcp":
            return found + ["-P", str(self.streams)]
        return found + ["-u", "-b", self.rate, "-l", str(self.length)]


def transfer(
    places: lab.Lab, kind: Kind, target: str, seconds: int, tunnel: list[subprocess.Popen], port: int = 5201,
    with_ping: bool = True, ping_interval: float = 0.05
) -> dict:
    """Figures of one transfer; `Failure` when iperf3 fails or takes too long. The server listens on iperf3's own port;
    `port` is where the client goes, which a forward makes another. `ping_interval` is in seconds."""
    await_quiet()
    server = _serve(places, seconds)
    ping = None
    try:
        user_before, mine_before = _user_seconds(), _own_user(tunnel)
        cpu_before = [cpu_seconds(process.pid) for process in tunnel]
        for process in tunnel:
            forget_peak(process.pid)
        began = time.monotonic()
        client = places.start(
            places.client,
            ["timeout", "-k", "2", str(seconds + 10), "iperf3", "-c", target, "-p", str(port), "-J",
             "--connect-timeout", "3000", "-t", str(seconds)] + kind.arguments(), stdout=subprocess.PIPE, text=True)
        if with_ping:
            time.sleep(min(0.5, seconds / 4))
            ping = places.start(
                places.client,
                ["timeout", "-k", "2", str(seconds + 10), "ping", "-n", "-i", str(ping_interval), "-w", str(max(1, seconds - 1)),
                 target], stdout=subprocess.PIPE, text=True)
        output, _ = client.communicate(timeout=seconds + 15)
        cpu = [cpu_seconds(process.pid) - before for process, before in zip(tunnel, cpu_before)]
        places.stop(client)
        echoes = ping.communicate(timeout=10)[0] if ping else ""
        server.wait(5)
        elapsed = time.monotonic() - began
        others = (_user_seconds() - user_before) - (_own_user(tunnel) - mine_before)
    except subprocess.TimeoutExpired:
        raise lab.Failure("iperf3 or ping did not end in time") from None
    finally:
        for process in (ping, server):
            if process:
                places.stop(process)
    figures = _parse(output, kind, seconds) | _round_trips(echoes)
    figures["others"] = round(max(0.0, others / elapsed), 3)
    if tunnel:
        figures["cpu"] = [round(value, 2) for value in cpu]
        figures["cpu_per_gb"] = sum(cpu) / (figures["bytes"] / 1e9)
        figures["peak_rss_mib"] = [round(resident_mib(process.pid, peak=True), 1) for process in tunnel]
    return figures


def await_quiet() -> None:
    """Returns when other programs took little user time during one second, or at the limit."""
    limit = time.monotonic() + quiet_limit
    while time.monotonic() < limit:
        before = _user_seconds()
        time.sleep(1)
        if _user_seconds() - before < _QUIET_CORES:
            return


def _serve(places: lab.Lab, seconds: int) -> subprocess.Popen:
    """A server for one test that listens when this returns."""
    server = places.start(
        places.server, ["timeout", "-k", "2", str(seconds + 15), "iperf3", "-s", "-1", "--forceflush"],
        stdout=subprocess.PIPE)
    seen = b""
    limit = time.monotonic() + 5
    while b"listening" not in seen:
        ready, _, _ = select.select([server.stdout], [], [], max(0.0, limit - time.monotonic()))
        chunk = os.read(server.stdout.fileno(), 4096) if ready else b""
        if not chunk:
            places.stop(server)
            raise lab.Failure("the iperf3 server did not start: " + (seen.decode(errors="replace") or "no word"))
        seen += chunk
    return server


def _parse(output: str, kind: Kind, seconds: int) -> dict:
    try:
        found = json.loads(output)
        if "error" in found:
            raise lab.Failure("iperf3: " + found["error"])
        end = found["end"]
        if kind.protocol == "tcp":
            received = end["sum_received"]
            figures = {
                "mbps": received["bits_per_second"] / 1e6, "bytes": received["bytes"],
                "retransmits": end["sum_sent"].get("retransmits", 0),
            }
        else:
            total = end["sum"]
            packets = total["packets"] - total["lost_packets"]
            figures = {
                "mbps": packets * kind.length * 8 / total["seconds"] / 1e6, "bytes": packets * kind.length,
                "loss_percent": total["lost_percent"], "packets_per_second": packets / total["seconds"],
            }
    except (ValueError, KeyError, TypeError):
        raise lab.Failure(f"iperf3 did not finish within {seconds + 10} s, or its answer makes no sense") from None
    if figures["bytes"] <= 0:
        raise lab.Failure("nothing arrived")
    return figures


def _round_trips(text: str) -> dict:
    times = sorted(float(value) for value in re.findall(r"time=([0-9.]+) ms", text))
    sent = re.search(r"(\d+) packets transmitted, (\d+) received", text)
    if not times:
        return {"ping_median_ms": None, "ping_p95_ms": None, "ping_p99_ms": None, "ping_lost": int(sent[1]) if sent else None}
    return {
        "ping_median_ms": statistics.median(times),
        "ping_p95_ms": times[round(0.95 * (len(times) - 1))],
        "ping_p99_ms": times[round(0.99 * (len(times) - 1))],
        "ping_lost": int(sent[1]) - int(sent[2]) if sent else None,
    }


def _stat(pid: int) -> tuple[float, float]:
    """User and system seconds of a process, with its threads."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        raise lab.Failure("a tunnel process ended during the transfer") from None
    return int(fields[11]) / _TICKS, int(fields[12]) / _TICKS


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, with its threads."""
    return sum(_stat(pid))


def resident_mib(pid: int, peak: bool = False) -> float:
    try:
        with open(f"/proc/{pid}/status") as file:
            found = re.search(r"Vm%s:\s+(\d+) kB" % ("HWM" if peak else "RSS"), file.read())
    except OSError:
        raise lab.Failure("a tunnel process ended") from None
    return int(found[1]) / 1024 if found else 0.0


def forget_peak(pid: int) -> None:
    """Makes VmHWM begin anew (proc(5), clear_refs)."""
    try:
        with open(f"/proc/{pid}/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        raise lab.Failure("a tunnel process ended before the transfer") from None


def _user_seconds() -> float:
    """User time of the whole machine, all cores."""
    with open("/proc/stat") as file:
        fields = file.readline().split()
    return (int(fields[1]) + int(fields[2])) / _TICKS


def _own_user(tunnel: list[subprocess.Popen]) -> float:
    """User time of the tunnel, of our finished children, and of ourselves."""
    return (sum(_stat(process.pid)[0] for process in tunnel) + resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            + resource.getrusage(resource.RUSAGE_SELF).ru_utime)
