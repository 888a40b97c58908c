#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Pods with the agent, before a real API server: it takes every pod that the injector changes, also under Pod Security `restricted` and a quota."""
import base64
import copy
import json
import os
import re
import subprocess

from kube import cluster
from lab import ROOT, Failed, step, story, wait_for

BIN = os.environ.get("CULVERT_BIN") or os.path.join(ROOT, "build/release")

SPACES = """
apiVersion: v1
kind: Namespace
metadata: {name: inject-open}
---
apiVersion: v1
kind: Namespace
metadata: {name: inject-strict, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Namespace
metadata: {name: inject-quota}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: all, namespace: inject-quota}
spec: {hard: {limits.cpu: "4", limits.memory: 4Gi, requests.cpu: "4", requests.memory: 4Gi}}
"""
RESTRICTED = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "runAsUser": 1000, "capabilities": {"drop": ["ALL"]},
              "seccompProfile": {"type": "RuntimeDefault"}}


def mark(*ports):
    return json.dumps({"kind": "deployment", "name": "cart", "ports": list(ports)})


def named(name="http", target=8080, **more):
    return {"name": name, "target": target, "how": "rename", **more}


def numbered(target, **more):
    return {"target": target, "how": "redirect", **more}


def pod(space, ports, containers, **spec):
    for container in containers:
        container.setdefault("image", "example.org/app:1")
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "cart-", "namespace": space, "labels": {"app": "cart"},
            "annotations": {"culvert.dev/inject": mark(*ports)}}, "spec": {"containers": containers, **spec}}


def patched(thing, patch):
    """RFC 6902, as much of it as the injector uses."""
    thing = copy.deepcopy(thing)
    for op in patch:
        *way, last = op["path"].split("/")[1:]
        at = thing
        for key in way:
            at = at[int(key)] if isinstance(at, list) else at[key]
        if isinstance(at, list):
            if op["op"] == "add":
                at.insert(len(at) if last == "-" else int(last), op["value"])
            else:
                at[int(last)] = op["value"]
        else:
            if op["op"] == "replace" and last not in at:
                raise Failed(f"the patch replaces what is not there: {op}")
            at[last] = op["value"]
    return thing


class Try:
    def __init__(self, kube, image="example.org/culvert-agent:1"):
        self.kube, self.image = kube, image

    def dry_run(self, thing):
        done = self.kube.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(thing), check=False)
        if done.returncode:
            raise Failed(f"the API server refuses it: {done.stderr}\n{json.dumps(thing, indent=1)}")
        made = json.loads(done.stdout)
        for key in ("uid", "creationTimestamp", "resourceVersion", "name", "managedFields"):
            made["metadata"].pop(key, None)
        made.pop("status", None)
        return made

    def inject(self, thing, *argv):
        """What the webhook would make of it, and the warnings."""
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                  "request": {"uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
                              "namespace": thing["metadata"]["namespace"], "object": thing}}
        done = subprocess.run([os.path.join(BIN, "tests/inject_cli"), self.image, *argv], input=json.dumps(review), capture_output=True,
                              text=True, check=True)
        answer = json.loads(done.stdout)["response"]
        if answer["uid"] != "u-1" or not answer["allowed"]:
            raise Failed(f"a strange answer: {answer}")
        patch = json.loads(base64.b64decode(answer["patch"])) if "patch" in answer else []
        return patched(thing, patch), answer.get("warnings", [])

    def fits(self, what, thing, *argv):
        """Let through as it is, changed, and let through again; the result. A second pass changes nothing."""
        before = self.dry_run(thing)
        changed, warnings = self.inject(before, *argv)
        if changed == before or warnings:
            raise Failed(f"{what}: not injected: {warnings}")
        after = self.dry_run(changed)
        again, _ = self.inject(after, *argv)
        if again != after:
            raise Failed(f"{what}: injected twice")
        step(f"{what}: accepted")
        return after

    def untouched(self, what, thing, says, *argv):
        before = self.dry_run(thing)
        changed, warnings = self.inject(before, *argv)
        if changed != before or says not in " ".join(warnings):
            raise Failed(f"{what}: expected no change and '{says}', got {warnings}")
        step(f"{what}: unchanged, with the warning")


def agent_of(thing):
    return next(c for c in thing["spec"].get("initContainers", []) + thing["spec"]["containers"] if c["name"] == "culvert-agent")


def check(what, truth, got):
    if not truth:
        raise Failed(f"{what}: {json.dumps(got, indent=1)}")


def named_ports(t):
    app = {"name": "app", "ports": [{"name": "http", "containerPort": 8080}, {"name": "dns", "containerPort": 5353, "protocol": "UDP"}],
           "readinessProbe": {"httpGet": {"port": "http"}}, "livenessProbe": {"tcpSocket": {"port": 8080}},
           "lifecycle": {"preStop": {"httpGet": {"port": "http", "path": "/bye"}}},
           "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"},
                   {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
           "envFrom": [{"configMapRef": {"name": "settings", "optional": True}}]}
    made = t.fits("a named port", pod("inject-open", [named(), named("dns", 5353, protocol="udp")], [app]))
    agent = agent_of(made)
    check("names", [p.get("name") for p in made["spec"]["containers"][0]["ports"]] == ["culvert-http", "culvert-dns"], made)
    check("the probe's name", made["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"] == "culvert-http", made)
    check("the hook's name", made["spec"]["containers"][0]["lifecycle"]["preStop"]["httpGet"]["port"] == "culvert-http", made)
    check("the agent's ports", [(p["name"], p["containerPort"], p["protocol"]) for p in agent["ports"]]
          == [("http", 9900, "TCP"), ("dns", 9901, "UDP")], agent)
    check("the agent's mounts", sorted(m["name"] for m in agent["volumeMounts"])[-1] == "culvert-token", agent)
    check("no token of the API", all("serviceaccount" not in m["mountPath"] or m["name"] == "culvert-token" for m in agent["volumeMounts"]), agent)
    check("a native sidecar", agent["restartPolicy"] == "Always", agent)
    container = t.fits("an ordinary container", pod("inject-open", [named()], [dict(app)]), "", "container")
    check("no native sidecar", container["spec"]["containers"][-1]["name"] == "culvert-agent", container)


def restricted(t):
    app = {"name": "app", "ports": [{"name": "http", "containerPort": 8080}], "securityContext": RESTRICTED}
    t.fits("Pod Security restricted", pod("inject-strict", [named()], [app]), "restricted")
    t.fits("no token of the pod's own, ids of its own",
           pod("inject-strict", [named()], [app], automountServiceAccountToken=False,
               securityContext={"runAsUser": 1000, "runAsNonRoot": True, "fsGroup": 2000}), "restricted")
    t.untouched("a number where Pod Security is restricted", pod("inject-strict", [numbered(8080)], [app]),
                "Name the port in the container and in the service's targetPort", "restricted")


def numbers(t):
    app = {"name": "app", "livenessProbe": {"httpGet": {"port": 8080}}, "ports": [{"containerPort": 9900}],
           "startupProbe": {"grpc": {"port": 9000}}}
    side = {"name": "proxy", "image": "example.org/proxy:1", "restartPolicy": "Always", "ports": [{"name": "admin", "containerPort": 15000}]}
    made = t.fits("numbers, a sidecar and an init container",
                  pod("inject-open", [numbered(8080), numbered(9000), numbered(5353, protocol="udp"), named("admin", 15000)], [app],
                      initContainers=[{"name": "setup", "image": "example.org/setup:1"}, side]))
    names = [c["name"] for c in made["spec"]["initContainers"]]
    check("the order", names == ["setup", "proxy", "culvert-redirect", "culvert-agent"], names)
    redirect = made["spec"]["initContainers"][2]
    check("the redirect", redirect["args"] == ["redirect", "8080:9902", "9903:8080", "9000:9904", "9905:9000", "5353:9906/udp"], redirect)
    check("the probes", made["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"] == 9903
          and made["spec"]["containers"][0]["startupProbe"]["grpc"]["port"] == 9905, made)


def resources(t):
    amount = {"cpu": "1", "memory": "128Mi"}
    app = {"name": "app", "ports": [{"name": "http", "containerPort": 8080}], "resources": {"limits": amount}}
    made = t.fits("a Guaranteed pod", pod("inject-open", [named()], [app]))
    check("equal", agent_of(made)["resources"]["limits"] == agent_of(made)["resources"]["requests"], made)
    app = dict(app, resources={"limits": amount, "requests": {"cpu": "100m", "memory": "64Mi"}})
    made = t.fits("a namespace with a quota of limits", pod("inject-quota", [named()], [app]))
    check("limits", set(agent_of(made)["resources"]["limits"]) == {"cpu", "memory"}, made)
    made = t.fits("a pod with resources as a whole", pod("inject-open", [named()], [{"name": "app", "ports": app["ports"]}], resources={"limits": amount}))
    check("none of its own", not agent_of(made)["resources"], made)


def awkward(t):
    app = {"name": "app", "ports": [{"name": "a-longer-name-x", "containerPort": 8080}, {"name": "culvert-a-longe", "containerPort": 8081}]}
    made = t.fits("long names", pod("inject-open", [named("a-longer-name-x")], [app]))
    check("cut and unique", made["spec"]["containers"][0]["ports"][0]["name"] == "culvert-a-lon-2", made)
    two = [{"name": "a", "ports": [{"name": "http", "containerPort": 80}], "readinessProbe": {"tcpSocket": {"port": "http"}}},
           {"name": "b", "ports": [{"name": "http", "containerPort": 81}], "readinessProbe": {"tcpSocket": {"port": "http"}}}]
    made = t.fits("one name in two containers", pod("inject-open", [named("http", 80)], two))
    check("two names", [c["readinessProbe"]["tcpSocket"]["port"] for c in made["spec"]["containers"]] == ["culvert-http", "culvert-http-2"], made)
    t.untouched("the node's network", pod("inject-open", [named()], [dict(app)], hostNetwork=True), "hostNetwork")
    t.untouched("a mark of other ports", pod("inject-open", [named("gone")], [dict(app)]), "no container of this pod has a TCP port named gone")


# Who asks, as the application sees it: the agent dials from the pod's own address.
SERVE = """mkdir -p /tmp/www/cgi-bin
printf '#!/bin/sh\\necho; echo $REMOTE_ADDR' >/tmp/www/cgi-bin/who
chmod +x /tmp/www/cgi-bin/who
httpd -p 8080 -h /tmp/www
exec httpd -f -p 9000 -h /tmp/www"""
LIVE = """
apiVersion: v1
kind: Service
metadata: {name: by-name, namespace: inject-open}
spec: {selector: {app: live}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: by-number, namespace: inject-open}
spec: {selector: {app: live}, ports: [{port: 80, targetPort: 9000}]}
"""


def agent_image(kube):
    program = os.path.join(BIN, "culvert-agent")
    libraries = re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", program], capture_output=True, text=True).stdout)
    return kube.image("agent", {"/culvert-agent": program, **{lib: os.path.realpath(lib) for lib in libraries}}, ["/culvert-agent"],
                      user="65532:65532")


def live(kube):
    """A pod that runs, before a manager that is not there: traffic passes through the agent, probes past it."""
    t = Try(kube, agent_image(kube))
    busybox = kube.busybox()
    kube.apply(LIVE)
    app = {"name": "app", "image": busybox, "command": ["/bin/sh", "-c", SERVE], "ports": [{"name": "http", "containerPort": 8080}],
           "readinessProbe": {"httpGet": {"port": 9000, "path": "/cgi-bin/who"}, "periodSeconds": 1},
           "livenessProbe": {"httpGet": {"port": "http", "path": "/cgi-bin/who"}, "periodSeconds": 1}}
    thing = pod("inject-open", [named(), numbered(9000)], [app], terminationGracePeriodSeconds=1)
    thing["metadata"]["labels"] = {"app": "live"}
    made, _ = t.inject(t.dry_run(thing))
    name = json.loads(kube.kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(made)).stdout)["metadata"]["name"]
    kube.kubectl("-n", "inject-open", "run", "client", f"--image={busybox}", "--restart=Never", "--command", "--", "/bin/sleep", "1000")
    for one in (name, "client"):
        kube.kubectl("-n", "inject-open", "wait", f"pod/{one}", "--for=condition=Ready", "--timeout=60s", timeout=70)
    step("the pod is ready: its probes reach the application")

    def address(of):
        return kube.get("-n", "inject-open", "pod", of)["status"]["podIP"]

    own, client = address(name), address("client")

    def who(place, url, *argv):
        said = kube.kubectl("-n", "inject-open", "exec", place, *argv, "--", "wget", "-qO-", url, check=False, timeout=20).stdout
        return said.strip().strip("[]").removeprefix("::ffff:")

    def is_seen(what, wanted, place, url, *argv):
        wait_for(f"{what}: seen as {wanted}", lambda: who(place, url, *argv) == wanted)
        step(f"{what}: the application sees {wanted}")

    is_seen("by a named port", own, "client", "http://by-name/cgi-bin/who")
    is_seen("by a number", own, "client", "http://by-number/cgi-bin/who")
    is_seen("at the pod's address by the number", own, "client", f"http://{own}:9000/cgi-bin/who")
    is_seen("at the renamed port's own number", client, "client", f"http://{own}:8080/cgi-bin/who")
    is_seen("from within", "127.0.0.1", name, "http://127.0.0.1:9000/cgi-bin/who", "-c", "app")
    slices = kube.get("-n", "inject-open", "endpointslices", "-l", "kubernetes.io/service-name=by-name")["items"]
    check("the service leads to the agent", [p["port"] for s in slices for p in s["ports"]] == [9900], slices)
    restarts = [c["restartCount"] for c in kube.get("-n", "inject-open", "pod", name)["status"]["containerStatuses"]]
    check("nothing was restarted", restarts == [0], restarts)


def main():
    with cluster() as kube:
        kube.up()
        try:
            kube.apply(SPACES)
            run(kube)
        finally:
            kube.kubectl("delete", "namespace", "inject-open", "inject-strict", "inject-quota", "--ignore-not-found", "--wait=false", check=False)


def run(kube):
    t = Try(kube)
    for part in (named_ports, restricted, numbers, resources, awkward):
        part(t)
    live(kube)


if __name__ == "__main__":
    story(main)
