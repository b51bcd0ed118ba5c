"""The model behind HTTP: what it answers, and all that it does not answer."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from latentmix import load
from latentmix.data import load as load_data

pytest.importorskip("fastapi", reason="extra [explore]")
pytest.importorskip("uvicorn", reason="extra [explore]")

from latentmix.apps.web import guards
from latentmix.apps.web.guards import Guarded, Refusal


class Server:
    """A server in a process of its own, and its answers."""

    def __init__(self, folder, *args):
        code = "from latentmix.apps.cli import main; main()"
        command = [sys.executable, "-c", code, "serve", str(folder), "--port", "0", *args]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        said = ""
        while "Ctrl-C" not in said:
            line = self.process.stdout.readline()
            assert line, f"the server ended: {said}"
            said += line
        self.port = int(re.search(r"Serving http://127.0.0.1:(\d+)/", said).group(1))
        self.token = re.search(r"Bearer (\S+)", said).group(1)

    def ask(self, path, body=None, headers=None, method=None):
        """Return status, headers and JSON or text of an answer."""
        known = {"Authorization": f"Bearer {self.token}", "X-Latentmix": "1"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = body if isinstance(body, bytes | None) else json.dumps(body)
        sent = {"Content-Type": "application/json", **known, **(headers or {})}
        sent = {name: value for name, value in sent.items() if value is not None}
        connection.request(method or ("GET" if body is None else "POST"), path, content, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        kind = answer.getheader("content-type", "")
        connection.close()
        return answer.status, answer, json.loads(text) if "json" in kind else text


@pytest.fixture(scope="module")
def server(finished):
    one = Server(finished)
    yield one
    one.process.send_signal(signal.SIGINT)
    one.process.communicate(timeout=30)
    assert one.process.returncode == 0, "Ctrl-C is how one leaves"


@pytest.fixture(scope="module")
def images(shapes_file):
    return load_data(shapes_file).X[:7]


def test_answers_are_the_models_own(server, finished, images):
    model, rows = load(finished), images.tolist()
    status, _, found = server.ask("/predict", {"rows": rows})
    assert status == 200
    assert found["cluster"] == model.predict(images).tolist()
    assert found["label"] == model.predict_class(images).tolist()
    np.testing.assert_allclose(found["label_probabilities"], model.predict_class_proba(images))
    np.testing.assert_allclose(found["cluster_probabilities"], model.predict_proba(images))
    _, _, found = server.ask("/scores", {"rows": rows})
    np.testing.assert_allclose(found["score"], model.score_samples(images), rtol=1e-6)
    np.testing.assert_allclose(found["anomaly_score"], model.anomaly_scores(images), rtol=1e-6)
    np.testing.assert_allclose(found["p_value"], model.anomaly_p_values(images))
    _, _, found = server.ask("/reconstruct", {"rows": rows})
    np.testing.assert_allclose(found["rows"], model.reconstruct(images), rtol=1e-6)
    label = str(model.classes_[0])
    _, _, drawn = server.ask("/sample", {"n": 3, "label": label, "seed": 5})
    mine = model.set_params(random_state=5).sample(3, label=label)
    np.testing.assert_allclose(drawn["rows"], mine, rtol=1e-6)
    _, _, about = server.ask("/")
    assert (about["n_features"], about["image_shape"], about["n_components"]) == (64, [8, 8], 3)
    _, _, document = server.ask("/openapi.json")
    assert document["paths"].keys() == {"/", "/predict", "/scores", "/sample", "/reconstruct"}


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/predict", {"rows": [[1] * 63]}, "63 features"),
        (
            "/predict",
            {"rows": [[1] * 64, [1] * 63]},
            "rows are of 63 to 64 values. Expected all of 64",
        ),
        ("/predict", {"rows": [[0.5] * 64]}, "Expected bytes, whole numbers from 0 to 255"),
        ("/predict", {"rows": [["x"] * 64]}, "no number"),
        ("/predict", {"rows": []}, "body.rows"),
        ("/predict", {"row": [[1] * 64]}, "body.rows: Field required"),
        ("/predict", b"{", "body"),
        ("/sample", {"n": 0}, "body.n"),
        ("/sample", {"label": "nothing"}, "nothing"),
        ("/sample", {"component": 99}, "99"),
    ],
)
def test_bad_input_is_told_in_a_sentence(server, path, body, said):
    status, _, answer = server.ask(path, body)
    assert status == 422
    assert said in answer["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example:80"}, 421),
        ({"Host": "localhost.evil.example"}, 421),
        ({"Host": "127.0.0.1:1"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Authorization": None}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"X-Latentmix": None}, 403),
    ],
)
def test_others_are_not_answered(server, images, headers, status):
    found, answer, said = server.ask("/predict", {"rows": images.tolist()}, headers)
    assert found == status
    assert said.count("\n") == 1, "a sentence"
    assert answer.getheader("access-control-allow-origin") is None
    assert answer.getheader("referrer-policy") == "no-referrer"
    assert "frame-ancestors 'none'" in answer.getheader("content-security-policy")


def test_the_servers_own_page_and_other_names_of_it_are_answered(server):
    for host in ("127.0.0.1", "localhost"):
        name = f"{host}:{server.port}"
        status, answer, _ = server.ask("/", headers={"Host": name, "Origin": f"http://{name}"})
        assert status == 200
        assert answer.getheader("cache-control") == "no-store"


def test_a_body_that_is_too_large_is_cut_off_as_it_streams(server):
    """1 GiB announced is refused at once; 1 GiB in chunks when 64 MiB of it have come."""
    status, _, said = server.ask("/predict", b"{}", {"Content-Length": str(1 << 30)})
    assert status == 413
    assert "64 MiB" in said
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as raw:
        head = (
            f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nX-Latentmix: 1\r\n"
            f"Authorization: Bearer {server.token}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        raw.sendall(head.encode())
        chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
        sent = 0
        try:
            while sent < 1024:
                raw.sendall(chunk)
                sent += 1
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 100


def test_half_open_and_slow_connections_are_closed(server):
    """One that says nothing, one that stops within its head, one that dribbles its body."""
    head = (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nX-Latentmix: 1\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Length: 1000\r\n\r\n"
    ).encode()
    began = time.monotonic()
    open_ones = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
    open_ones[1].sendall(head[:40])
    open_ones[2].sendall(head + b"{")
    for one in open_ones:
        one.settimeout(1)
    left = set(range(3))
    while left and time.monotonic() - began < guards.PATIENCE + 5:
        for number in sorted(left):
            try:
                if number and time.monotonic() - began < guards.PATIENCE - 1:
                    open_ones[number].sendall(b" " if number == 2 else b"X")
                open_ones[number].settimeout(0.3)
                if not open_ones[number].recv(4096):
                    left.discard(number)
            except TimeoutError:
                continue
            except OSError:
                left.discard(number)
    assert not left
    assert time.monotonic() - began < guards.PATIENCE + 3
    assert server.ask("/")[0] == 200, "everybody else is served"
    for one in open_ones:
        one.close()


def test_a_ticket_buys_one_cookie_and_leaves_the_address(server):
    """Of the guards alone: `serve` prints no link, the explorer does."""
    import asyncio  # noqa: PLC0415

    async def inner(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})

    guarded = Guarded(inner, "127.0.0.1", 8123)

    def get(path, **headers):
        path, _, query = path.partition("?")
        sent = []

        async def send(message):
            sent.append(message)

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        given = {"host": "127.0.0.1:8123", **headers}
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }
        asyncio.run(guarded(scope, receive, send))
        return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}

    assert guarded.link.startswith("http://127.0.0.1:8123/?ticket=")
    link = guarded.link.removeprefix("http://127.0.0.1:8123")
    assert get("/")[0] == 401
    assert get("/?ticket=wrong")[0] == 403
    status, headers = get(link)
    assert (status, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"]
    assert cookie.startswith("latentmix-8123=")
    assert "HttpOnly; SameSite=Strict" in cookie
    assert get(link)[0] == 403, "once"
    assert get("/", cookie=cookie.partition(";")[0])[0] == 200
    assert get("/", cookie="latentmix-8123=wrong")[0] == 401
    with pytest.raises(RuntimeError, match="not served"):
        asyncio.run(guarded({"type": "websocket"}, None, None))
    assert issubclass(Refusal, Exception)


def test_a_port_in_use_and_a_folder_that_is_no_run_are_named(latentmix, finished, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = latentmix("serve", finished, "--port", port)
    assert code == 2
    assert err == [
        f"latentmix: Port {port} of 127.0.0.1 is in use. Give another with --port, or --port 0 for "
        "any that is free. See docs/errors.md."
    ]
    code, _, err = latentmix("serve", tmp_path / "nothing")
    assert (code, len(err)) == (66, 1)
    code, _, err = latentmix("serve", finished, "--host", "192.0.2.1")
    assert code == 2
    assert "Nothing can listen at 192.0.2.1" in err[0]
