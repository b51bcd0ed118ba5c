"""What the tests of the applications share."""

import http.client
import json
import re
import shutil
import signal
import subprocess
import sys

import pytest

from latentmix.apps.cli import cli, guarded


@pytest.fixture
def latentmix(capfd):
    """Return a function that runs one command and returns its code, output and error lines."""

    def run(*args):
        code = guarded(
            lambda: cli.main(
                [str(arg) for arg in args], prog_name="latentmix", standalone_mode=False
            )
        )
        out, err = capfd.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


@pytest.fixture(scope="session")
def assert_one_clear_line():
    """Return a function that checks what a refused command answered: code, output, error lines."""

    def check(answer, expected, text):
        code, _, err = answer
        assert code == expected, err
        assert len(err) == 1
        assert text in err[0]
        assert len(err[0].split(". ")) >= 2, "received, expected, remedy"

    return check


@pytest.fixture(scope="session")
def small(small_settings):
    """Return the small recipe's settings as words of a command."""
    return [word for setting in small_settings for word in ("--set", setting)]


@pytest.fixture(scope="session")
def run_folder(shapes_file, small, tmp_path_factory):
    """Return the folder of a finished run of the shapes: to be read, never changed."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    args = ["run", str(shapes_file), "--out", str(folder), *small]
    assert guarded(lambda: cli.main(args, standalone_mode=False)) == 0
    return folder


class Explorer:
    """A server in a process of its own, and a caller that has its cookie."""

    def __init__(self, folder, *args):
        code = "from latentmix.apps.cli import main; main()"
        words = ["explore", str(folder), "--no-browser", *map(str, args)]
        command = [sys.executable, "-c", code, *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.said = ""
        while "Ctrl-C" not in self.said:
            line = self.process.stdout.readline()
            assert line, f"the server ended: {self.said}"
            self.said += line
        self.link = re.search(r"http://127.0.0.1:(\d+)/\?ticket=\S+", self.said)
        self.port = int(self.link.group(1))
        self.cookie = None

    def ask(self, path, body=None, headers=None, *, write=True):
        """Return status, headers and body of an answer."""
        if self.cookie is None:
            self.cookie = "unset"
            _, answer, _ = self.ask(self.link.group(0).partition(str(self.port))[2])
            self.cookie = answer.getheader("set-cookie").partition(";")[0]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = body if isinstance(body, bytes | None) else json.dumps(body)
        sent = {"Cookie": self.cookie, "Content-Type": "application/json", **(headers or {})}
        if write:
            sent["X-Latentmix"] = "1"
        connection.request("GET" if body is None else "POST", path, content, sent)
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        kind = answer.getheader("content-type", "")
        return answer.status, answer, json.loads(found) if "json" in kind else found

    def of(self, path, body=None):
        """Return the body of an answer that is none of an error."""
        status, _, found = self.ask(path, body)
        assert status == 200, found
        return found

    def end(self, how=signal.SIGINT):
        self.process.send_signal(how)
        self.process.communicate(timeout=30)
        return self.process.returncode


@pytest.fixture(scope="session")
def explore():
    """Return what starts an explorer; those that a failed test left behind are ended."""
    started = []

    def start(*args):
        started.append(Explorer(*args))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def chromium():
    """Return Debian's browser, headless; the test is skipped where it cannot be had.

    Playwright's event loop runs as long as this is there: others' modules want none running.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="extra [browser]")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Debian's chromium is not installed")
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page of the browser, with all that it said and asked for."""

    def __init__(self, browser, **options):
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def serious(self):
        """Return what axe-core finds that is serious or worse: rules, and where."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="extra [browser]")
        found = axe.Axe().run(self.page).response["violations"]
        return [
            (each["id"], [node["target"] for node in each["nodes"]][:3])
            for each in found
            if each["impact"] in ("serious", "critical")
        ]


@pytest.fixture
def watched(chromium):
    """Return what opens a page in a context of its own."""
    pages = []

    def opened(**options):
        pages.append(Watched(chromium, **options))
        return pages[-1]

    yield opened
    for page in pages:
        page.context.close()
