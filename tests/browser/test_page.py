#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The dashboard in Chromium, served by the gateway: who may see it, what it shows of hostile names, its list, filters and bounds,
keys and contrast, and what it says when gateway or manager go away. Screenshots go to $CULVERT_SCREENSHOTS, if that is a folder.

The test has a network of its own: it starts itself again in one.
"""
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

from browser import Browser
from feed import Feed
from lab import ROOT, Failed, Process, sh, step, story, wait_for
from pki import Pki

DOMAIN, PORT, TOKEN = "preview.test", 8443, "the-gateway's-token"
PAGE = f"https://dashboard.{DOMAIN}:{PORT}"
ID = "5f0c81d2a3b94e77b1c0a7e6d5c4b3a2"
LINK = f"https://{ID}.{DOMAIN}:{PORT}/"
CSP = ("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; "
       "frame-ancestors 'none'")
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
LONG = "recommendations-canary-with-quite-a-long-name-eu-central-1"

# Each text's contrast with what is behind it: [ratio, text] of those below 4.5 (WCAG 2.2, 1.4.3).
CONTRAST = """
const rgb = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
const lum = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] > .99) return c; } return [255, 255, 255, 1]; };
const low = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
	const e = walk.currentNode.parentElement;
	if (!walk.currentNode.data.trim() || !e.checkVisibility() || e.closest('.unseen, .skip, script, noscript')) continue;
	const [a, b] = [lum(rgb(getComputedStyle(e).color).slice(0, 3)), lum(behind(e).slice(0, 3))];
	const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
	if (ratio < 4.5) low.push([ratio.toFixed(2), walk.currentNode.data]);
}
return low;
"""


def intercept(uid, name, **other):
    return {"uid": uid, "name": name, "namespace": "shop", "kind": "deployment", "workload": name, "service": name, "ports": ["http"], "mechanism": "http",
            "match": "x-user=ana", "user": "ana", "login": "", "phase": "Active", "message": "", "online": True, "requests": 0, "connections": 0, "url": "", **other}


INTERCEPTS = [
    intercept("u1", "checkout", match=f"x-culvert-intercept-id: {ID}:checkout", requests=1284, url=LINK),
    intercept("u2", "cart", user="ben", match="x-user=ben and path /api", online=False),
    intercept("u3", LONG, user="system:serviceaccount:ci-runners-europe:integration-tests-nightly", mechanism="tcp", match="", connections=40213),
    intercept("u4", "search", match="x-user=([a-z", phase="Failed", message="The pattern of x-user does not compile: missing ] at column 6."),
    intercept("u5", HOSTILE, user="eve", match="</code><script>document.title='owned'</script>", url="javascript:document.title='owned'"),
]
PREVIEW = {"id": ID, "uid": "u1", "name": "checkout", "namespace": "shop", "workload": "checkout", "user": "ana", "login": "", "header": f"{ID}:checkout",
           "online": True, "ingress": {"host": "127.0.0.1", "port": 9, "tls": False, "l5": "shop.example.com", "verify": False}, "shares": []}


ASKED = "form[action^='/.culvert/enter'] button"


class Place:
    """The gateway, and a manager told by the test."""

    def __init__(self, folder):
        self.dir = folder
        self.pki = Pki(f"{folder}/pki", "")
        self.pki.authority()
        self.pki.certificate("culvert", "culvert", names="DNS:culvert.culvert.svc")
        self.pki.certificate("tls", "gateway", names=f"DNS:*.{DOMAIN}")
        keys = f"{folder}/keys"
        os.mkdir(keys)
        for name in ("tls.crt", "tls.key"):
            shutil.copy(self.pki.path(name), keys)
        self.write("keys/cookie.key", sh("openssl", "rand", "-base64", "32").stdout)
        self.write("token", TOKEN)
        self.write("gateway.yaml", f"""
listen: 127.0.0.1:{PORT}
preview-domain: "{DOMAIN}:{PORT}"
manager: 127.0.0.1:7443
manager-name: culvert.culvert.svc
ca: {self.pki.path("ca.crt")}
token: {folder}/token
keys: {keys}
tls: ""
ingress-ca: ""
""")
        self.feed = Feed(("127.0.0.1", 7443), self.pki, TOKEN)
        self.feed.tell("previews", {"epoch": 1, "previews": [PREVIEW]})
        self.show()
        self.start()

    def show(self, *intercepts):
        self.feed.tell("intercepts", {"epoch": time.monotonic_ns(), "intercepts": list(intercepts)})

    def write(self, name, text):
        with open(f"{self.dir}/{name}", "w") as f:
            f.write(text)
        os.chmod(f"{self.dir}/{name}", 0o600)

    def start(self):
        binaries = os.environ.get("CULVERT_BIN") or os.path.join(ROOT, "build/release")
        self.gateway = Process("gateway", [f"{binaries}/culvert-gateway", "--config", f"{self.dir}/gateway.yaml"], f"{self.dir}/gateway.log", dict(os.environ))
        wait_for("the gateway", lambda: not self.gateway.running() or "LISTEN" in sh("ss", "-Hltn", f"sport = :{PORT}").stdout)
        wait_for("its connection to the manager", lambda: not self.gateway.running() or self.feed.link)
        if not self.gateway.running():
            raise Failed(f"the gateway has ended: {self.gateway.output()}")

    def enter(self, browser, user="ana"):
        self.feed.tickets["T" * 43] = {"user": user, "login": ""}
        browser.open(f"{PAGE}/.culvert/enter?ticket={'T' * 43}")
        if browser.count(ASKED):  # not of who is in by that name already
            picture(browser, "whose")
            if f"dashboard of {user}?" not in browser.text():
                raise Failed(f"the page that asks says {browser.text()}")
            browser.click(ASKED)
        browser.until("the page", lambda: browser.count("#rows") and browser.text("#link-text") == "Live")


def row(n, uid="u1", method="GET", path=None, status=200, ms=12, by="laptop"):
    return [uid, int(time.time() * 1000), method, path or f"/api/{n}", status, ms, by]


def rows(browser):
    """[time, method, path, status, ms, by, intercept] of each."""
    return browser.script("return [...document.querySelectorAll('#rows tr')].map((r) => [...r.cells].map((c) => c.textContent))")


def picture(browser, name):
    folder = os.environ.get("CULVERT_SCREENSHOTS")
    if folder:
        browser.screenshot(f"{folder}/page-{name}.png")


def answer(path, *extra):
    return sh("curl", "-sSk", "-i", "-m", "10", "--resolve", f"*:{PORT}:127.0.0.1", *extra, f"{PAGE}{path}").stdout


def who_may(place, browser):
    step("without a login: neither page nor state nor events; a ticket is good once")
    for path in ("/api/state", "/api/events"):
        if answer(path).split()[1] not in ("401", "403"):
            raise Failed(f"{path} without a login: {answer(path)}")
    browser.open(f"{PAGE}/")
    if browser.count("#rows"):
        raise Failed("the page is shown to anybody")
    picture(browser, "login")
    place.enter(browser)
    secure = [c for c in browser.cookies().values() if not (c["name"].startswith("__Host-") and c["secure"] and c["httpOnly"] and c["sameSite"] == "Lax")]
    if secure or not browser.cookies():
        raise Failed(f"cookies: {browser.cookies()}")
    browser.forget()
    browser.open(f"{PAGE}/.culvert/enter?ticket={'T' * 43}")
    if browser.count("#rows"):
        raise Failed("a used ticket opened the page")
    browser.errors()
    step("the policy of the page's content, to the letter; small files of our own")
    place.enter(browser)
    head = answer("/app.css").split("\r\n\r\n")[0].lower()
    served = browser.promise("fetch('/').then((a) => done([a.headers.get('content-security-policy'), a.headers.get('x-content-type-options'), a.headers.get('cache-control')]))")
    if served[0] != CSP or served[1] != "nosniff" or "no-store" not in (served[2] or "") or "nosniff" not in head:
        raise Failed(f"headers: {served}; {head}")
    size = sum(os.path.getsize(f"{ROOT}/web/{f}") for f in os.listdir(f"{ROOT}/web"))
    if size > 40 << 10:
        raise Failed(f"web/ has {size} bytes")


def intercepts(place, browser):
    step("nobody intercepts: the page says so; then five, hostile and long names among them, as text")
    if "Nobody" not in browser.text("#no-intercepts") or "Waiting" not in browser.text("#no-rows"):
        raise Failed(f"empty: {browser.text()}")
    picture(browser, "empty")
    place.show(*INTERCEPTS)
    browser.until("five", lambda: browser.count("#intercepts li") == 5)
    names = browser.script("return [...document.querySelectorAll('#intercepts h3')].map((h) => h.textContent)")
    if sorted(names) != sorted(i["name"] for i in INTERCEPTS):
        raise Failed(f"names: {names}")
    if browser.count("#intercepts img") or browser.count("#intercepts script") or browser.title() == "owned":
        raise Failed("a name has become an element")
    links = browser.script("return [...document.querySelectorAll('#intercepts a')].map((a) => [a.href, a.rel])")
    if links != [[LINK, "noreferrer"]]:
        raise Failed(f"links: {links}")
    text = browser.text("#intercepts")
    for word in ("Laptop away", "Failed", "missing ] at column 6", "1,284", "40,213", "you"):
        if word not in text:
            raise Failed(f"'{word}' is not in {text!r}")
    step("the link is copied by its button, by keyboard, and stays in hand while figures move")
    browser.devtools("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    browser.script("document.querySelector('.preview button').focus()")
    place.show({**INTERCEPTS[0], "requests": 1285}, *INTERCEPTS[1:])
    browser.until("the figure", lambda: "1,285" in browser.text("#intercepts"))
    if not browser.script("return document.activeElement.matches('.preview button')"):
        raise Failed("the focus was lost when a figure moved")
    browser.press("Enter")
    browser.until("the copy", lambda: browser.promise("navigator.clipboard.readText().then(done, (e) => done(String(e)))") == LINK)


def requests(place, browser):
    step("requests as they come: the newest first, 500 of them, others' counted only")
    place.feed.requests(*[row(n) for n in range(300)], dropped=7)
    place.feed.requests(*[row(n) for n in range(300, 600)])
    browser.until("500", lambda: browser.count("#rows tr") == 500)
    place.feed.requests(row(0, method="DELETE", path=HOSTILE, status=404, ms=1500), row(0, uid="u2", path="/secret"), row(0, path="/static/a.css", status=304, by="pod"),
                        row(0, method="POST", path="/api/orders", status=503, ms=31))
    browser.until("the newest", lambda: any(r[2] == "/api/orders" for r in rows(browser)[:3]))
    all_rows = rows(browser)
    if len(all_rows) != 500 or any(r[2] == "/secret" for r in all_rows) or "/api/0" in [r[2] for r in all_rows] or browser.count("#rows img"):
        raise Failed(f"{len(all_rows)} rows, the newest: {all_rows[:5]}")
    foot = browser.text("#foot")
    if "7 more" not in foot or "1 went to others" not in foot or "500" not in foot:
        raise Failed(f"the foot says {foot}")
    step("filters: text, status, who served; none that matches; back to all")
    browser.type("#text", "post ord")
    browser.until("one", lambda: [r[1:4] + r[5:] for r in rows(browser)] == [["POST", "/api/orders", "503", "laptop", "checkout"]])
    browser.type("#text", "")
    browser.script("document.getElementById('text').dispatchEvent(new Event('input'))")
    for selector, want in (("input[value='4'] + span", HOSTILE), ("input[value='3'] + span", "/static/a.css")):
        browser.click(selector)
        browser.until(want, lambda w=want: [r[2] for r in rows(browser)] == [w])
    browser.click("input[value='laptop'] + span")
    browser.until("none", lambda: "matches" in browser.text("#no-rows-text"))
    browser.click("#reset")
    browser.until("all", lambda: browser.count("#rows tr") == 500)
    step("pause, resume and the choice of a status by keyboard alone")
    browser.script("document.getElementById('requests').focus()")
    browser.press("Tab", "Space")
    place.feed.requests(row(0, path="/while-paused"))
    browser.until("what waits", lambda: browser.text("#pause") == "Resume (1 new)")
    if any(r[2] == "/while-paused" for r in rows(browser)):
        raise Failed("a paused list moves")
    browser.press("Space")
    browser.until("what waited", lambda: rows(browser)[0][2] == "/while-paused")
    browser.press("Tab", "Tab", "Tab", "Right", "Right", "Right", "Right")
    browser.until("5xx alone", lambda: {r[3] for r in rows(browser)} == {"503"})
    browser.click("input[name=status][value=''] + span")
    browser.until("the graphs", lambda: browser.script("return document.getElementById('rate-laptop').getAttribute('d') && document.getElementById('latency-p50').getAttribute('d')"))


def looks(browser):
    step("enough contrast in light and dark; nothing wider than a small screen")
    for dark in (False, True):
        browser.colours(dark)
        wait_for("the rows' arrival", lambda: not browser.script("return document.getAnimations().length"))
        if low := browser.script(CONTRAST):
            raise Failed(f"{'dark' if dark else 'light'}: too little contrast: {low[:8]}")
        picture(browser, "dark" if dark else "light")
    browser.colours(False)
    for width in (360, 768):
        browser.width(width, 1400)
        if (wide := browser.script("return document.documentElement.scrollWidth")) > width:
            raise Failed(f"the page is {wide} wide on a screen of {width}")
        picture(browser, str(width))
    browser.width(1280, 900)
    unnamed = browser.script("return [...document.querySelectorAll('button, input, a, [role=region], svg[role=img]')].filter((e) => !(e.getAttribute('aria-label') || "
                             "e.getAttribute('aria-labelledby') || e.textContent.trim() || (e.labels && e.labels.length))).map((e) => e.outerHTML)")
    if unnamed:
        raise Failed(f"without a name: {unnamed}")


def goings(place, browser):
    step("the manager goes and comes; the gateway goes and comes: the page says it, and nothing is there twice")
    if errors := browser.errors():
        raise Failed(f"the console has {errors}")
    place.feed.stop()
    browser.until("no manager", lambda: browser.text("#link-text") == "Manager away" and "lost the manager" in browser.text("#notice"))
    place.feed.start()
    browser.until("the manager", lambda: browser.text("#link-text") == "Live")
    before = [r[1:] for r in rows(browser)]
    place.gateway.stop()
    browser.until("no gateway", lambda: browser.text("#link-text") == "Reconnecting…")
    place.start()
    browser.until("the gateway", lambda: browser.text("#link-text") == "Live")
    if [r[1:] for r in rows(browser)] != before:
        raise Failed("after the gateway came back the list is another")
    browser.errors()
    step("logged out: the page is gone")
    browser.click("header form button")
    browser.until("the farewell", lambda: "logged out" in browser.text("main").lower())
    browser.open(f"{PAGE}/")
    if browser.count("#rows"):
        raise Failed("logged out, and the page is there")
    foreign = answer("/logout", "-X", "POST", "-d", "", "-H", "Origin: https://evil.example")
    if foreign.split()[1] != "403":
        raise Failed(f"a page of another origin may log out: {foreign}")


def main():
    folder = tempfile.mkdtemp(prefix="culvert-page-")
    place = None
    try:
        place = Place(folder)
        with Browser(folder=folder, flags=[f"--host-resolver-rules=MAP *.{DOMAIN} 127.0.0.1"]) as browser:
            who_may(place, browser)
            intercepts(place, browser)
            requests(place, browser)
            looks(browser)
            goings(place, browser)
    except BaseException:
        with contextlib.suppress(OSError):
            print(open(f"{folder}/gateway.log").read()[-3000:], file=sys.stderr)
        raise
    finally:
        if place and place.gateway.stop() not in (0, None):
            print(place.gateway.output()[-3000:], file=sys.stderr)
            raise Failed("the gateway did not end well")
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if "CULVERT_PAGE_NETWORK" not in os.environ:
        env = {**os.environ, "CULVERT_PAGE_NETWORK": "1"}
        sys.exit(subprocess.run(["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, *sys.argv], env=env).returncode)
    story(main)
