"""What was measured of WireGuard, kept by part and row, and its tables: those of the forwards with columns of their own."""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "forward"))

import report
import table

PARTS = ("transfer", "handshakes", "peers")
"""iperf3, new sessions a second, a device with many peers."""


class Sheet(table.Table):
    benchmark = "wireguard"
    parts = PARTS

    def sections(self):
        return (("transfer", self._transfers), ("handshakes", self._handshakes), ("peers", self._peers))

    def _transfers(self) -> str:
        title = ["outside", "way", "program", "Mb/s", "kpkt/s", "CPU s/GB", "ping med", "p99 ms", "RSS MiB"]
        lines = [title + self._compared_titles("x Mb/s", "x CPU", "x RSS") + ["note"]]
        for (row, kind, program), runs, theirs in self._of("transfer"):
            kpkt = table.median(runs, "packets_per_second")
            line = [row, kind, program, report.number(table.median(runs, "mbps"), 0),
                    report.number(kpkt / 1000 if kpkt else None, 0),
                    report.number(table.median(runs, "cpu_per_gb"), 2),
                    report.number(table.median(runs, "ping_median_ms"), 2),
                    report.number(table.median(runs, "ping_p99_ms"), 2), report.number(table.peak(runs), 0)]
            lines.append(line + self._ratios(runs, theirs, "mbps", "cpu_per_gb", "rss") + [_note(runs, "mbps")])
        return table.set_columns(lines, 3) + (
            "\nMb/s: payload at the receiver. CPU: user and system time of both ends. RSS: peak of the larger end during the\n"
            "transfer. ping: through the tunnel, beside the transfer.\n"
            "busy: other programs took this many cores (user time) meanwhile, where it was more than 0.1.")

    def _handshakes(self) -> str:
        title = ["responder", "a second", "CPU us each", "RSS MiB"]
        lines = [title + self._compared_titles("x a second", "x CPU", "x RSS") + ["note"]]
        for (_, _, program), runs, theirs in self._of("handshakes"):
            line = [program, report.number(table.median(runs, "per_second"), 0),
                    report.number(table.median(runs, "cpu_us"), 0), report.number(table.peak(runs), 0)]
            lines.append(
                line + self._ratios(runs, theirs, "per_second", "cpu_us", "rss") + [_note(runs, "per_second")])
        return table.set_columns(lines, 1) + "\n8,000 initiations of 1,000 peers, each with an address of its own; 64 at a time."

    def _peers(self) -> str:
        title = ["peers", "program", "setconf ms", "up Mb/s", "down Mb/s", "MiB after", "MiB peak"]
        lines = [title + self._compared_titles("x time", "x up", "x down", "x MiB") + ["note"]]
        for (row, _, program), runs, theirs in self._of("peers"):
            line = [row, program]
            for name, digits in (("setconf_ms", 0), ("up_mbps", 0), ("down_mbps", 0), ("after_mib", 1)):
                line.append(report.number(table.median(runs, name), digits))
            line.append(report.number(table.peak(runs), 1))
            lines.append(
                line + self._ratios(runs, theirs, "setconf_ms", "up_mbps", "down_mbps", "after_mib")
                + [_note(runs, "up_mbps")])
        return table.set_columns(lines, 2) + (
            "\nOne of them is there; setconf: `wg setconf`, all of it. MiB: of the end with the peers.")

    def _compared_titles(self, *titles: str) -> list[str]:
        return list(titles) if self._options.peer else []

    def _ratios(self, ours: list[dict], theirs: list[dict] | None, *names: str) -> list[str]:
        if not self._options.peer:
            return []
        if theirs is None:
            return [""] * len(names)
        return [report.ratio(table.peak(ours), table.peak(theirs)) if name == "rss"
                else table.compared(ours, theirs, name) for name in names]


def _note(runs: list[dict], name: str) -> str:
    text = table.note(runs, name)
    loss = table.median(runs, "loss_percent")
    parts = [text] if text else []
    if loss is not None:
        parts.append(f"loss {loss:.1f} %")
    cookies = table.median(runs, "cookies")
    if cookies:
        parts.append(f"{cookies:.0f} cookies asked for")
    lost = sum(run.get("ping_lost") or 0 for run in runs)
    if lost > 2 * len(runs):
        parts.append(f"{lost} pings lost")
    return ", ".join(parts)
