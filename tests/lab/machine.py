# SPDX-License-Identifier: Apache-2.0
"""What a test could leave behind on a machine: taken before and after, the two must be equal."""
import glob
import os
import re

from lab import sh

# Folders that a container runtime or Kubernetes would make if they were not kept from it.
FOLDERS = ("/etc/cni", "/etc/kubernetes", "/opt/cni", "/run/containerd", "/run/kubernetes", "/usr/libexec/kubernetes", "/var/lib/cni",
           "/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods")
SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys",
           "kernel/keys/root_maxbytes")


def read(path):
    try:
        with open(path, errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def contained_processes():
    """Processes in a process namespace below this one, by name and start time."""
    for path in glob.glob("/proc/[0-9]*/status"):
        ids = re.search(r"^NSpid:\s+(.*)$", read(path), re.M)
        if ids and len(ids[1].split()) > 1:
            stat = read(os.path.dirname(path) + "/stat").rsplit(")", 1)
            yield f"process {stat[0]}) started at {stat[1].split()[19]}" if len(stat) > 1 else "process gone"


def control_groups():
    for top, folders, _ in os.walk("/sys/fs/cgroup"):
        for f in folders:
            yield f"control group {top}/{f}"


def state(prefix):
    """A set of lines; what belongs to other runs of the lab, with another prefix, is left out."""
    lines = set(contained_processes()) | set(control_groups())
    lines |= {f"namespace {n.split()[0]}" for n in sh("ip", "netns", "list").stdout.splitlines()}
    lines |= {f"mount {m}" for m in read("/proc/mounts").splitlines()}
    lines |= {f"link {line.split()[1]}" for line in sh("ip", "-o", "link").stdout.splitlines()}
    lines |= {f"folder {f}" for f in FOLDERS if os.path.exists(f)} | {f"folder {f}" for f in glob.glob("/etc/netns/*")}
    lines |= {f"{s} = {read(f'/proc/sys/{s}').strip()}" for s in SYSCTLS}
    lines |= {f"rule {r}" for r in sh("nft", "list", "ruleset").stdout.splitlines()}
    lines.add(f"resolv.conf {read('/etc/resolv.conf')}")
    other = re.compile(rf"\bcv(?!{prefix[2:]}\b)[0-9a-f]+\b|culvert-demo")
    return {line for line in lines if not other.search(line)}


def difference(before, after):
    return "\n".join([f"+ {line}" for line in sorted(after - before)] + [f"- {line}" for line in sorted(before - after)])
