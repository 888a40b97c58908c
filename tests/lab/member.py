# SPDX-License-Identifier: Apache-2.0
"""Laptops that are no culvert (tests/cluster/member.c), with Sessions and Intercepts of our own, for stories about the manager alone."""
import contextlib
import json
import os
import subprocess
import threading

from lab import Failed, wait_for


class Lines:
    """A program that says lines and is told some."""

    def __init__(self, kube, *argv, env=None):
        self.lines = []
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=env)
        kube.members.append(self)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.heard(line.rstrip("\n"))

    def heard(self, line):
        self.lines.append(line)

    def ask(self, line, *answers):
        """Says a line, and gives the line that answers it."""
        seen = len(self.lines)
        self.process.stdin.write(line + "\n")
        return self.wait(*answers, since=seen)

    def wait(self, *starts, since=0, timeout=60):
        return wait_for(f"{' or '.join(starts)}; it said {self.lines[-3:]}",
                        lambda: next((x for x in self.lines[since:] if x.startswith(starts)), None), timeout)


class Member(Lines):
    """One in the laptop's namespace; `way` is UDP, unless it is given."""

    def __init__(self, kube, key, *way, token=None):
        self.pub = key[1]
        env = {**os.environ, **({"MEMBER_TOKEN": token} if token else {})}
        super().__init__(kube, "ip", "netns", "exec", kube.ns("laptop"), program(kube), key[0], kube.facts["publicKey"],
                         *(way or ("udp", json.loads(kube.facts["udp"])[0])), env=env)

    def hello(self):
        code, answer = self.ask('hello {"version":"0.1.0","role":"laptop","namespace":"shop"}', "hello ").split(" ", 2)[1:]
        if code != "0":
            raise Failed(f"hello was answered with {code}: {answer}")
        return json.loads(answer)


def program(kube):
    return f"{kube.bin}/tests/cluster_member"


def new_key(kube):
    return subprocess.run([program(kube)], capture_output=True, text=True, check=True).stdout.split()


def session(kube, key):
    made = {"apiVersion": "culvert.dev/v1alpha1", "kind": "Session", "metadata": {"name": key[1]},
            "spec": {"user": kube.user, "publicKey": key[1], "client": "box"}}
    kube.kubectl("create", "-f", "-", stdin=json.dumps(made))


def intercept(kube, pub, name, local=8080, more_ports=(), **spec):
    """The metadata of one of deployment cart."""
    uid = kube.get("session", pub)["metadata"]["uid"]
    owner = {"apiVersion": "culvert.dev/v1alpha1", "kind": "Session", "name": pub, "uid": uid}
    port = {"local": local, "name": "http", "port": 80, "target": 8080, "protocol": "TCP"}
    made = {"apiVersion": "culvert.dev/v1alpha1", "kind": "Intercept",
            "metadata": {"generateName": f"{name}-", "namespace": "shop", "labels": {"culvert.dev/name": name}, "ownerReferences": [owner]},
            "spec": {"user": kube.user, "session": pub, "name": name, "workloadKind": "Deployment", "workload": "cart", "service": "cart",
                     "mechanism": "tcp", "onDown": "pod", "ports": [port, *more_ports], **spec}}
    return json.loads(kube.kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(made)).stdout)["metadata"]


def status(kube, name):
    return kube.get("-n", "shop", "intercept", name).get("status", {})


def manager_log(kube, check=True):
    return kube.kubectl("-n", "culvert", "logs", "deploy/culvert-manager", check=check).stdout


def manager_ready(kube):
    """What members need to know of an installed culvert."""
    kube.user = json.loads(kube.kubectl("auth", "whoami", "-o", "json").stdout)["status"]["userInfo"]["username"]
    kube.facts = wait_for("the ConfigMap", lambda: (d := kube.get("-n", "culvert", "configmap", "culvert")["data"])["ready"] == "true" and d)


@contextlib.contextmanager
def members(kube):
    """Ends them all; with an error, what the manager's log says."""
    kube.members = []
    try:
        yield
    except BaseException:
        print(manager_log(kube, check=False)[-4000:])
        raise
    finally:
        for m in kube.members:
            m.process.kill()
