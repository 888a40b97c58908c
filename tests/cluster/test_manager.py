#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The manager on Kubernetes: Sessions admit laptops, tokens admit agents, Intercepts come into force and say so; a restart changes nothing."""
import base64
import json

import installed
import member
from kube import Kube
from lab import Failed, step, story, wait_for
from member import Member, manager_log, manager_ready, members, new_key, session, status
from workloads import apply, client, namespace, page, ready, service, workload

OVERLAY = "/api/v1/namespaces/culvert/services/culvert:overlay/proxy/overlay"
MARK = '{"kind":"deployment","name":"cart","ports":[{"name":"http","target":8080,"how":"rename"}]}'
EHOSTUNREACH, EACCES = 113, 13


class Laptop(Member):
    """One that keeps the list of its intercepts."""
    intercepts = ()

    def heard(self, line):
        if line.startswith("intercepts "):
            self.intercepts = json.loads(line.split(" ", 1)[1])["intercepts"]
        super().heard(line)

    def end(self):
        self.process.stdin.close()
        if self.process.wait(20):
            raise Failed(f"the member ended with {self.process.returncode}")

    def intercept(self, name):
        """The newest of that name, as the manager tells it."""
        of_name = [i for i in self.intercepts if i["intercept"]["name"] == name]
        return of_name and max(of_name, key=lambda i: (i["intercept"]["created"], i["phase"] == "Active"))


def intercept(*args, **kw):
    """Its object's name."""
    return member.intercept(*args, **kw)["name"]


def through_service(kube, path="", header="x-nothing: 1"):
    done = kube.kubectl("-n", "shop", "exec", "client", "--", "wget", "-qO-", "--header", header, f"http://cart{path}", check=False)
    return (done.stdout or done.stderr).strip()


def laptops(kube):
    step("a handshake that came before its Session is answered when that appears")
    key = new_key(kube)
    first = Laptop(kube, key)
    session(kube, key)
    first.wait("established", timeout=4)  # less than until it asks again
    welcome = first.hello()
    expected = {"address": "198.18.0.1", "prefixes": ["10.96.0.0/16", "10.244.0.0/24"]}
    if any(welcome[k] != v for k, v in expected.items()) or "shop" not in welcome["dns"]["domains"]:
        raise Failed(f"the welcome is {welcome}")
    step("another comes through the API server, with an address of its own")
    key = new_key(kube)
    session(kube, key)
    second = Laptop(kube, key, "websocket", kube.admin, OVERLAY)
    second.wait("established")
    if second.hello()["address"] != "198.18.0.2":
        raise Failed("two laptops have one address")
    wait_for("the status of both", lambda: {(s["status"].get("phase"), s["status"].get("address")) for s in kube.get("sessions")["items"]} ==
             {("Connected", "198.18.0.1"), ("Connected", "198.18.0.2")})
    step("both reach the service; nobody reaches the node, the manager's own ports or the cloud's metadata")
    own = kube.get("-n", "culvert", "pods", "-l", "app=culvert-manager")["items"][0]["status"]["podIP"]
    ip = kube.get("-n", "shop", "service", "cart")["spec"]["clusterIP"]
    for m in (first, second):
        if m.ask(f"get {ip} 80 GET / HTTP/1.0", "got ", "failed ") != "got HTTP/1.1 200 OK":
            raise Failed(f"the service did not answer {m.lines[-1]}")
        for to in (f"{kube.node_address()} 10250", f"{own} 8080", "169.254.169.254 80"):
            said = m.ask(f"get {to}", "got", "failed ")
            if said not in (f"failed {EHOSTUNREACH}", f"failed {EACCES}", "failed 111"):
                raise Failed(f"{to}: {said}")
    return first, second


def strangers(kube):
    step("a token that is forged, and one whose pod has no mark, get not a byte of an answer")
    def part(o):
        return base64.urlsafe_b64encode(json.dumps(o).encode()).rstrip(b"=").decode()
    uid = kube.get("-n", "shop", "pod", "client")["metadata"]["uid"]
    real = kube.kubectl("-n", "shop", "create", "token", "default", "--audience=culvert", "--bound-object-kind=Pod",
                        "--bound-object-name=client", f"--bound-object-uid={uid}").stdout.strip()
    head, claims, _ = real.split(".")
    pod = kube.get("-n", "shop", "pods", "-l", "app=cart")["items"][0]["metadata"]
    said = json.loads(base64.urlsafe_b64decode(claims + "=="))
    said["kubernetes.io"]["pod"] = {"name": pod["name"], "uid": pod["uid"]}
    forged = Laptop(kube, new_key(kube), token=f"{head}.{part(said)}.{real.split('.')[2]}")
    unmarked = Laptop(kube, new_key(kube), token=real)
    wait_for("the API server's no", lambda: f"does not accept the token of pod {pod['uid']}" in manager_log(kube))
    for m in (forged, unmarked):
        if m.lines:
            raise Failed(f"a stranger heard something: {m.lines}")
        m.end()


def intercepted(kube, laptop, other):
    step("an Intercept is in force when every ready pod's agent has its rule")
    wait_for("two agents", lambda: manager_log(kube).count("stands for deployment cart") >= 2, 60)
    name = intercept(kube, laptop.pub, "cart")
    it = wait_for("ACTIVE", lambda: (i := laptop.intercept("cart")) and i["phase"] == "Active" and i)
    intake = it["intercept"]["ports"][0]["overlay"]
    if (it["agents"], it["endpoints"], it["object"]) != (2, 2, name):
        raise Failed(f"the laptop was told {it}")
    wait_for("its status", lambda: status(kube, name) == {"phase": "Active", "message": "", "agents": 2, "endpoints": 2,
                                                         "ports": [{"port": 80, "protocol": "TCP", "intake": intake}]})
    laptop.ask(f"serve {intake} laptop", "serving")
    for _ in range(6):
        if (said := through_service(kube)) != "laptop":
            raise Failed(f"a request through the service was answered with '{said}'")
    wait_for("the Event", lambda: any(e["reason"] == "InterceptStarted" and e["involvedObject"]["name"] == "cart"
                                      for e in kube.get("-n", "shop", "events")["items"]))
    answer = laptop.ask(f'call environment {{"uid":"{it["uid"]}"}}', "answer ")
    if not answer.startswith("answer 0 ") or json.loads(answer[9:])["environment"].get("COLOR") != "green":
        raise Failed(f"the environment was answered with {answer}")
    step("its environment is nobody else's; what the static platform has is refused")
    if not other.ask(f'call environment {{"uid":"{it["uid"]}"}}', "answer ").startswith("answer 4 "):
        raise Failed("another laptop got the environment")
    if not other.ask("call workloads {}", "answer ").startswith("answer 5 "):
        raise Failed("workloads were answered")
    return name, intake


def odd(kube, laptop, name, intake):
    step("an Intercept that cannot be read is told why, and takes nothing")
    twice = {"local": 9090, "name": "", "port": 81, "target": 8080, "protocol": "TCP"}
    broken = intercept(kube, laptop.pub, "broken", more_ports=[twice])
    wait_for("Failed", lambda: status(kube, broken).get("phase") == "Failed")
    if "'ports' names port 8080 of the pod twice" not in status(kube, broken)["message"]:
        raise Failed(f"it says {status(kube, broken)}")
    if through_service(kube) != "laptop":
        raise Failed("the other Intercept is no longer in force")
    kube.kubectl("-n", "shop", "delete", "intercept", broken)
    step("its Service deleted, an Intercept is Pending and says so; with the Service it comes back as it was")
    spec = kube.get("-n", "shop", "service", "cart")["spec"]  # with its address, which names resolve to for a while
    again = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "cart", "namespace": "shop"}, "spec": spec}
    kube.kubectl("-n", "shop", "delete", "service", "cart")
    wait_for("Pending", lambda: status(kube, name).get("phase") == "Pending", 60)
    if status(kube, name)["message"] != "No pod of the service is ready.":
        raise Failed(f"it says {status(kube, name)}")
    kube.apply(json.dumps(again))
    wait_for("ACTIVE again", lambda: status(kube, name).get("phase") == "Active", 60)
    if status(kube, name)["ports"][0]["intake"] != intake:
        raise Failed(f"it has another intake: {status(kube, name)}")
    wait_for("a request at the laptop", lambda: through_service(kube) == "laptop")


def contested(kube, laptop, other, name, intake):
    step("a second one for that port is in conflict, and says who has it")
    waits = intercept(kube, other.pub, "mine")
    wait_for("the conflict", lambda: status(kube, waits).get("phase") == "Conflict")
    if f"taken by the intercept 'cart' of {kube.user}" not in status(kube, waits)["message"]:
        raise Failed(f"it says {status(kube, waits)}")
    step("the holder moves it: the newest is in force on the same intake, the one who waits still waits")
    moved = intercept(kube, laptop.pub, "cart", local=9090)
    wait_for("the new one", lambda: status(kube, moved).get("phase") == "Active")
    wait_for("the old one's status", lambda: "Replaced by the newer" in status(kube, name).get("message", ""))
    kube.kubectl("-n", "shop", "delete", "intercept", name)
    if status(kube, moved)["ports"][0]["intake"] != intake or status(kube, waits)["phase"] != "Conflict":
        raise Failed(f"after the move: {status(kube, moved)}, {status(kube, waits)}")
    step("a pod that comes later delivers, too")
    kube.kubectl("-n", "shop", "scale", "deployment/cart", "--replicas=3")
    wait_for("three agents", lambda: (status(kube, moved).get("agents"), status(kube, moved).get("endpoints")) == (3, 3), 60)
    return moved, waits


def restarted(kube, laptop, other, moved, waits, intake):
    step("the manager is killed: agents and laptops find the next one, with sessions, addresses, intakes and rules as before")
    before = {s["metadata"]["name"]: s["status"]["address"] for s in kube.get("sessions")["items"]}
    seen, seen_other = len(laptop.lines), len(other.lines)
    kube.kubectl("-n", "culvert", "delete", "pod", "-l", "app=culvert-manager", "--force", "--grace-period=0")
    kube.rollout("deployment/culvert-manager", "culvert")
    laptop.wait("established", "renewed", since=seen)
    if laptop.hello()["address"] != before[laptop.pub]:
        raise Failed("the laptop got another address")
    wait_for("the rules", lambda: (i := laptop.intercept("cart")) and i["phase"] == "Active" and i["agents"] == 3, 60)
    if laptop.intercept("cart")["intercept"]["ports"][0]["overlay"] != intake or status(kube, waits)["phase"] != "Conflict":
        raise Failed(f"after the restart: {laptop.intercepts}, {status(kube, waits)}")
    wait_for("a request at the laptop", lambda: through_service(kube) == "laptop")
    after = {s["metadata"]["name"]: s["status"]["address"] for s in kube.get("sessions")["items"]}
    if before != after or "established" in other.lines[seen_other:]:
        raise Failed(f"addresses were {before}, are {after}; the WebSocket came back by itself: {other.lines[seen_other:]}")


def ended(kube, laptop, moved, waits):
    step("its Session deleted, the laptop is out, and who waited has the port")
    kube.kubectl("delete", "session", laptop.pub)
    wait_for("the other one in force", lambda: status(kube, waits).get("phase") == "Active")
    wait_for("the end of its intercepts", lambda: moved not in kube.kubectl("-n", "shop", "get", "intercepts", "-o", "name").stdout, 60)
    wait_for("its Event", lambda: any(e["reason"] == "InterceptEnded" for e in kube.get("-n", "shop", "events")["items"]))
    if through_service(kube) != "pod":  # nobody is at the other's intake
        raise Failed("without a laptop a request does not come to the pod")
    wait_for("no answer from the manager", lambda: "closed" in laptop.lines or "away" in laptop.lines, 60)


def requests(kube, waits):
    step("intercepts of requests live together on one port; each gets its own")
    kube.kubectl("-n", "shop", "delete", "intercept", waits)
    key = new_key(kube)
    session(kube, key)
    laptop = Laptop(kube, key)
    laptop.wait("established")
    laptop.hello()
    user = {"mode": "headers", "conditions": [{"name": "x-user", "pattern": "an[an]"}]}
    ids = [c * 32 for c in "abcdef"]
    names = {name: intercept(kube, laptop.pub, name, mechanism="http", id=i, match=match)
             for name, i, match in (("user", ids[0], user), ("auto", ids[1], {"mode": "auto", "pathPrefix": "/api"}))}
    intakes = {}
    for name, made in names.items():
        wait_for(f"{name}: Active", lambda made=made: status(kube, made).get("phase") == "Active", 60)
        intakes[name] = status(kube, made)["ports"][0]["intake"]
    own = f"x-culvert-intercept-id: {ids[1]}:auto"
    if (status(kube, names["user"])["match"], status(kube, names["auto"])["header"]) != ('header("x-user") ~= regexp("an[an]")', own):
        raise Failed(f"their status is {[status(kube, n) for n in names.values()]}")
    for path, header, by in (("/", "X-User: ana", "user"), ("/", "X-User: bob", "pod"), ("/api/x", own, "auto"), ("/", own, "pod"),
                             ("/api", f"baggage: a=b,culvert={ids[1]}", "auto"), ("/", "x-nothing: 1", "pod")):
        name = by if by in intakes else "user"  # a member serves one intake at a time
        laptop.ask(f"serve {intakes[name]} {name}", "serving")
        if (said := through_service(kube, path, header)) != by:
            raise Failed(f"{path} with '{header}' was answered by '{said}', not by {by}")
    wait_for("the count of requests", lambda: (laptop.intercept("user")["requests"], laptop.intercept("auto")["requests"]) == (1, 2))
    step("what clashes, copies an id or has a pattern that is none, is told so")
    for name, i, match, phase, says in (
            ("same", ids[2], user, "Conflict", f"taken by your own intercept 'user', for header(\"x-user\") ~= regexp(\"an[an]\")"),
            ("every", ids[3], {"mode": "all"}, "Conflict", "taken by your own intercept"),
            ("copy", ids[1], {"mode": "auto"}, "Failed", "Its id is another intercept's"),
            ("bad", ids[4], {"mode": "headers", "conditions": [{"name": "x", "pattern": "(a"}]}, "Failed", "header x is wrong at column 3")):
        made = intercept(kube, laptop.pub, name, mechanism="http", id=i, match=match)
        wait_for(f"{name}: {phase}", lambda made=made, phase=phase: status(kube, made).get("phase") == phase)
        if says not in status(kube, made)["message"]:
            raise Failed(f"{name}: it says {status(kube, made)}")
    tcp = intercept(kube, laptop.pub, "tcp")
    wait_for("tcp: Conflict", lambda: status(kube, tcp).get("phase") == "Conflict")
    laptop.ask(f"serve {intakes['user']} user", "serving")
    if through_service(kube, "/", "X-User: ana") != "user":
        raise Failed("the holder has lost its requests")


def main():
    with Kube() as kube:
        kube.up()
        installed.install(kube)
        manager_ready(kube)
        image = kube.busybox()
        apply(kube, namespace("shop"), service("shop", "cart"), client("shop", image),
              workload("shop", "cart", image, replicas=2, env=[("COLOR", "green")], container=page("echo pod"), annotations={"culvert.dev/inject": MARK}))
        ready(kube, "shop", "deployment/cart", "pod/client")
        with members(kube):
            laptop, other = laptops(kube)
            strangers(kube)
            name, intake = intercepted(kube, laptop, other)
            odd(kube, laptop, name, intake)
            moved, waits = contested(kube, laptop, other, name, intake)
            restarted(kube, laptop, other, moved, waits, intake)
            ended(kube, laptop, moved, waits)
            requests(kube, waits)


story(main)
