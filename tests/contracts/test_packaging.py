"""What is built to be installed holds all that is needed, and says whose it is."""

import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import latentmix

pytest.importorskip("hatchling", reason="extra [dev]")

ROOT = Path(__file__).parents[2]
VERSION = latentmix.__version__


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the paths of the wheel and the source archive, built as an installer builds them."""
    folder = tmp_path_factory.mktemp("dist")
    for what in ("wheel", "sdist"):
        code = f"from hatchling import build; import sys; build.build_{what}(sys.argv[1])"
        subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    (sources,) = folder.glob("*.tar.gz")
    return wheel, sources


def test_the_wheel_holds_every_file_of_the_package(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = {name for name in wheel.namelist() if name.startswith("latentmix/")}
    package = ROOT / "src" / "latentmix"
    expected = {
        f"latentmix/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == expected
    assert {
        "latentmix/py.typed",
        "latentmix/recipes/default.toml",
        "latentmix/apps/export/reader.py",
        "latentmix/apps/report/report.js",
    } <= names


def test_the_wheel_says_what_it_is(built):
    with zipfile.ZipFile(built[0]) as wheel:
        (about,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        said = Parser().parsestr(wheel.read(about).decode())
        (starts,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
        assert "latentmix = latentmix.apps.cli:main" in wheel.read(starts).decode()
        assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
    assert (said["Name"], said["Version"]) == ("latentmix", VERSION)
    assert said["License-Expression"] == "Apache-2.0"
    assert {"onnx", "hub", "parquet", "explore"} <= set(said.get_all("Provides-Extra"))


def test_the_sources_hold_tests_docs_and_what_people_look_for(built):
    with tarfile.open(built[1]) as sources:
        names = {name.partition("/")[2] for name in sources.getnames()}
    assert {
        *("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"),
        *("SECURITY.md", "pyproject.toml", "src/latentmix/py.typed"),
        *("docs/how-to-export.md", "tests/conftest.py"),
    } <= names
    assert not any(name.startswith(("runs/", ".git/")) for name in names)


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text()
    said = dict(re.findall(r"^([\w-]+): (\S.*)$", text, flags=re.MULTILINE))
    assert said["title"] == "latentmix" and said["cff-version"] == "1.2.0"
    assert said["version"] == VERSION and said["license"] == "Apache-2.0"
