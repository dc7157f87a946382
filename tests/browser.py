"""A headless Chromium, driven through its debugging pipe: no package, no port, no server.

python -m tests.browser PAGE.html FOLDER      pictures of a page: dark, light, on a phone
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
"""`apt-get install chromium` brings the first."""
PATIENCE: Final = 60.0
KEYS: Final = {"Escape": 27, "ArrowDown": 40, "ArrowUp": 38}


def chromium() -> str | None:
    """The path of a Chromium; None where none is installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One tab. What it asked for, and what went wrong in it, is collected."""

    def __init__(self, reading: int, writing: int) -> None:
        self.requests: list[str] = []
        """The addresses of everything that was fetched, or that the policy kept from it."""
        self.complaints: list[str] = []
        """Errors of scripts and breaches of the policy."""
        self._reading, self._writing = reading, writing
        self._rest = b""
        self._number = 0
        self._session: str | None = None

    def open(self, address: str, width: int = 1360, height: int = 900, scale: float = 1.0) -> None:
        """Open an address in a tab of this size, and wait until it is loaded."""
        if self._session is None:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            found = self.call("Target.attachToTarget", targetId=target, flatten=True)
            self._session = found["sessionId"]
            for domain in ("Page", "Network", "Runtime", "Log"):
                self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=width < 600,
        )  # fmt: skip
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def prefer(self, scheme: str) -> None:
        """Say which scheme the user prefers: "dark" or "light"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def value(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.value(expression):
            assert time.monotonic() < end, f"waited in vain for {expression}: {self.complaints}"
            time.sleep(0.05)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            code = KEYS.get(key, 0)
            text = {} if code else {"text": key}
            facts = {"key": key, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", type="keyDown", **facts, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **facts)

    def click(self, selector: str) -> None:
        """Click with the mouse on the middle of the first element of a selector."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.value(f"{found}.scrollIntoView({{block: 'center'}})")
        x, y = self.value(
            f"(() => {{ const b = {found}.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, file: Path, *, whole: bool = False) -> None:
        """Write what the tab shows, or the whole page, as PNG."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole,
                          **({"clip": self._whole()} if whole else {}))  # fmt: skip
        file.write_bytes(base64.b64decode(found["data"]))

    def _whole(self) -> dict[str, float]:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """One command of the DevTools protocol; its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": arguments}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        facts = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(facts["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(facts["exceptionDetails"])[:2000])
            case "Log.entryAdded":
                if facts["entry"]["level"] == "error":
                    self.complaints.append(facts["entry"]["text"])

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._reading], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self._reading, 2**20)
            assert data, "the browser has ended"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a profile of its own. Raises RuntimeError where none is installed."""
    program = chromium()
    if program is None:
        raise RuntimeError(f"none of {', '.join(NAMES)} is installed")
    theirs_in, writing = os.pipe()
    reading, theirs_out = os.pipe()

    def wire() -> None:
        held = os.dup(theirs_out) if theirs_out == 3 else theirs_out
        os.dup2(theirs_in, 3)
        os.dup2(held, 4)
        os.set_inheritable(3, True)
        os.set_inheritable(4, True)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking",
                f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=wire,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Browser(reading, writing)
        finally:
            process.terminate()
            process.wait(20)
            os.close(reading)
            os.close(writing)


def main() -> None:
    """Take pictures of a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--whole", action="store_true", help="the whole page, not one screen of it")
    parser.add_argument("--press", default="", metavar="KEYS", help="keys to press before")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    sizes = {
        "dark": (1360, 900, "dark"),
        "light": (1360, 900, "light"),
        "phone": (390, 844, "dark"),
    }
    with browser() as tab:
        for name, (width, height, scheme) in sizes.items():
            tab.open(given.page.resolve().as_uri(), width, height)
            tab.prefer(scheme)
            tab.until("document.querySelector('#layers') !== null")
            tab.press(*given.press)
            time.sleep(0.5)
            tab.picture(given.folder / f"{name}.png", whole=given.whole)
        print("\n".join(tab.complaints))


if __name__ == "__main__":
    main()
