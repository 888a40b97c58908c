# SPDX-License-Identifier: Apache-2.0
"""What the benches share: what a process costs, rr as numbers, medians, and the file for --json."""
import json
import os
import statistics

TICK = os.sysconf("SC_CLK_TCK")


def machine_cpu():
    """Seconds of CPU the whole machine has spent, idle and steal left out."""
    with open("/proc/stat") as f:
        v = [int(x) for x in f.readline().split()[1:]]
    return (v[0] + v[1] + v[2] + v[5] + v[6]) / TICK


def process_cpu(pid):
    with open(f"/proc/{pid}/stat") as f:
        v = f.read().rsplit(")", 1)[1].split()
    return (int(v[11]) + int(v[12])) / TICK


def rss_mib(pid):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
    return 0.0


class Cost:
    """CPU seconds that the machine, then each of `pids`, spend in a `with`."""

    def __init__(self, *pids):
        self.pids, self.spent = pids, []

    def now(self):
        return machine_cpu(), *(process_cpu(p) for p in self.pids)

    def __enter__(self):
        self.before = self.now()
        return self

    def __exit__(self, *unused):
        self.spent = [b - a for a, b in zip(self.before, self.now())]


def rr(lab, program, *argv):
    """What bench/rr.c says of them: per second, p50 and p99 in microseconds, errors; of bulk the bytes per second."""
    return [float(x) for x in lab.run("laptop", program, *argv).stdout.split()]


def median(values):
    """None where it was never measured, or failed each time."""
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def short(v):
    return f"{v:.0f}" if abs(v) >= 100 else f"{v:.3g}"


def cell(values):
    """A median with what it lies between."""
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    return short(median(known)) + (f" ({short(min(known))}-{short(max(known))})" if len(known) > 1 else "")


def write_rows(path, rows):
    if path:
        with open(path, "w") as f:
            json.dump({"rows": rows}, f, indent=1)
            f.write("\n")
