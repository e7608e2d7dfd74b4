"""Opens a page of nibble report in Chromium and uses it as a person would.

    report_browser.py NIBBLE [--browser CHROMIUM] [--screenshots FOLDER]

The page is of tensors that are made here. Chromium is driven through its DevTools protocol over a pipe. Where
there is no Chromium, the test says that it passes by, and ends with 0.
"""

import argparse
import base64
import json
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time

PATIENCE_SECONDS = 300


class Browser:
    """A page in a headless Chromium. Messages are JSON, each ended by a zero byte."""

    def __init__(self, program, folder):
        to_browser, self.commands = os.pipe()
        self.answers, from_browser = os.pipe()

        def as_three_and_four():
            first, second = os.dup(to_browser), os.dup(from_browser)
            os.dup2(first, 3)
            os.dup2(second, 4)

        self.process = subprocess.Popen(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
             f"--user-data-dir={folder}/profile", "--remote-debugging-pipe", "about:blank"],
            preexec_fn=as_three_and_four, close_fds=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.buffer, self.number, self.session, self.events = b"", 0, None, []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(each["targetId"] for each in targets if each["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page", "Network"):
            self.call(f"{domain}.enable")

    def receive(self):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while b"\0" not in self.buffer:
            if not select.select([self.answers], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self.answers, 1 << 20)
            if not part:
                raise EOFError("the browser has ended")
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        rest = json.dumps(message).encode() + b"\0"
        while rest:
            rest = rest[os.write(self.commands, rest):]
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def open(self, address):
        self.events.clear()
        self.call("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.receive())

    def value(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def settle(self):
        """Waits until what was asked to be drawn is drawn."""
        self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")

    def press(self, key, text=""):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text if kind == "keyDown" else "",
                      windowsVirtualKeyCode={"Enter": 13, "Tab": 9, "Escape": 27, "ArrowRight": 39}.get(key, 0))
        self.settle()

    def click(self, selector):
        box = self.value(
            f"(() => {{ const it = document.querySelector({json.dumps(selector)});"
            " it.scrollIntoView({block: 'center', behavior: 'instant'}); const box = it.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)
        self.settle()

    def screen(self, width, height, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.settle()

    def picture(self, folder, name):
        if not folder:
            return
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True,
                         clip={"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 6000), "scale": 1})
        with open(os.path.join(folder, name + ".png"), "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def complaints(self):
        """What went to the console, and what was asked of a network."""
        self.value("0")
        found = []
        for event in self.events:
            method, about = event.get("method"), event.get("params", {})
            if method in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                found.append(json.dumps(about)[:500])
            elif method == "Network.requestWillBeSent" and not about["request"]["url"].startswith(("file:", "data:")):
                found.append(about["request"]["url"])
        return found

    def close(self):
        try:
            self.session = None
            self.call("Browser.close")
        except (EOFError, OSError, TimeoutError, RuntimeError):
            pass
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


ODD_NAMES = ["</script><script>window.broken = 1</script>", "a & b \"c\" 'd' <b>é 字</b>", "layers.0.<img src=x onerror=1>"]


def write_model(path, layers, wide):
    """Random matrices in layers, with names that a page has to escape; of one row where there are many."""
    draw = random.Random(5)
    shapes = {"model.embed_tokens.weight": [64, wide], "model.norm.weight": [wide]}
    for layer in range(layers):
        for kind in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj",
                     "mlp.down_proj"):
            shapes[f"model.layers.{layer}.{kind}.weight"] = [4, wide]
        shapes[f"model.layers.{layer}.input_layernorm.weight"] = [wide]
    for name in ODD_NAMES:
        shapes[name] = [2, wide]
    header, data = {}, bytearray()
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        spread = draw.uniform(0.01, 0.1)
        values = [draw.gauss(0, spread) * (8 if draw.random() < 0.01 else 1) for _ in range(count)]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * count]}
        data += struct.pack(f"<{count}f", *values)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    return len(shapes)


def make_page(nibble, folder, layers, wide, encodings):
    model = os.path.join(folder, f"model-{layers}.safetensors")
    tensors = write_model(model, layers, wide)
    packed = []
    for encoding in encodings:
        packed.append(os.path.join(folder, f"model-{layers}-{encoding}.apr"))
        subprocess.run([nibble, "pack", model, "-o", packed[-1], "-e", encoding], check=True, stdout=subprocess.DEVNULL)
    page = os.path.join(folder, f"report-{layers}.html")
    subprocess.run([nibble, "report", model, *packed, "-o", page], check=True, stdout=subprocess.DEVNULL)
    return "file://" + page, tensors


def require(is_so, what):
    if not is_so:
        raise AssertionError(what)


COLUMN = "[...document.querySelectorAll('#table-body tr')].map(row => row.children[{}].textContent)"
ERRORS = COLUMN.format(5)
NAMES = COLUMN.format(0)


def as_numbers(texts):
    return [0.0 if text == "exact" else float(text.replace("−", "-")) for text in texts]


def use_page(browser, address, tensors, screenshots):
    browser.screen(1280, 900)
    browser.open(address)
    require(browser.value("document.querySelectorAll('.card').length") == 2, "a card a file")
    require(browser.value("window.broken") is None, "a tensor's name is text")
    require(browser.value("document.getElementById('found').textContent") == f"{tensors} tensors.", "all tensors are listed")
    require(browser.value("document.documentElement.scrollWidth <= innerWidth"), "the page is as wide as the window")
    browser.picture(screenshots, "light")

    # Sorted by error, the worst first; then the other way round; then by name.
    errors = as_numbers(browser.value(ERRORS))
    require(errors == sorted(errors, reverse=True) and errors[0] > 0, "sorted by error")
    sort = "document.querySelector('[data-sort={}]').parentElement.getAttribute('aria-sort')"
    require(browser.value(sort.format("relative_rmse")) == "descending", "aria-sort says how")
    browser.click("[data-sort=relative_rmse]")
    errors = as_numbers(browser.value(ERRORS))
    require(errors == sorted(errors) and errors[0] == 0, "sorted the other way round")
    require(browser.value(sort.format("relative_rmse")) == "ascending", "aria-sort follows")
    browser.value("document.querySelector('[data-sort=name]').focus()")
    browser.press("Enter", "\r")
    names = browser.value(NAMES)
    require(names == sorted(names), "sorted by name, by the keyboard")

    # Searched, filtered, paged.
    browser.click("#search")
    browser.call("Input.insertText", text="q_proj layers.1")
    browser.settle()
    names = browser.value(NAMES)
    require(names and all("q_proj" in name and "layers.1" in name for name in names), "found by two words")
    browser.click("#clear")
    for name in ODD_NAMES:
        require(browser.value(f"(() => {{ const it = document.getElementById('search'); it.value = {json.dumps(name)};"
                              " it.dispatchEvent(new Event('input')); return " + NAMES + "; })()") == [name], f"{name} is found")
    browser.click("#clear")
    browser.value("(() => { const it = document.getElementById('filter-encoding'); it.value = 'f32';"
                  " it.dispatchEvent(new Event('change')); })()")
    require(set(browser.value(COLUMN.format(3))) == {"f32"}, "filtered by encoding")
    browser.click("#clear")
    first = browser.value(NAMES)
    browser.click("[aria-label='Next page']")
    require(not set(first) & set(browser.value(NAMES)), "the next page has other tensors")

    # From a cell of the heat map to the tensor, its details and its row, by the keyboard.
    browser.value("document.getElementById('heat').focus()")
    browser.press("ArrowRight")
    told = browser.value("document.getElementById('heat-told').textContent")
    browser.press("Enter", "\r")
    name = browser.value("document.getElementById('details-name').textContent")
    require(browser.value("document.getElementById('details').open") and name in told and "layers.1." in name, "the cell opens its tensor")
    require(browser.value("document.querySelectorAll('#details-body svg').length") >= 3, "the details are drawn")
    require(browser.value("location.hash").startswith("#tensor-"), "the address leads to the tensor")
    if screenshots:
        shot = browser.call("Page.captureScreenshot")
        with open(os.path.join(screenshots, "details.png"), "wb") as file:
            file.write(base64.b64decode(shot["data"]))
    browser.click("#details-body .links button")
    require(not browser.value("document.getElementById('details').open"), "the details close")
    require(browser.value("document.activeElement.textContent") == name, "the focus is on the tensor's row")
    browser.press("Enter", "\r")
    browser.press("Escape")
    require(not browser.value("document.getElementById('details').open"), "Escape closes the details")

    # The other file, a file from a chart, the other theme, a phone.
    before = browser.value("document.getElementById('heat').toDataURL()")
    browser.click(".card:nth-child(2)")
    require(browser.value("document.querySelector('.card:nth-child(2)').getAttribute('aria-pressed')") == "true", "another file is chosen")
    require(browser.value("document.getElementById('heat').toDataURL()") != before, "the heat map is of the other file")
    ground = browser.value("getComputedStyle(document.body).backgroundColor")
    browser.click("#theme")
    require(browser.value("getComputedStyle(document.body).backgroundColor") != ground, "the theme is switched")
    browser.picture(screenshots, "dark")
    browser.screen(390, 844, phone=True)
    require(browser.value("document.documentElement.scrollWidth <= 390"), "a phone shows the page's whole width")
    browser.picture(screenshots, "phone")
    browser.click("#table-body button")
    require(browser.value("document.getElementById('details').scrollWidth <= 390"), "a phone shows the details' whole width")
    if screenshots:
        shot = browser.call("Page.captureScreenshot")
        with open(os.path.join(screenshots, "phone-details.png"), "wb") as file:
            file.write(base64.b64decode(shot["data"]))
    require(browser.complaints() == [], f"nothing goes to the console or a network: {browser.complaints()}")


def use_large_page(browser, address, tensors, screenshots):
    browser.screen(1280, 900)
    browser.open(address)
    require(browser.value("document.querySelectorAll('#table-body tr').length") <= 50, "a page of rows is drawn, not all")
    seconds = browser.value(
        "(() => { const begin = performance.now(); for (const text of ['q', 'q_', 'q_proj', 'q_proj 7']) {"
        " const it = document.getElementById('search'); it.value = text; it.dispatchEvent(new Event('input')); }"
        " document.querySelector('[data-sort=name]').click(); return (performance.now() - begin) / 1000; })()")
    print(f"{tensors} tensors: four letters and a sort take {1000 * seconds:.0f} ms")
    # Far more than it takes, for the machine may be busy.
    require(seconds < 5, "a large table stays fluid")
    browser.picture(screenshots, "large")
    require(browser.complaints() == [], f"nothing goes to the console: {browser.complaints()}")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("nibble")
    arguments.add_argument("--browser", default=shutil.which("chromium") or shutil.which("google-chrome"))
    arguments.add_argument("--screenshots", help="a folder for pictures of the page")
    given = arguments.parse_args()
    if not given.browser:
        print("passed by: there is no Chromium")
        return
    if given.screenshots:
        os.makedirs(given.screenshots, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        pages = [(use_page, make_page(given.nibble, folder, 24, 96, ["q4", "q8"])),
                 (use_large_page, make_page(given.nibble, folder, 1428, 32, ["q4"]))]
        browser = Browser(given.browser, folder)
        try:
            for use, (address, tensors) in pages:
                use(browser, address, tensors, given.screenshots)
        finally:
            browser.close()
    print("the page renders, sorts, filters and switches, without a word on the console")


if __name__ == "__main__":
    sys.exit(main())
