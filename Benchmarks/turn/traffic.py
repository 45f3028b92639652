"""The clients and the peer of one relay (`load.c`), and what is asked of them."""
import dataclasses
import json
import os
import subprocess

import lab
import relays
import rig

_SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "load.c")
TRANSLATIONS = ("44", "46", "64", "66")


def build(scratch: str) -> str:
    program = os.path.join(scratch, "load")
    lab.command(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, _SOURCE, "-lcrypto"], seconds=60)
    return program


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is sent. `limit` is that of `load.c`: window=N, rate=N or flood."""

    way: str
    size: int
    shape: str = "single"
    limit: str = "window=192"

    def __str__(self) -> str:
        return f"{self.way} {self.size}" + (" burst" if self.shape == "burst" else "")


class Crowd:
    """Clients with an allocation each, and their peer."""

    def __init__(self, load: str, places: rig.Rig, relay: relays.Relay, translation: str, allocations: int) -> None:
        self.places, self.relay = places, relay
        client, far = translation
        self.pids = [relay.process.pid, *places.relay_threads()]
        words = [f"/run/netns/{places.client}", f"/run/netns/{places.peer}",
                 places.relay_address if client == "4" else places.relay_address6, str(relays.PORT),
                 places.peer_address if far == "4" else places.peer_address6, str(allocations),
                 relays.USER, relays.PASSWORD, *map(str, self.pids)]
        self._driver = places.start(
            None, ["taskset", "-c", str(rig.GENERATOR_CORE), load, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        rig.prefer(self._driver.pid)
        self.made = self._answer()

    def run(self, kind: Kind, seconds: float, flows: int) -> dict:
        """Figures of one transfer: how many arrived, and what they cost the relay."""
        before = _busy(rig.RELAY_CORE)
        words = (kind.way, kind.size, kind.shape, kind.limit, round(seconds * 1000), flows)
        self._driver.stdin.write(f"run {' '.join(map(str, words))}\n")
        self._driver.stdin.flush()
        found = self._answer()
        cpu = sum(found["cpu_seconds"])
        if not found["delivered"]:
            raise lab.Failure("nothing arrived")
        lost = 1 - found["received_in_all"] / found["sent_in_all"] if found["sent_in_all"] else 0
        return {
            "per_core_second": found["delivered"] / cpu if cpu else None, "cpu_us": cpu / found["delivered"] * 1e6,
            "per_second": found["delivered"] / found["seconds"], "loss_percent": max(0.0, lost) * 100,
            "core_busy": _busy(rig.RELAY_CORE) - before, "cpu_process": found["cpu_seconds"][0],
            "cpu_interfaces": cpu - found["cpu_seconds"][0], "seconds": found["seconds"],
            "used": cpu / found["seconds"], "p50_us": found["p50_us"], "p99_us": found["p99_us"],
            "p999_us": found["p999_us"], "samples": found["samples"],
        }

    def end(self) -> None:
        if self._driver.stdin:
            try:
                self._driver.stdin.close()
                self._driver.wait(5)
            except (OSError, subprocess.SubprocessError):
                pass
        self.places.stop(self._driver)

    def _answer(self) -> dict:
        line = self._driver.stdout.readline()
        if not line:
            self._driver.wait(5)
            raise lab.Failure(self._driver.stderr.read().strip() or "the driver said nothing")
        return json.loads(line)


def _busy(core: int) -> float:
    """Seconds that a core was not idle, whoever used it."""
    ticks = os.sysconf("SC_CLK_TCK")
    with open("/proc/stat") as file:
        for line in file:
            words = line.split()
            if words[0] == f"cpu{core}":
                return (sum(map(int, words[1:9])) - int(words[4]) - int(words[5])) / ticks
    return 0.0
