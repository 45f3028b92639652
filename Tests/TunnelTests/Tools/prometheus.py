"""Reads a page of numbers as Prometheus' own client does, and prints each sample with its type.

usage: prometheus.py < PAGE        prints lines such as `counter culvert_x_total relay=a,code=401 2`
"""
import sys

from prometheus_client.parser import text_string_to_metric_families

seen = set()
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation and family.type != "unknown", family
    for sample in family.samples:
        labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
        assert (sample.name, labels) not in seen, f"{sample} twice"
        seen.add((sample.name, labels))
        print(family.type, sample.name, labels or "-", int(sample.value))
