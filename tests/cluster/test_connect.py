#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""culvert connect to a real Kubernetes: each way to the manager, what works then, what ends it, and a sentence for all that can be missing."""
import json
import os
import signal

import installed
from kube import NODE_ADDRESS, Kube
from lab import NOBODY, Failed, sh, step, story, wait_for
from workloads import apply, namespace, page, service, workload

SPACE, GROUP = "shop", "developers"
API = f"https://{NODE_ADDRESS}:6443"


# --- saying what is wrong ---------------------------------------------------------------------------


def refused(kube, wants, *args, code=1, env=None):
    """connect fails with this code and says each of `wants`; nothing of it stays."""
    before = kube.laptop_state()
    done = kube.culvert("connect", *args, check=False, env=env)
    said = [line for line in done.stderr.splitlines() if line.startswith("culvert: ")]
    missing = [w for w in wants if w not in done.stderr]
    if done.returncode != code or missing or len(said) != 1:
        raise Failed(f"culvert connect {' '.join(args)}: exit {done.returncode}, missing {missing} in: {done.stderr or '(nothing)'}")
    left = kube.laptop_state()
    if left != before:
        raise Failed(f"after that the laptop's network was another: {left}")
    no_sessions(kube)
    return said[0]


def no_sessions(kube):
    if "sessions.culvert.dev" in kube.kubectl("get", "crd", "-o", "name").stdout and kube.get("sessions.culvert.dev")["items"]:
        raise Failed("a Session was left in the cluster")


def kubeconfig(kube, name, **changes):
    """ana's kubeconfig with changes by jsonpath-like names, as a file; its path."""
    config = json.loads(kube.run("laptop", f"{kube.dir}/bin/kubectl", "config", "view", "--raw", "-o", "json", user=NOBODY).stdout)
    config["clusters"][0]["cluster"].update(changes.get("cluster", {}))
    if "user" in changes:
        config["users"][0]["user"] = changes["user"]
    return kube.write(f"{name}.kubeconfig", json.dumps(config), 0o644)


def plugin(kube, *argv):
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": argv[0], "args": list(argv[1:]), "interactiveMode": "Never"}}


def before_install(kube):
    step("no kubeconfig, a context that is not there, a file that is not there, usage")
    refused(kube, ["there is no kubeconfig", "KUBECONFIG"])
    kube.kubeconfig("ana", [GROUP], namespace=SPACE)
    refused(kube, ["no context 'nope'", "test"], "--context", "nope")
    refused(kube, ["/nope"], "--kubeconfig", "/nope")
    refused(kube, ["auto|udp|websocket|portforward"], "--transport", "tcp", code=2)
    refused(kube, ["--invite"], "--manager", "192.0.2.1:7400", code=2)
    refused(kube, ["--context", "--invite"], "--invite", "x", "--context", "test", code=2)
    step("not installed: what to run; to who may not look: the right that is missing")
    kube.kubeconfig("root", ["system:masters"], namespace=SPACE)
    refused(kube, ["culvert is not installed in namespace culvert", "culvert install"])
    refused(kube, ["culvert is not installed in namespace other", "culvert install -n other"], "--manager-namespace", "other")
    kube.kubeconfig("ana", [GROUP], namespace=SPACE)
    refused(kube, ["ana", '"get" on "configmaps"', "--allow-group", "kind: RoleBinding"])


def no_way_to_the_api(kube):
    step("the API server is down, is another one, or does not know us")
    refused(kube, [f"https://{NODE_ADDRESS}:1"], "--kubeconfig", kubeconfig(kube, "down", cluster={"server": f"https://{NODE_ADDRESS}:1"}))
    kube.pki.certificate("other", "somebody")
    other = kube.pki.base64("other.crt")
    refused(kube, ["certificate"], "--kubeconfig", kubeconfig(kube, "forged", cluster={"certificate-authority-data": other}))
    refused(kube, [API], "--kubeconfig", kubeconfig(kube, "token", user={"token": "wrong"}))
    refused(kube, ["expired"], "--kubeconfig", kubeconfig(kube, "old", user=expired(kube)))
    step("a credential plugin that is missing, fails, prints rubbish")
    for name, argv, wants in (("none", ["/no/such-plugin"], ["/no/such-plugin", "not installed"]),
                              ("fails", ["sh", "-c", "echo 'log in first' >&2; exit 3"], ["log in first"]),
                              ("rubbish", ["echo", "{"], ["echo"])):
        refused(kube, wants, "--kubeconfig", kubeconfig(kube, name, user=plugin(kube, *argv)))


def expired(kube):
    """A client certificate of yesterday."""
    p = kube.pki
    p.certificate("old", "ana", [GROUP])
    db = f"{kube.dir}/ca-old"
    os.makedirs(db, exist_ok=True)
    kube.write("ca-old/index", "")
    conf = kube.write("ca-old/conf", f"[ca]\ndefault_ca=c\n[c]\ndatabase={db}/index\nnew_certs_dir={db}\nrand_serial=yes\ndefault_md=sha256\n"
                      "policy=p\nunique_subject=no\n[p]\ncommonName=supplied\norganizationName=optional\n")
    sh("openssl", "ca", "-batch", "-config", conf, "-cert", p.path("ca.crt"), "-keyfile", p.path("ca.key"), "-in", p.path("old.csr"),
       "-out", p.path("old.crt"), "-startdate", "20200101000000Z", "-enddate", "20200102000000Z", "-notext")
    return {"client-certificate-data": p.base64("old.crt"), "client-key-data": p.base64("old.key")}


def interrupted(kube, what, path, hint):
    """connect hangs, says what it waits for, and Ctrl-C ends it and all it started."""
    before = kube.laptop_state()
    p = kube.start("laptop", f"connect-{what}", f"{kube.bin}/culvert", "connect", "--kubeconfig", path, user=NOBODY)
    wait_for(f"the line '{hint}'", lambda: hint in p.output())
    p.popen.send_signal(signal.SIGINT)
    if p.popen.wait(10) == 0:
        raise Failed("an interrupted connect said that it went well")
    wait_for("the daemon's end", lambda: "not running" in kube.culvert("status").stdout)
    if kube.laptop_state() != before:
        raise Failed("an interrupted connect left something on the laptop")


def hanging(kube):
    step("an API server and a credential plugin that hang: what is waited for is said, and Ctrl-C ends it")
    kube.start("laptop", "silent-server", "/usr/bin/python3", "-c",
               "import socket, time\ns = socket.create_server(('127.0.0.1', 6444))\nkept = []\nwhile True: kept.append(s.accept())")
    kube.wait_listening("laptop", 6444)
    interrupted(kube, "server", kubeconfig(kube, "silent", cluster={"server": "https://127.0.0.1:6444"}), "Waiting for the API server https://127.0.0.1:6444")
    interrupted(kube, "plugin", kubeconfig(kube, "hangs", user=plugin(kube, "sleep", "98765")), "credential plugin 'sleep'")
    wait_for("the plugin's end", lambda: "98765" not in sh("pgrep", "-fl", "sleep 98765", check=False).stdout)


# --- connected --------------------------------------------------------------------------------------


def status(kube):
    return kube.culvert_json("status")


def reach(kube):
    """By short name, name with the namespace, full name, service address, pod address, headless name; SRV; ping."""
    pod = kube.get("pods", "-n", SPACE, "-l", "app=hello")["items"][0]["status"]["podIP"]
    service = kube.get("service", "hello", "-n", SPACE)["spec"]["clusterIP"]
    for url in ("http://hello/", f"http://hello.{SPACE}/", f"http://hello.{SPACE}.svc.cluster.local/", f"http://{service}/",
                f"http://{pod}:8080/", f"http://pods.{SPACE}:8080/"):
        got = kube.run("laptop", "curl", "-sS", "--max-time", "10", url, user=NOBODY).stdout
        if got != "hello from the shop\n":
            raise Failed(f"{url} gave {got!r}")
    srv = kube.run("laptop", "dig", "+short", "SRV", f"_http._tcp.hello.{SPACE}.svc.cluster.local").stdout
    if srv.split() != ["0", "100", "80", f"hello.{SPACE}.svc.cluster.local."]:
        raise Failed(f"dig SRV gave {srv!r}")
    headless = kube.run("laptop", "dig", "+short", f"pods.{SPACE}.svc.cluster.local").stdout.split()
    if headless != [pod]:
        raise Failed(f"the headless name gave {headless}, the pod has {pod}")
    kube.run("laptop", "ping", "-c", "1", "-W", "5", pod)


def damaged(kube):
    step("what the manager tells is damaged, or of another version: a sentence, which does not steer the terminal")
    told = kube.get("configmap", "culvert", "-n", "culvert")["data"]
    for change, wants in (({"publicKey": "A" * 43 + "=", "udp": "[]"}, ["the manager's key cannot be used"]),
                          ({"publicKey": "x"}, ["'publicKey' is no key"]), ({"udp": "x"}, ["'udp' is no list"]),
                          ({"version": "\x1b[31m9", "protocol": "2"}, ["the cluster's culvert is ?[31m9", "the same version"])):
        kube.kubectl("-n", "culvert", "patch", "configmap", "culvert", "--type=merge", "-p", json.dumps({"data": {**told, **change}}))
        refused(kube, wants)
    kube.kubectl("-n", "culvert", "patch", "configmap", "culvert", "--type=merge", "-p", json.dumps({"data": told}))


def works_by(kube, transport):
    step(f"--transport {transport}: names, addresses, ping; status says it; quit leaves nothing")
    before = kube.laptop_state()
    done = json.loads(kube.culvert("connect", "--transport", transport, "-o", "json").stdout)
    if done["transport"] != transport or done["context"] != "test" or done["server"] != API or done["namespace"] != SPACE or done["already"]:
        raise Failed(f"connect said {done}")
    reach(kube)
    now = status(kube)
    if now["path"]["transport"] != transport or not now["manager"]["connected"] or now["routes"]["missing"] or not now["dns"]["in_force"]:
        raise Failed(f"status said {now}")
    if now["warnings"] or now["path"]["standing_by"] or now["platform"] != "kubernetes" or now["cluster"]["user"] != "ana":
        raise Failed(f"status said {now}")
    session = kube.get("sessions.culvert.dev")["items"][0]
    if session["metadata"]["name"] != now["cluster"]["session"] or session["spec"]["user"] != "ana":
        raise Failed(f"the Session is {session}")
    quit_cleanly(kube, before)


def quit_cleanly(kube, before):
    kube.culvert("quit")
    no_sessions(kube)
    after = kube.laptop_state()
    if after != before:
        raise Failed(f"quit left something on the laptop:\n{before}\n{after}")


def path_of(kube):
    path = status(kube)["path"]
    return path["transport"], [p["transport"] for p in path["standing_by"]]


def block_udp(kube, on):
    nft = "add table ip culvertblock; add chain ip culvertblock f { type filter hook forward priority 0; }; add rule ip culvertblock f udp dport 30000-32767 drop"
    kube.run("router", "nft", nft if on else "delete table ip culvertblock")


def auto(kube):
    step("auto: at once by websocket, then UDP when it answers; UDP blocked: back to the websocket, and UDP again afterwards")
    kube.culvert("connect")
    wait_for("UDP as the path", lambda: path_of(kube) == ("udp", ["websocket"]))
    reach(kube)
    text = kube.culvert("status").stdout
    if "(also: websocket, standing by)" not in text or f"Cluster         : test ({API}), namespace {SPACE}" not in text:
        raise Failed(f"status said {text}")
    block_udp(kube, True)
    wait_for("the websocket as the path", lambda: path_of(kube) == ("websocket", []))
    reach(kube)
    block_udp(kube, False)
    wait_for("UDP again", lambda: path_of(kube)[0] == "udp")


def again(kube):
    step("connect twice is fine; elsewhere or otherwise it is refused")
    if not json.loads(kube.culvert("connect", "-o", "json").stdout)["already"]:
        raise Failed("the second connect did not say that it was connected already")
    for args in (["-n", "default"], ["--transport", "udp"], ["--also-proxy", "10.1.0.0/16"], ["--as", "ben"]):
        done = kube.culvert("connect", *args, check=False)
        if done.returncode != 1 or "already connected" not in done.stderr or "culvert quit" not in done.stderr:
            raise Failed(f"connect {args}: {done.returncode}: {done.stderr}")
    elsewhere = {"KUBECONFIG": kubeconfig(kube, "elsewhere", cluster={"server": "https://192.0.2.1:6443"})}
    done = kube.culvert("connect", check=False, env=elsewhere)
    if done.returncode != 1 or "already connected to context test" not in done.stderr:
        raise Failed(f"connect in a shell with another $KUBECONFIG: {done.returncode}: {done.stdout}{done.stderr}")
    missing = kube.culvert("connect", "--context", "nope", check=False)
    if missing.returncode != 1 or "nope" not in missing.stderr:
        raise Failed(f"connect --context nope: {missing.stderr}")


def namespaces(kube):
    step("a namespace that comes later: its names resolve, connections go on")
    kube.kubectl("create", "namespace", "later")
    wait_for("the namespace's domain", lambda: "later" in status(kube)["dns"]["domains"])
    reach(kube)


def set_rules(kube, role, rules):
    kube.kubectl("patch", *role, "--type=merge", "-p", json.dumps({"rules": rules}))


def api_restarts(kube):
    step("the API server goes and comes: over UDP nothing is noticed, the websocket comes back, though it is refused until the roles are known")
    name = status(kube)["cluster"]["session"]
    role = ("-n", "culvert", "role", "culvert-connect")
    rules = kube.get(*role)["rules"]
    set_rules(kube, role, [r for r in rules if r["resources"] != ["services/proxy"]])
    kube.stop_part("kube-apiserver")
    wait_for("the websocket's end", lambda: path_of(kube) == ("udp", []))
    kube.run("laptop", "curl", "-sS", "--max-time", "10", "http://hello/", user=NOBODY)
    kube.start_part("kube-apiserver")
    wait_for("the refusal in status", lambda: any("services/proxy" in w for w in status(kube)["warnings"]))
    set_rules(kube, role, rules)
    wait_for("the websocket again", lambda: path_of(kube) == ("udp", ["websocket"]))
    if [s["metadata"]["name"] for s in kube.get("sessions.culvert.dev")["items"]] != [name]:
        raise Failed("the session is another one")
    reach(kube)


def ended_by_somebody(kube, before):
    step("the Session is deleted: status says it, the laptop is as before; connect makes a new one")
    name = status(kube)["cluster"]["session"]
    kube.kubectl("delete", "session", name)
    wait_for("the end", lambda: status(kube)["state"] == "not connected")
    if not any("ended by the cluster" in w and "culvert connect" in w for w in status(kube)["warnings"]):
        raise Failed(f"status said {status(kube)}")
    if kube.laptop_state() != before:
        raise Failed("the laptop kept something of a session that was ended")
    kube.culvert("connect")
    if status(kube)["cluster"]["session"] == name or status(kube)["warnings"]:
        raise Failed(f"after another connect: {status(kube)}")
    quit_cleanly(kube, before)


def inside_a_routed_prefix(kube, before):
    step("the API server lies in a routed prefix: its packets, and the tunnel's, stay outside")
    done = kube.culvert("connect", "--also-proxy", "10.99.2.0/24")
    if f"{NODE_ADDRESS}, by which the cluster is reached, lies in 10.99.2.0/24" not in done.stderr:
        raise Failed(f"connect said {done.stderr}")
    wait_for("UDP as the path", lambda: path_of(kube) == ("udp", ["websocket"]))
    reach(kube)
    quit_cleanly(kube, before)


def quit_without_the_api(kube):
    step("quit while the API server is down: it says what stays in the cluster, and how to end it")
    before = kube.laptop_state()
    kube.culvert("connect")
    name = status(kube)["cluster"]["session"]
    kube.stop_part("kube-apiserver")
    done = kube.culvert("quit", timeout=20)
    if f"kubectl delete session {name}" not in done.stderr:
        raise Failed(f"quit said {done.stderr}")
    if kube.laptop_state() != before:
        raise Failed("quit left something on the laptop")
    kube.start_part("kube-apiserver")
    wait_for("the API server", lambda: kube.get("sessions.culvert.dev"))
    kube.kubectl("delete", "session", name)


def rights(kube):
    step("rights that are missing, one after the other: the verb, the resource, and YAML that grants it")
    kube.kubeconfig("ben", [], namespace=SPACE)
    refused(kube, ["ben", "configmaps", "--allow-group", "kind: RoleBinding"])
    rules = "--verb=get --resource=configmaps --resource-name=culvert".split()
    kube.kubectl("-n", "culvert", "create", "role", "ben", *rules)
    kube.kubectl("-n", "culvert", "create", "rolebinding", "ben", "--role=ben", "--user=ben")
    refused(kube, ["ben", '"create"', "sessions", "kind: ClusterRoleBinding"])
    kube.kubectl("create", "clusterrole", "ben", "--verb=create,get,list,watch,patch,delete", "--resource=sessions.culvert.dev")
    kube.kubectl("create", "clusterrolebinding", "ben", "--clusterrole=ben", "--user=ben")
    wait_for("the right to sessions", lambda: "services/proxy" in kube.culvert("connect", "--transport", "websocket", check=False).stderr)
    refused(kube, ["ben", '"get"', "services/proxy", "kind: RoleBinding"], "--transport", "websocket")
    done = kube.culvert("connect", "--as", "carl", check=False)
    if done.returncode != 1 or 'resourceNames: ["carl"]' not in done.stderr or "culvert install" in done.stderr:
        raise Failed(f"connect --as carl: {done.returncode}: {done.stderr}")
    step("without the right to the websocket auto goes by UDP, and says why in status")
    kube.culvert("connect")
    now = status(kube)
    if now["path"]["transport"] != "udp" or not any("services/proxy" in w for w in now["warnings"]):
        raise Failed(f"status said {now}")
    kube.culvert("quit")
    kube.kubeconfig("ana", [GROUP], namespace=SPACE)


def main():
    with Kube() as kube:
        kube.up()
        apply(kube, namespace(SPACE), service(SPACE, "hello"), service(SPACE, "pods", [("http", 8080, "http")], {"app": "hello"}, clusterIP="None"),
              workload(SPACE, "hello", kube.busybox(), container=page("echo hello from the shop")))
        kube.start_helper()
        before_install(kube)
        no_way_to_the_api(kube)
        hanging(kube)
        step("culvert install")
        installed.install(kube, group=GROUP)
        kube.rollout("deployment/hello", SPACE)
        before = kube.laptop_state()
        refused(kube, ["no namespace nope", "kubectl get namespaces"], "-n", "nope", env={"KUBECONFIG": kubeconfig_of_root(kube)})
        damaged(kube)
        for transport in ("websocket", "portforward", "udp"):
            works_by(kube, transport)
        auto(kube)
        again(kube)
        namespaces(kube)
        api_restarts(kube)
        ended_by_somebody(kube, before)
        inside_a_routed_prefix(kube, before)
        rights(kube)
        quit_without_the_api(kube)


def kubeconfig_of_root(kube):
    """Who may look at namespaces is told that one is missing."""
    kube.pki.certificate("root", "root", ["system:masters"])
    return kube.write("root.kubeconfig", kube.pki.kubeconfig("root", SPACE), 0o644)


story(main)
