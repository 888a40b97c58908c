# SPDX-License-Identifier: Apache-2.0
"""Chromium without a window, driven by chromedriver over W3C WebDriver: Debian's packages, and nothing else.

    with Browser(lab.argv("laptop", [], 0), folder, ["--host-resolver-rules=MAP *.preview.test 10.99.2.2"]) as browser:
        browser.open("https://…")
        browser.click("#pause")

What a page logs as an error (a script that fails, the CSP that stops something) is kept: `errors()`.
"""
import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time

from lab import Failed, wait_for

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "Space": " ", "Right": "\ue014", "Left": "\ue012"}


class Browser:
    """`where`: what puts a command into a network namespace, [] for this one. Requests to the driver go by that way as well."""

    def __init__(self, where=(), folder=None, flags=(), dark=False, size=(1280, 900), name="browser"):
        self.where, self.flags, self.dark, self.size, self.name = list(where), list(flags), dark, size, name
        self.dir = tempfile.mkdtemp(prefix=f"{name}-", dir=folder)

    def __enter__(self):
        for program in ("chromium", "chromedriver"):
            if not shutil.which(program):
                raise Failed(f"{program} is not there: tools/deps test")
        self.log = open(f"{self.dir}/driver.log", "w+b")
        env = {**os.environ, "HOME": self.dir, "XDG_CONFIG_HOME": self.dir, "XDG_CACHE_HOME": self.dir, "DBUS_SESSION_BUS_ADDRESS": "disabled:"}
        self.driver = subprocess.Popen([*self.where, "chromedriver", "--port=0"], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=env,
                                       start_new_session=True)
        try:
            self.port = wait_for("chromedriver", self.listens)
            self.session = None
            self.session = self.command("POST", "/session", {"capabilities": {"alwaysMatch": {
                "acceptInsecureCerts": True, "goog:loggingPrefs": {"browser": "ALL"}, "goog:chromeOptions": {"binary": shutil.which("chromium"), "args": [
                    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                    "--disable-component-update", "--disable-sync", "--force-device-scale-factor=1", "--hide-scrollbars", f"--user-data-dir={self.dir}/profile",
                    f"--window-size={self.size[0]},{self.size[1]}", *self.flags]}}}})["sessionId"]
            self.colours(self.dark)
            self.width(*self.size)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        if getattr(self, "session", None):
            with contextlib.suppress(Failed, OSError):
                self.command("DELETE", "")
        self.driver.terminate()
        self.driver.wait(20)
        self.log.close()
        for _ in range(50):  # Chromium's last writers
            shutil.rmtree(self.dir, ignore_errors=True)
            if not os.path.exists(self.dir):
                break
            time.sleep(0.1)

    def listens(self):
        if self.driver.poll() is not None:
            raise Failed("chromedriver ended at once")
        with open(self.log.name) as f:
            found = re.search(r"started successfully on port (\d+)", f.read())
        return found and int(found[1])

    def command(self, method, path, body=None, timeout=60):
        """One of the driver's; by curl, since the driver listens on the namespace's own loopback."""
        url = f"http://127.0.0.1:{self.port}" + (f"/session/{self.session}{path}" if self.session else path)
        data = ["--data-binary", "@-"] if method == "POST" else []
        done = subprocess.run([*self.where, "curl", "-sS", "--max-time", str(timeout), "-X", method, "-H", "Content-Type: application/json", *data, url],
                              input=json.dumps(body or {}) if data else None, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{self.name}: {method} {path}: {done.stderr.strip()}")
        value = json.loads(done.stdout)["value"]
        if isinstance(value, dict) and "error" in value:
            raise Failed(f"{self.name}: {method} {path} {json.dumps(body)[:300]}: {value['error']}: {value['message'].splitlines()[0]}")
        return value

    def devtools(self, command, **params):
        return self.command("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    # -- where and how ---------------------------------------------------------------------------

    def open(self, url):
        self.command("POST", "/url", {"url": url})

    def url(self):
        return self.command("GET", "/url")

    def title(self):
        return self.command("GET", "/title")

    def reload(self):
        self.command("POST", "/refresh")

    def colours(self, dark):
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def width(self, width, height):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def forget(self):
        """All cookies."""
        self.command("DELETE", "/cookie")

    def cookies(self):
        return {c["name"]: c for c in self.command("GET", "/cookie")}

    # -- elements --------------------------------------------------------------------------------

    def find(self, selector):
        """The first element, once it is there."""
        def found():
            return self.command("POST", "/elements", {"using": "css selector", "value": selector})
        return wait_for(f"{selector} at {self.url()}", found)[0][ELEMENT]

    def count(self, selector):
        return len(self.command("POST", "/elements", {"using": "css selector", "value": selector}))

    def text(self, selector="body"):
        return self.command("GET", f"/element/{self.find(selector)}/text")

    def click(self, selector):
        self.command("POST", f"/element/{self.find(selector)}/click")

    def type(self, selector, text):
        element = self.find(selector)
        self.command("POST", f"/element/{element}/clear")
        self.command("POST", f"/element/{element}/value", {"text": text})

    def press(self, *keys):
        """Keys for whatever has the focus."""
        presses = [{"type": kind, "value": KEYS.get(k, k)} for k in keys for kind in ("keyDown", "keyUp")]
        self.command("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": presses}]})

    def script(self, text, *args):
        """Runs in the page, as the body of a function; what it returns."""
        return self.command("POST", "/execute/sync", {"script": text, "args": list(args)})

    def promise(self, text, *args):
        """The same, but `done` is to be called with what it returns."""
        return self.command("POST", "/execute/async", {"script": f"const done = arguments[arguments.length - 1]; {text}", "args": list(args)})

    def until(self, what, condition):
        try:
            return wait_for(what, condition)
        except Failed as e:
            raise Failed(f"{e}; the page {self.url()} says: {self.text()[:600]!r}") from None

    # -- evidence --------------------------------------------------------------------------------

    def errors(self):
        """What the console has got since it was last asked: script errors, refusals of the CSP, failed loads."""
        return [e["message"] for e in self.command("POST", "/se/log", {"type": "browser"}) if e["level"] == "SEVERE"]

    def screenshot(self, path):
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.command("GET", "/screenshot")))
