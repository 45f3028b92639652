"""Reads lines of "library cipher way nanoseconds" and prints the median of each, and its ratio to what Culvert uses."""
import collections
import statistics
import sys

BASE = "GnuTLS"
PACKET = 1420

found = collections.defaultdict(list)
for line in sys.stdin:
    library, cipher, way, value = line.split()
    found[cipher, way, library].append(float(value))

print(f"{'cipher':<18} {'way':<5} {'library':<17} {'ns':>7} {'Gb/s':>6} {'time x':>7}  range of rounds")
for (cipher, way, library), values in sorted(found.items(), key=lambda item: (item[0][0], item[0][1] == "open")):
    median = statistics.median(values)
    base = found.get((cipher, way, BASE))
    ratio = f"{median / statistics.median(base):.2f}" if base else "-"
    print(f"{cipher:<18} {way:<5} {library:<17} {median:>7.0f} {PACKET * 8 / median:>6.1f} {ratio:>7}  "
          f"{min(values):.0f}-{max(values):.0f}")
