#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Places where no agent may go, parts that stop, hang or vanish while they are needed: a sentence each, and nothing left.

What connect and intercept meet by themselves is in test_connect.py and test_intercept.py.
"""
import json
import os
import signal

import installed
import workloads as w
from kube import Kube
from lab import NOBODY, Failed, step, story, wait_for

SPACE = "shop"


class Faults:
    def __init__(self, kube):
        self.kube, self.before = kube, None

    def refused(self, *argv, wants, code=1, timeout=60):
        """One sentence that has all of it; no Intercept is left."""
        done = self.kube.culvert(*argv, check=False, timeout=timeout)
        said = [line for line in done.stderr.splitlines() if line.startswith("culvert: ")]
        missing = [word for word in wants if word not in done.stderr]
        if done.returncode != code or missing or len(said) != 1:
            raise Failed(f"culvert {' '.join(argv)}: exit {done.returncode}, missing {missing} in: {done.stderr}")
        step(said[0][len("culvert: "):])

    def waits(self, label, *argv, wants):
        """A command that has to wait, and says for what."""
        p = self.kube.start("laptop", label, f"{self.kube.bin}/culvert", *argv, user=NOBODY)
        wait_for(f"'{wants}' of {label}", lambda: wants in p.output() or p.popen.poll() is not None)
        if wants not in p.output():
            raise Failed(f"{label} ended without '{wants}': {p.output()}")
        step(next(line for line in p.output().splitlines() if wants in line))
        return p

    def ended(self, p, *wants, ok=False, timeout=60):
        code = p.popen.wait(timeout)
        missing = [word for word in wants if word not in p.output()]
        if (code == 0) != ok or missing:
            raise Failed(f"{p.name}: exit {code}, missing {missing} in: {p.output()}")

    def status(self):
        return self.kube.culvert_json("status")

    def clean(self):
        """The laptop as before connect, no Session, no Intercept."""
        if self.kube.laptop_state() != self.before:
            raise Failed(f"the laptop is not as it was:\n{self.kube.laptop_state()}\n{self.before}")
        if left := self.kube.get("sessions.culvert.dev")["items"] + self.kube.get("intercepts.culvert.dev", "-A")["items"]:
            raise Failed(f"left in the cluster: {[o['metadata']['name'] for o in left]}")


def marked(kube, space, what):
    return "culvert.dev/inject" in json.dumps(kube.get("-n", space, what)["spec"])


def places(f, image):
    step("where no agent goes: the system's namespace, the manager's, opted out, ending; the node's network")
    kube = f.kube
    off, ending = w.namespace("off", **{"culvert.dev/inject": "disabled"}), w.namespace("ending")
    # What has to be looked after by somebody who does not come keeps a namespace terminating.
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "namespace": "ending", "finalizers": ["example.org/never"]}}
    w.apply(kube, off, ending, held)
    for space in ("kube-system", "culvert", "off", "ending"):
        kube.kubectl("-n", space, "create", "rolebinding", "ana", "--clusterrole=edit", "--user=ana")
        made = w.workload(space, "app", image)
        if space == "culvert":  # Pod Security lets no such pod in: it is not about them
            made["spec"]["replicas"] = 0
        w.apply(kube, made, w.service(space, "app"))
    kube.kubectl("delete", "namespace", "ending", "--wait=false")
    w.apply(kube, w.workload(SPACE, "host", image, ports=(("http", 18080),), pod={"hostNetwork": True}), w.service(SPACE, "host"))
    for space, *wants in (("kube-system", "kube-system", "cannot be intercepted"), ("culvert", "manager"),
                          ("off", "culvert.dev/inject=disabled", "kubectl label namespace off"), ("ending", "being deleted"), (SPACE, "hostNetwork")):
        name = "host" if space == SPACE else "app"
        wait_for(f"the right to intercept in {space}", lambda s=space, n=name: n in kube.culvert("list", "-n", s, check=False).stdout)
        f.refused("intercept", name, "-n", space, "--port", "3000", wants=wants)
        w.left_nothing(kube, space)
        if space != "ending" and marked(kube, space, f"deployment/{name}"):
            raise Failed(f"{name} in {space} was marked")
    kube.kubectl("-n", "ending", "patch", "configmap", "held", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    kube.kubectl("delete", "namespace", "off", "--wait=false")
    kube.kubectl("-n", SPACE, "delete", "deployment/host", "service/host")


def slow_api(f):
    step("the API server stops answering: what is waited for is said; it goes on: the command does, too")
    kube = f.kube
    pid = next(p for p in kube.on_node("pgrep", "-x", "kube-apiserver").stdout.split())
    kube.on_node("kill", "-STOP", pid)
    try:
        w_list = kube.start("laptop", "slow-list", f"{kube.bin}/culvert", "list", user=NOBODY)
        p = kube.start("laptop", "slow-intercept", f"{kube.bin}/culvert", "intercept", "hello", "--port", "3000", user=NOBODY)
        wait_for("the silence to be noticed", lambda: f.status()["path"]["transport"] == "udp")
        got = kube.run("laptop", "curl", "-sS", "--max-time", "10", "http://hello", user=NOBODY).stdout
        if not got.startswith("hello "):
            raise Failed(f"over UDP came {got!r}")
        if p.popen.poll() is not None:
            raise Failed(f"intercept did not wait: {p.output()}")
    finally:
        kube.on_node("kill", "-CONT", pid)
    f.ended(w_list, "hello", ok=True)
    f.ended(p, "ACTIVE", ok=True)
    w.all_at(kube, SPACE, "hello", "laptop")
    kube.culvert("leave", "hello")
    kube.culvert("quit")
    f.clean()
    kube.on_node("kill", "-STOP", pid)
    try:
        p = f.waits("slow-connect", "connect", wants="Waiting for the API server")
    finally:
        kube.on_node("kill", "-CONT", pid)
    f.ended(p, ok=True)
    kube.culvert("quit")
    f.clean()
    kube.culvert("connect")


def silent_api(f):
    step("not even an acknowledgement comes from the API server: list, intercept and leave name it and the remedy, and wait no longer")
    kube = f.kube
    kube.culvert("intercept", "hello", "--port", "3000", timeout=130)
    wait_for("UDP as the path", lambda: f.status()["path"]["transport"] == "udp")  # the manager is asked nothing through the API server
    kube.run("router", "nft", "add table ip apiblock; add chain ip apiblock f { type filter hook forward priority 0; };"
             " add rule ip apiblock f tcp dport 6443 drop")
    try:
        for argv in (["list"], ["intercept", "hello", "--port", "3001"], ["leave", "hello"]):
            f.refused(*argv, wants=["the API server https://", "not even on the level of TCP", "VPN or network"])
    finally:
        kube.run("router", "nft", "delete table ip apiblock")
    wait_for("the API server", lambda: kube.culvert("leave", "hello"))


def no_manager(f):
    step("the manager is gone, and with it the webhook: intercept says it; it comes back: all goes on")
    kube = f.kube
    kube.kubectl("-n", "culvert", "scale", "deployment/culvert-manager", "--replicas=0")
    wait_for("the end of its control connection", lambda: not f.status()["manager"]["control"])
    f.refused("intercept", "many", "--port", "3000", "--timeout", "5", wants=["Waiting for the manager", "does not answer at the moment"])
    w.left_nothing(kube, SPACE)
    step("pods of a marked workload come without it, and without an agent; the next intercept has them replaced")
    kube.kubectl("-n", SPACE, "rollout", "restart", "deployment/hello")
    kube.rollout("deployment/hello", SPACE)
    w.all_at(kube, SPACE, "hello", "hello")
    kube.kubectl("-n", "culvert", "scale", "deployment/culvert-manager", "--replicas=1")
    kube.rollout("deployment/culvert-manager", "culvert")
    f.refused("intercept", "hello", "--port", "3000", wants=["let in without the agent", "kubectl rollout restart deployment/hello", "--yes"])
    said = kube.culvert("intercept", "hello", "--port", "3000", "--yes", timeout=130).stderr
    if "evicting pod hello-" not in said:
        raise Failed(f"intercept said {said}")
    w.all_at(kube, SPACE, "hello", "laptop")
    kube.culvert("leave", "hello")


def webhook_behind_a_firewall(f):
    step("install says when the API server does not reach the webhook, and when it does again")
    f.kube.on_node("nft", "add table inet firewall; add chain inet firewall out { type filter hook output priority 0; };"
                   "add rule inet firewall out tcp dport 8443 drop")
    try:
        said = installed.install(f.kube, group=w.GROUP)
    finally:
        f.kube.on_node("nft", "delete", "table", "inet", "firewall")
    for words in ("does not reach the webhook", "port 8443", "Installed culvert"):
        if words not in said:
            raise Failed(f"install should say '{words}', and said: {said}")
    said = installed.install(f.kube, group=w.GROUP)
    if "webhook" in said.replace("Waiting until the API server reaches the webhook", ""):
        raise Failed(f"the firewall is gone, and install said: {said}")


def quit_while_waiting(f):
    step("quit, and the Session's end, while an intercept waits")
    kube = f.kube
    kube.kubectl("-n", SPACE, "rollout", "pause", "deployment/many")
    p = f.waits("waiting-for-quit", "intercept", "many", "--port", "3000", wants="kubectl rollout resume deployment/many")
    kube.culvert("quit")
    f.ended(p, "culvert: ")
    step(p.output().splitlines()[-1])
    f.clean()
    kube.culvert("connect")
    p = f.waits("waiting-for-nothing", "intercept", "many", "--port", "3000", "--timeout", "60", wants="kubectl rollout resume deployment/many")
    kube.kubectl("delete", "session", f.status()["cluster"]["session"])
    f.ended(p, "culvert: ")
    step(p.output().splitlines()[-1])
    wait_for("the laptop's end of it", lambda: f.status()["state"] == "not connected")
    wait_for("the collection of what it owned", lambda: f.clean() is None)
    kube.kubectl("-n", SPACE, "rollout", "resume", "deployment/many")
    kube.rollout("deployment/many", SPACE)
    kube.culvert("connect")


def killed(f):
    step("the daemon is killed while it intercepts: the pods serve; the next one ends the Session it left, and may have its port")
    kube = f.kube
    kube.culvert("intercept", "hello", "--port", "3000")
    w.all_at(kube, SPACE, "hello", "laptop")
    dead = f.status()["cluster"]["session"]
    os.kill(kube.daemon_pid(), signal.SIGKILL)
    w.settled(kube, SPACE, "hello", "hello")
    wait_for("the laptop as it was", lambda: kube.laptop_state() == f.before)
    kube.culvert("connect")
    wait_for("the end of its Session", lambda: dead not in kube.kubectl("get", "sessions", "-o", "name").stdout)
    kube.culvert("intercept", "hello", "--port", "3000")
    w.all_at(kube, SPACE, "hello", "laptop")
    kube.culvert("quit")
    # The garbage collector may learn of new kinds only 30 s after they were made.
    wait_for("nothing left", lambda: f.clean() is None)
    kube.culvert("connect")


def vanished(f, image):
    step("the workload, then its namespace is deleted while it is intercepted: nothing hangs, nothing stays")
    kube = f.kube
    w.apply(kube, w.namespace("brief"), w.workload("brief", "app", image), w.service("brief", "app"))
    kube.kubectl("-n", "brief", "create", "rolebinding", "ana", "--clusterrole=edit", "--user=ana")
    kube.rollout("deployment/app", "brief")
    wait_for("the right", lambda: "app" in kube.culvert("list", "-n", "brief", check=False).stdout)
    kube.culvert("intercept", "app", "-n", "brief", "--port", "3000", timeout=130)
    kube.kubectl("-n", "brief", "delete", "deployment/app")
    wait_for("its state in status", lambda: (i := f.status()["intercepts"]) and i[0]["state"] != "ACTIVE")
    step(next(line.strip() for line in kube.culvert("status").stdout.splitlines() if line.strip().startswith("app-brief: ")))
    kube.kubectl("delete", "namespace", "brief", timeout=120)
    wait_for("its end in status", lambda: not f.status()["intercepts"])
    done = kube.culvert("leave", "app-brief", check=False)  # the rights in it may be gone sooner than we heard of its end
    if done.returncode and "no intercept 'app-brief'" not in done.stderr:
        raise Failed(f"leave said {done.stderr}")


def other_objects(f):
    step("the CRDs are gone, or of another version: connect says what to run, and an install mends it")
    kube = f.kube
    kube.culvert("quit")
    crd = kube.get("crd", "sessions.culvert.dev")
    kube.kubectl("delete", "crd", "sessions.culvert.dev", timeout=120)
    f.refused("connect", wants=["no Session objects of culvert.dev/v1alpha1", "culvert install"])
    for key in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"):
        crd["metadata"].pop(key, None)
    crd.pop("status")
    crd["spec"]["versions"][0]["name"] = "v9"
    kube.apply(json.dumps(crd))
    kube.kubectl("wait", "crd/sessions.culvert.dev", "--for=condition=Established", "--timeout=30s")
    f.refused("connect", wants=["no Session objects of culvert.dev/v1alpha1", "another version", "culvert install"])
    if kube.laptop_state() != f.before:
        raise Failed("a connect in vain left something on the laptop")
    kube.kubectl("delete", "crd", "sessions.culvert.dev", timeout=120)
    installed.install(kube, group=w.GROUP)
    kube.culvert("connect")


def uninstalled(f):
    step("culvert is uninstalled while a laptop is connected and intercepts: the laptop is as before, the pods serve")
    kube = f.kube
    kube.culvert("intercept", "hello", "--port", "3000", timeout=130)
    installed.administrator(kube, "uninstall", "-y")
    wait_for("the end", lambda: f.status()["state"] == "not connected")
    step("; ".join(f.status()["warnings"]))
    if kube.laptop_state() != f.before:
        raise Failed("the laptop kept something of it")
    w.settled(kube, SPACE, "hello", "hello")
    f.refused("connect", wants=["configmaps", "culvert install"])  # the right to look went with it


def main():
    with Kube() as kube:
        image = w.prepared(kube, SPACE)
        w.apply(kube, *[w.service(SPACE, n) for n in ("hello", "many")], *[w.workload(SPACE, n, image) for n in ("hello", "many")],
                w.client(SPACE, image))
        w.developer(kube, "ana", SPACE)
        w.ready(kube, SPACE, "deployment/hello", "deployment/many", "pod/client")
        w.local(kube, 3000)
        f = Faults(kube)
        kube.start_helper()
        f.before = kube.laptop_state()
        kube.culvert("connect")
        places(f, image)
        slow_api(f)
        silent_api(f)
        no_manager(f)
        webhook_behind_a_firewall(f)
        quit_while_waiting(f)
        killed(f)
        vanished(f, image)
        other_objects(f)
        uninstalled(f)


story(main)
