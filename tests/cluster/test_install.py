#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""culvert install and uninstall: what they say when something is missing, that a second install changes nothing, and that nothing is left."""
import base64
import json
import os
import pty
import re
import signal
import subprocess

from kube import cluster
from lab import ROOT, Failed, step, story, wait_for

BIN = os.environ.get("CULVERT_BIN") or f"{ROOT}/build/release"
SYSTEM, FULL, SHOP = "culvert-test-tools", "culvert-test-full", "culvert-test-shop"
USER = "culvert-test-ana"
# What lives by its own clock.
RESTLESS = {"events", "events.events.k8s.io", "leases.coordination.k8s.io"}

MADE = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: {FULL}}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {{name: none, namespace: {FULL}}}
spec: {{hard: {{pods: "0"}}}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: {SHOP}}}
"""

POD = """
    metadata: {{labels: {{app: {name}}}, annotations: {{culvert.dev/inject: '{{}}', other: stays}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: app, image: {image}, command: [sleep, infinity]}}]
"""
WORKLOAD = """
apiVersion: apps/v1
kind: {kind}
metadata: {{name: {name}, namespace: {space}}}
spec:
  replicas: 2
  {more}
  selector: {{matchLabels: {{app: {name}}}}}
  template:""" + POD


class Cli:
    """culvert on the laptop, as the cluster's administrator."""

    def __init__(self, kube):
        self.kube, self.config = kube, kube.kubectl_environment()["KUBECONFIG"]

    def __call__(self, *argv, config=None, timeout=200):
        argv = ["env", f"KUBECONFIG={config or self.config}", "NO_COLOR=1", f"{BIN}/culvert", *argv]
        return self.kube.run("laptop", *argv, check=False, timeout=timeout)

    def must(self, *argv, **kw):
        done = self(*argv, **kw)
        if done.returncode:
            raise Failed(f"culvert {' '.join(argv)}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def refuse(self, *argv, code=1, says, **kw):
        done = self(*argv, **kw)
        last = [line for line in done.stderr.splitlines() if line.startswith("culvert: ")]
        if done.returncode != code or not last or any(word not in last[-1] for word in ([says] if isinstance(says, str) else says)):
            raise Failed(f"culvert {' '.join(argv)}: expected exit {code} and {says}, got {done.returncode}: {done.stdout}{done.stderr}")
        step(last[-1][len("culvert: "):])
        return done


def state(kube):
    """{object: its rules, if it has some} of everything that the API server keeps."""
    kinds = sorted(set(kube.kubectl("api-resources", "--verbs=list", "-o", "name").stdout.split()) - RESTLESS)
    found = {}
    for o in kube.get(",".join(kinds), "-A")["items"]:
        meta = o["metadata"]
        if o["kind"] != "Pod" and o["kind"] != "PodMetrics":
            found[o["apiVersion"], o["kind"], meta.get("namespace", ""), meta["name"]] = json.dumps(o.get("rules"))
    return found


def versions(kube):
    """{object: version} of what install made: its generation where it has one, since others write the status."""
    found = {}
    kinds = ("namespaces,customresourcedefinitions,validatingadmissionpolicies,validatingadmissionpolicybindings,clusterroles,"
             "clusterrolebindings,roles,rolebindings,serviceaccounts,configmaps,services,secrets,mutatingwebhookconfigurations,deployments")
    for o in kube.get(kinds, "-A", "-l", "app.kubernetes.io/part-of=culvert")["items"]:
        meta = o["metadata"]
        found[o["kind"], meta["name"]] = meta.get("generation") or meta["resourceVersion"]
    return found


def image(kube, part, where=BIN):
    """A program with the libraries that it is linked with."""
    program = f"{where}/culvert-{part}"
    libraries = re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", program], capture_output=True, text=True).stdout)
    return kube.image(part, {f"/culvert-{part}": program, **{lib: os.path.realpath(lib) for lib in libraries}}, [f"/culvert-{part}"],
                      user="65532:65532")


def without_a_cluster(kube, culvert):
    step("--dry-run needs no cluster, and kubectl reads what it prints")
    made = culvert.must("install", "--dry-run", "-n", SYSTEM, "--allow-group", "a: b", config="/proc/none").stdout
    names = kube.kubectl("create", "--dry-run=client", "--validate=false", "-o", "name", "-f", "-", stdin=made).stdout.split()
    if len(names) != 23 or f"namespace/{SYSTEM}" not in names:
        raise Failed(f"--dry-run made {names}")
    listed = json.loads(culvert.must("install", "--dry-run", "-o", "json", config="/proc/none").stdout)
    if listed["kind"] != "List" or len(listed["items"]) != 21:
        raise Failed(f"-o json made {listed['kind']} of {len(listed['items'])}")
    culvert.refuse("install", "-o", "yaml", code=2, says="--dry-run")
    culvert.refuse("install", "--prefixes", "10.0.0.0/8,x", code=2, says="prefixes")
    culvert.refuse("install", "--udp-service", "ClusterIP", code=2, says="NodePort")
    culvert.refuse("install", "-n", "No", code=2, says="small letters")
    culvert.refuse("install", "--timeout", "x", code=2, says="90s or 2m")


def bad_config(kube, culvert):
    culvert.refuse("install", "--kubeconfig", "/proc/none", says="/proc/none")
    culvert.refuse("install", "--context", "nowhere", says="nowhere")


def rights(kube, culvert):
    done = culvert.refuse("install", "-n", SYSTEM, "--as", USER, says=("you may not get namespaces", "44 of the 44", "nothing was changed"))
    if state(kube) != culvert.before:
        raise Failed("something was changed without the right to change all")
    step("with what it printed she may")
    grant = done.stderr.split("kubectl apply -f -):\n\n")[1]
    kube.apply(grant)
    wait_for("the rights", lambda: kube.kubectl("auth", "can-i", "create", "secrets", "-n", SYSTEM, "--as", USER, check=False).returncode == 0)
    culvert.refuse("install", "-n", SYSTEM, "--as", USER, "--pull-policy", "Never", "--manager-image", "example.org/none:1",
                   says=("ErrImageNeverPull", "example.org/none:1", "--manager-image"))
    culvert.refuse("uninstall", "-n", SYSTEM, "--as", USER, "-y", says=(USER, "may not"))
    culvert.must("uninstall", "-y")
    kube.kubectl("delete", "-f", "-", stdin=grant)


def waiting(kube, culvert):
    step("a namespace that is somebody's is not taken in silence, and what keeps the pod away is said")
    kube.apply(MADE)
    culvert.refuse("install", "-n", FULL, says=("nothing was changed", "--yes"))
    culvert.refuse("install", "-n", FULL, "-y", "--timeout", "6s", says=("FailedCreate", "exceeded quota"))
    culvert.must("uninstall", "-y")
    labels = kube.get("namespace", FULL)["metadata"]["labels"]
    if any(key.startswith("pod-security") or "managed-by" in key for key in labels):
        raise Failed(f"{FULL} was changed: {labels}")


def question(kube, culvert):
    """On a terminal uninstall asks: y, n, and Ctrl-C as with any program."""
    step("the question on a terminal: Ctrl-C ends it, n changes nothing")
    for keys, ended in ((b"\x03", lambda status: os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT),
                        (b"n\n", lambda status: os.WIFEXITED(status) and os.WEXITSTATUS(status) == 1)):
        pid, terminal = pty.fork()
        if pid == 0:
            argv = kube.argv("laptop", ["env", f"KUBECONFIG={culvert.config}", f"{BIN}/culvert", "uninstall"], None)
            os.execvp(argv[0], argv)
        said = b""
        while b"[y/N]" not in said:
            said += os.read(terminal, 4096)
        os.write(terminal, keys)
        found = []
        wait_for(f"the end of uninstall after {keys}", lambda found=found, pid=pid: found.extend(os.waitpid(pid, os.WNOHANG)) or found[-2])
        os.close(terminal)
        if not ended(found[-1]):
            raise Failed(f"uninstall ended with {found[-1]} after {keys}")


def twice(kube, culvert):
    images = ["--manager-image", image(kube, "manager"), "--agent-image", image(kube, "agent")]
    done = culvert.must("install", "-n", SYSTEM, *images)
    step(done.stdout.strip())
    if "Installed culvert" not in done.stdout or "Only the cluster's administrators may connect" not in done.stdout:
        raise Failed(done.stdout + done.stderr)
    told = kube.get("-n", SYSTEM, "configmap", "culvert")["data"]
    if told["ready"] != "true" or len(told["publicKey"]) != 44:
        raise Failed(f"the manager tells {told}")
    first = versions(kube)
    if len(first) < 21:
        raise Failed(f"there are only {first}")
    step("the second time nothing changes, neither key nor pod")
    culvert.must("install", "-n", SYSTEM, *images)
    second = versions(kube)
    changed = {what for what in first if first[what] != second.get(what)} - {("ConfigMap", "culvert")}
    if changed or len(first) != len(second):
        raise Failed(f"the second install changed {changed}")
    step("another value changes what depends on it; the keys stay")
    culvert.must("install", "-n", SYSTEM, *images, "--udp-service", "None", "--holder-timeout", "1m", "--allow-group", "devs")
    third = versions(kube)
    changed = {what for what in first if first[what] != third.get(what)} - {("ConfigMap", "culvert")}
    if changed != {("Service", "culvert-udp"), ("ConfigMap", "culvert-config"), ("Deployment", "culvert-manager")}:
        raise Failed(f"changed was {changed}")
    if kube.get("-n", SYSTEM, "configmap", "culvert")["data"]["publicKey"] != told["publicKey"]:
        raise Failed("the manager has another key")
    step("without --allow-group who may connect stays")
    culvert.must("install", "-n", SYSTEM, *images)
    if kube.get("clusterrolebinding", "culvert-connect")["subjects"][0]["name"] != "devs":
        raise Failed("the group is gone")
    culvert.refuse("install", "-n", "elsewhere", *images, says=f"installed in the namespace {SYSTEM}")
    culvert.refuse("uninstall", "-n", "elsewhere", "-y", says=f"installed in the namespace {SYSTEM}")


def with_gateway(kube, culvert):
    images = [f"--{part}-image={image(kube, part)}" for part in ("manager", "agent", "gateway")]
    site = ["--preview-domain", "preview.example.com", "--gateway-service", "ClusterIP", "--oidc-issuer", "https://id.example.com",
            "--oidc-client-id", "culvert", "--oidc-allow", "groups=dev"]
    secret_file = f"{kube.dir}/oidc-secret"
    with open(secret_file, "w", encoding="ascii") as f:
        f.write("s3cret\n")
    step("what does not go together is said before anything is changed")
    before = versions(kube)
    for flags, says in ((["--oidc-issuer", "https://id.example.com", "--oidc-client-id", "x"], "--oidc-allow"), (["--gateway-image", "x"], "--preview-domain"),
                        (["--preview-domain", "a.b", "--preview-host", "c.d"], "choose one"), (["--oidc-ca", secret_file], "no certificate in PEM")):
        culvert.refuse("install", "-n", SYSTEM, *flags, says=says, code=2)
    if versions(kube) != before:
        raise Failed("something was changed")
    step("a gateway and an issuer: laptops are told, the gateway runs without rights, its certificate is of the manager's authority")
    done = culvert.must("install", "-n", SYSTEM, *images, *site, "--oidc-client-secret-file", secret_file)
    step(done.stdout.strip())
    told = kube.get("-n", SYSTEM, "configmap", "culvert")["data"]
    if json.loads(told["gateway"]) != {"dashboard": "https://dashboard.preview.example.com", "previews": "https://*.preview.example.com"} or \
            json.loads(told["oidc"]) != {"issuer": "https://id.example.com", "clientId": "culvert", "scopes": ""}:
        raise Failed(f"laptops are told {told}")
    keys = kube.get("-n", SYSTEM, "secret", "culvert-gateway")["data"]
    if base64.b64decode(keys["oidc-secret"]) != b"s3cret" or keys["ca.crt"] != kube.get("-n", SYSTEM, "secret", "culvert-manager")["data"]["ca.crt"]:
        raise Failed("the Secret is not what it should be")
    said = kube.kubectl("auth", "can-i", "--list", f"--as=system:serviceaccount:{SYSTEM}:gateway", "-n", SYSTEM).stdout
    if re.search("secrets|pods|services|culvert|tokenreviews", said):
        raise Failed(f"the gateway may {said}")
    wait_for("the gateway's link", lambda: "gateway: connected" in kube.kubectl("-n", SYSTEM, "logs", "deploy/culvert-manager").stdout)
    step("again nothing changes, the secret of the issuer stays without its flag, too; another name needs another certificate alone")
    first = versions(kube)
    culvert.must("install", "-n", SYSTEM, *images, *site)
    if changed := {what for what, v in versions(kube).items() if first.get(what) != v} - {("ConfigMap", "culvert")}:
        raise Failed(f"the second install changed {changed}")
    culvert.must("install", "-n", SYSTEM, *images, *site[2:], "--preview-domain", "other.example.com")
    now = kube.get("-n", SYSTEM, "secret", "culvert-gateway")["data"]
    if now["tls.crt"] == keys["tls.crt"] or now["cookie.key"] != keys["cookie.key"]:
        raise Failed("certificate or cookie key is not what it should be")
    step("a certificate that is not there is named; without its flags the gateway goes, its keys stay, and it is said")
    culvert.refuse("install", "-n", SYSTEM, *images, *site, "--preview-tls-secret", "missing", "--timeout", "8s", says='secret "missing" not found')
    done = culvert.must("install", "-n", SYSTEM, *images[:2])
    if "The gateway of an earlier install was removed" not in done.stdout or ("Deployment", "culvert-gateway") in versions(kube):
        raise Failed(done.stdout)
    if kube.get("-n", SYSTEM, "configmap", "culvert")["data"]["gateway"]:
        raise Failed("laptops are told of a gateway")
    culvert.must("install", "-n", SYSTEM, *images, "--preview-host", "other.example.com")
    if kube.get("-n", SYSTEM, "secret", "culvert-gateway")["data"]["cookie.key"] != keys["cookie.key"]:
        raise Failed("the cookie key was not kept")


def uninstalled(kube, culvert, busybox):
    for kind, name, more in (("Deployment", "cart", ""), ("StatefulSet", "orders", "serviceName: orders"), ("ReplicaSet", "stock", "")):
        kube.apply(WORKLOAD.format(kind=kind, name=name, space=SHOP, image=busybox, more=more))
    for what in ("deployment/cart", "statefulset/orders"):
        kube.rollout(what, SHOP)
    done = culvert.must("uninstall", "-y")
    for what in ("deployment/cart", "statefulset/orders", "replicaset/stock"):
        if f"culvert uninstall --agents {what} -n {SHOP}" not in done.stdout:
            raise Failed(f"uninstall does not name {what}: {done.stdout}")
    if done.stdout.count("--agents") != 3:
        raise Failed(f"uninstall names others, too: {done.stdout}")
    step("the agents go one workload after the other")
    culvert.refuse("uninstall", "--agents", "nothing", "-n", SHOP, says="no Deployment, StatefulSet or ReplicaSet nothing")
    culvert.refuse("uninstall", "--agents", "d/cart", "-n", SHOP, says="'d' is no kind of workload")
    culvert.refuse("uninstall", "--agents", "cart", "-n", "../x", says="'../x' is not the name of a namespace")
    for what in ("cart", "orders", "replicaset/stock"):
        step(culvert.must("uninstall", "--agents", what, "-n", SHOP).stdout.strip())
    wait_for("the old pods' end", lambda: len(kube.get("-n", SHOP, "pods")["items"]) == 6)
    for pod in kube.get("-n", SHOP, "pods")["items"]:
        notes = pod["metadata"]["annotations"]
        if "culvert.dev/inject" in notes or notes["other"] != "stays":
            raise Failed(f"{pod['metadata']['name']} has {notes}")
    culvert.refuse("uninstall", "--agents", "cart", "-n", SHOP, says="carries no agent")
    step("nothing is left")
    kube.kubectl("delete", "namespace", SHOP, FULL, timeout=120)
    wait_for("the same objects as before", lambda: state(kube) == culvert.before)
    again = culvert.must("uninstall", "-y").stdout
    if "There is no culvert" not in again:
        raise Failed(again)


def main():
    with cluster() as kube:
        kube.up()
        culvert = Cli(kube)
        culvert.before = state(kube)
        busybox = kube.busybox()
        try:
            without_a_cluster(kube, culvert)
            bad_config(kube, culvert)
            rights(kube, culvert)
            waiting(kube, culvert)
            twice(kube, culvert)
            with_gateway(kube, culvert)
            question(kube, culvert)
            uninstalled(kube, culvert, busybox)
        finally:
            culvert("uninstall", "-y")
            kube.kubectl("delete", "namespace", SHOP, FULL, "--ignore-not-found", check=False, timeout=120)


story(main)
