#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Logging in and out, as who Kubernetes says one is and at a real issuer; what that makes of `culvert intercept`, with its questions
on a real terminal; and what an issuer that refuses, revokes or is not there leads to.
"""
import os
import signal
import stat
import subprocess
import urllib.parse

import ingress
import installed
import tiers
import workloads
from issuer import ACCOUNTS, Issuer, client
from kube import NODE_ADDRESS, Kube
from lab import NOBODY, Failed, step, story, wait_for
from terminal import Terminal

SPACE, SHOP, DOMAIN = "shop", "shop.example.com", "preview.test"
FRONT = ("intercept", "front", "--port", "3000:http")


def has(text, *wants):
    for want in wants:
        if want not in text:
            raise Failed(f"'{want}' is missing in:\n{text}")
    return text


def fails(kube, code, *argv, says=()):
    done = kube.culvert(*argv, check=False, timeout=120)
    if done.returncode != code:
        raise Failed(f"culvert {' '.join(argv)}: exit {done.returncode}: {done.stdout}{done.stderr}")
    has(done.stderr, *says)


def login_line(kube):
    return next(line for line in kube.culvert("status").stdout.splitlines() if line.startswith("Login"))


def objects(kube):
    return kube.get("-n", SPACE, "intercepts")["items"]


def preview_of(kube):
    return objects(kube)[-1].get("status", {}).get("preview") or {}


def on_terminal(kube, *argv):
    return Terminal(kube, "laptop", f"{kube.bin}/culvert", *argv)


def logged_out(kube):
    step("not logged in: tcp, no preview; a preview is refused before anything is made")
    has(login_line(kube), "not logged in")
    fails(kube, 1, *FRONT, "--preview-url", says=["culvert login"])
    if objects(kube):
        raise Failed(objects(kube))
    out = kube.culvert(*FRONT, timeout=120).stdout
    if "Intercepting           : all TCP connections" not in out or "review" in out or "Header" in out:
        raise Failed(out)
    kube.culvert(*FRONT, "--mechanism=http", timeout=120)
    fails(kube, 1, "preview", "create", "front", "--ingress-host", "a.b", "--ingress-port", "80", says=["culvert login"])
    kube.culvert("leave", "front")


def as_kubernetes_says(kube):
    step("login without an issuer: who the API server says one is; the file is the user's alone")
    has(kube.culvert("login").stdout, "Login successful.")
    has(login_line(kube), "ana (Kubernetes)")
    folder = f"{kube.home('laptop')}/state/culvert/login"
    files = os.listdir(folder)
    mode = stat.S_IMODE(os.stat(f"{folder}/{files[0]}").st_mode)
    if len(files) != 1 or mode != 0o600:
        raise Failed(f"{files}: {mode:o}")

    step("--preview-url=false prints the header")
    has(kube.culvert(*FRONT, "--preview-url=false", timeout=120).stdout, "HTTP requests that match all of:", "Header                 : x-culvert-intercept-id: ",
        "curl -H 'x-culvert-intercept-id: ", "http://front.shop:80/")
    kube.culvert("leave", "front")

    step("no terminal: a clear error, and nothing made; host and port are enough")
    fails(kube, 2, *FRONT, says=["--ingress-host", "--ingress-port", "--preview-url=false"])
    fails(kube, 2, *FRONT, "--ingress-host", "a.b", says=["--ingress-port"])
    if objects(kube):
        raise Failed(objects(kube))
    out = kube.culvert(*FRONT, "--ingress-host", f"{ingress.SERVICE}.{ingress.SPACE}", "--ingress-port", "443", timeout=120).stdout
    has(out, f"Layer 5 Hostname       : {ingress.SERVICE}.{ingress.SPACE}", f".{DOMAIN}/", "Share link             : https://")
    made = objects(kube)[0]["status"]["preview"]["ingress"]
    if made["tls"] is not True or made["port"] != 443 or made["verify"] is not True:
        raise Failed(made)
    kube.culvert("leave", "front")


def in_vain(kube):
    step("on a terminal, what would be in vain is said before any question")
    for argv, says in ((("intercept", "nobody", "--port", "3000"), "There is no Deployment"),
                       ((*FRONT[:2], "--port", "3000:nothing"), "nothing"),
                       ((*FRONT, "--timeout", "soon"), "--timeout")):
        with on_terminal(kube, *argv) as t:
            code = 2 if "--timeout" in argv else 1
            if "1/4" in has(t.end(code=code), says):
                raise Failed(t.said)
    if objects(kube):
        raise Failed(objects(kube))


def questions(kube):
    step("on a terminal four questions with what was found; bad answers are asked again; Enter accepts")
    with on_terminal(kube, *FRONT) as t:
        t.until("Please Confirm the ingress to use.")
        t.until("1/4: What's your ingress' layer 3 (IP) address?")
        t.until(f"[default: {ingress.SERVICE}.{ingress.SPACE}]: ")
        t.type("https://nowhere/")
        t.until("is a URL")
        t.until("]: ")
        t.type()
        t.until("2/4: What's your ingress' layer 4 address (TCP port number)?")
        t.until("[default: 443]: ")
        t.type()
        t.until("3/4: Does that TCP port on your ingress use TLS (as opposed to cleartext)?")
        t.until("[default: y]: ")
        t.type("perhaps")
        t.until("neither y nor n")
        t.type()
        t.until("4/4: If required by your ingress, specify a different layer 5 hostname")
        t.until(f"[default: {SHOP}]: ")
        if objects(kube):
            raise Failed("made before the last answer")
        t.type()
        has(t.end(), "Using Deployment front", "intercepted", f"    Layer 5 Hostname       : {SHOP}", "    Preview URL            : https://")
    url = kube.culvert_json("status")["intercepts"][0]["preview"]["url"]

    step("again: address and links stay, unless --preview-url=false says no preview; preview remove, create, share, revoke")
    links = wait_for("the link", lambda: [share["hash"] for share in preview_of(kube).get("shares", [])])
    with on_terminal(kube, *FRONT) as t:
        for _ in range(4):
            t.until("]: ")
            t.type()
        has(t.end(), f"Preview URL            : {url}")
    wait_for("the older one's end", lambda: len(objects(kube)) == 1)
    if [share["hash"] for share in preview_of(kube)["shares"]] != links:
        raise Failed(f"the links were {links}, and are {preview_of(kube)['shares']}")
    kube.culvert(*FRONT, "--preview-url=false", timeout=120)
    wait_for("the older one's end", lambda: len(objects(kube)) == 1)
    wait_for("no preview", lambda: not preview_of(kube))
    kube.culvert(*FRONT, "--ingress-host", f"{ingress.SERVICE}.{ingress.SPACE}", "--ingress-port", "443", timeout=120)
    kube.culvert("preview", "remove", "front")
    wait_for("no preview", lambda: "preview" not in kube.culvert_json("status")["intercepts"][0])
    with on_terminal(kube, "preview", "create", "front", "--ingress-port", "443") as t:
        for _ in range(3):
            t.until("]: ")
            t.type()
        has(t.end(), url)
    kube.culvert("preview", "revoke", "front")
    wait_for("no links", lambda: not kube.culvert_json("status")["intercepts"][0]["preview"]["shares"])
    if not kube.culvert("preview", "share", "front", "--expires", "2h").stdout.startswith(url):
        raise Failed("the link is not the preview's")
    has(kube.culvert("list").stdout, "(http, x-culvert-intercept-id)")
    kube.culvert("leave", "front")

    step("Ctrl-C and the end of input leave nothing")
    for key in (b"\x03", b"\x04"):
        with on_terminal(kube, *FRONT) as t:
            t.until("2/4") if key == b"\x04" and t.until("]: ") and not t.type() else t.until("]: ")
            t.press(key)
            t.end(code=1 if key == b"\x04" else -signal.SIGINT)
        if objects(kube):
            raise Failed(objects(kube))

    step("logout: tcp again")
    has(kube.culvert("logout").stdout, "Logout successful.")
    has(login_line(kube), "not logged in")
    has(kube.culvert("logout").stdout, "Not logged in")


def run_issuer(kube):
    folder = f"{kube.dir}/issuer"
    os.makedirs(folder, exist_ok=True)
    clients = [client("culvert"), client("nodevice", grant_types=["authorization_code", "refresh_token"])]
    return Issuer(folder, NODE_ADDRESS, run=["ip", "netns", "exec", kube.ns("cluster")], clients=clients, interval=1).start()


def use_issuer(kube, issuer, name):
    installed.install(kube, "--preview-domain", DOMAIN, "--oidc-issuer", issuer.url, "--oidc-client-id", name, "--oidc-ca", issuer.ca, "--oidc-allow",
                      "groups=dev", "--oidc-scopes", "openid profile email groups", group=workloads.GROUP)
    wait_for("the manager's word", lambda: f'"{name}"' in kube.get("-n", "culvert", "configmap", "culvert")["data"].get("oidc", ""))
    workloads.manager_answers(kube)


def start_login(kube, until):
    """culvert login, up to a line; the process and the words of that line."""
    p = subprocess.Popen(kube.argv("laptop", [f"{kube.bin}/culvert", "login"], NOBODY), env=kube.env("laptop"), text=True, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = []
    for line in p.stdout:
        said.append(line)
        if line.startswith(until):
            return p, said
    raise Failed("".join(said))


def device(kube, issuer, account):
    """Exit code, and what was said to the end."""
    p, said = start_login(kube, "and enter the code")
    has("".join(said), "Launching browser authentication flow...")
    issuer.browser().approve(said[-2].split()[-1], account, said[-1].split()[-1])
    rest = p.communicate(timeout=60)[0]
    return p.returncode, rest


def at_an_issuer(kube, issuer):
    step("an issuer: the device grant; the manager takes who may enter, and nobody else; then all is as before")
    use_issuer(kube, issuer, "culvert")
    code, said = device(kube, issuer, "guest")
    if code != 1 or "guest may not enter" not in said:
        raise Failed(f"exit {code}: {said}")
    has(login_line(kube), "not logged in")
    code, said = device(kube, issuer, "dev")
    if code or "Login successful." not in said:
        raise Failed(f"exit {code}: {said}")
    has(login_line(kube), f"dev ({issuer.url}), until ")
    for account in ("guest", None):
        code, said = device(kube, issuer, account)
        if code != 1:
            raise Failed(f"{account}: exit {code}: {said}")
        has(login_line(kube), f"dev ({issuer.url})")
    p, _ = start_login(kube, "and enter the code")
    p.send_signal(signal.SIGINT)
    has(p.communicate(timeout=30)[0], "interrupted")
    if p.returncode != 1:
        raise Failed(f"exit {p.returncode}")
    has(login_line(kube), f"dev ({issuer.url})")
    out = kube.culvert(*FRONT, "--preview-url=false", timeout=120).stdout
    has(out, "HTTP requests that match all of:")
    kube.culvert("leave", "front")


def ended_by_the_issuer(kube, issuer):
    step("the account goes: logged out at the next refresh, and status says why")
    issuer.change(lifetime=50)  # each question refreshes
    code, said = device(kube, issuer, "dev")
    if code:
        raise Failed(said)
    issuer.change(accounts={"guest": ACCOUNTS["guest"]})
    wait_for("the refusal", lambda: "dev's login was ended by" in login_line(kube))
    has(login_line(kube), "not logged in", "culvert login")
    if os.listdir(f"{kube.home('laptop')}/state/culvert/login"):
        raise Failed("the file is there yet")
    has(kube.culvert(*FRONT, timeout=120).stdout, "all TCP connections")
    kube.culvert("leave", "front")
    issuer.change(accounts=ACCOUNTS, lifetime=3600)


def by_code(kube, issuer):
    step("an issuer without a device grant: the code comes to a port of this computer; nobody else's answer counts")
    use_issuer(kube, issuer, "nodevice")
    p, said = start_login(kube, "Open")
    url = said[-1].split()[-1]
    redirect = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))["redirect_uri"]
    answer = issuer.browser().login(url, "dev", redirect)

    def browser(query):
        return kube.run("laptop", "curl", "-sS", f"{redirect}?{urllib.parse.urlencode(query)}").stdout

    has(browser({**answer, "state": "x"}), "not the answer")
    has(browser(answer), "close this page")
    has(p.communicate(timeout=60)[0], "Login successful.")
    wait_for("the manager", lambda: f"dev ({issuer.url})" in login_line(kube))


def without_the_issuer(kube, issuer):
    step("the issuer is down: a sentence; who is logged in stays so")
    issuer.stop()
    fails(kube, 1, "login", says=[NODE_ADDRESS])
    has(login_line(kube), f"dev ({issuer.url})")
    kube.culvert("logout")
    has(login_line(kube), "not logged in")


def main():
    with Kube() as kube:
        step("a shop of two tiers behind an ingress with TLS, culvert with a gateway")
        kube.up()
        workloads.apply(kube, workloads.namespace(SPACE))
        tiers.install(kube, SPACE)
        pem = ingress.install(kube, {SHOP: (SPACE, "front", 80)})
        installed.install(kube, "--preview-domain", DOMAIN, "--ingress-ca", pem, group=workloads.GROUP)
        workloads.developer(kube, "ana", SPACE)
        workloads.connected(kube)
        logged_out(kube)
        as_kubernetes_says(kube)
        in_vain(kube)
        questions(kube)
        issuer = run_issuer(kube)
        try:
            at_an_issuer(kube, issuer)
            ended_by_the_issuer(kube, issuer)
            by_code(kube, issuer)
            without_the_issuer(kube, issuer)
        finally:
            issuer.stop()
        kube.culvert("quit")


story(main)
