#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The test cluster is a Kubernetes: pods find each other by name, node ports answer the laptop, admission refuses; then it is gone."""
import os
import shutil

import machine
from kube import Kube, cluster
from lab import Failed, step, story, wait_for

SPACE = f"culvert-smoke-{os.getpid()}"

HELLO = """
apiVersion: v1
kind: Namespace
metadata: {{name: {space}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: hello, namespace: {space}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: hello}}}}
  template:
    metadata: {{labels: {{app: hello}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: {image}
        command: [sh, -c, "mkdir /www && hostname >/www/index.html && exec httpd -f -p 80 -h /www"]
        ports: [{{name: http, containerPort: 80}}]
        readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 1}}
      - name: echo
        image: {echo}
        args: ["7000"]
---
apiVersion: v1
kind: Service
metadata: {{name: hello, namespace: {space}}}
spec:
  type: NodePort
  selector: {{app: hello}}
  ports: [{{name: http, port: 80, targetPort: http}}, {{name: echo, port: 7000, protocol: UDP}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: client, namespace: {space}}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: client, image: {image}, command: [sleep, infinity]}}]
"""

PRIVILEGED = """
apiVersion: v1
kind: Pod
metadata: {{name: privileged, namespace: {space}}}
spec: {{containers: [{{name: p, image: {image}, securityContext: {{privileged: true}}}}]}}
"""

ASK = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(0.5)
for _ in range(20):
    s.sendto(b"ping over udp", (sys.argv[1], int(sys.argv[2])))
    try:
        sys.exit(s.recv(100) != b"ping over udp")
    except (TimeoutError, ConnectionRefusedError):
        pass
sys.exit("no answer")
"""


def in_client(kube, *argv, check=True):
    return kube.kubectl("-n", SPACE, "exec", "client", "--", *argv, check=check).stdout


def pods_and_services(kube, image):
    step("a Deployment of two pods with a Service, and a client")
    kube.apply(HELLO.format(space=SPACE, image=image, echo=kube.c_image("echo")))
    kube.rollout("deployment/hello", SPACE)
    kube.kubectl("-n", SPACE, "wait", "pod/client", "--for=condition=Ready", "--timeout=60s", timeout=70)
    names = {p["metadata"]["name"] for p in kube.get("-n", SPACE, "pods", "-l", "app=hello")["items"]}
    step("the client finds them by the service's short and full name, and meets both")
    wait_for("answers of both pods", lambda: {in_client(kube, "wget", "-qO-", "http://hello").strip() for _ in range(5)} == names)
    full = in_client(kube, "wget", "-qO-", f"http://hello.{SPACE}.svc.cluster.local").strip()
    if full not in names:
        raise Failed(f"the full name was answered by '{full}', which is none of {names}")
    step("a pod reaches its own service, by the way round (hairpin)")
    one = sorted(names)[0]
    seen = {kube.kubectl("-n", SPACE, "exec", one, "-c", "web", "--", "wget", "-qO-", "http://hello").stdout.strip() for _ in range(8)}
    if not seen or not seen <= names:
        raise Failed(f"from {one} the service answered {seen}")


def from_the_laptop(kube):
    service = kube.get("-n", SPACE, "service", "hello")
    port = next(p["nodePort"] for p in service["spec"]["ports"] if p["name"] == "echo")
    step("a node port over UDP answers the laptop")
    kube.run("laptop", "/usr/bin/python3", "-c", ASK, kube.node_address(), port)
    if not isinstance(kube, Kube):
        return
    step("services and pods do not")
    pod = kube.get("-n", SPACE, "pod", "client")["status"]["podIP"]
    for url in (f"http://{service['spec']['clusterIP']}/", f"http://{pod}/"):
        done = kube.run("laptop", "curl", "-sS", "--max-time", "3", url, check=False)
        if done.returncode not in (7, 28):
            raise Failed(f"{url} from the laptop: exit {done.returncode}: {done.stdout}{done.stderr}")


def admission(kube, image):
    step("Pod Security refuses a privileged pod where only restricted ones may run")
    kube.kubectl("label", "namespace", SPACE, "pod-security.kubernetes.io/enforce=restricted")
    wrong = kube.kubectl("apply", "-f", "-", stdin=PRIVILEGED.format(space=SPACE, image=image), check=False)
    if 'violates PodSecurity "restricted' not in wrong.stderr:
        raise Failed(f"a privileged pod was not refused by Pod Security: {wrong.stdout}{wrong.stderr}")
    step("an impersonated user has that user's rights")
    for user, expected in ((("--as", "eve"), "no"), ((), "yes")):
        said = kube.kubectl("auth", "can-i", "list", "secrets", *user, check=False).stdout.strip()
        if said != expected:
            raise Failed(f"may {user or 'the administrator'} list secrets? '{said}', expected '{expected}'")


def parts(kube):
    step("the API server is away: kubectl says so; it comes back, and the service answers again")
    kube.stop_part("kube-apiserver")
    wait_for("a refusal", lambda: "refused" in kube.kubectl("get", "--raw", "/readyz", check=False).stderr)
    kube.start_part("kube-apiserver")
    wait_for("the API server", lambda: kube.kubectl("get", "--raw", "/readyz"), 60)
    wait_for("the service", lambda: in_client(kube, "wget", "-qO-", "http://hello"))


def main():
    kube = cluster()
    own = isinstance(kube, Kube)
    before = machine.state(kube.prefix) if own else None
    with kube:
        kube.up()
        step("a Kubernetes is up")
        try:
            image = kube.busybox()
            pods_and_services(kube, image)
            from_the_laptop(kube)
            admission(kube, image)
            if own:
                parts(kube)
        finally:
            if not own:
                kube.kubectl("delete", "namespace", SPACE, "--ignore-not-found", check=False, timeout=120)
    if own:
        step("it goes with pods running, and leaves no process, mount, namespace, control group, folder or rule")
        left = machine.difference(before, machine.state(kube.prefix))
        if left:
            raise Failed(f"something was left behind:\n{left}")
        if os.path.exists(kube.dir):
            shutil.rmtree(kube.dir)
            raise Failed(f"{kube.dir} was left behind")


story(main)
