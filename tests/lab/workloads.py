# SPDX-License-Identifier: Apache-2.0
"""Workloads, services and clients for stories about intercepts: tests/cluster/shop.c in pods, busybox beside it."""
import json
import os
import subprocess
import tempfile

import installed
from kube import HERE, image
from lab import NOBODY, Failed, sh, wait_for

GROUP = "developers"


def compiled(folder):
    sh("gcc", "-static", "-Os", "-s", "-o", f"{folder}/shop", f"{HERE}/shop.c")
    return f"{folder}/shop"


def shop_image(kube):
    """/shop, and busybox for a shell. The program for the laptop, too, at {kube.dir}/shop."""
    applets = sh(image.BUSYBOX, "--list").stdout.split()
    program = compiled(kube.dir)
    return kube.image("shop", {"/shop": program, image.BUSYBOX: image.BUSYBOX}, ["/shop"], links=image.busybox_links(applets))


def named(name):
    return {"name": name}


def namespace(name, **labels):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def workload(space, name, image, kind="Deployment", replicas=1, ports=(("http", 8080),), env=(), labels=None, container=None, pod=None, more=None,
             annotations=None):
    """Each of `ports` is (name or None, number[, "UDP"]); `container`, `pod` and `more` (of spec) are added to what is made."""
    labels = labels or {"app": name}
    declared = [{"containerPort": number, "protocol": (proto or ["TCP"])[0], **({"name": n} if n else {})} for n, number, *proto in ports]
    app = {"name": "app", "image": image, "args": ["serve", *[f"{p['containerPort']}{'/udp' if p['protocol'] == 'UDP' else ''}" for p in declared]],
           "env": [{"name": "NAME", "value": name}, *[{"name": k, "value": v} for k, v in env]], "ports": declared,
           "readinessProbe": {"tcpSocket": {"port": next(p for p in declared if p["protocol"] == "TCP").get("name") or declared[0]["containerPort"]},
                              "periodSeconds": 1}, **(container or {})}
    # With 0 the object would be gone before the program is.
    spec = {"terminationGracePeriodSeconds": 1, "containers": [app], **(pod or {})}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": space},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                     "template": {"metadata": {"labels": labels, "annotations": annotations or {}}, "spec": spec},
                     **({"serviceName": name} if kind == "StatefulSet" else {}), **(more or {})}}


def page(says):
    """A `container` of busybox for a workload: a web server whose page is what a command prints."""
    return {"args": ["-c", f"mkdir -p /tmp/www && {says} >/tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"]}


def service(space, name, ports=(("http", 80, "http"),), selector=None, **spec):
    """Each of `ports` is (name or None, number, target[, "UDP"])."""
    listed = [{"port": number, "targetPort": target, "protocol": (proto or ["TCP"])[0], **({"name": n} if n else {})}
              for n, number, target, *proto in ports]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": space},
            "spec": {"selector": selector or {"app": name}, "ports": listed, **spec}}


def client(space, image, name="client", command=("sleep", "infinity")):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": space},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "client", "image": image, "command": command}]}}


def apply(kube, *objects):
    kube.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def ready(kube, space, *what):
    for one in what:
        if one.startswith(("replicaset/", "pod/")):
            label = f"app={one.split('/')[1]}"
            which = [one] if one.startswith("pod/") else ["pod", "-l", label]
            wait_for(f"{one} in {space}", lambda w=which: kube.kubectl("-n", space, "wait", *w, "--for=condition=Ready", "--timeout=60s", timeout=70), 60)
        else:
            kube.rollout(one, space)


def developer(kube, user, *spaces, on="laptop", role="edit", namespace=None):
    """A kubeconfig for a laptop's owner, of the group that may connect, with a role in the namespaces."""
    config = kube.kubeconfig(user, [GROUP], on=on, namespace=namespace or (spaces[0] if spaces else "default"))
    for space in spaces:
        kube.kubectl("-n", space, "create", "rolebinding", f"{user}-{role}", f"--clusterrole={role}", f"--user={user}")
    return config


def connected(kube, on="laptop", *argv):
    kube.start_helper(on)
    kube.culvert("connect", *argv, on=on)


def manager_answers(kube, on="laptop"):
    """The one that is there now: a connection to the one before it may not have heard of its end yet, but no ping comes back on it."""
    wait_for("the manager's answer to a ping", lambda: "round_trip_ms" in kube.culvert_json("status", on=on)["manager"])


def prepared(kube, *spaces):
    """A cluster with culvert and these namespaces; the image of their workloads."""
    kube.up()
    installed.install(kube, group=GROUP)
    apply(kube, *[namespace(s) for s in spaces])
    return shop_image(kube)


def local(kube, *ports, says="laptop", on="laptop"):
    """The developer's program, on those ports of a laptop."""
    p = kube.start(on, f"local-{says}-{'-'.join(str(x).replace('/', '') for x in ports)}", f"{kube.dir}/shop", "serve", *ports, user=NOBODY, env={"NAME": says})
    for port in ports:
        number, _, udp = str(port).partition("/")
        kube.wait_listening(on, int(number), udp=bool(udp))
    return p


def cluster_ip(kube, space, name):
    return kube.get("-n", space, "service", name)["spec"]["clusterIP"]


def counts(text):
    """{answer: how often} of what `shop ask` said."""
    return {answer: int(n) for n, answer in (line.split(" ", 1) for line in text.splitlines())}


def ask(kube, space, name, port=80, count=20, rate=100, pod="client"):
    """Requests from a pod through a service; {answer: how often}, without port numbers."""
    ip = name if name.count(".") == 3 else cluster_ip(kube, space, name)
    said = kube.kubectl("-n", space, "exec", pod, "--", "/shop", "ask", ip, port, rate, count, timeout=60 + count / rate).stdout
    found = {}
    for answer, n in counts(said).items():
        word = answer if answer.startswith("failed") else answer.split()[0]
        if word != "failed" or n:
            found[word] = found.get(word, 0) + n
    return found


def all_at(kube, space, name, who, **kw):
    """Every one of some requests is answered by `who`, once the nodes have followed; what was seen."""
    settled(kube, space, name, who, port=kw.get("port", 80))
    found = ask(kube, space, name, **kw)
    if set(found) != {who}:
        raise Failed(f"requests to {name} in {space} should be answered by {who} alone, and were by {found}")
    return f"{found[who]} requests through service {name}, {found[who]} answered by {who}"


def settled_pods(kube, space, name):
    """No pod behind a service is ending."""
    found = ",".join(f"{k}={v}" for k, v in kube.get("-n", space, "service", name)["spec"]["selector"].items())
    wait_for(f"the end of old pods of {name} in {space}", lambda: not any(
        "deletionTimestamp" in p["metadata"] for p in kube.get("-n", space, "pods", "-l", found)["items"]), 60)


def settled(kube, space, name, who, **kw):
    """An intercept is in force when every ready pod has an agent; the nodes' kube-proxy follows a little later (up to its period of 1 s)."""
    if name.count(".") != 3:
        settled_pods(kube, space, name)
    wait_for(f"the nodes to lead {name} in {space} to {who} alone", lambda: set(ask(kube, space, name, **kw)) == {who})


class Stream:
    """Requests at a rate from a pod, until stop() says how they were answered."""

    def __init__(self, kube, space, name, rate, port=80, pod="client"):
        argv = kube.kubectl_argv("-n", space, "exec", "-i", pod, "--", "/shop", "ask", cluster_ip(kube, space, name), port, rate, 0)
        self.popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=kube.kubectl_environment())

    def stop(self):
        out, _ = self.popen.communicate(timeout=60)
        if self.popen.returncode:
            raise Failed(f"the stream of requests ended with {self.popen.returncode}: {out}")
        return counts(out)


def left_nothing(kube, space):
    items = kube.get("-n", space, "intercepts.culvert.dev")["items"]
    if items:
        raise Failed(f"an Intercept was left in {space}: {[i['metadata']['name'] for i in items]}")
