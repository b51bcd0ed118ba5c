"""The base install stays small, and each package of it has its reason."""

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from latentmix.apps.cluster import cluster_of
from latentmix.apps.web import serve_run
from latentmix.data import load
from latentmix.errors import ParameterError

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REASONS = (ROOT / "docs" / "decisions" / "0004-dependencies.md").read_text()
MOST_PACKAGES = 35


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def needed_by(requirements, extras=("",)):
    """Return the requirements that hold on this machine."""
    parsed = [Requirement(text) for text in requirements]
    return [
        each
        for each in parsed
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)
    ]


def closure(requirements):
    """Return the names of all packages that some requirements bring, themselves among them."""
    names, waiting = set(), needed_by(requirements)
    while waiting:
        one = waiting.pop()
        key = (plain(one.name), tuple(sorted(one.extras)))
        if key not in names:
            names.add(key)
            try:
                brought = requires(one.name) or []
            except PackageNotFoundError:
                pytest.fail(f"{one.name}, which the base install needs, is not installed")
            waiting += needed_by(brought, ("", *one.extras))
    return {name for name, _ in names}


def test_the_base_install_has_at_most_35_packages():
    names = closure(PROJECT["dependencies"])
    assert {"jax", "jaxlib", "numpy"} <= names, "what others bring is counted"
    assert len(names) <= MOST_PACKAGES, sorted(names)


def test_each_base_dependency_has_its_reason():
    reasons = {
        plain(cells[1].split()[0]): cells[2:]
        for line in REASONS.splitlines()
        if line.startswith("| ") and len(cells := [cell.strip() for cell in line.split("|")]) == 7
    }
    for text in PROJECT["dependencies"]:
        assert reasons[plain(Requirement(text).name)][0], text


@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_each_package_of_an_extra_has_its_reason(extra):
    lines = [line for line in REASONS.splitlines() if line.startswith(f"| `{extra}` |")]
    told = " ".join(line.split("|")[2] for line in lines)
    for text in PROJECT["optional-dependencies"][extra]:
        assert plain(Requirement(text).name) in plain(told), f"{text} of {extra}"


def a_table(folder):
    (folder / "rows.parquet").write_bytes(b"PAR1")
    load(folder / "rows.parquet")


def a_cluster(folder):
    with cluster_of(None, 2):
        pass


def a_server(folder):
    serve_run(folder, "127.0.0.1", 0, print)


@pytest.mark.parametrize(
    ("package", "asked", "said"),
    [
        ("pyarrow", a_table, r"rows.parquet needs pyarrow, .*'latentmix\[parquet\]'"),
        ("distributed", a_cluster, r"A cluster needs Dask, .*'latentmix\[dask\]'"),
        ("fastapi", a_server, r"A server needs FastAPI .*'latentmix\[explore\]'"),
    ],
)
def test_what_lacks_an_extra_says_which(monkeypatch, tmp_path, package, asked, said):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.parquet", None)
    monkeypatch.delitem(sys.modules, "latentmix.apps.web.api", raising=False)
    with pytest.raises(ParameterError, match=said):
        asked(tmp_path)
