# SPDX-License-Identifier: Apache-2.0
"""A real OpenID provider (tests/oidc) in a namespace, and a browser without a screen that logs in there.

    issuer = Issuer(folder, "10.99.2.9", run=["ip", "netns", "exec", NAME])   # run: in front of each command; [] = here
    issuer.start()
    issuer.url, issuer.ca                                    # what an installation is told
    issuer.browser().approve(link, "dev")                    # a device code, as the account dev
    code = issuer.browser().login(url, "dev", redirect_uri)  # a code flow; the query of the redirect
    issuer.change(keys=2)                                    # keys, accounts, clock, ...: see provider.mjs
"""
import html.parser
import itertools
import json
import os
import subprocess
import urllib.parse

from lab import ROOT, Failed, Process, sh, wait_for
from pki import Pki

ACCOUNTS = {
    "dev": {"preferred_username": "dev", "name": "Dora Dev", "email": "dev@example.com", "email_verified": True,
            "groups": ["staff", "dev"], "level": 3},
    "guest": {"preferred_username": "guest", "email": "guest@example.com", "email_verified": True, "groups": ["guests"]},
}
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
REDIRECTS = ["http://127.0.0.1/culvert"]  # a native client's may have any port
SCOPES = "openid profile email groups offline_access"
VISITORS = itertools.count()


def client(name, **more):
    """A public client with all that a laptop uses."""
    return {"client_id": name, "token_endpoint_auth_method": "none", "application_type": "native", "redirect_uris": REDIRECTS,
            "grant_types": ["authorization_code", "refresh_token", DEVICE], "response_types": ["code"], "scope": SCOPES, **more}


class Issuer:
    """The provider, and what it was told."""

    def __init__(self, folder, address, port=9443, run=(), clients=None, **config):
        self.dir, self.run, self.process = folder, list(run), None
        self.url = f"https://{address}:{port}"
        self.pki = Pki(os.path.join(folder, "pki"), self.url)
        self.ca = self.pki.path("ca.crt")
        self.config = {"issuer": self.url, "host": address, "port": port, "cert": self.pki.path("issuer.crt"),
                       "key": self.pki.path("issuer.key"), "accounts": ACCOUNTS, "clients": clients or [client("culvert")], **config}
        self.loads = 0

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self):
        with open(self.path("issuer.json"), "w") as f:
            json.dump(self.config, f)

    def start(self):
        """Up when this returns. The packages are installed first, where they are not yet."""
        packages = sh(os.path.join(ROOT, "tests/oidc/build"), timeout=300).stdout.strip()
        if not os.path.exists(self.ca):
            self.pki.authority()
            address = self.config["host"]
            self.pki.certificate("issuer", "issuer", names=f"IP:{address}")
        self.write()
        self.loads = 0
        open(self.path("issuer.log"), "w").close()
        argv = [*self.run, os.path.join(packages, "node"), os.path.join(ROOT, "tests/oidc/provider.mjs"), self.path("issuer.json"),
                packages]
        self.process = Process("issuer", argv, self.path("issuer.log"), {**os.environ, "NO_COLOR": "1"})
        self.wait("listening on")
        self.loads = 1
        return self

    def wait(self, line):
        def said():
            if not self.process.running():
                raise AssertionError(f"the issuer ended; its log:\n{self.process.output()[-3000:]}")
            return line in self.process.output()

        wait_for(f"the issuer's line '{line}'", said)

    def change(self, **config):
        """Takes effect before this returns."""
        self.config.update(config)
        self.write()
        self.loads += 1
        os.kill(self.process.pid, 1)
        self.wait(f"ready {self.loads}\n")

    def stop(self):
        if self.process:
            self.process.stop()
        self.process = None

    def browser(self):
        return Browser(self)


class Page(html.parser.HTMLParser):
    """The forms of a page: [{"action": URL, "method": ..., "fields": {...}}], and its links."""

    def __init__(self, url, text):
        super().__init__()
        self.url, self.text, self.forms, self.links = url, text, [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if tag == "form":
            self.forms.append({"action": urllib.parse.urljoin(self.url, a.get("action", "")), "method": a.get("method", "get").lower(),
                               "fields": {}})
        elif tag == "input" and self.forms and a.get("name"):
            self.forms[-1]["fields"][a["name"]] = a.get("value") or ""
        elif tag == "a" and a.get("href"):
            self.links.append(urllib.parse.urljoin(self.url, a["href"]))


class Browser:
    """Cookies and redirects by curl, from the issuer's place or another; each is one visitor."""

    def __init__(self, issuer, run=None):
        self.issuer, self.run = issuer, issuer.run if run is None else list(run)
        self.jar = os.path.join(issuer.dir, f"cookies-{next(VISITORS)}")

    def request(self, url, fields=None, until=None):
        """Follows redirects up to one that begins with `until`. The Page it ends at, or that redirect's URL."""
        for _ in range(20):
            argv = [*self.run, "curl", "-sS", "--max-time", "20", "--cacert", self.issuer.ca, "-b", self.jar, "-c", self.jar, "-o", "-",
                    "-w", "\n%{http_code} %{redirect_url}", url]
            for name, value in (fields or {}).items():
                argv += ["--data-urlencode", f"{name}={value}"]
            if fields == {}:
                argv += ["-X", "POST"]
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
            if done.returncode:
                raise Failed(f"{url}: {done.stderr.strip()}")
            body, _, last = done.stdout.rpartition("\n")
            status, _, to = last.partition(" ")
            if not to:
                if not status.startswith("2"):
                    raise Failed(f"{url} answered {status}:\n{body[:2000]}")
                return Page(url, body)
            if until and to.startswith(until):
                return to
            url, fields = to, None
        raise Failed(f"{url}: redirects without an end")

    def submit(self, page, until=None, which=0, **fields):
        form = page.forms[which]
        return self.request(form["action"], {**form["fields"], **fields}, until)

    def answer(self, page, account, until=None):
        """Login and consent, until there is nothing more to answer; account None refuses."""
        while isinstance(page, Page) and "/interaction/" in page.url:
            if account is None:
                refuse = [link for link in page.links if link.endswith("/abort")]
                page = self.request(refuse[0], until=until)
            elif "login" in page.forms[0]["fields"]:
                page = self.submit(page, until, login=account, password="any")
            else:
                page = self.submit(page, until)
        return page

    def approve(self, link, account, code=None):
        """A device code: `link` has it in it, or `code` is typed. account None refuses it."""
        page = self.request(link)
        page = self.submit(page, **({"user_code": code} if code else {}))
        page = self.submit(page) if account else self.submit(page, abort="yes")
        page = self.answer(page, account)
        wanted = "successful" if account else "interrupted"
        if wanted not in page.text:
            raise Failed(f"the issuer's last page does not say '{wanted}':\n{page.text[:3000]}")

    def login(self, url, account, redirect_uri):
        """A code flow from its first page to the redirect; that one's query as a dict."""
        end = self.request(url, until=redirect_uri)
        end = self.answer(end, account, redirect_uri)
        if isinstance(end, Page):
            raise Failed(f"the code flow ended at {end.url}:\n{end.text[:3000]}")
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(end).query))
