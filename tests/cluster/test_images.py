#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The images as they are shipped: the agent in a pod under Pod Security `restricted`, the redirect, and the manager's program.

They are made of the release build, since the agent is static only there: build/release, or CULVERT_RELEASE.
"""
import os
import re

from kube import Kube
from lab import ROOT, Failed, sh, step, story, wait_for

RELEASE = os.environ.get("CULVERT_RELEASE", os.path.join(ROOT, "build/release"))

PODS = """
apiVersion: v1
kind: Namespace
metadata: {{name: shop, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: other}}
---
apiVersion: v1
kind: Pod
metadata: {{name: cart, namespace: shop, labels: {{app: cart}}}}
spec:
  terminationGracePeriodSeconds: 3
  securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {{type: RuntimeDefault}}}}
  initContainers: [{sidecar}]
  containers: [{app}]
  volumes: [{token}]
---
apiVersion: v1
kind: Service
metadata: {{name: cart, namespace: shop}}
spec: {{selector: {{app: cart}}, ports: [{{port: 80, targetPort: http}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: till, namespace: other}}
spec:
  initContainers:
  - name: culvert-redirect
    image: {agent}
    args: [redirect, "8080:9900"]
    securityContext: {{runAsUser: 0, runAsGroup: 0, allowPrivilegeEscalation: false, capabilities: {{drop: [ALL], add: [NET_ADMIN]}}}}
  - {sidecar}
  containers: [{app}]
  volumes: [{token}]
---
apiVersion: v1
kind: Pod
metadata: {{name: manager, namespace: shop}}
spec:
  restartPolicy: Never
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
  - {{name: manager, image: {manager}, args: [--version], securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: gateway, namespace: shop}}
spec:
  restartPolicy: Never
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
  - {{name: gateway, image: {gateway}, args: [--version], securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}}}
"""

SIDECAR = """{{name: culvert-agent, image: {agent}, restartPolicy: Always, args: [--kubernetes], ports: [{{name: http, containerPort: 9900}}],
    resources: {{limits: {{memory: 64Mi}}}}, volumeMounts: [{{name: token, mountPath: /var/run/secrets/culvert.dev, readOnly: true}}],
    securityContext: {{runAsUser: 65532, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}},
    env: [{{name: CULVERT_POD_IP, valueFrom: {{fieldRef: {{fieldPath: status.podIP}}}}}},
      {{name: CULVERT_AGENT, value: '{{"manager":"jNFCqsq2sLPUj6xPvSvLb9S9dM4KQzTK9rAQFfDk0Ws=","endpoints":["10.96.5.6:31820"],"kind":"deployment",
      "workload":"cart","ports":[{{"listen":9900,"application":8080,"target":8080,"protocol":"tcp"}}],"container":"app"}}'}}]}}"""
APP = """{{name: app, image: {busybox}, command: [sh, -c, "mkdir /tmp/www && echo hello from the pod >/tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"],
    securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}}}"""
TOKEN = "{name: token, projected: {sources: [{serviceAccountToken: {audience: culvert, expirationSeconds: 3600, path: token}}]}}"


def build(folder):
    """The images' archives and names."""
    lines = sh(f"{ROOT}/deploy/images/build", "--binaries", RELEASE, "--output", folder).stdout.splitlines()
    print("\n".join("  " + line for line in lines))
    return [line.split()[:2] for line in lines]


def read(path):
    with open(path, "rb") as f:
        return f.read()


def main():
    if os.environ.get("CULVERT_TEST_KUBECONFIG"):
        print("left out: it is about this machine's images, loaded into a cluster of our own")
        return
    with Kube() as kube:
        step("the same binaries give the same images")
        first, again = build(f"{kube.dir}/images"), build(f"{kube.dir}/again")
        for (one, _), (two, _) in zip(first, again):
            if read(one) != read(two):
                raise Failed(f"{one} differs from {two}")

        kube.up()
        names = {}
        for archive, reference in first:
            kube.load(archive)
            names[re.search(r"/(\w+):", reference)[1]] = reference
        busybox = kube.busybox()
        kube.apply(PODS.format(sidecar=SIDECAR.format(**names), app=APP.format(busybox=busybox), token=TOKEN, **names))
        for pod in ("shop/cart", "other/till"):
            space, name = pod.split("/")
            kube.kubectl("-n", space, "wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s", timeout=70)

        step("with no manager at all, under Pod Security restricted: the application answers through its named port")
        address = kube.get("-n", "shop", "service", "cart")["spec"]["clusterIP"]
        wait_for("the service", lambda: "hello from the pod" in kube.on_node("curl", "-sS", "--max-time", "3", f"http://{address}/").stdout)
        log = kube.kubectl("-n", "shop", "logs", "cart", "-c", "culvert-agent").stdout
        if "stands for port 8080" not in log or "token" in log:
            raise Failed(log)

        step("redirected: what comes to the application's port comes to the agent")
        pod = kube.get("-n", "other", "pod", "till")["status"]["podIP"]
        wait_for("the pod", lambda: "hello from the pod" in kube.on_node("curl", "-sS", "--max-time", "3", f"http://{pod}:8080/").stdout)
        seen = kube.kubectl("-n", "other", "exec", "till", "-c", "app", "--", "cat", "/proc/net/tcp", "/proc/net/tcp6").stdout
        if ":26AC" not in seen:  # 9900, where the connection was redirected to
            raise Failed(seen)

        for program in ("manager", "gateway"):
            step(f"the {program}'s program finds its libraries")
            wait_for("its end", lambda: kube.get("-n", "shop", "pod", program)["status"]["phase"] == "Succeeded")
            said = kube.kubectl("-n", "shop", "logs", program).stdout
            if not said.startswith(f"culvert-{program} "):
                raise Failed(said)


story(main)
