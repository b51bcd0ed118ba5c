"""A small run that several contracts look at: easy shapes, a tiny network, half a second."""

import gc
import logging
import uuid
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from latentmix.data import Split, load
from latentmix.runs.execute import Request, execute
from latentmix.runs.recipe import load_recipe
from latentmix.storage import remote
from latentmix.training.events import nobody

SMALL = (
    "vae.hidden_dims=[16]",
    "vae.latent_dim=2",
    "vae.batch_size=32",
    "vae.max_epochs=30",
    "vae.min_steps=0",
    "vae.learning_rate=1e-2",
    "vae.kl_weight=auto",
    "refinement.n_rounds=0",
    "mixture.n_components=3",
    "mixture.covariance_type=full",
    "mixture.n_init=5",
    "report.n_components=[3]",
    "report.draws=2",
    "report.images=3",
)
NAMES = np.array(["bar", "pillar", "square"])


# A process of Linux may map 65,530 pieces of memory, and XLA dies where it gets no more. A compiled
# training step has dozens; a third of that leaves any module room enough.
MANY_MAPS = 20_000
MAPS = Path("/proc/self/maps")


@pytest.fixture(autouse=True, scope="module")
def _compiled_programs_let_go():
    """Let go of what was compiled, now and then: the suite compiles more than there is room for."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MANY_MAPS:
        jax.clear_caches()
        gc.collect()


def draw_nothing(folder):
    """Draw no pictures."""


@pytest.fixture(scope="session")
def shapes_file(tmp_path_factory):
    """Return the path of 120 images of 8x8 pixels with labels: a bar, a pillar and a square."""
    rng = np.random.RandomState(0)
    kinds = np.arange(120) % 3
    bright = np.zeros((3, 8, 8), int)
    bright[0, :4] = bright[1, :, :4] = bright[2, 2:6, 2:6] = 220
    X = (bright[kinds] + rng.randint(0, 30, (120, 8, 8))).astype(np.uint8)
    path = tmp_path_factory.mktemp("data") / "shapes.npz"
    np.savez(path, X=X, y=NAMES[kinds])
    return path


@pytest.fixture(scope="session")
def shapes(shapes_file):
    """Return those images as a data set."""
    return load(shapes_file)


@pytest.fixture(scope="session")
def split_shapes(shapes):
    """Return those images with an official split, so that labels cannot change who is where."""
    rows = np.arange(120)
    # Kinds repeat every three rows; row 101 trains so that parts mixed up do not line up again.
    train = np.append(rows[:83], 101)
    return replace(shapes, fixed_split=Split(train, rows[83:101], rows[102:]))


@pytest.fixture(scope="session")
def carry_out(shapes):
    """Return a function that runs the small recipe, on the shapes unless told, for metrics."""

    def run(out, *settings, dataset=shapes, seed=0, listener=nobody, draw=draw_nothing, command=()):
        recipe = load_recipe("default", (*SMALL, *settings))
        request = Request(recipe, dataset, Path(out), seed, command)
        return execute(request, listener=listener, draw=draw)

    return run


@pytest.fixture(scope="session")
def finished(carry_out, tmp_path_factory):
    """Return the folder of a finished run of the shapes: to be read, never changed."""
    folder = tmp_path_factory.mktemp("runs") / "shapes"
    carry_out(folder)
    return folder


@pytest.fixture(scope="session")
def unnamed(split_shapes, carry_out, tmp_path_factory):
    """Return the folder of a finished run without labels: to be read, never changed."""
    folder = tmp_path_factory.mktemp("runs") / "unnamed"
    carry_out(folder, dataset=replace(split_shapes, labels=None, class_names=()))
    return folder


@pytest.fixture(scope="session")
def bytes_in():
    """Return a function that reads every file under a folder."""

    def read(folder):
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return read


@pytest.fixture(scope="session")
def object_server():
    """Return the address of a server of objects on this machine, which speaks as S3 does."""
    servers = pytest.importorskip("moto.server", reason="extra [moto]")
    pytest.importorskip("s3fs", reason="extra [storage]")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = servers.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def at_server(object_server, monkeypatch):
    """Return what points this process at a server of objects; at first at ours, with a key."""
    nowhere = "/nonexistent/latentmix"
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        # Nothing of this machine's owner is read, and nobody else's server asked.
        "AWS_CONFIG_FILE": nowhere,
        "AWS_SHARED_CREDENTIALS_FILE": nowhere,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)

    def point(address):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        forget_servers()

    point(object_server)
    yield point
    forget_servers()


def forget_servers():
    """Have the next address asked anew: who speaks to a server is kept."""
    fsspec = pytest.importorskip("fsspec", reason="extra [storage]")
    remote._client.cache_clear()
    remote._reached.cache_clear()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture
def bucket(at_server):
    """Return a new bucket of that server: its files, by s3fs, and its address."""
    fsspec = pytest.importorskip("fsspec", reason="extra [storage]")
    files = fsspec.filesystem("s3", use_listings_cache=False)
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    files.mkdir(name)
    return files, f"s3://{name}"


@pytest.fixture(scope="session")
def small_settings():
    """Return the small recipe's settings, as `--set` takes them."""
    return SMALL
