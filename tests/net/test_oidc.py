#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Logging in at a real issuer, by each way; and what it refuses, revokes, changes, and says when it is not there.

    laptop 10.98.0.1 --- 10.98.0.2 issuer (the certified oidc-provider)

oidc_client has one line of JSON for each answer of oidc/.
"""
import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time

from issuer import ACCOUNTS, REDIRECTS, Issuer, client
from lab import ROOT, Failed, sh, step, story

REFUSED, CANCELLED, UNREACHABLE, UNSUPPORTED = 2, 3, 1, 4
ADDRESS = "10.98.0.2"
REDIRECT = REDIRECTS[0].replace("127.0.0.1", "127.0.0.1:45871")
CLIENTS = [
    client("culvert"), client("elliptic", id_token_signed_response_alg="ES256"), client("other"),
    {"client_id": "gateway", "client_secret": "a secret+with/odd=signs", "redirect_uris": ["https://dashboard.example.com/callback"],
     "grant_types": ["authorization_code"], "scope": "openid profile email groups"},
    client("nodevice", grant_types=["authorization_code"]),
]


class World:
    """Two namespaces, the issuer in one of them."""

    def __init__(self):
        self.laptop, self.site = f"cvo{os.getpid()}a", f"cvo{os.getpid()}b"
        self.dir = tempfile.mkdtemp(prefix="cvo-")
        self.issuer = None

    def __enter__(self):
        for name in (self.laptop, self.site):
            sh("ip", "netns", "add", name)
            sh("ip", "-n", name, "link", "set", "lo", "up")
        sh("ip", "link", "add", "wire", "netns", self.laptop, "type", "veth", "peer", "name", "wire", "netns", self.site)
        for name, address in ((self.laptop, "10.98.0.1"), (self.site, ADDRESS)):
            sh("ip", "-n", name, "address", "add", f"{address}/24", "dev", "wire")
            sh("ip", "-n", name, "link", "set", "wire", "up")
        self.issuer = Issuer(self.dir, ADDRESS, run=["ip", "netns", "exec", self.site], clients=CLIENTS, interval=1)
        self.issuer.start()
        return self

    def __exit__(self, kind, value, trace):
        if kind and self.issuer and self.issuer.process:
            print(self.issuer.process.output()[-4000:])
        if self.issuer:
            self.issuer.stop()
        for name in (self.laptop, self.site):
            sh("ip", "netns", "delete", name, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    @contextlib.contextmanager
    def program(self, name="culvert", *more, ca=True, url=None):
        with Program([
                "ip", "netns", "exec", self.laptop, os.path.join(os.environ.get("CULVERT_BIN", os.path.join(ROOT, "build/dev")),
                                                                 "tests/oidc_client"), url or self.issuer.url, name,
                *(["--ca", self.issuer.ca] if ca else []), "--scopes", "openid profile email groups", *more]) as p:
            yield p

    def tokens(self, p, account="dev"):
        """By the device grant."""
        shown = p.ask("device")["show"]
        self.issuer.browser().approve(shown[2], account)
        return p.tokens()


class Program:
    def __init__(self, argv):
        self.popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.popen.stdin.close()
        code = self.popen.wait(10)
        self.popen.stdout.close()
        if code and (not kind or code == 1):
            raise Failed(f"oidc_client: exit {code}")

    def say(self, *words):
        self.popen.stdin.write(" ".join(words) + "\n")
        self.popen.stdin.flush()

    def answer(self):
        line = self.popen.stdout.readline()
        if not line:
            raise Failed("oidc_client ended")
        return json.loads(line)

    def ask(self, *words):
        self.say(*words)
        return self.answer()

    def tokens(self):
        got = self.answer()
        if "id_token" not in got:
            raise Failed(f"no tokens: {got}")
        return got

    def refused(self, error, wants, *words):
        got = self.ask(*words) if words else self.answer()
        missing = [w for w in wants if w.lower() not in got.get("sentence", "").lower()]
        if got.get("error") != error or missing:
            raise Failed(f"{words}: expected error {error} with {wants}, got {got}")


def part(token, n):
    text = token.split(".")[n]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def device(w):
    step("device grant: the code with its link, a code that is typed, and the name that is shown")
    with w.program("culvert", "--offline", "--allow", "groups=nobody", "--allow", "groups=dev") as p:
        t = w.tokens(p)
        assert t["who"]["subject"] == "dev" and t["who"]["name"] == "dev" and t["refresh_token"], t
        assert part(t["id_token"], 0)["alg"] == "RS256", t
        assert p.ask("verify", t["id_token"])["who"] == t["who"]
        shown = p.ask("device")["show"]
        w.issuer.browser().approve(shown[0], "dev", shown[1])
        p.tokens()
    with w.program("elliptic", "--allow", "groups=dev") as p:
        t = w.tokens(p)
        assert part(t["id_token"], 0)["alg"] == "ES256" and not t["refresh_token"], t
        assert p.ask("verify", t["id_token"])["who"]["subject"] == "dev"

    step("device grant: refused at the code, refused at the login; cancelled here")
    with w.program() as p:
        shown = p.ask("device")["show"]
        w.issuer.browser().approve(shown[2], None)
        p.refused(CANCELLED, ["refused"])
        p.ask("device")
        assert p.ask("cancel") == {"done": True}

    step("device grant: asked too often (slow_down), the person takes their time")
    w.issuer.change(pace=3)
    with w.program() as p:
        shown = p.ask("device")["show"]
        w.issuer.wait("slow_down")
        w.issuer.browser().approve(shown[2], "dev")
        p.tokens()
    w.issuer.change(pace=0)

    step("device grant: a code that expires, a client that may not, an issuer that never heard of the client")
    w.issuer.change(device=2)
    with w.program() as p:
        p.ask("device")
        p.refused(REFUSED, ["expired", "log in again"])
    w.issuer.change(device=600)
    with w.program("nodevice") as p:
        p.refused(UNSUPPORTED, ["nodevice"], "device")
    with w.program("stranger") as p:
        p.refused(REFUSED, ["stranger"], "device")


def foreign(w):
    step("tokens: of another client, of nobody who may enter, changed, cut, without rules")
    with w.program("other") as p:
        foreign_token = w.tokens(p)["id_token"]
    with w.program("culvert", "--allow", "groups=dev") as p:
        good = w.tokens(p)["id_token"]
        p.refused(REFUSED, ["another client"], "verify", foreign_token)
        head, claims, signature = good.split(".")
        swapped = json.loads(json.dumps(part(good, 1)).replace('"dev"', '"root"'))
        forged = base64.urlsafe_b64encode(json.dumps(swapped).encode()).decode().rstrip("=")
        p.refused(REFUSED, ["signature"], "verify", f"{head}.{forged}.{signature}")
        p.refused(REFUSED, ["three parts"], "verify", f"{head}.{claims}")
        none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
        p.refused(REFUSED, ["RS256"], "verify", f"{none}.{claims}.")
        p.refused(REFUSED, ["nonce"], "verify", good, "of-another-login")
        shown = p.ask("device")["show"]
        w.issuer.browser().approve(shown[2], "guest")
        p.refused(REFUSED, ["guest", "may not enter", "groups=dev"])
    with w.program() as p:
        p.refused(REFUSED, ["nobody may enter"], "verify", good)
    with w.program("culvert", "--allow", "level=3") as p:
        assert p.ask("verify", good)["who"]["subject"] == "dev"
    with w.program("culvert", "--allow", "email_verified=true") as p:
        assert p.ask("verify", good)["who"]["subject"] == "dev"


def code(w):
    step("code flow: a public client with PKCE on a loopback port, a confidential one with its secret")
    with w.program("culvert", "--offline") as p:
        begun = p.ask("begin", REDIRECT)
        came = w.issuer.browser().login(begun["url"], "dev", REDIRECT)
        assert came["state"] == begun["flow"][0] and came["iss"] == w.issuer.url, came
        t = p.ask("finish", REDIRECT, *begun["flow"], came["code"])
        assert t["who"]["subject"] == "dev" and t["refresh_token"], t
        assert part(t["id_token"], 1)["nonce"] == begun["flow"][1]
        p.refused(REFUSED, ["used before"], "finish", REDIRECT, *begun["flow"], came["code"])

        begun = p.ask("begin", REDIRECT)
        came = w.issuer.browser().login(begun["url"], "dev", REDIRECT)
        state, nonce, _ = begun["flow"]
        other = p.ask("begin", REDIRECT)["flow"]
        assert not set(other) & set(begun["flow"])
        p.refused(REFUSED, ["log in again"], "finish", REDIRECT, state, nonce, other[2], came["code"])

        begun = p.ask("begin", REDIRECT)
        came = w.issuer.browser().login(begun["url"], "dev", REDIRECT)
        state, _, verifier = begun["flow"]
        p.refused(REFUSED, ["nonce"], "finish", REDIRECT, state, "another", verifier, came["code"])

        begun = p.ask("begin", REDIRECT)
        came = w.issuer.browser().login(begun["url"], None, REDIRECT)
        assert came["error"] == "access_denied", came
    secret, where = CLIENTS[3]["client_secret"], CLIENTS[3]["redirect_uris"][0]
    for given, good in ((secret.replace(" ", "_"), False), (secret, True)):
        with w.program("gateway", "--secret", given, "--allow", "groups=dev") as p:
            begun = p.ask("begin", where)
            came = w.issuer.browser().login(begun["url"], "dev", where)
            words = ("finish", where, *begun["flow"], came["code"])
            if good:
                assert p.ask(*words)["who"]["subject"] == "dev"
            else:
                p.refused(REFUSED, ["gateway", "secret"], *words)


def refresh(w):
    step("refresh: the token changes, an old one ends all of them, a revoked one, an account that has gone")
    with w.program("culvert", "--offline") as p:
        first = w.tokens(p)
        second = p.ask("refresh", first["refresh_token"])
        assert second["refresh_token"] != first["refresh_token"] and second["who"]["subject"] == "dev"
        p.refused(REFUSED, ["revoked", "log in again"], "refresh", first["refresh_token"])
        p.refused(REFUSED, ["revoked"], "refresh", second["refresh_token"])

        t = w.tokens(p)
        assert p.ask("revoke", t["refresh_token"]) == {"done": True}
        p.refused(REFUSED, ["revoked"], "refresh", t["refresh_token"])

        t = w.tokens(p)
        w.issuer.change(accounts={"guest": ACCOUNTS["guest"]})
        p.refused(REFUSED, ["log in again"], "refresh", t["refresh_token"])
        w.issuer.change(accounts=ACCOUNTS)


def keys(w):
    step("keys: the issuer changes them; tokens by the new ones are good, those by the old ones no more")
    with w.program("culvert", "--allow", "groups=dev") as p, w.program("culvert", "--allow", "groups=dev") as late:
        old = w.tokens(p)["id_token"]
        assert late.ask("verify", old)["who"]
        w.issuer.change(keys=2)
        new = w.tokens(p)["id_token"]
        assert part(old, 0)["kid"] != part(new, 0)["kid"]
        assert late.ask("verify", new)["who"]
        p.refused(REFUSED, ["key that the issuer does not have"], "verify", old)


def clocks(w):
    step("clocks: an issuer that is ahead, tokens that have expired; a minute is forgiven")
    with w.program("culvert", "--allow", "groups=dev") as p:
        w.issuer.change(clock=40)
        good = w.tokens(p)["id_token"]
        assert p.ask("verify", good)["who"]
        w.issuer.change(clock=600)
        shown = p.ask("device")["show"]
        w.issuer.browser().approve(shown[2], "dev")
        p.refused(REFUSED, ["clock"])
        w.issuer.change(clock=-600, lifetime=560)
        assert p.ask("verify", w.tokens(p)["id_token"])["who"]["expires"] < time.time()
        w.issuer.change(clock=-600, lifetime=300)
        shown = p.ask("device")["show"]
        w.issuer.browser().approve(shown[2], "dev")
        p.refused(REFUSED, ["expired", "log in again"])
        w.issuer.change(clock=0, lifetime=3600)


def down(w):
    step("an issuer without its authority, at another name, down; and up again in the middle of a login")
    with w.program(ca=False) as p:
        p.refused(UNREACHABLE, ["certificate"], "device")
    with w.program(url=w.issuer.url + "/") as p:
        p.refused(UNREACHABLE, ["calls itself", "just so"], "device")
    with w.program("culvert", "--allow", "groups=dev") as p, w.program("culvert", "--allow", "groups=dev") as cold:
        good = w.tokens(p)["id_token"]
        shown = p.ask("device")["show"]
        config = dict(w.issuer.config)
        w.issuer.stop()
        cold.refused(UNREACHABLE, ["cannot be asked", ADDRESS, "try again"], "verify", good)
        cold.refused(UNREACHABLE, ["cannot be asked", ADDRESS], "device")
        w.issuer.config = config
        w.issuer.start()
        w.issuer.browser()
        p.refused(REFUSED, [])  # it remembers nothing of that code; the polling went on until it said so
        assert shown
        t = w.tokens(p)["id_token"]  # by keys that are new as well
        assert cold.ask("verify", t)["who"]


def main():
    with World() as w:
        device(w)
        foreign(w)
        code(w)
        refresh(w)
        keys(w)
        clocks(w)
        down(w)


if __name__ == "__main__":
    story(main)
