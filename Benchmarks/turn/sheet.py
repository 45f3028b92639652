"""What was measured of TURN relays, kept by part and row, and its tables."""
import os
import platform
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "forward"))

import report
import table

PARTS = ("packets", "flood", "latency", "memory")


class Sheet(table.Table):
    benchmark = "turn"
    parts = PARTS

    def __init__(self, options) -> None:
        super().__init__(options)
        self.versions = {"kernel": platform.release()}

    def sections(self):
        return (("packets", self._packets), ("flood", self._flood), ("latency", self._latency),
                ("memory", self._memory))

    def _packets(self) -> str:
        return self._rates("packets", "a window") + (
            f"\nA window: {self._options.window} datagrams under way, so the relay is busy and loses none.\n"
            "kpkt/core-s: delivered for each second of processor time of the relay and of the kernel threads that\n"
            "serve its interfaces. used: cores. 44: IPv4 client and IPv4 peer; 46: IPv4 client, IPv6 peer. burst: 16\n"
            "equal datagrams at a time (UDP_SEGMENT).")

    def _flood(self) -> str:
        return self._rates("flood", "as many as go")

    def _rates(self, part: str, what: str) -> str:
        title = [what, "relay", "kpkt/core-s", "us/pkt", "of it ifaces", "kpkt/s", "used", "loss %"]
        lines = [title + ["x pkt/core-s", "x us"] * self._compares + ["note"]]
        for (row, kind, program), runs, theirs in self._of_all(part):
            line = [f"{row} {kind}", program, _kilo(table.median(runs, "per_core_second")),
                    report.number(table.median(runs, "cpu_us"), 2),
                    report.number(_share(runs), 2), _kilo(table.median(runs, "per_second")),
                    report.number(table.median(runs, "used"), 2), report.number(table.median(runs, "loss_percent"), 2)]
            lines.append(line + self._ratios(runs, theirs, "per_core_second", "cpu_us") + [_range(runs)])
        return table.set_columns(lines, 2)

    def _latency(self) -> str:
        title = ["one way, us", "relay", "p50", "p99", "p99.9", "us/pkt", "loss %"]
        lines = [title + ["x p50", "x p99", "x p99.9"] * self._compares + ["note"]]
        names = ("p50_us", "p99_us", "p999_us")
        for (row, kind, program), runs, theirs in self._of_all("latency"):
            line = [f"{row} {kind}", program, *(report.number(table.median(runs, name), 1) for name in names),
                    report.number(table.median(runs, "cpu_us"), 2),
                    report.number(table.median(runs, "loss_percent"), 3)]
            lines.append(line + self._ratios(runs, theirs, *names) + [""])
        return table.set_columns(lines, 2) + (
            f"\n{self._options.rate:,} datagrams a second, one at a time; from the sender's call to the kernel's time "
            "stamp at the receiver.")

    def _memory(self) -> str:
        title = ["memory", "relay", "RSS MiB, 0", "1", f"{self._options.allocations:,}", "KiB each", "kernel KiB each",
                 "both", "ms each"]
        lines = [title + ["x KiB", "x kernel", "x both"] * self._compares + ["note"]]
        for (row, _, program), runs, theirs in self._of_all("memory"):
            line = [row, program]
            for name in ("none_mib", "one_mib", "full_mib"):
                line.append(report.number(table.median(runs, name), 1))
            for name in ("kib_each", "kernel_kib_each", "both_kib_each", "ms_each"):
                line.append(report.number(table.median(runs, name), 2))
            lines.append(line + self._ratios(runs, theirs, "kib_each", "kernel_kib_each", "both_kib_each") + [""])
        return table.set_columns(lines, 2) + (
            "\nEach allocation has a channel. Kernel: what the relay's memory cgroup was charged for kernel objects.")

    @property
    def _compares(self) -> bool:
        return len(self._options.names) > 1

    def _ratios(self, ours: list[dict], theirs: list[dict] | None, *names: str) -> list[str]:
        if not self._compares:
            return []
        return [table.compared(ours, theirs, name) for name in names]

    def _of_all(self, part: str):
        """As `_of`; every relay but the one compared with is compared with it."""
        peer = self._options.names[-1]
        for (row, kind, program), runs, _ in self._of(part):
            theirs = self._rows.get((part, row, kind, peer)) if program != peer else None
            yield (row, kind, program), runs, theirs


def _kilo(value: float | None) -> str:
    return report.number(value / 1000 if value else None, 1)


def _share(runs: list[dict]) -> float | None:
    """Microseconds of the interfaces' threads for each datagram."""
    process, all_of_it = table.median(runs, "cpu_process"), table.median(runs, "cpu_us")
    if not runs or all_of_it is None:
        return None
    parts = [run["cpu_interfaces"] / (run["cpu_interfaces"] + run["cpu_process"]) for run in runs]
    return sorted(parts)[len(parts) // 2] * all_of_it if process is not None else None


def _range(runs: list[dict]) -> str:
    values = [run["per_core_second"] / 1000 for run in runs if run.get("per_core_second")]
    return f"{min(values):.0f}-{max(values):.0f}" if len(values) > 1 else "" if values else "not measured"
