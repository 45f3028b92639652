"""Asks a relay for permissions and channels where it must not lead, in every form, and for some where it may.

usage: turn_forbidden.py RELAY PORT
"""
import sys

from turn_client import Client, code

relay, port = sys.argv[1], int(sys.argv[2])
refused = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "100.64.0.1", "100.127.255.254", "169.254.1.1", "169.254.169.254", "224.0.0.1", "239.1.2.3", "255.255.255.255",
    "240.0.0.1", "192.0.0.192", "100.100.100.200",
    "::", "::1", "fe80::1", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "fd00:ec2::254",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::10.0.0.1", "::ffff:0:127.0.0.1",
    "2002:7f00:1::", "2002:a00:1::1", "2002:c0a8:101::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1",
    "64:ff9b::a00:1", "2001:0:0:0:0:0:80ff:fffe",
]
allowed = ["10.99.0.3", "203.0.113.9", "8.8.8.8", "fd00:1::3", "2001:db8::9", "2606:4700::1"]
client = Client(relay, port)
answer = client.allocate(both=True)
assert code(answer) == 0, code(answer)
wrong = []
for number, address in enumerate(refused):
    if client.permit(address) != 403:
        wrong.append(("permission", address))
    if client.bind(0x4000 + number, address, 9) != 403:
        wrong.append(("channel", address))
for number, address in enumerate(allowed):
    if client.permit(address) != 0:
        wrong.append(("permission refused", address))
    if client.bind(0x4800 + number, address, 9) != 0:
        wrong.append(("channel refused", address))
# The relay itself, at ports that are no allocation's.
for own in (relay, "fd00:1::2"):
    for service in (22, port, 5349, 80):
        if client.bind(0x4900, own, service) != 403:
            wrong.append(("own", own, service))
print(wrong or "all as they should be")
sys.exit(1 if wrong else 0)
