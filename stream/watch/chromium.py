"""A Chromium found on this machine, driven through its DevTools: for tests of the page and for pictures of it."""

from __future__ import annotations

import base64
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--remote-debugging-port=0",
)  # fmt: skip


def find() -> str | None:
    """Return the path of a Chromium: ``$CHROMIUM``, else the first of the usual names on the path."""
    return os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """One headless browser with one page. Use as a context manager.

    Parameters
    ----------
    program
        The browser's path, as :func:`find` returns it.
    size_px
        Width and height of the window in CSS pixels.
    timeout_s
        How long any one answer may take.
    """

    def __init__(self, program: str, size_px: tuple[int, int] = (1280, 800), timeout_s: float = 30.0) -> None:
        self._program, self._size_px, self._timeout_s = program, size_px, timeout_s
        self._calls = 0
        self._links = ExitStack()

    def __enter__(self) -> Chromium:
        self._profile = tempfile.mkdtemp(prefix="cytoloop-chromium-")
        command = (self._program, *_ARGUMENTS, f"--user-data-dir={self._profile}", "about:blank")
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._address: queue.Queue[str] = queue.Queue(1)
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        try:
            self._attach(self._address.get(timeout=self._timeout_s))
            self.resize(self._size_px)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and forget its profile."""
        self._links.close()
        self._process.terminate()
        self._process.wait(self._timeout_s)
        self._reader.join(self._timeout_s)
        if self._process.stderr:
            self._process.stderr.close()
        shutil.rmtree(self._profile, ignore_errors=True)

    def resize(self, size_px: tuple[int, int], mobile: bool = False, ratio: float = 1.0) -> None:
        """Give the page another size, as of another screen."""
        width, height = size_px
        shape = {"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": mobile}
        self.call("Emulation.setDeviceMetricsOverride", **shape)

    def open(self, url: str) -> None:
        """Go to a page and wait until its scripts have run. Raises RuntimeError when nobody serves it."""
        if error := self.call("Page.navigate", url=url).get("errorText"):
            raise RuntimeError(f"{url}: {error}")
        self.until(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """Return what an expression comes to; a promise is awaited. Raises RuntimeError with the page's own error."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true in the page, asked at every animation frame. Raises TimeoutError."""
        end = f"performance.now() + {self._timeout_s * 1e3}"
        looks = f"new Promise(done => {{ const end = {end}; const look = () => ({condition}) ? done(true)"
        looks += " : performance.now() > end ? done(false) : requestAnimationFrame(look); look(); })"
        if not self.evaluate(looks):
            raise TimeoutError(f"not true in {self._timeout_s} s: {condition}")

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Write what the page shows as PNG; ``whole`` goes beyond the window to the end of the page."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol in the page and return its result."""
        return self._ask(method, parameters, self._session)

    def _read_log(self) -> None:
        for line in self._process.stderr or ():
            _, listening, address = line.partition("DevTools listening on ")
            if listening:
                self._address.put(address.strip())

    def _attach(self, address: str) -> None:
        link = connect(address, max_size=None, proxy=None, compression=None)
        self._socket = self._links.enter_context(link)
        targets = self._ask("Target.getTargets", {})["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._ask("Target.attachToTarget", {"targetId": page, "flatten": True})["sessionId"]

    def _ask(self, method: str, parameters: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        self._calls += 1
        message: dict[str, Any] = {"id": self._calls, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self._socket.recv(self._timeout_s + 5))
            if answer.get("id") == self._calls:
                break
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result
