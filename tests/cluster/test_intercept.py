#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Intercepts on a real Kubernetes: every kind of workload and service, who gets what, and a sentence for all that stands in the way."""
import json
import os
import re
import signal

import installed
import workloads
from kube import Kube
from lab import NOBODY, Failed, step, story, wait_for

SPACE, GROUP = "shop", "developers"
POLICY = "networking.k8s.io/v1"


# --- what runs in the cluster ---------------------------------------------------------------------------------


def workload(name, image, kind="Deployment", space=SPACE, replicas=1, ports=(("http", 8080),), app=None, pod=None, **spec):
    """A web server on each port that says its pod's name. (None, PORT) is a port that the container does not declare."""
    command = "mkdir -p /tmp/www && echo pod $HOSTNAME >/tmp/www/index.html;" + "".join(f" httpd -p {n} -h /tmp/www;" for _, n in ports)
    container = {"name": "web", "image": image, "command": ["sh", "-c", command + " sleep 86400 & wait"],
                 "env": [{"name": "COLOR", "value": "green"}, {"name": "POEM", "value": "two\nlines"}, {"name": "QUOTED", "value": "it's $HOME"}],
                 "ports": [{"name": n, "containerPort": p} for n, p in ports if n],
                 "readinessProbe": {"httpGet": {"path": "/", "port": ports[0][1]}, "periodSeconds": 1}}
    labels = {"app": app or name}
    made = {"replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], **(pod or {})}}}
    if kind == "StatefulSet":
        made["serviceName"] = name
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": space}, "spec": {**made, **spec}}


def service(name, app=None, space=SPACE, ports=(("http", 80, "http"),), **spec):
    listed = [{**({"name": n} if n else {}), "port": p, "targetPort": t} for n, p, t in ports]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": space},
            "spec": {"selector": {"app": app or name}, "ports": listed, **spec}}


def namespace(name, **labels):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {k.replace("_", "/"): v for k, v in labels.items()}}}


def apply(kube, *objects):
    kube.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def up(kube, *objects, space=SPACE):
    """Applies, and waits for the pods of what was applied."""
    apply(kube, *objects)
    for o in objects:
        kind, name = o["kind"], o["metadata"]["name"]
        if kind in ("Deployment", "StatefulSet", "ReplicaSet"):
            n = o["spec"]["replicas"]
            wait_for(f"{kind} {name}", lambda k=kind, m=name: kube.get("-n", space, k, m)["status"].get("readyReplicas") == n, 60)


def remove(kube, *names):
    kube.kubectl("-n", SPACE, "delete", "--wait=false", *names)


def user(kube, name, groups=(GROUP,), on="laptop", role="edit", spaces=(SPACE,), called=None):
    kube.kubeconfig(name, groups, on=on, namespace=SPACE, called=called)
    for space in spaces:
        kube.kubectl("-n", space, "create", "rolebinding", name, f"--clusterrole={role}", f"--user={called or name}")


SERVER = """
import http.server, socketserver, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"laptop {sys.argv[1]}\\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *unused): pass
class S(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 128
S(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
"""


def laptop_server(kube, port, on="laptop"):
    kube.start(on, f"server-{on}-{port}", "/usr/bin/python3", "-c", SERVER, str(port), user=NOBODY)
    kube.wait_listening(on, port)


# --- asking ----------------------------------------------------------------------------------------------------


def answers(kube, url, n=1):
    """What a pod of the cluster gets for it, n times; a set of first words with ports."""
    script = f"for i in $(seq {n}); do wget -qO- {url} || echo failed; done"
    return set(kube.kubectl("-n", SPACE, "exec", "client", "--", "sh", "-c", script, timeout=120).stdout.splitlines())


def node_follows(kube, url):
    """kube-proxy's rules lead to exactly the service's ready pods: it learns of them up to a second later than the API server."""
    name, _, space = url.split("/")[2].split(":")[0].partition(".")
    space = space or SPACE
    slices = kube.get("-n", space, "endpointslices", "-l", f"kubernetes.io/service-name={name}")["items"]
    ready = {e["addresses"][0] for s in slices for e in s["endpoints"] or [] if e["conditions"].get("ready")}
    if kube.get("-n", space, "service", name)["spec"]["clusterIP"] == "None":
        return ready  # the clients' own business: by DNS
    table = kube.on_node("nft", "list", "table", "ip", "kube-proxy").stdout
    chains = re.findall(rf"chain service-\w+-{space}/{name}/[^{{]*{{(.*?)\n\t}}", table, re.DOTALL)
    return chains and all(set(re.findall(r"__([0-9.]+)/", c)) == ready for c in chains)


def at_laptop(kube, url, port, n=3):
    """All of n requests, from when the node has the endpoints."""
    wait_for(f"the node's rules for {url}", lambda: node_follows(kube, url))
    wait_for(f"{url} at port {port}", lambda: answers(kube, url, 2) == {f"laptop {port}"})
    got = answers(kube, url, n)
    if got != {f"laptop {port}"}:
        raise Failed(f"{url} was answered by {got}, not by port {port} of the laptop")


def at_pods(kube, url, n=3):
    wait_for(f"the node's rules for {url}", lambda: node_follows(kube, url))
    got = answers(kube, url, n)
    if not all(line.startswith("pod ") for line in got):
        raise Failed(f"{url} was answered by {got}, not by pods")


def intercept(kube, *args, on="laptop", timeout=120):
    """It comes into force; the JSON of its answer, and what was said meanwhile."""
    done = kube.culvert("intercept", *args, "-o", "json", on=on, timeout=timeout)
    result = json.loads(done.stdout)
    if result["state"] != "ACTIVE":
        raise Failed(f"intercept {args}: {result['state']}: {result['message']}")
    return result, done.stderr


def leave(kube, *names, on="laptop"):
    for name in names:
        kube.culvert("leave", name, on=on)


def refused(kube, wants, *args, on="laptop", code=1, timeout=60):
    """It fails, says each of `wants` in one sentence, and no Intercept of it stays."""
    before = {o["metadata"]["uid"] for o in intercepts(kube)}
    done = kube.culvert("intercept", *args, on=on, check=False, timeout=timeout)
    missing = [w for w in wants if w not in done.stderr]
    said = [line for line in done.stderr.splitlines() if line.startswith("culvert: ")]
    if done.returncode != code or missing or len(said) != 1:
        raise Failed(f"culvert intercept {' '.join(args)}: exit {done.returncode}, missing {missing} in: {done.stderr or '(nothing)'}")
    wait_for("the end of the Intercept", lambda: {o["metadata"]["uid"] for o in intercepts(kube)} <= before)
    return done.stderr


def intercepts(kube):
    return kube.get("intercepts.culvert.dev", "-A")["items"]


def status(kube, on="laptop"):
    return kube.culvert_json("status", on=on)


def listed(kube, *args):
    """{kind/name: line of `culvert list`}"""
    lines = [line.split(None, 2) for line in kube.culvert("list", *args).stdout.splitlines()]
    return {f"{kind}/{name}": text for kind, name, text in lines}


def pods(kube, app, space=SPACE):
    return [p for p in kube.get("-n", space, "pods", "-l", f"app={app}")["items"] if "deletionTimestamp" not in p["metadata"]]


def has_agent(pod):
    return any(c["name"] == "culvert-agent" for c in pod["spec"].get("initContainers", []))


# --- stories ---------------------------------------------------------------------------------------------------


def page(kube, image):
    """The three kinds; names; the first intercept restarts the pods, another does not."""
    up(kube, workload("cart", image), service("cart"),
       workload("numeric", image, ports=((None, 8080),)), service("numeric", ports=((None, 80, 8080),)),
       workload("db", image, "StatefulSet", replicas=2), service("db", clusterIP="None", ports=(("http", 8080, "http"),)),
       workload("set", image, "ReplicaSet", replicas=2), service("set"))
    step("list: what is ready, and what is not")
    lines = listed(kube)
    if lines != {x: "ready to intercept (agent not installed)" for x in ("deployment/cart", "deployment/numeric", "statefulset/db", "replicaset/set")}:
        raise Failed(f"list said {lines}")
    kube.kubectl("-n", "default", "create", "deployment", "hidden", f"--image={image}")
    everywhere = kube.culvert_json("list", "-A")["workloads"]
    if {w["workload"]["namespace"] for w in everywhere} != {SPACE} or len(everywhere) != 4:
        raise Failed(f"list -A of who may look at one namespace said {everywhere}")
    if "There is no namespace" in kube.culvert("list", "-n", "default", check=False).stderr or "default" not in kube.culvert(
            "list", "-n", "default", check=False).stderr:
        raise Failed("list of a forbidden namespace does not say so")
    kube.kubectl("-n", "default", "delete", "deployment", "hidden", "--wait=false")
    step("a Deployment with a named port: the report, requests at the laptop, list and status")
    done = kube.culvert("intercept", "cart", "--port", "3000:http")
    expected = """Using Deployment cart
intercepted
    Intercept name         : cart
    State                  : ACTIVE
    Workload kind          : Deployment
    Destination            : 127.0.0.1:3000
    Service Port Identifier: http
    Intercepting           : all TCP connections
"""
    if done.stdout != expected or "waiting for the rollout of deployment/cart: 0 of 1 pods have the agent" not in done.stderr:
        raise Failed(f"intercept said\n{done.stdout}{done.stderr}")
    at_laptop(kube, "http://cart/", 3000)
    if listed(kube)["deployment/cart"] != f"intercepted by ana@{os.uname().nodename} (tcp, port http)":
        raise Failed(f"list said {listed(kube)['deployment/cart']}")
    text = kube.culvert("status").stdout
    if "cart: deployment/cart port http -> 127.0.0.1:3000, all TCP connections, ACTIVE, " not in text:
        raise Failed(f"status said {text}")
    wait_for("the connections in status", lambda: status(kube)["intercepts"][0]["connections"] >= 5)
    leave(kube, "cart")
    at_pods(kube, "http://cart/")
    before = [p["metadata"]["uid"] for p in pods(kube, "cart")]
    step("the same again: no pod is restarted; with -n the name is NAME-NAMESPACE, with --workload it is NAME")
    for args, name in ((["cart", "-n", SPACE], f"cart-{SPACE}"), (["mine", "--workload", "cart", "-n", SPACE], "mine"),
                       (["deployment/cart"], "cart"), (["mine", "--workload", "deployment/cart"], "mine")):
        result, said = intercept(kube, *args, "--port", "3000")
        if result["intercept"]["name"] != name or "waiting" in said:
            raise Failed(f"intercept {args}: {result['intercept']['name']}: {said}")
        at_laptop(kube, "http://cart/", 3000, 1)
        leave(kube, name)
    if [p["metadata"]["uid"] for p in pods(kube, "cart")] != before or listed(kube)["deployment/cart"] != "ready to intercept (agent installed)":
        raise Failed(f"pods were restarted, or list is wrong: {listed(kube)}")
    step("a numeric targetPort; a StatefulSet behind a headless service; a bare ReplicaSet, whose pods are replaced one by one")
    for name, url in (("numeric", "http://numeric/"), ("db", "http://db:8080/"), ("set", "http://set/")):
        result, said = intercept(kube, name, "--port", "3000")
        at_laptop(kube, url, 3000, 6)
        if name == "set" and ("replicaset" not in said.lower() or said.count("evicting pod") != 2):
            raise Failed(f"a ReplicaSet was intercepted with: {said}")
        leave(kube, name)
        at_pods(kube, url, 6)
    remove(kube, "deployment/numeric", "statefulset/db", "replicaset/set", "service/numeric", "service/db", "service/set")


def several(kube, image):
    """Several ports, several services."""
    up(kube, workload("multi", image, ports=(("http", 8080), ("admin", 9090))),
       service("multi", ports=(("http", 80, "http"), ("admin", 81, "admin"))),
       workload("echo", image), service("echo-stable", "echo"), service("echo-canary", "echo"))
    step("a service with several ports: the error lists them, one is taken and listed, another one moves it")
    refused(kube, ["multi", "http (80), admin (81)", "--port 3000:PORT"], "multi", "--port", "3000")
    done = kube.culvert("intercept", "multi", "--port", "3000:admin")
    if "Service Port Identifier: admin" not in done.stdout:
        raise Failed(f"intercept said {done.stdout}")
    at_laptop(kube, "http://multi:81/", 3000)
    at_pods(kube, "http://multi/")
    result, said = intercept(kube, "multi", "--port", "3001:80")
    if not result["replaced"] or "waiting" in said:
        raise Failed(f"moving it: {result} {said}")
    at_laptop(kube, "http://multi/", 3001)
    wait_for("the first port at the pods again", lambda: answers(kube, "http://multi:81/") != {"laptop 3000"})
    at_pods(kube, "http://multi:81/")
    wait_for("one Intercept", lambda: len(intercepts(kube)) == 1)
    intercept(kube, "multi", "--port", "3000:http", "--port", "3001:admin")
    at_laptop(kube, "http://multi/", 3000)
    at_laptop(kube, "http://multi:81/", 3001)
    leave(kube, "multi")
    step("two services with the same labels, as Argo has them: --service decides; both lead to the same pods, so both are taken")
    refused(kube, ["echo-canary, echo-stable", "--service"], "echo", "--port", "3000")
    result, _ = intercept(kube, "echo", "--port", "3000", "--service", "echo-stable")
    if result["intercept"]["service"] != "echo-stable":
        raise Failed(f"the service was {result['intercept']['service']}")
    at_laptop(kube, "http://echo-stable/", 3000)
    leave(kube, "echo")
    at_pods(kube, "http://echo-stable/")
    step("a Deployment and a StatefulSet of one name; a ReplicaSet that a Deployment made means the Deployment")
    up(kube, workload("echo", image, "StatefulSet", app="echo-2"), service("echo-2"))
    refused(kube, ["deployment/echo or statefulset/echo", "--workload"], "echo", "--port", "3000", "--service", "echo-stable")
    result, _ = intercept(kube, "deployment/echo", "--port", "3000", "--service", "echo-stable")
    if result["intercept"]["kind"] != "deployment":
        raise Failed(f"the kind was {result['intercept']['kind']}")
    leave(kube, "echo")
    made = pods(kube, "multi")[0]["metadata"]["ownerReferences"][0]["name"]
    result, said = intercept(kube, made, "--port", "3000:http")
    if result["intercept"]["workload"] != "multi" or "belongs to Deployment multi" not in said:
        raise Failed(f"a Deployment's ReplicaSet: {result['intercept']}: {said}")
    leave(kube, made)
    remove(kube, "deployment/multi", "deployment/echo", "statefulset/echo", "service/multi", "service/echo-stable", "service/echo-canary")


UDP_SERVER = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 3053))
while True:
    data, client = s.recvfrom(65536)
    s.sendto(b"laptop " + data, client)
"""


UDP_CLIENT = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1)
s.sendto(b"hello", (sys.argv[1], 53))
print(s.recv(65536).decode())
"""


def datagrams(kube, image):
    step("a UDP port beside a TCP one")
    made = workload("names", image)
    made["spec"]["template"]["spec"]["containers"].append(
        {"name": "names", "image": kube.c_image("datagrams"), "ports": [{"name": "names", "containerPort": 9053, "protocol": "UDP"}]})
    both = service("names")
    both["spec"]["ports"].append({"name": "names", "port": 53, "targetPort": "names", "protocol": "UDP"})
    up(kube, made, both)
    address = kube.get("-n", SPACE, "service", "names")["spec"]["clusterIP"]
    kube.start("laptop", "server-udp", "/usr/bin/python3", "-c", UDP_SERVER, user=NOBODY)
    kube.wait_listening("laptop", 3053, udp=True)

    def asked():
        return kube.run("laptop", "/usr/bin/python3", "-c", UDP_CLIENT, address, check=False).stdout.strip()
    wait_for("the pod's answer", lambda: asked() == "pod hello")
    result, _ = intercept(kube, "names", "--port", "3053:names")
    if result["intercept"]["ports"][0]["protocol"] != "udp":
        raise Failed(f"the port is {result['intercept']['ports']}")
    wait_for("the laptop's answer", lambda: asked() == "laptop hello")
    at_pods(kube, "http://names/")
    leave(kube, "names")
    wait_for("the pod's answer again", lambda: asked() == "pod hello")
    remove(kube, "deployment/names", "service/names")


def environment(kube):
    step("the environment: three syntaxes, a JSON file, and a command with it while which the intercept lasts")
    folder = f"{kube.home()}/state"
    for syntax, want in (("docker", "COLOR=green\n"), ("sh", "export QUOTED='it'\\''s $HOME'\n"), ("json", '"POEM": "two\\nlines"')):
        kube.culvert("intercept", "cart", "--port", "3000", "--env-file", f"{folder}/env", "--env-syntax", syntax)
        with open(f"{folder}/env") as f:
            text = f.read()
        if want not in text or "CULVERT_" in text or os.stat(f"{folder}/env").st_mode & 0o777 != 0o600:
            raise Failed(f"--env-syntax {syntax} gave {text}")
    kube.culvert("intercept", "cart", "--port", "3000", "--env-json", f"{folder}/env.json")
    with open(f"{folder}/env.json") as f:
        env = json.load(f)
    if env["COLOR"] != "green" or env["QUOTED"] != "it's $HOME" or "KUBERNETES_SERVICE_HOST" not in env:
        raise Failed(f"--env-json gave {env}")
    done = kube.culvert("intercept", "cart", "--port", "3000", "--", "sh", "-c", 'echo "$COLOR"; exit 7', check=False)
    if done.returncode != 7 or done.stdout != "green\n" or intercepts(kube):
        raise Failed(f"the command: exit {done.returncode}, {done.stdout}{done.stderr}; left: {intercepts(kube)}")


def obstacles(kube, image):
    """What is found before anything changes."""
    step("workloads that cannot be intercepted, each with its sentence; list says the same")
    apply(kube, workload("zero", image, replicas=0), service("zero"), workload("alone", image), workload("wrong", image),
          service("wrong", ports=(("http", 80, "nothing"),)), workload("out", image, pod={}), service("out"))
    patch = {"spec": {"template": {"metadata": {"labels": {"culvert.dev/inject": "disabled"}}}}}
    kube.kubectl("-n", SPACE, "patch", "deployment", "out", "-p", json.dumps(patch))
    lines = listed(kube)
    for name, want in (("zero", "scaled to zero"), ("alone", "no service in namespace shop selects its pods"), ("wrong", "leads to a container"),
                       ("out", "culvert.dev/inject=disabled")):
        refused(kube, ["Deployment " + name, want], name, "--port", "3000")
        if not lines[f"deployment/{name}"].startswith("cannot be intercepted: ") or want not in lines[f"deployment/{name}"]:
            raise Failed(f"list said of {name}: {lines[f'deployment/{name}']}")
    refused(kube, ["nope", "culvert list -n shop"], "nope", "--port", "3000")
    refused(kube, ["There is no StatefulSet cart"], "statefulset/cart", "--port", "3000")
    refused(kube, ["'9'", "http (80)"], "cart", "--port", "3000:9")
    refused(kube, ["other", "there are: cart"], "cart", "--port", "3000", "--service", "other")
    refused(kube, ["--timeout"], "cart", "--port", "3000", "--timeout", "soon", code=2)
    remove(kube, "deployment/zero", "deployment/alone", "deployment/wrong", "deployment/out", "service/zero", "service/wrong", "service/out")
    step("a namespace with Pod Security: a port known by its number is refused, one with a name is not")
    secure = {"securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}}
    web, number = workload("web", image, space="secure", pod=secure, ports=(("http", 8080), (None, 9090))), service(
        "web-number", "web", "secure", ports=((None, 90, 9090),))
    web["spec"]["template"]["spec"]["containers"][0]["securityContext"] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    up(kube, namespace("secure", **{"pod-security.kubernetes.io_enforce": "restricted"}), web, service("web", space="secure"), number, space="secure")
    kube.kubectl("-n", "secure", "create", "rolebinding", "ana", "--clusterrole=edit", "--user=ana")
    wait_for("the right to intercept there", lambda: "web" in kube.culvert("list", "-n", "secure").stdout)
    refused(kube, ["9090", "restricted", "a name"], "web", "-n", "secure", "--port", "3000", "--service", "web-number")
    intercept(kube, "web", "-n", "secure", "--port", "3000", "--service", "web")
    at_laptop(kube, "http://web.secure/", 3000)
    leave(kube, "web-secure")
    step("NetworkPolicies that would cut the agent off are named")
    up(kube, workload("walled", image), service("walled"))
    spec = {"podSelector": {"matchLabels": {"app": "walled"}}}
    out = {"apiVersion": POLICY, "kind": "NetworkPolicy", "metadata": {"name": "quiet", "namespace": SPACE},
           "spec": {**spec, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]}}
    inside = {"apiVersion": POLICY, "kind": "NetworkPolicy", "metadata": {"name": "narrow", "namespace": SPACE},
              "spec": {**spec, "ingress": [{"ports": [{"port": 8080}]}]}}
    apply(kube, out)
    refused(kube, ["NetworkPolicy quiet", "namespace culvert", "31820"], "walled", "--port", "3000")
    kube.kubectl("-n", SPACE, "delete", "networkpolicy", "quiet")
    apply(kube, inside)
    refused(kube, ["NetworkPolicy narrow", "8080", "port: http"], "walled", "--port", "3000")
    remove(kube, "networkpolicy/narrow", "deployment/walled", "service/walled")
    step("a ReplicaSet of one pod: an outage, so --yes is asked for")
    up(kube, workload("single", image, "ReplicaSet"), service("single"))
    refused(kube, ["single pod", "--yes", "kubectl scale replicaset/single"], "single", "--port", "3000")
    intercept(kube, "single", "--port", "3000", "--yes")
    at_laptop(kube, "http://single/", 3000)
    leave(kube, "single")
    remove(kube, "replicaset/single", "service/single")


def marked(kube, name, kind="deployment"):
    annotations = kube.get("-n", SPACE, kind, name)["spec"]["template"]["metadata"].get("annotations", {})
    return "culvert.dev/inject" in annotations


def hanging(kube, image):
    """Rollouts that do not end: what is waited for is said, and what was made is taken back."""
    step("a quota: the event is told")
    up(kube, workload("tight", image), service("tight"))
    apply(kube, {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few", "namespace": SPACE},
                 "spec": {"hard": {"pods": str(len(kube.get("-n", SPACE, "pods")["items"]))}}})
    wait_for("the quota", lambda: kube.get("-n", SPACE, "resourcequota", "few")["status"]["used"]["pods"])
    refused(kube, ["0 of 1 pods", "exceeded quota: few", "After 8 s"], "tight", "--port", "3000", "--timeout", "8s")
    kube.kubectl("-n", SPACE, "delete", "resourcequota", "few")
    if not marked(kube, "tight"):
        raise Failed("the mark is gone with the intercept: the next one would restart the pods again")
    step("paused, OnDelete: said; Ctrl-C takes the Intercept back")
    up(kube, workload("paused", image), service("paused"),
       workload("manual", image, "StatefulSet", updateStrategy={"type": "OnDelete"}), service("manual"))
    kube.kubectl("-n", SPACE, "rollout", "pause", "deployment/paused")
    for name, want in (("paused", "kubectl rollout resume deployment/paused"), ("manual", "delete its pods one by one")):
        refused(kube, [want, "After 3 s"], name, "--port", "3000", "--timeout", "3")
        p = kube.start("laptop", f"intercept-{name}", f"{kube.bin}/culvert", "intercept", name, "--port", "3000", user=NOBODY)
        wait_for(f"the line '{want}'", lambda w=want, q=p: w in q.output())
        if len(intercepts(kube)) != 1:
            raise Failed(f"while it waits there are {intercepts(kube)}")
        p.popen.send_signal(signal.SIGINT)
        if p.popen.wait(10) == 0:
            raise Failed("an interrupted intercept said that it went well")
        wait_for("the end of the Intercept", lambda: not intercepts(kube))
    kube.kubectl("-n", SPACE, "rollout", "resume", "deployment/paused")
    intercept(kube, "paused", "--port", "3000")
    leave(kube, "paused")
    remove(kube, "deployment/tight", "deployment/paused", "statefulset/manual", "service/tight", "service/paused", "service/manual")


def webhook_selects(kube, labels):
    patch = [{"op": "replace", "path": "/webhooks/0/namespaceSelector/matchLabels", "value": labels}]
    if not labels:
        patch[0] = {"op": "remove", "path": "/webhooks/0/namespaceSelector/matchLabels"}
    elif "matchLabels" not in kube.get("mutatingwebhookconfiguration", "culvert")["webhooks"][0].get("namespaceSelector", {}):
        patch[0]["op"] = "add"
    kube.kubectl("patch", "mutatingwebhookconfiguration", "culvert", "--type=json", "-p", json.dumps(patch))


def webhook_is_asked(kube):
    probe = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "probe-", "namespace": SPACE, "annotations": {
        "culvert.dev/inject": '{"kind":"deployment","name":"x","ports":[{"name":"http","target":8080,"how":"rename"}]}'}},
        "spec": {"containers": [{"name": "c", "image": "x", "ports": [{"name": "http", "containerPort": 8080}]}]}}
    done = kube.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(probe)).stdout
    return has_agent(json.loads(done))


def no_image(kube, image):
    step("an agent whose image cannot be pulled: that is said")
    up(kube, workload("bare", image), service("bare"))
    installed.install(kube, "--agent-image=127.0.0.1:1/none:1", group=GROUP)  # restarts the manager; what is typed at once waits for it
    refused(kube, ["container culvert-agent: ", "127.0.0.1:1/none:1", "After 20 s"], "bare", "--port", "3000", "--timeout", "20s")
    at_pods(kube, "http://bare/")
    installed.install(kube, group=GROUP)
    workloads.manager_answers(kube)
    remove(kube, "deployment/bare", "service/bare")


def missed(kube, image):
    step("pods that were let in without an agent: evicted, and when that is in vain it is said")
    webhook_selects(kube, {"no": "namespace"})
    wait_for("a webhook that is not asked", lambda: not webhook_is_asked(kube))
    up(kube, workload("missed", image, replicas=2), service("missed"))
    refused(kube, ["evicting pod missed-", "come up without the agent", "webhook"], "missed", "--port", "3000")
    webhook_selects(kube, None)
    wait_for("a webhook that is asked", lambda: webhook_is_asked(kube))
    kube.rollout("deployment/missed", SPACE)
    if not marked(kube, "missed") or any(has_agent(p) for p in pods(kube, "missed")):
        raise Failed("the pods are not what this is about")
    step("a disruption budget holds an eviction back: that is said, and it goes on when it allows it")
    apply(kube, {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "keep", "namespace": SPACE},
                 "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "missed"}}}})
    wait_for("the budget", lambda: kube.get("-n", SPACE, "pdb", "keep").get("status", {}).get("expectedPods") == 2)
    p = kube.start("laptop", "intercept-missed", f"{kube.bin}/culvert", "intercept", "missed", "--port", "3000", user=NOBODY)
    wait_for("the budget's name", lambda: "PodDisruptionBudget" in p.output())
    kube.kubectl("-n", SPACE, "delete", "pdb", "keep")
    if p.popen.wait(60):
        raise Failed(f"intercept said {p.output()}")
    at_laptop(kube, "http://missed/", 3000, 6)
    leave(kube, "missed")
    remove(kube, "deployment/missed", "service/missed")


def replicas(kube, image):
    step("five replicas: all deliver; a rollout while intercepted changes nothing; after leave none does")
    up(kube, workload("five", image, replicas=5), service("five"))
    _, said = intercept(kube, "five", "--port", "3000")
    if "of 5 pods have the agent" not in said:
        raise Failed(f"intercept said {said}")
    at_laptop(kube, "http://five/", 3000, 50)
    kube.kubectl("-n", SPACE, "rollout", "restart", "deployment/five")
    kube.rollout("deployment/five", SPACE)
    if not all(has_agent(p) for p in pods(kube, "five")):
        raise Failed("new pods have no agent")
    wait_for("ACTIVE", lambda: status(kube)["intercepts"][0]["phase"] == "Active")
    at_laptop(kube, "http://five/", 3000, 50)
    step("the manager is restarted while intercepted: no request fails, the pods serve meanwhile, and the intercept is there afterwards")
    kube.kubectl("-n", "culvert", "rollout", "restart", "deployment/culvert-manager")
    if any(a != "laptop 3000" and not a.startswith("pod ") for a in answers(kube, "http://five/", 20)):
        raise Failed("requests failed while the manager was restarted")
    kube.rollout("deployment/culvert-manager", "culvert")
    workloads.manager_answers(kube)
    wait_for("ACTIVE again", lambda: [i["phase"] for i in status(kube)["intercepts"]] == ["Active"])
    # An agent to which the laptop was silent follows --on-down for 2 s more without asking (docs/intercepts.md).
    wait_for("the laptop's answers alone", lambda: answers(kube, "http://five/", 20) == {"laptop 3000"})
    step("leave with the manager down deletes the object all the same")
    kube.kubectl("-n", "culvert", "scale", "deployment/culvert-manager", "--replicas=0")
    wait_for("the manager's end", lambda: not kube.get("-n", "culvert", "pods")["items"], 60)
    leave(kube, "five")
    if intercepts(kube):
        raise Failed(f"left: {intercepts(kube)}")
    kube.kubectl("-n", "culvert", "scale", "deployment/culvert-manager", "--replicas=1")
    kube.rollout("deployment/culvert-manager", "culvert")
    wait_for("the pods serve again", lambda: all(a.startswith("pod ") for a in answers(kube, "http://five/", 20)), 60)
    remove(kube, "deployment/five", "service/five")


def mark_lost(kube):
    step("the mark is taken away (rollout undo): status says it, the same intercept again mends it")
    intercept(kube, "cart", "--port", "3000")
    kube.kubectl("-n", SPACE, "rollout", "undo", "deployment/cart")
    wait_for("the warning", lambda: any("deployment/cart" in w and "has lost the annotation" in w for w in status(kube)["warnings"]))
    kube.rollout("deployment/cart", SPACE)
    intercept(kube, "cart", "--port", "3000")
    at_laptop(kube, "http://cart/", 3000)
    if status(kube)["warnings"] or len(intercepts(kube)) != 1:
        raise Failed(f"status said {status(kube)['warnings']}, there are {len(intercepts(kube))} intercepts")
    step("an Intercept that somebody deletes is no longer listed")
    kube.kubectl("-n", SPACE, "delete", "intercepts.culvert.dev", "--all")
    wait_for("its end in status", lambda: not status(kube)["intercepts"])
    at_pods(kube, "http://cart/")


def two_laptops(kube, image):
    step("two laptops at one workload: the second is told who holds the port, and may have another")
    up(kube, workload("both", image, ports=(("http", 8080), ("admin", 9090))), service("both", ports=(("http", 80, "http"), ("admin", 81, "admin"))))
    user(kube, "ben", on="other", called="https://sso.example/#Beñ of B")  # as OIDC makes names
    kube.start_helper("other")
    laptop_server(kube, 3002, on="other")
    kube.culvert("connect", on="other")
    intercept(kube, "both", "--port", "3000:http")
    refused(kube, ["http", "ana@", "'both'"], "both", "--port", "3002:http", on="other")
    intercept(kube, "both", "--port", "3002:admin", on="other")
    at_laptop(kube, "http://both/", 3000)
    at_laptop(kube, "http://both:81/", 3002)
    refused(kube, ["https://sso.example/#Beñ of B@", "admin"], "again", "--workload", "both", "--port", "3000:admin")
    refused(kube, ["by you", "culvert leave both"], "again", "--workload", "both", "--port", "3001:http")
    leave(kube, "both")
    intercept(kube, "mine", "--workload", "both", "--port", "3002:http", on="other")
    at_laptop(kube, "http://both/", 3002)
    kube.culvert("quit", on="other")
    wait_for("nothing of ben's", lambda: not intercepts(kube))
    at_pods(kube, "http://both/")
    remove(kube, "deployment/both", "service/both")


def rights(kube):
    step("who may only look is told which right is missing, and what grants it; quit while an intercept is there leaves nothing")
    kube.culvert("quit")
    user(kube, "eve", role="view")
    kube.culvert("connect")
    refused(kube, ["eve", '"create"', "intercepts", "kind: RoleBinding"], "cart", "--port", "3000")
    kube.kubectl("-n", SPACE, "create", "role", "eve", "--verb=create,delete,get,list", "--resource=intercepts.culvert.dev")
    kube.kubectl("-n", SPACE, "create", "rolebinding", "eve-2", "--role=eve", "--user=eve")
    text = wait_for("the denial", lambda: policy_denies(kube))
    if "portforward" not in text:
        raise Failed(f"it said {text}")
    kube.culvert("quit")
    kube.kubeconfig("ana", [GROUP], namespace=SPACE)
    kube.culvert("connect")
    intercept(kube, "cart", "--port", "3000")
    kube.culvert("quit")
    wait_for("no intercept", lambda: not intercepts(kube))
    wait_for("the pod", lambda: all(a.startswith("pod ") for a in answers(kube, "http://cart/")))


def policy_denies(kube):
    """The policy's own sentence, once RBAC lets it come so far."""
    text = kube.culvert("intercept", "cart", "--port", "3000", check=False).stderr
    return "may not create pods/portforward" in text and text


def main():
    with Kube() as kube:
        kube.up()
        image = kube.busybox()
        apply(kube, namespace(SPACE))
        installed.install(kube, group=GROUP)
        kube.start_helper()
        user(kube, "ana")
        apply(kube, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client", "namespace": SPACE}, "spec": {
            "terminationGracePeriodSeconds": 0, "containers": [{"name": "client", "image": image, "command": ["sleep", "86400"]}]}})
        kube.kubectl("-n", SPACE, "wait", "pod/client", "--for=condition=Ready", "--timeout=60s", timeout=70)
        kube.culvert("connect")
        for port in (3000, 3001):
            laptop_server(kube, port)
        page(kube, image)
        several(kube, image)
        datagrams(kube, image)
        environment(kube)
        obstacles(kube, image)
        hanging(kube, image)
        no_image(kube, image)
        missed(kube, image)
        replicas(kube, image)
        mark_lost(kube)
        two_laptops(kube, image)
        rights(kube)


if __name__ == "__main__":
    story(main)
