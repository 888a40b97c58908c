#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""up is interrupted or killed at any point: Ctrl-C cleans by itself, `down` cleans after SIGKILL; another run does not notice."""
import os
import signal
import subprocess
import tempfile

import machine
from kube import HERE, Kube
from lab import Failed, step, story, wait_for

STAGES = (("the namespaces are there", lambda k: os.path.exists(f"/run/netns/{k.ns('cluster')}")),
          ("etcd runs", lambda k: os.path.exists(f"{k.dir}/log/etcd.log")),
          ("the API server answers", lambda k: k.kubectl("get", "--raw", "/readyz")),
          ("the DNS pod's container runs", lambda k: "coredns" in k.ctr("tasks", "list").stdout or running(k, "coredns")))


def running(kube, name):
    return kube.on_node("pgrep", "-x", name, check=False).stdout.strip()


def begin_and_end(folder, stage, reached, number):
    """Begins `up`, sends it a signal at a stage, and sees it end."""
    kube = Kube(folder)
    p = subprocess.Popen([f"{HERE}/up", folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                         start_new_session=True)
    try:
        wait_for(stage, lambda: reached(kube) or p.poll() is not None, 120)
        if p.poll() is not None:
            raise Failed(f"up ended before {stage}: {p.stdout.read().decode()}")
        os.killpg(p.pid, number)
        p.wait(60)
    finally:
        if p.poll() is None:
            p.kill()
    return kube


def nothing_left(kube, before):
    left = machine.difference(before, machine.state(kube.prefix))
    if left or os.path.exists(kube.dir):
        raise Failed(f"something was left behind ({kube.dir} {'exists' if os.path.exists(kube.dir) else 'is gone'}):\n{left}")


def interruptions():
    folder = f"/tmp/culvert-cluster-{os.getpid()}-down"
    before = machine.state(Kube(folder).prefix)
    for stage, reached in STAGES:
        step(f"killed when {stage}; then down")
        kube = begin_and_end(folder, stage, reached, signal.SIGKILL)
        subprocess.run([f"{HERE}/down", folder], check=True, timeout=60)
        nothing_left(kube, before)
    for stage, reached in STAGES[1:3]:
        step(f"Ctrl-C when {stage}")
        nothing_left(begin_and_end(folder, stage, reached, signal.SIGINT), before)
    step("down where nothing is up is content; a folder that is no cluster's it does not touch")
    subprocess.run([f"{HERE}/down", folder], check=True, timeout=60)
    with tempfile.TemporaryDirectory() as own:
        with open(f"{own}/precious", "w"):
            done = subprocess.run([f"{HERE}/down", own], stderr=subprocess.PIPE, text=True, timeout=60)
        if done.returncode != 1 or "no cluster's folder" not in done.stderr or not os.path.exists(f"{own}/precious"):
            raise Failed(f"down of a folder that is not its own: exit {done.returncode}: {done.stderr}")


def main():
    if "CULVERT_TEST_KUBECONFIG" in os.environ:
        step("not run: this is about clusters of our own")
        return
    step("a first run is up, and stays so")
    with Kube() as other:
        other.up()
        pods = other.get("-n", "kube-system", "pods")["items"]
        interruptions()
        after = other.get("-n", "kube-system", "pods")["items"]
        if [(p["metadata"]["uid"], p["status"]["containerStatuses"]) for p in pods] != \
           [(p["metadata"]["uid"], p["status"]["containerStatuses"]) for p in after]:
            raise Failed("the pods of the other run changed")
        other.resolve("kubernetes.default.svc.cluster.local")
        step("the first run did not notice")


story(main)
