#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What somebody may not do, in the words that culvert prints, and that the YAML it prints is enough; what strangers in pods hear: nothing;
what the manager may do in the live cluster."""
import base64
import json
import os
import re
import subprocess
import sys
import time

import workloads as w
from kube import Kube
from lab import ROOT, Failed, step, story, wait_for

SPACE, OTHER = "shop", "other"
MEMBER = f"{os.environ.get('CULVERT_BIN') or f'{ROOT}/build/release'}/tests/cluster_member"
DENIED = re.compile(r'(\S+) may not (\S+) (\S+?)(?:\.\S+)? in (?:the namespace \'\S+\'|the whole cluster): ask for the verb "(\S+)" on "(\S+)"')
MANAGER = "system:serviceaccount:culvert:manager"


# --- what the user is told -------------------------------------------------------------------------------------------------------


class Users:
    def __init__(self, kube):
        self.kube, self.count = kube, 0

    def denied(self, user, *argv, verb, resource, on="laptop"):
        """It is refused with one sentence that names the right; the YAML that came with it, or ""."""
        done = self.kube.culvert(*argv, on=on, check=False, timeout=130)
        said = [line for line in done.stderr.splitlines() if line.startswith("culvert: ")]
        right = DENIED.search(said[0]) if len(said) == 1 else None
        if done.returncode != 1 or not right or right[1] != user:
            raise Failed(f"culvert {' '.join(argv)}: exit {done.returncode}, no sentence with a right of {user} that is missing: {done.stderr}")
        if (verb, resource) != ANY and (right[2], right[5]) != (verb, resource):
            raise Failed(f"culvert {' '.join(argv)}: expected {verb} on {resource}: {said[0]}")
        self.count += 1
        step(said[0][len("culvert: "):][:200])
        yaml = done.stderr[done.stderr.find("apiVersion:"):] if "apiVersion:" in done.stderr else ""
        return (right[4], right[5]), yaml

    def until_it_works(self, user, *argv, after=lambda: None, on="laptop"):
        """Each time the YAML that is printed is applied, and nothing else; the rights, in the order in which they were missed."""
        missed = []
        while True:
            right, yaml = self.denied(user, *argv, verb=ANY[0], resource=ANY[1], on=on)
            after()
            if right in missed or not yaml:
                raise Failed(f"{right} is missing {'still, with the YAML applied' if yaml else 'and no YAML says how to grant it'}")
            missed.append(right)
            self.kube.apply(yaml)
            if self.grown(missed[-1], *argv, on=on):
                return missed

    def grown(self, right, *argv, on):
        """The authorizer follows a moment later: once it does, has the command worked?"""
        end = time.monotonic() + 10
        while True:
            done = self.kube.culvert(*argv, on=on, check=False, timeout=130)
            found = DENIED.search(done.stderr)
            if done.returncode == 0 or not found or (found[4], found[5]) != right:
                break
            if time.monotonic() > end:
                raise Failed(f"{right} is missing still, 10 s after the YAML was applied: {done.stderr}")
        if done.returncode and not found:
            raise Failed(f"culvert {' '.join(argv)}: {done.stderr}")
        return done.returncode == 0

    def says(self, *argv, wants, code=1, on="laptop"):
        done = self.kube.culvert(*argv, on=on, check=False, timeout=130)
        missing = [word for word in wants if word not in done.stderr]
        if done.returncode != code or missing:
            raise Failed(f"culvert {' '.join(argv)}: exit {done.returncode}, missing {missing} in: {done.stderr}")
        self.count += 1
        step(next(line for line in done.stderr.splitlines() if line.startswith("culvert: "))[len("culvert: "):][:200])


ANY = ("", "")


def nothing_of_it(kube, before):
    if kube.laptop_state() != before:
        raise Failed("a refused connect left something on the laptop")
    if kube.get("sessions.culvert.dev")["items"]:
        raise Failed("a refused connect left a Session")


def unmarked(kube, what):
    w.left_nothing(kube, SPACE)
    if "culvert.dev/inject" in json.dumps(kube.get("-n", SPACE, what)["spec"]):
        raise Failed(f"a refused intercept marked {what}")


def expect(what, found, *wanted):
    if sorted(found) != sorted(tuple(right.split()) for right in wanted):
        raise Failed(f"{what} missed {found}, and not {list(wanted)}")


def connecting(kube, u):
    step("eve has no rights: one by one they are named, and the YAML that is printed grants them")
    kube.kubeconfig("eve", [], namespace=SPACE)
    # Without this a Session made in vain stays, which connect says.
    kube.kubectl("create", "clusterrole", "eve", "--verb=delete", "--resource=sessions.culvert.dev")
    kube.kubectl("create", "clusterrolebinding", "eve", "--clusterrole=eve", "--user=eve")
    before = kube.laptop_state()
    found = u.until_it_works("eve", "connect", "--transport", "websocket", after=lambda: nothing_of_it(kube, before))
    expect("connect", found, "get configmaps", "create sessions", "get services/proxy")
    kube.culvert("quit", check=False)
    found = u.until_it_works("eve", "connect", "--transport", "portforward", after=lambda: None)
    expect("the port-forward", found, "list pods", "get pods/portforward")


def intercepting(kube, u):
    step("list, intercept and leave, the same way")
    eve = ("-n", SPACE, "rolebinding", "eve-deletes")
    kube.kubectl("create", *eve[:2], "role", eve[3], "--verb=delete", "--resource=intercepts.culvert.dev")
    kube.kubectl("create", *eve, f"--role={eve[3]}", "--user=eve")
    found = u.until_it_works("eve", "list")
    expect("list", found, *[f"list {what}" for what in ("deployments", "replicasets", "statefulsets", "services")])
    found = u.until_it_works("eve", "intercept", "hello", "--port", "3000", after=lambda: unmarked(kube, "deployment/hello"))
    expect("intercept", found, *[f"get {what}" for what in ("deployments", "replicasets", "statefulsets")], "create intercepts",
           "create pods/portforward", "patch deployments")
    w.all_at(kube, SPACE, "hello", "laptop")
    kube.kubectl("delete", *eve)
    expect("leave", u.until_it_works("eve", "leave", "hello"), "delete intercepts")
    w.all_at(kube, SPACE, "hello", "hello")
    found = u.until_it_works("eve", "intercept", "stock", "--port", "3000", after=lambda: w.left_nothing(kube, SPACE))
    expect("a bare ReplicaSet", found, "patch replicasets", "list pods", "create pods/eviction", "watch pods")
    kube.culvert("leave", "stock")
    kube.culvert("quit")


def roles(kube, u):
    step("view is not enough; edit elsewhere is not, either; nobody acts as another")
    w.developer(kube, "vic", SPACE, role="view")
    kube.culvert("connect")
    if "hello" not in kube.culvert("list").stdout:
        raise Failed("vic, who may view, sees nothing")
    u.denied("vic", "intercept", "many", "--port", "3000:http", verb="create", resource="intercepts")
    unmarked(kube, "deployment/many")
    kube.culvert("quit")
    w.developer(kube, "ana", SPACE)
    u.says("connect", "--as", "root", wants=["ana", "impersonate", "root"])
    kube.culvert("connect")
    u.denied("ana", "list", "-n", OTHER, verb="list", resource="deployments")
    u.denied("ana", "intercept", "hello", "-n", OTHER, "--port", "3000", verb="get", resource="deployments")
    u.denied("ana", "uninstall", "--agents", "hello", "-n", OTHER, verb="get", resource="deployments")
    u.says("install", "--allow-group", "everybody", wants=["you may not", "nothing was changed"])
    u.says("uninstall", "-y", wants=["ana", "may not"])


def another(kube, u):
    step("ben cannot have, leave or delete what is ana's")
    w.developer(kube, "ben", SPACE, on="other")
    w.connected(kube, on="other")
    w.local(kube, 3000, says="other", on="other")
    kube.culvert("intercept", "hello", "--port", "3000")
    u.says("intercept", "hello", "--port", "3000", on="other", wants=["ana", "hello"])
    u.says("leave", "hello", on="other", wants=["no intercept 'hello'"])
    w.all_at(kube, SPACE, "hello", "laptop")
    if "ana" not in next(line for line in kube.culvert("list", on="other").stdout.splitlines() if " hello " in line):
        raise Failed("list does not tell ben who has it")
    kube.culvert("leave", "hello")
    kube.culvert("intercept", "hello", "--port", "3000", on="other")
    w.all_at(kube, SPACE, "hello", "other")
    kube.culvert("quit", on="other")
    kube.culvert("quit")


# --- strangers ---------------------------------------------------------------------------------------------------------------------


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(kube, token, **claims):
    """The token with other claims, signed with the cluster's own key."""
    head, said, _ = token.split(".")
    said = {**json.loads(base64.urlsafe_b64decode(said + "==")), **claims}
    text = f"{head}.{b64(json.dumps(said).encode())}"
    der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", kube.pki.path("sa.key")], input=text.encode(), stdout=subprocess.PIPE, check=True).stdout
    numbers, at = [], 2
    for _ in range(2):  # two INTEGERs
        size = der[at + 1]
        numbers.append(der[at + 2:at + 2 + size].lstrip(b"\0").rjust(32, b"\0"))
        at += 2 + size
    return f"{text}.{b64(b''.join(numbers))}"


def token(kube, pod=None, audience="culvert"):
    bound = []
    if pod:
        uid = kube.get("-n", SPACE, "pod", pod)["metadata"]["uid"]
        bound = ["--bound-object-kind=Pod", f"--bound-object-name={pod}", f"--bound-object-uid={uid}"]
    return kube.kubectl("-n", SPACE, "create", "token", "default", f"--audience={audience}", *bound).stdout.strip()


def in_pod(kube, pod, *argv, env=None):
    """A program of this machine in the network of a pod."""
    ip = kube.get("-n", SPACE, "pod", pod)["status"]["podIP"]
    find = f"for n in /run/netns/cni-*; do nsenter --net=$n ip -4 -o addr | grep -qF ' {ip}/' && echo $n; done; true"
    ns = kube.on_node("sh", "-c", find).stdout.split()
    if len(ns) != 1:
        raise Failed(f"pod {pod} has the network namespaces {ns}")
    # The network alone: our files may be in a folder that the node has another one of, /tmp above all.
    p = subprocess.Popen(["nsenter", f"--net=/proc/{kube.process_1()}/root{ns[0]}", *argv], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True, bufsize=1, env={**os.environ, **(env or {})})
    kube.helpers.append(p)
    return p


class Counter:
    def __init__(self, kube, pod, ip, port):
        self.p = in_pod(kube, pod, sys.executable, f"{ROOT}/tests/lab/packets.py", ip, str(port))
        if self.p.stdout.readline() != "ready\n":
            raise Failed("packets cannot be counted")

    def read(self):
        self.p.stdin.write("\n")
        return json.loads(self.p.stdout.readline())


def member(kube, *way, token=None):
    key = subprocess.run([MEMBER], capture_output=True, text=True, check=True).stdout.split()
    return in_pod(kube, "client", MEMBER, key[0], kube.facts["publicKey"], *way, env={"MEMBER_TOKEN": token} if token else {})


def bad_tokens(kube):
    marked = kube.get("-n", SPACE, "pods", "-l", "app=hello")["items"][0]["metadata"]["name"]
    good = token(kube, marked)
    w.apply(kube, w.client(SPACE, kube.shop, "gone"))
    w.ready(kube, SPACE, "pod/gone")
    gone = token(kube, "gone")
    kube.kubectl("-n", SPACE, "delete", "pod", "gone", "--force", "--grace-period=0")
    wait_for("the pod's end", lambda: "gone" not in kube.kubectl("-n", SPACE, "get", "pods", "-o", "name").stdout)
    now = int(time.time())
    bad = {"no token": None, "garbage": "garbage", "another audience": token(kube, marked, audience="other"),
           "of no pod": token(kube), "of a pod that is gone": gone, "of a pod without a mark": token(kube, "client"),
           "expired": signed(kube, good, exp=now - 60, iat=now - 4000, nbf=now - 4000),
           "not valid yet": signed(kube, good, exp=now + 4000, iat=now + 2000, nbf=now + 2000),
           "of another issuer": signed(kube, good, iss="https://other.example.org"),
           "signed by nobody": f"{good.rsplit('.', 1)[0]}.{b64(bytes(64))}"}
    return marked, bad


def strangers(kube):
    kube.facts = kube.get("-n", "culvert", "configmap", "culvert")["data"]
    ip = w.cluster_ip(kube, "culvert", "culvert")
    marked, bad = bad_tokens(kube)
    step(f"handshakes from a pod, each twice, {len(bad)} kinds: {', '.join(bad)}")
    counter = Counter(kube, "client", ip, 31820)
    for t in bad.values():
        member(kube, "udp", f"{ip}:31820", token=t)
    seen = wait_for("two handshakes of each", lambda: (s := counter.read()) and len(s) == len(bad) and all(n >= 2 for n, _ in s.values()) and s)
    wait_for("the manager's judgement", lambda: "does not accept the token" in log(kube))
    answered = sum(n for _, n in counter.read().values())
    if answered:
        raise Failed(f"the manager answered {answered} packets: {counter.read()}")
    step(f"{sum(n for n, _ in seen.values())} packets went to the manager, 0 came back")
    agent_is_silent(kube, marked)
    step("the same with a token that is good: it is answered")
    fresh = token(kube, marked)
    m = member(kube, "udp", f"{ip}:31820", token=signed(kube, fresh))
    if m.stdout.readline() != "established\n":
        raise Failed("a good token was not taken: the counts above mean nothing")
    if not any(n for _, n in counter.read().values()):
        raise Failed("the answers to a good token were not seen: the counts above mean nothing")


def log(kube):
    return kube.kubectl("-n", "culvert", "logs", "deploy/culvert-manager").stdout


def agent_is_silent(kube, pod):
    ip = kube.get("-n", SPACE, "pod", pod)["status"]["podIP"]
    ports = [int(line.split()[3].rsplit(":", 1)[1]) for line in in_pod(kube, pod, "ss", "-H", "-lun").communicate()[0].splitlines()]
    if not ports:
        raise Failed("the agent has no UDP socket")
    step(f"an agent at its port {', '.join(str(p) for p in ports)}: handshakes and messages of every type")
    for port in ports:
        counter = Counter(kube, "client", ip, port)
        member(kube, "udp", f"{ip}:{port}")
        member(kube, "udp", f"{ip}:{port}", token=token(kube, pod))
        throw = ("import os,socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
                 f"[s.sendto(bytes([kind,0,0,0])+os.urandom(size),('{ip}',{port})) for kind in range(16) for size in (0,12,28,44,60,88,144,208,272,1000)]")
        in_pod(kube, "client", sys.executable, "-c", throw).wait(20)
        seen = wait_for("the packets", lambda c=counter: (s := c.read()) and sum(n for n, _ in s.values()) >= 163 and s)
        if any(n for _, n in seen.values()):
            raise Failed(f"the agent answered: {seen}")
        step(f"{sum(n for n, _ in seen.values())} packets went to the agent, 0 came back")


# --- the manager ---------------------------------------------------------------------------------------------------------------------


def manager_role(kube):
    step("the manager's rules, of every binding that the cluster has for it")
    groups = {"system:serviceaccounts", "system:serviceaccounts:culvert"}
    rules, names = [], []
    for binding in kube.get("clusterrolebindings,rolebindings", "-A")["items"]:
        for s in binding.get("subjects", []):
            if (s["kind"], s["name"], s.get("namespace")) == ("ServiceAccount", "manager", "culvert") or (s["kind"] == "Group" and s["name"] in groups):
                role = binding["roleRef"]
                space = ["-n", binding["metadata"]["namespace"]] if role["kind"] == "Role" else []
                names.append(f"{role['kind']} {role['name']}")
                rules += kube.get(*space, role["kind"].lower(), role["name"]).get("rules") or []
    if "ClusterRole culvert-manager" not in names or "Role culvert-manager" not in names:
        raise Failed(f"its roles are {names}")
    written = set()
    for rule in rules:
        if rule.get("nonResourceURLs"):
            continue
        for resource in rule["resources"]:
            if "*" in rule["verbs"] + rule["resources"] + rule["apiGroups"] or resource.startswith("secrets") or \
                    resource in ("pods/exec", "pods/attach", "pods/portforward", "pods/ephemeralcontainers", "serviceaccounts/token"):
                raise Failed(f"the manager has {rule}")
            written |= {f"{verb} {resource}" for verb in set(rule["verbs"]) - {"get", "list", "watch"}}
    allowed = {"delete sessions", "delete intercepts", "patch sessions/status", "patch intercepts/status", "create tokenreviews", "create events",
               "patch events", "update configmaps", "patch configmaps"}
    if written - allowed:
        raise Failed(f"the manager may {written - allowed}")
    step(f"{', '.join(sorted(set(names)))}: it may write {', '.join(sorted(written))}; no secrets, no exec, no wildcard, no workloads, no webhooks")


def main():
    with Kube() as kube:
        kube.helpers = []
        kube.shop = image = w.prepared(kube, SPACE, OTHER)
        w.apply(kube, *[w.service(SPACE, n) for n in ("hello", "many", "stock")], w.workload(SPACE, "hello", image), w.workload(SPACE, "many", image),
                w.workload(SPACE, "stock", image, kind="ReplicaSet", replicas=2), w.client(SPACE, image))
        w.ready(kube, SPACE, "deployment/hello", "deployment/many", "replicaset/stock", "pod/client")
        kube.start_helper()
        w.local(kube, 3000)
        try:
            u = Users(kube)
            connecting(kube, u)
            intercepting(kube, u)
            roles(kube, u)
            another(kube, u)
            step(f"{u.count} refusals")
            strangers(kube)
            manager_role(kube)
        finally:
            for p in kube.helpers:
                p.kill()


story(main)
