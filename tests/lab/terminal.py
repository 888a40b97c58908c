# SPDX-License-Identifier: Apache-2.0
"""A program at a real terminal: what it writes is read as a person would, answers are typed."""
import os
import pty
import select
import subprocess
import time

from lab import NOBODY, Failed


class Terminal:
    def __init__(self, lab, name, *argv, user=NOBODY):
        ours, theirs = pty.openpty()
        os.fchown(theirs, user, -1)
        self.fd, self.said, self.at = ours, "", 0
        self.process = subprocess.Popen(lab.argv(name, ["setsid", "--ctty", *argv], user), stdin=theirs, stdout=theirs, stderr=theirs,
                                        env={**lab.env(name), "TERM": "xterm"}, close_fds=True)
        os.close(theirs)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)
        os.close(self.fd)

    def read(self, within):
        """More of what it writes; False: nothing came, or it has closed."""
        if not select.select([self.fd], [], [], within)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: nobody has the other end open
            return False
        self.said += data.decode(errors="replace").replace("\r", "")
        return bool(data)

    def until(self, text, within=60):
        """Waits for `text` behind what was waited for before; what came up to its end."""
        end = time.monotonic() + within
        while text not in self.said[self.at:]:
            if time.monotonic() > end or not (self.read(1) or self.process.poll() is None):
                raise Failed(f"the terminal should show '{text}', and shows:\n{self.said}")
        start, self.at = self.at, self.said.index(text, self.at) + len(text)
        return self.said[start:self.at]

    def type(self, line=""):
        os.write(self.fd, f"{line}\n".encode())

    def press(self, key):
        os.write(self.fd, key)

    def end(self, within=120, code=0):
        """The rest of what it writes."""
        end = time.monotonic() + within
        while self.read(1) or self.process.poll() is None:
            if time.monotonic() > end:
                raise Failed(f"the program does not end; the terminal shows:\n{self.said}")
        if self.process.returncode != code:
            raise Failed(f"exit {self.process.returncode}; the terminal shows:\n{self.said}")
        rest, self.at = self.said[self.at:], len(self.said)
        return rest
