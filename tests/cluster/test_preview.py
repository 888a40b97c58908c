#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A colleague opens a link in a browser and sees one developer's version of the second tier; who has no link sees the cluster's.
Then what a preview does when the laptop is away, when its links are revoked and when it has ended; and the dashboard.

Screenshots go to $CULVERT_SCREENSHOTS, if that is a folder.
"""
import os

import ingress
import installed
import tiers
import workloads
from browser import Browser
from kube import Kube
from lab import Failed, step, story, wait_for

SPACE, SHOP, DOMAIN, UPLOAD = "shop", "shop.example.com", "preview.test", 5_000_000
MINE, THEIRS = "ana-laptop", "cluster"
PARTS = ("made", "asked", "event", "ws")  # of the page: who answered the front's own request, a fetch, an event stream and a WebSocket


def picture(browser, name):
    folder = os.environ.get("CULVERT_SCREENSHOTS")
    if folder:
        browser.screenshot(f"{folder}/{name}.png")


def visitor(kube, name):
    """A browser outside the cluster, for which previews and the shop are where the node's ports are."""
    node = kube.node_address()
    port = next(p["nodePort"] for p in kube.get("-n", "culvert", "service", "culvert-gateway")["spec"]["ports"] if p["name"] == "previews")
    rules = f"MAP *.{DOMAIN} {node}:{port},MAP {SHOP} {node}:{ingress.node_port(kube)}"
    return Browser(kube.argv("other", [], None), kube.dir, [f"--host-resolver-rules={rules}"], name=name)


def made_by(browser, who):
    """Everything on the shop's page came from `who`."""
    def parts():
        said = [browser.text(f"#{p}") for p in PARTS]
        return said if all(said) else None
    said = browser.until(f"the shop's page by {who}", parts)
    want = [who, who, who, f"{who}: hello"]
    if not all(s == w or s.startswith(f"{w} ") for s, w in zip(said, want)):
        raise Failed(f"the page should be made by {who}, and says {dict(zip(PARTS, said))}")


def says(browser, *words):
    browser.until(f"a page that says {words}", lambda: (t := browser.text().lower()) and all(w.lower() in t for w in words))


def no_errors(browser, *allowed):
    found = [e for e in browser.errors() if not any(a in e for a in (*allowed, "favicon.ico"))]
    if found:
        raise Failed(f"{browser.name}'s console has {found}")


def up(kube):
    kube.up()
    workloads.apply(kube, workloads.namespace(SPACE))
    rules = {SHOP: (SPACE, "front", 80)}
    installed.install(kube, "--preview-domain", DOMAIN, "--ingress-ca", ingress.certificate(kube, rules), group=workloads.GROUP)
    tiers.install(kube, SPACE, THEIRS)
    ingress.install(kube, rules)
    kube.rollout("deployment/culvert-gateway", "culvert")
    workloads.developer(kube, "ana", SPACE)
    workloads.connected(kube)


def phases(kube):
    """Each phase that the intercept came to, as the manager's log has them."""
    log = kube.kubectl("-n", "culvert", "logs", "deployment/culvert-manager").stdout
    said = [line.split(f"intercept {SPACE}/back of ana: ", 1)[1] for line in log.splitlines() if f"intercept {SPACE}/back of ana: " in line]
    return [word for word in said if word in ("Pending", "Partial", "Active")]


def removed_and_made_again(kube, ask):
    step("a preview that is removed and made again is in force, and written, when the command ends; the intercept is active all the time")
    before = phases(kube)
    name = kube.get("-n", SPACE, "intercepts.culvert.dev")["items"][0]["metadata"]["name"]
    for argv, there in ((["remove", "back"], False), (["create", "back", *ask], True), (["remove", "back"], False), (["create", "back", *ask], True)):
        said = kube.culvert("preview", *argv).stderr
        if "Warning" in said or ("preview" in kube.get("-n", SPACE, "intercepts.culvert.dev", name)["status"]) != there:
            raise Failed(f"after preview {argv[0]}, which said {said!r}: {kube.get('-n', SPACE, 'intercepts.culvert.dev', name)['status']}")
    if not before or before[-1] != "Active" or phases(kube) != before:
        raise Failed(f"the intercept's phases: {before}, then {phases(kube)[len(before):]}")


def intercept(kube):
    step("logged in, an intercept of the second tier has a preview URL; the ingress is found but for the host it wants")
    kube.culvert("login")
    local = tiers.local(kube, 3000, MINE)
    ask = ["--ingress-host", f"{ingress.SERVICE}.{ingress.SPACE}", "--ingress-port", "443", "--ingress-tls", "--ingress-l5", SHOP]
    done = kube.culvert("intercept", "back", "--port", "3000:http", *ask, timeout=120)
    workloads.settled_pods(kube, SPACE, "back")
    removed_and_made_again(kube, ask)
    item = kube.culvert_json("status")["intercepts"][0]
    url = item["preview"]["url"]
    if not url.startswith("https://") or f".{DOMAIN}" not in url or url not in done.stdout:
        raise Failed(f"the preview URL is {url}; intercept said: {done.stdout}")
    link = kube.culvert("preview", "share", "back").stdout.strip()
    return local, url, link


def link_and_no_link(kube, colleague, stranger, url, link):
    step("the link, clicked through: the laptop's version by page, fetch, event stream and WebSocket")
    colleague.open(link)
    made_by(colleague, MINE)
    if "share" in colleague.url():
        raise Failed(f"the link's secret stays in the address: {colleague.url()}")
    picture(colleague, "preview")
    colleague.click("#again")
    made_by(colleague, MINE)
    step("an upload")
    said = colleague.promise("fetch('/api/sum', {method: 'POST', body: new Uint8Array(arguments[0])}).then((a) => a.text()).then(done, (e) => done(String(e)))", UPLOAD)
    if said != f"{MINE} {UPLOAD}\n":
        raise Failed(f"of an upload of {UPLOAD} bytes the laptop said {said!r}")
    no_errors(colleague)
    step("without the link: the shop as it is; the preview's address tells how to get in, and shows nothing")
    stranger.open(f"https://{SHOP}/")
    made_by(stranger, THEIRS)
    stranger.open(url)
    says(stranger, "link")
    picture(stranger, "no-access")
    if stranger.count("#made") or stranger.cookies():
        raise Failed(f"a stranger sees {stranger.text()!r} and has cookies {stranger.cookies()}")
    stranger.open(f"https://dashboard.{DOMAIN}/")
    says(stranger, "culvert")
    if stranger.count("#rows"):
        raise Failed("a stranger sees the dashboard")
    picture(stranger, "login")


def dashboard(kube, colleague, owner):
    step("the dashboard, by a ticket: the intercept, its link, and the colleague's requests as they come")
    owner.open(kube.culvert("dashboard").stdout.strip())
    says(owner, "the dashboard of ana?")
    picture(owner, "whose")
    owner.click("form button")
    owner.until("the intercept", lambda: "back" in owner.text("#intercepts"))
    owner.until("the connection", lambda: owner.text("#link-text") == "Live")
    if owner.script("return document.querySelector('.preview a').hostname").split(".", 1)[1] != DOMAIN:
        raise Failed("the dashboard has another preview link")
    colleague.open(colleague.url())
    made_by(colleague, MINE)
    owner.until("the requests", lambda: "/api/version" in owner.text("#rows"))
    row = owner.script("return [...document.querySelectorAll('#rows tr')].map((r) => [...r.cells].map((c) => c.textContent)).find((r) => r[2] === '/api/version')")
    if row[1] != "GET" or row[3] != "200" or row[5] != "laptop" or row[6] != "back":
        raise Failed(f"the request is shown as {row}")
    owner.until("the graph", lambda: owner.script("return document.getElementById('rate-laptop').getAttribute('d')"))
    picture(owner, "dashboard-light")
    owner.colours(True)
    picture(owner, "dashboard-dark")
    owner.colours(False)
    owner.width(390, 1400)
    picture(owner, "dashboard-narrow")
    owner.width(1280, 900)
    no_errors(owner)


def away(kube, colleague):
    step("the laptop is away: a page says so, shows the cluster's version when asked, and the laptop's again")
    kube.ip("laptop", "link", "set", "eth0", "down")

    def said():
        colleague.reload()  # it may still be the shop's, whose own requests are refused already
        return "away" in colleague.title().lower() and colleague.count("form button")
    wait_for("the page that says it", said, 60)
    picture(colleague, "away")
    colleague.click("form button")
    made_by(colleague, THEIRS)
    kube.ip("laptop", "link", "set", "eth0", "up")
    kube.ip("laptop", "route", "replace", "default", "via", "10.99.1.1")
    colleague.promise("fetch('/.culvert/laptop', {method: 'POST'}).then(() => done(true), (e) => done(String(e)))")

    def back():
        colleague.reload()
        return colleague.count("#made") and colleague.text("#made").startswith(MINE)
    wait_for("the laptop's version", back, 60)
    made_by(colleague, MINE)


def revoked_and_ended(kube, colleague, owner):
    step("links that are revoked let nobody in; what has ended says so")
    kube.culvert("preview", "revoke", "back")
    colleague.reload()
    says(colleague, "link")
    colleague.open(kube.culvert("preview", "share", "back").stdout.strip())
    made_by(colleague, MINE)
    kube.culvert("leave", "back")

    def ended():
        colleague.reload()
        return "ended" in colleague.text().lower()
    wait_for("the page that says it", ended)
    picture(colleague, "ended")
    owner.until("nobody's intercepts", lambda: not owner.count("#intercepts li"))


def main():
    with Kube() as kube:
        step("a shop of two tiers behind an ingress with TLS, culvert with a gateway")
        up(kube)
        _, url, link = intercept(kube)
        with visitor(kube, "colleague") as colleague, visitor(kube, "stranger") as stranger, visitor(kube, "owner") as owner:
            link_and_no_link(kube, colleague, stranger, url, link)
            dashboard(kube, colleague, owner)
            away(kube, colleague)
            revoked_and_ended(kube, colleague, owner)


if __name__ == "__main__":
    story(main)
