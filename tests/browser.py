"""A headless Chromium that opens a page from disk, and says what happens there."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import time
import urllib.request

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Seconds until a browser has started, or a page is drawn; machines may be busy.
PATIENCE = 90
DRAWN = """document.readyState === "complete" && typeof Bokeh !== "undefined"
    && Bokeh.documents.length > 0 && Bokeh.documents.every(one => one.is_idle)"""


def find():
    """The path of a browser; `None` if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def started(folder):
    """The address at which a new browser takes commands."""
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0")
    command = [find(), *options, "--remote-allow-origins=*", f"--user-data-dir={folder}"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, "about:blank"], **silent)
    try:
        path, end = folder / "DevToolsActivePort", time.monotonic() + PATIENCE
        while not (path.exists() and path.read_text().strip()):
            assert process.poll() is None, "the browser has not started"
            assert time.monotonic() < end, "the browser does not start"
            time.sleep(0.1)
        port = path.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            targets = json.load(answer)
        yield next(one["webSocketDebuggerUrl"] for one in targets if one["type"] == "page")
    finally:
        process.terminate()
        process.wait()


class Page:
    """A page in the browser.

    Attributes:
        errors: What the console shows beside plain messages, and exceptions.
        requests: Addresses that were asked for.
    """

    def __init__(self, socket):
        self.socket, self.number = socket, 0
        self.errors, self.requests = [], []

    async def call(self, method, **arguments):
        """Give a command and return its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": arguments}
        await self.socket.write_message(json.dumps(message))
        while True:
            answer = json.loads(await self.socket.read_message())
            if answer.get("id") == self.number:
                # While a page loads itself again, there is none.
                return answer.get("result", {})
            self._take(answer["method"], answer["params"])

    def _take(self, method, params):
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        is_log = method == "Runtime.consoleAPICalled" and params["type"] not in ("log", "info")
        if is_log or method in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.errors.append(params)

    async def value(self, code):
        """Return the value of JavaScript as JSON data."""
        found = await self.call("Runtime.evaluate", expression=code, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found.get("result", {}).get("value")

    async def until(self, code):
        """Wait until JavaScript is true."""
        end = time.monotonic() + PATIENCE
        while not await self.value(code):
            assert time.monotonic() < end, f"never: {code}"
            await asyncio.sleep(0.2)


def visit(path, folder, look, width=1400, drawn=DRAWN):
    """Open a file at a width; return what the coroutine `look(page)` does, and the page.

    `look` begins when the JavaScript `drawn` is true; by default, when Bokeh is idle.
    """
    # Bokeh needs it too.
    from tornado.websocket import websocket_connect

    async def run(address):
        socket = await websocket_connect(address, max_message_size=2**28)
        try:
            page = Page(socket)
            for domain in ("Page", "Runtime", "Log", "Network"):
                await page.call(f"{domain}.enable")
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
            await page.call("Emulation.setDeviceMetricsOverride", **size)
            await page.call("Page.navigate", url=path.as_uri())
            await page.until(drawn)
            return await look(page), page
        finally:
            # The browser answers and closes the connection.
            socket.close()
            while await socket.read_message() is not None:
                pass

    with started(folder) as address:
        return asyncio.run(run(address))
