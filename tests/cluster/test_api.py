#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""kube/ against a real API server: watches that outlive it, apply, missing rights, all ways to say who one is, and bytes
through services/proxy and a port-forward to a pod that is made of serve/."""
import base64
import json
import os
import subprocess
import tempfile

from kube import Kube
from lab import ROOT, Failed, Process, step, story, wait_for

BIN = os.path.join(os.environ.get("CULVERT_BIN") or f"{ROOT}/build/release", "tests")
CLIENT = f"{BIN}/kube_client"
SPACE = "culvert-api"

THINGS = """
apiVersion: v1
kind: Namespace
metadata: {{name: {space}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: pod, namespace: {space}, labels: {{app: pod}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: pod
    image: {image}
    args: ["0.0.0.0:8080"]
    readinessProbe: {{httpGet: {{path: /healthz, port: 8080}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: pod, namespace: {space}}}
spec:
  selector: {{app: pod}}
  ports: [{{name: overlay, port: 80, targetPort: 8080}}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: robot, namespace: {space}}}
"""
PROXY = f"/api/v1/namespaces/{SPACE}/services/pod:overlay/proxy/overlay"
MAPS = f"/api/v1/namespaces/{SPACE}/configmaps"


def pod_image(kube):
    """serve_pod and the libraries it is linked to."""
    program = f"{BIN}/serve_pod"
    files = {"/serve_pod": program}
    for line in subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout.splitlines():
        path = next((w for w in line.split() if w.startswith("/")), None)
        if path:
            files[path] = path
    return kube.image("serve-pod", files, ["/serve_pod"])


def client(kube, *argv, config=None, check=True, stdin=None, timeout=120):
    """A command of the tool, on the laptop."""
    env = {**os.environ, "KUBECONFIG": config or kube.admin, "LSAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(["ip", "netns", "exec", kube.ns("laptop"), CLIENT, *[str(a) for a in argv]], env=env, capture_output=True,
                          text=True, input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL, timeout=timeout)
    if check and done.returncode:
        raise Failed(f"kube_client {' '.join(str(a) for a in argv)}: {done.stdout}{done.stderr}")
    return done


def expect(text, *parts):
    for part in parts:
        if part not in text:
            raise Failed(f"'{part}' is not in: {text}")


# -- who is asking -------------------------------------------------------------------------------------------------


def config_of(kube, folder, user):
    """A kubeconfig with that user entry, in YAML's flow style."""
    path = f"{folder}/{abs(hash(user))}.conf"
    with open(path, "w") as f:
        f.write(f"current-context: c\nclusters: [{{name: c, cluster: {{server: '{kube.pki.server}', "
                f"certificate-authority-data: {kube.pki.base64('ca.crt')}}}}}]\n"
                f"users: [{{name: u, user: {user}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n")
    return path


def identities(kube, folder):
    robot = f"system:serviceaccount:{SPACE}:robot"
    token = kube.kubectl("-n", SPACE, "create", "token", "robot").stdout.strip()
    with open(f"{folder}/token", "w") as f:
        f.write(token)
    plugin = f"{folder}/plugin"
    with open(plugin, "w") as f:
        f.write("#!/bin/sh\necho '" + json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
                                                  "status": {"token": token}}) + "'\n")
    os.chmod(plugin, 0o755)
    kube.pki.certificate("ana", "ana", ["developers"])
    cert = f"{{client-certificate-data: {kube.pki.base64('ana.crt')}, client-key-data: {kube.pki.base64('ana.key')}"
    exec_entry = f"{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: {plugin}, interactiveMode: Never}}}}"
    for what, user, name in (("a certificate", cert + "}", "ana"), ("a token", f"{{token: {token}}}", robot),
                             ("a token's file", f"{{tokenFile: {folder}/token}}", robot), ("an exec plugin", exec_entry, robot)):
        step(f"by {what} we are {name}")
        said = json.loads(client(kube, "whoami", config=config_of(kube, folder, user)).stdout)
        if said["status"]["userInfo"]["username"] != name:
            raise Failed(f"by {what}: {said}")
    step("a token that is none is refused, in words")
    done = client(kube, "whoami", config=config_of(kube, folder, "{token: nonsense}"), check=False)
    expect(done.stdout, " 401 ", "does not accept the credentials")
    step("what ana may not is said as a right, and as YAML that gives it")
    ana = config_of(kube, folder, cert + "}")
    done = client(kube, "get", f"/api/v1/namespaces/{SPACE}/secrets", config=ana, check=False)
    expect(done.stdout, " 403 Forbidden: ", f"denied: ana|list||secrets||{SPACE}\n", "kind: Role\n")
    done = client(kube, "get", "/apis/apps/v1/namespaces/default/deployments/cart", config=ana, check=False)
    expect(done.stdout, "denied: ana|get|apps|deployments|cart|default\n")
    done = client(kube, "get", "/api/v1/nodes", config=ana, check=False)
    expect(done.stdout, "denied: ana|list||nodes||\n", "kind: ClusterRole\n")
    yaml = done.stdout[done.stdout.index("apiVersion:"):]
    kube.apply(yaml)
    wait_for("the right", lambda: client(kube, "get", "/api/v1/nodes", config=ana, check=False).returncode == 0)
    step("so is a missing upgrade")
    done = client(kube, "move", "service", PROXY, config=ana, check=False)
    expect(done.stderr, "ana", "services/proxy")
    done = client(kube, "move", "pod", SPACE, "pod", 8080, config=ana, check=False)
    expect(done.stderr, "ana", "pods/portforward")


# -- apply -----------------------------------------------------------------------------------------------------------


def config_map(**data):
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})


def apply(kube):
    step("server-side apply: ours, another's conflict, and force")
    client(kube, "apply", f"{MAPS}/m", "one", stdin=config_map(a="1", b="1"))
    done = client(kube, "apply", f"{MAPS}/m", "two", stdin=config_map(a="2"), check=False)
    expect(done.stdout, " 409 Conflict: ", ".data.a", '"one"')
    client(kube, "apply", f"{MAPS}/m", "two", "force", stdin=config_map(a="2"))
    client(kube, "apply", f"{MAPS}/m", "one", stdin=config_map())
    left = json.loads(client(kube, "get", f"{MAPS}/m").stdout)["data"]
    if left != {"a": "2"}:
        raise Failed(f"what 'one' no longer names should be gone, and nothing else: {left}")


# -- watches ---------------------------------------------------------------------------------------------------------


class Watch:
    def __init__(self, kube, path, query=""):
        self.process = Process("watch", ["ip", "netns", "exec", kube.ns("laptop"), CLIENT, "watch", path, query],
                               f"{kube.dir}/watch.log", {**os.environ, "KUBECONFIG": kube.admin})
        kube.processes.append(self.process)

    def lines(self):
        return self.process.output().splitlines()

    def wait(self, line, count=1):
        wait_for(f"'{line}' of the watch", lambda: sum(seen.startswith(line) for seen in self.lines()) >= count)


def watched(kube, name):
    kube.apply(json.dumps({"apiVersion": "v1", "kind": "ConfigMap",
                           "metadata": {"name": name, "namespace": SPACE, "labels": {"watched": "yes"}}}))


def watches(kube):
    step("a list in pages, then its changes")
    for i in range(3):
        watched(kube, f"w{i}")
    w = Watch(kube, MAPS, "labelSelector=watched%3Dyes&limit=2")
    w.wait("complete")
    if w.lines() != ["begin", "present w0", "present w1", "present w2", "complete"]:
        raise Failed(f"the first snapshot: {w.lines()}")
    kube.kubectl("-n", SPACE, "delete", "configmap", "w0")
    w.wait("deleted w0")
    step("the API server goes and comes back: the watch goes on from where it was")
    kube.stop_part("kube-apiserver")
    w.wait("trouble")
    kube.start_part("kube-apiserver")
    wait_for("the API server", lambda: kube.kubectl("get", "--raw", "/readyz"))
    watched(kube, "w3")
    w.wait("present w3")
    if w.lines().count("begin") != 1:
        raise Failed(f"the watch listed anew although nothing was forgotten: {w.lines()}")
    step("what it missed is forgotten (410): it lists anew")
    kube.stop_part("kube-apiserver")
    w.wait("trouble", sum(line.startswith("trouble") for line in w.lines()) + 1)
    key = base64.b64encode(f"/registry/configmaps/{SPACE}/w1".encode()).decode()
    revision = etcd(kube, "deleterange", {"key": key})["header"]["revision"]
    etcd(kube, "compaction", {"revision": revision, "physical": True})
    kube.start_part("kube-apiserver")
    w.wait("complete", 2)
    lines = w.lines()
    again = lines[len(lines) - lines[::-1].index("begin"):]
    if again[:3] != ["present w2", "present w3", "complete"]:
        raise Failed(f"the second snapshot: {lines}")
    w.process.stop()


def etcd(kube, call, body):
    """Behind the API server's back."""
    return json.loads(kube.on_node("curl", "-sS", "--fail", "-d", json.dumps(body), f"http://127.0.0.1:2379/v3/kv/{call}").stdout)


# -- bytes -----------------------------------------------------------------------------------------------------------


def figures(kube, what, *argv, config=None):
    said = json.loads(client(kube, "move", *argv, config=config).stdout)
    step(f"{what}: connected in {said['connect_ms']} ms, {said['down_MBps']} MB/s down, {said['up_MBps']} up, round trip "
         f"{said['round_us']} us (p99 {said['round_p99_us']})")
    return said


def bytes_through(kube, megabytes):
    figures(kube, "services/proxy", "service", PROXY, megabytes)
    figures(kube, "port-forward", "pod", SPACE, "pod", 8080, megabytes)
    forward = Process("kubectl", [*kube.kubectl_argv("-n", SPACE, "port-forward", "pod/pod", "18080:8080")], f"{kube.dir}/forward.log",
                      kube.kubectl_environment())
    kube.processes.append(forward)
    wait_for("kubectl port-forward", lambda: "Forwarding" in forward.output())
    figures(kube, "kubectl port-forward", "tcp", "127.0.0.1:18080", megabytes)
    forward.stop()
    step("a port where nobody listens")
    done = client(kube, "move", "pod", SPACE, "pod", 9, check=False)
    expect(done.stderr, "refused")
    step(f"twelve requests at once, then one after the other: {client(kube, 'at-once', MAPS, 12).stdout.strip()}")


def main():
    with Kube() as kube, tempfile.TemporaryDirectory() as folder:
        kube.up()
        step("a Kubernetes is up")
        everything(kube, folder)


def everything(kube, folder):
    kube.apply(THINGS.format(space=SPACE, image=pod_image(kube)))
    identities(kube, folder)
    apply(kube)
    kube.kubectl("-n", SPACE, "wait", "pod/pod", "--for=condition=Ready", "--timeout=60s", timeout=70)
    bytes_through(kube, 500)
    watches(kube)


if __name__ == "__main__":
    story(main)
