#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The manager's side of previews: who may be a gateway, what gateways hear, what laptops ask, and what a restart leaves: all of it."""
import base64
import hashlib
import json
import re
import time
from collections import Counter

import installed
import member
from ingress import routes
from kube import Kube
from lab import ROOT, Failed, step, story, wait_for
from member import Lines, Member, manager_ready, members, new_key, session, status
from workloads import apply, namespace, service, workload

HOST = "10.99.1.1:30443"
ID = "0123456789abcdef" * 2
DAY = 86400

# A pod of the gateway's service account, for its token.
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: culvert}}
spec:
  serviceAccountName: {account}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers:
  - name: sleep
    image: {image}
    command: [sleep, infinity]
    securityContext: {{runAsNonRoot: true, runAsUser: 65532, allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}, seccompProfile: {{type: RuntimeDefault}}}}
"""


# From each address in turn, a call that waits for its answer: its status.
KNOCK = """
import socket, ssl, sys
where, ca, token, *sources = sys.argv[1:]
for source in sources:
    plain = socket.create_connection((where, 8443), 20, (source, 0))
    with ssl.create_default_context(cafile=ca).wrap_socket(plain, server_hostname="culvert.culvert.svc") as s:
        s.sendall(f"GET /gateway HTTP/1.1\\r\\nHost: x\\r\\nAuthorization: Bearer {token}\\r\\n\\r\\n".encode())
        print(s.recv(4096).split()[1].decode())
"""

# How the manager refuses what is told of Ingresses, and a search.
TOO_MUCH = "'namespace' must be a name, and of a kind at most 32 objects with lists of at most 64 are told"
BUSY = "The manager looks for ingresses already, for you or for as many others as it can; try again."


class Laptop(Member):
    def __init__(self, kube):
        key = new_key(kube)
        session(kube, key)
        super().__init__(kube, key)
        self.wait("established")
        self.hello()

    def call(self, method, params, code=0):
        """The result, or the sentence of a refusal with that code."""
        said = self.ask(f"call {method} {json.dumps(params)}", "answer ").split(" ", 2)
        if said[1] != str(code):
            raise Failed(f"{method} {params} was answered with {said}, not with {code}")
        return json.loads(said[2]) if code == 0 else said[2]


class Link(Lines):
    def __init__(self, kube, token):
        path = f"{kube.dir}/token-{len(kube.members)}"
        with open(path, "w", encoding="ascii") as f:
            f.write(token)
        ip = kube.get("-n", "culvert", "service", "culvert")["spec"]["clusterIP"]
        super().__init__(kube, "ip", "netns", "exec", kube.ns("cluster"), f"{ROOT}/tests/lab/link.py", f"{ip}:443", "culvert.culvert.svc", kube.ca, path)
        self.wait("connected", "refused", "closed")

    def last(self, what):
        """The newest notification of that name."""
        found = [x for x in self.lines if x.startswith(what + " ")]
        return json.loads(found[-1].split(" ", 1)[1])[what] if found else None

    def call(self, method, params):
        return json.loads(self.ask(f"{method} {json.dumps(params)}", "answer ").split(" ", 1)[1])


def token(kube, pod, account="gateway"):
    return kube.kubectl("-n", "culvert", "create", "token", account, "--audience=culvert", "--bound-object-kind=Pod",
                        f"--bound-object-name={pod}").stdout.strip()


def intercept(kube, laptop, mechanism="http"):
    """Its uid and its object's name."""
    http = {"id": ID, "match": {"mode": "auto"}} if mechanism == "http" else {}
    meta = member.intercept(kube, laptop.pub, f"cart-{mechanism}", mechanism=mechanism, **http)
    wait_for("its status", lambda: status(kube, meta["name"]).get("phase"))
    return meta["uid"], meta["name"]


def digest(link):
    return hashlib.blake2b(link.rsplit("/", 1)[1].encode(), digest_size=32).hexdigest()


def strangers(kube):
    step("a gateway is let in by its service account's token and by nothing else")
    for given, status in (("", "401"), ("rubbish", "401"), (kube.other_token, "403"), (kube.wrong_audience, "401")):
        if not (said := Link(kube, given).lines[0]).startswith(f"refused {status} "):
            raise Failed(f"the manager said {said}, not {status}")
    head, claims, signature = kube.token.split(".")
    forged = f"{head}.{claims}.{'A' * len(signature)}"
    if not (said := Link(kube, forged).lines[0]).startswith("refused 403 "):
        raise Failed(f"a forged token: {said}")
    step("forged tokens use up what their address has, and nobody else's")
    pod = next(p["status"]["podIP"] for p in kube.get("-n", "culvert", "pods", "-l", "app=culvert-manager")["items"])
    kube.ip("cluster", "address", "add", "10.99.2.77/32", "dev", "lo")
    said = kube.run("cluster", "python3", "-c", KNOCK, pod, kube.ca, forged, *["10.99.2.77"] * 20, "10.99.2.2").stdout.split()
    if said[:4] != ["403"] * 4 or "503" not in said[4:20] or said[20] != "403":
        raise Failed(f"they were answered {said}")
    link = Link(kube, kube.token)
    if "error" not in link.call("watch", {"on": True}):
        raise Failed("it was served before it said hello")
    if "result" not in link.call("hello", {"version": "0.1.0", "role": "gateway"}):
        raise Failed(f"hello: {link.lines[-1]}")
    wait_for("empty lists", lambda: link.last("previews") == [] and link.last("intercepts") == [])
    return link


def asks(kube, laptop, uid):
    step("the four default answers come from the Ingress that the laptop has read, its class and the controller's Service")
    def answers(**told):
        said = laptop.call("ingress", {"namespace": "shop", "workload": "cart", "kind": "", "service": "", **told})
        return [said[k] for k in ("host", "port", "tls", "l5")]
    own = kube.get("-n", "shop", "ingresses")["items"]
    if answers(services=["cart"], ingresses=own) != ["ingress-nginx-controller.shop", 443, True, "shop.example.com"]:
        raise Failed(f"ingress: {laptop.lines[-1]}")
    step("who has read none is told of none, but of the controller: the manager itself may not read them")
    if (said := answers(service="cart"))[0] != "ingress-nginx-controller.shop" or said[3] or "example" in laptop.lines[-1]:
        raise Failed(f"ingress: {laptop.lines[-1]}")
    for what in ("ingresses.networking.k8s.io", "httproutes.gateway.networking.k8s.io", "gateways.gateway.networking.k8s.io"):
        if kube.kubectl("auth", "can-i", "list", what, "-A", "--as=system:serviceaccount:culvert:manager", check=False).stdout.strip() != "no":
            raise Failed(f"the manager may list {what}")
    step("it tells of 32 objects of a kind, and of 64 of what is listed in one, and of no more")
    def told(ingresses, code=0):
        return laptop.call("ingress", {"namespace": "shop", "workload": "cart", "ingresses": ingresses}, code=code)
    of_rules = [{"spec": {"rules": [{}] * n}} for n in (64, 65)]
    told((own * 40)[:32])
    told(of_rules[:1])
    for many in ((own * 40)[:33], own * 40, of_rules[1:]):
        if (said := told(many, code=-32602)) != TOO_MUCH:
            raise Failed(f"{len(many)} Ingresses were refused with: {said}")
    step("what no ingress is, is refused")
    server = kube.get("-n", "default", "endpointslices", "-l", "kubernetes.io/service-name=kubernetes")["items"][0]
    own = kube.get("-n", "culvert", "service", "culvert")["spec"]["clusterIP"]
    for host, port in (("127.0.0.1", 80), ("localhost", 80), ("169.254.169.254", 80), ("0.0.0.0", 80), ("2130706433", 80), ("kubernetes.default.svc", 443),
                       ("10.96.0.1", 443), (server["endpoints"][0]["addresses"][0], server["ports"][0]["port"]), (own, 443), ("culvert.culvert", 443),
                       ("a b", 80), ("x", 0), ("", 80)):
        laptop.call("preview", {"uid": uid, "ingress": {"host": host, "port": port, "tls": False, "l5": "", "verify": True}}, code=2)


def stop(kube, pid):
    """Until then threads that have not heard of the signal may go on, and answer."""
    kube.on_node("kill", "-STOP", pid)
    wait_for("the process to stand still", lambda: {
        line.split()[1] for line in kube.on_node("sh", "-c", f"grep -h ^State: /proc/{pid}/task/*/status").stdout.splitlines()} == {"T"})


def crowded_out(kube, laptop, other):
    step("one laptop has two searches under way, and keeps nobody from theirs")
    asked = f"call ingress {json.dumps({'namespace': 'shop', 'workload': 'cart'})}\n"
    seen, theirs = len(laptop.lines), len(other.lines)

    def answers(member, since):
        return [line.split(" ", 1)[1] for line in member.lines[since:] if line.startswith("answer ")]

    def until(what, condition):
        try:
            wait_for(what, condition)
        except Failed as e:
            raise Failed(f"{e}; one laptop was answered {dict(Counter(answers(laptop, seen)))}, the other {answers(other, theirs)}") from None

    pid = kube.on_node("pgrep", "-x", "kube-apiserver").stdout.split()[0]
    try:
        stop(kube, pid)
        for _ in range(20):
            laptop.process.stdin.write(asked)
        until("18 refusals", lambda: answers(laptop, seen).count(f"1 {BUSY}") == 18)
        other.process.stdin.write(asked)
        other.call("ping", {})  # what it asked before has been looked at by now, and not refused
    finally:
        kube.on_node("kill", "-CONT", pid)
    until("the answers", lambda: len(answers(laptop, seen)) == 20 and len(answers(other, theirs)) == 2)
    found = [a for a in answers(laptop, seen)[18:] + answers(other, theirs)[1:] if a.startswith("0 ")]
    if answers(laptop, seen)[:18] != [f"1 {BUSY}"] * 18 or len(found) != 3:
        raise Failed(f"one laptop was answered {dict(Counter(answers(laptop, seen)))}, the other {answers(other, theirs)}")


def previewed(kube, laptop, other, link, uid, name):
    step("a preview: the gateways hear of it, its status has it, its first link is made at once, and only digests are kept")
    ingress = {"host": "ingress-nginx-controller.shop", "port": 443, "tls": True, "l5": "shop.example.com", "verify": False}
    made = laptop.call("preview", {"uid": uid, "ingress": ingress})
    if made["url"] != f"https://{HOST}/p/{ID}/" or not re.fullmatch(f"https://{HOST}/p/{ID}/share/[A-Za-z0-9_-]{{43}}", made["share"]):
        raise Failed(f"preview: {made}")
    told = wait_for("the gateway to hear", lambda: (p := link.last("previews")) and p[0])
    expected = {"id": ID, "uid": uid, "name": "cart-http", "namespace": "shop", "workload": "cart", "user": kube.user, "login": "",
                "header": f"{ID}:cart-http", "online": True, "ingress": ingress}
    if {k: told[k] for k in expected} != expected or [s["hash"] for s in told["shares"]] != [digest(made["share"])]:
        raise Failed(f"the gateway was told {told}")
    if not 0.9 * DAY < told["shares"][0]["expires"] - time.time() < 1.1 * DAY:
        raise Failed(f"the link expires at {told['shares'][0]['expires']}")
    kept = kube.get("-n", "shop", "intercept", name)["status"].get("preview")
    if "warning" in made or not kept:
        raise Failed(f"it was answered before it was written: {made}")
    if kept["url"] != made["url"] or kept["ingress"]["l5Host"] != "shop.example.com" or made["share"].rsplit("/", 1)[1] in json.dumps(kept):
        raise Failed(f"its status is {kept}")
    step("changing it keeps the link, and makes no other; a link more; at most 16; none for ever")
    if "share" in laptop.call("preview", {"uid": uid, "ingress": ingress | {"verify": True}}):
        raise Failed("another link was made")
    hour = laptop.call("share", {"uid": uid, "expires_s": 3600})
    if not 3500 < hour["expires"] - time.time() < 3700:
        raise Failed(f"a link for an hour: {hour}")
    for _ in range(14):
        laptop.call("share", {"uid": uid})
    laptop.call("share", {"uid": uid}, code=1)
    laptop.call("share", {"uid": uid, "expires_s": 31 * DAY}, code=2)
    wait_for("all links", lambda: len(link.last("previews")[0]["shares"]) == 16 and link.last("previews")[0]["ingress"]["verify"])
    step("it is nobody else's")
    for method, params in (("preview", {"ingress": ingress}), ("preview_remove", {}), ("share", {}), ("unshare", {})):
        other.call(method, {"uid": uid, **params}, code=4)
    return made["share"]


def listed(kube, laptop, link, uid):
    step("the list of intercepts, as the dashboard shows it")
    told = wait_for("the list", lambda: (i := link.last("intercepts")) and (of := [x for x in i if x["uid"] == uid]) and of[0]["url"] and of[0])
    expected = {"name": "cart-http", "namespace": "shop", "kind": "deployment", "workload": "cart", "service": "cart", "mechanism": "http",
                "user": kube.user, "online": True, "url": f"https://{HOST}/p/{ID}/", "requests": 0, "connections": 0}
    if {k: told[k] for k in expected} != expected or "x-culvert-intercept-id" not in told["match"] or told["ports"][0]["port"] != 80:
        raise Failed(f"it was told {told}")
    step("a ticket for the dashboard is good once, and tells who comes")
    url = laptop.call("dashboard", {})["url"]
    found = re.fullmatch(r"https://10\.99\.1\.1:30444/\.culvert/enter\?ticket=([A-Za-z0-9_-]{43})", url)
    if not found:
        raise Failed(f"the dashboard is at {url}")
    if link.call("redeem", {"ticket": found[1]}).get("result") != {"user": kube.user, "login": ""}:
        raise Failed(f"redeem: {link.lines[-1]}")
    if link.call("redeem", {"ticket": found[1]}).get("error", {}).get("code") != 4:
        raise Failed(f"it was redeemed twice: {link.lines[-1]}")


def unconfirmed(laptop, link, uid):
    step("a gateway that does not confirm is named, and does not keep the laptop from its answer")
    ingress = {"host": "ingress-nginx-controller.shop", "port": 80, "tls": False, "l5": "shop.example.com", "verify": False}
    link.ask("mute {}", "mute")
    if "a gateway has not confirmed it" not in (said := laptop.call("preview", {"uid": uid, "ingress": ingress})).get("warning", ""):
        raise Failed(f"preview: {said}")
    link.ask("speak {}", "speak")
    wait_for("the list again, and its confirmation", lambda: "warning" not in laptop.call("preview", {"uid": uid, "ingress": ingress | {"verify": True}}))


def restarted(kube, laptop, uid, name, share):
    step("the manager is killed: the next one knows preview and links as they were")
    before = kube.get("-n", "shop", "intercept", name)["status"]["preview"]
    seen = len(laptop.lines)
    kube.kubectl("-n", "culvert", "delete", "pod", "-l", "app=culvert-manager", "--force", "--grace-period=0")
    kube.rollout("deployment/culvert-manager", "culvert")
    laptop.wait("established", "renewed", since=seen)
    laptop.hello()
    link = Link(kube, kube.token)
    link.call("hello", {"version": "0.1.0", "role": "gateway"})
    told = wait_for("what it knew", lambda: (p := link.last("previews")) and p[0])
    if digest(share) not in [s["hash"] for s in told["shares"]] or kube.get("-n", "shop", "intercept", name)["status"]["preview"] != before:
        raise Failed(f"after the restart: {told}, {before}")
    step("revoked links, a preview that is removed, an intercept that ends: gateways hear at once")
    laptop.call("unshare", {"uid": uid})
    wait_for("no links", lambda: link.last("previews")[0]["shares"] == [])
    laptop.call("preview_remove", {"uid": uid})
    wait_for("no preview", lambda: link.last("previews") == [])
    wait_for("none in its status", lambda: "preview" not in kube.get("-n", "shop", "intercept", name)["status"])
    laptop.call("share", {"uid": uid}, code=4)
    kube.kubectl("-n", "shop", "delete", "intercept", name)
    wait_for("the end of the intercept", lambda: uid not in [i["uid"] for i in link.last("intercepts")])
    return link


def crowd(kube, link):
    step("a pod has one link, and there are at most four")
    first = Link(kube, kube.token)
    first.call("hello", {"version": "0.1.0", "role": "gateway"})
    link.wait("closed")
    for i in range(4):
        kube.apply(POD.format(name=f"more-{i}", account="gateway", image=kube.busybox()))
    links = [Link(kube, token(kube, f"more-{i}")) for i in range(4)]
    if [x.lines[0].split()[0] for x in links] != ["connected"] * 3 + ["refused"]:
        raise Failed(f"they were answered with {[x.lines for x in links]}")


def main():
    with Kube() as kube:
        kube.up()
        installed.install(kube, f"--preview-host={HOST}", "--gateway-service=NodePort", "--gateway-node-port=30443", "--dashboard-node-port=30444")
        manager_ready(kube)
        if json.loads(kube.facts["gateway"]) != {"dashboard": "https://10.99.1.1:30444", "previews": f"https://{HOST}/p/*"} or kube.facts["oidc"]:
            raise Failed(f"the ConfigMap says {kube.facts}")
        kube.kubectl("-n", "culvert", "scale", "deployment/culvert-gateway", "--replicas=0")  # we are the gateway
        image = kube.busybox()
        apply(kube, namespace("shop"), workload("shop", "cart", image, replicas=0), service("shop", "cart"),
              *routes({"shop.example.com": ("shop", "cart", "http")}, "shop", "NodePort"))
        kube.apply(POD.format(name="gateway", account="gateway", image=image))
        kube.apply(POD.format(name="other", account="manager", image=image))
        kube.token, kube.other_token = token(kube, "gateway"), token(kube, "other", "manager")
        kube.wrong_audience = kube.kubectl("-n", "culvert", "create", "token", "gateway", "--bound-object-kind=Pod", "--bound-object-name=gateway").stdout.strip()
        kube.ca = f"{kube.dir}/ca-of-manager.crt"
        with open(kube.ca, "wb") as f:
            f.write(base64.b64decode(kube.get("-n", "culvert", "secret", "culvert-gateway")["data"]["ca.crt"]))
        with members(kube):
            link = strangers(kube)
            laptop, other = Laptop(kube), Laptop(kube)
            plain, _ = intercept(kube, laptop, "tcp")
            laptop.call("preview", {"uid": plain, "ingress": {"host": "x.shop", "port": 80}}, code=2)
            uid, name = intercept(kube, laptop)
            asks(kube, laptop, uid)
            crowded_out(kube, laptop, other)
            share = previewed(kube, laptop, other, link, uid, name)
            listed(kube, laptop, link, uid)
            unconfirmed(laptop, link, uid)
            crowd(kube, restarted(kube, laptop, uid, name, share))


story(main)
