"""An agent's metrics, as Prometheus would read them."""

import re

PRIMARY_PORT = 7460
SECONDARY_PORT = 7461


def read(host, port):
    """{(name, label, value, ...): number} of the agent on `host`, labels in the order of their names."""
    text = host.out(f"wget -qO- http://127.0.0.1:{port}/metrics")
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, number = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
        pairs = sorted(re.findall(r'(\w+)="([^"]*)"', labels or ""))
        found[(name, *(part for pair in pairs for part in pair))] = float(number)
    return found
