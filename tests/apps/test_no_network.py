"""Import, fit, report and explorer open no socket but loopback's: Python tells of every one."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

# An audit hook sees what any package does, and cannot be taken away again.
WATCH = """
import json, os, sys

def watch(event, given):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind"):
        place = given[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        place = given[0]
    else:
        return
    with open(os.environ["TOLD"], "a") as file:
        file.write(json.dumps([event, repr(place)]) + "\\n")

sys.addaudithook(watch)
"""


@pytest.fixture
def watched(tmp_path):
    """Return what starts Python code with the hook, and what reads what it was told."""
    told = tmp_path / "told.jsonl"

    def start(code, *args):
        environment = {**os.environ, "TOLD": str(told), "LATENTMIX_DATA": ""}
        command = [sys.executable, "-c", WATCH + textwrap.dedent(code), *map(str, args)]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def read():
        return [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []

    return start, read


def ended(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def test_the_hook_sees_a_call(watched):
    start, read = watched
    ended(
        start("""
        import socket
        try:
            socket.create_connection(("192.0.2.1", 9), timeout=0.01)
        except OSError:
            pass
        """)
    )
    assert any("192.0.2.1" in place for _, place in read())


def test_import_fit_and_report_ask_nobody(watched, shapes_file, small, tmp_path):
    start, read = watched
    code = """
    import latentmix
    for name in latentmix.__all__:
        getattr(latentmix, name)
    from latentmix.apps.cli import main
    main()
    """
    ended(start(code, "run", shapes_file, "--out", tmp_path / "run", *small))
    assert (tmp_path / "run" / "report.html").is_file()
    assert read() == []


def test_the_explorer_is_at_home_on_loopback(watched, run_folder):
    pytest.importorskip("fastapi", reason="extra [explore]")
    start, read = watched
    code = "from latentmix.apps.cli import main; main()"
    process = start(code, "explore", run_folder, "--no-browser")
    try:
        said = ""
        while "Ctrl-C" not in said:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            said += line
        time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert any(event == "socket.bind" for event, _ in read())
    for event, place in read():
        assert "127.0.0.1" in place or "::1" in place or "localhost" in place, (event, place)
