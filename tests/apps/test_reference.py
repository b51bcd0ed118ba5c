"""The reference: every public name stands on a page, has an example, and the example runs."""

import doctest
import inspect
import re
import shutil
import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest

import latentmix
from latentmix import data, errors, metrics, plots

PAGES = sorted((Path(__file__).parents[2] / "docs" / "reference").glob("*.md"))
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS

# Methods without an underscore that other parts of the package call: no reader needs them.
INNER = {
    "calibrate_by",
    "check_parameters",
    "class_proba_of",
    "classes_of",
    "draws",
    "epochs_of_rounds",
    "evidence_at",
    "from_json",
    "interval_by",
    "keep_names",
    "keep_tensors",
    "landscape_at",
    "name_by",
    "of_draws",
    "of_means",
    "query_in",
    "to_json",
}


def exceptions():
    """Return the names of what latentmix raises and warns of."""
    return [
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    ]


PUBLIC = {
    **{f"latentmix.{name}": getattr(latentmix, name) for name in latentmix.__all__},
    **{f"latentmix.data.{name}": getattr(data, name) for name in data.__all__},
    **{f"latentmix.metrics.{name}": getattr(metrics, name) for name in metrics.__all__},
    **{f"latentmix.plots.{name}": getattr(plots, name) for name in ("names", "draw")},
    **{f"latentmix.errors.{name}": getattr(errors, name) for name in exceptions()},
}


def methods_of(owner):
    """Return the names of a class's public methods and properties, scikit-learn's left out."""
    return [
        name
        for name in dir(owner)
        if not name.startswith("_") and name not in INNER and _is_ours(owner, name)
    ]


def _is_ours(owner, name):
    home = next(base for base in owner.__mro__ if name in vars(base))
    value = inspect.getattr_static(owner, name)
    # What is there for some parameters alone (scikit-learn's `available_if`) is no function.
    told = callable(value) or isinstance(value, property | classmethod) or hasattr(value, "check")
    return home.__module__.startswith("latentmix.") and told


METHODS = {
    f"{name}.{method}": getattr(value, method)
    for name, value in PUBLIC.items()
    if inspect.isclass(value) and not name.startswith("latentmix.errors.")
    for method in methods_of(value)
}


def shared_name(owner, method):
    """Return what a method of all mixtures is called where it is told of once, for all."""
    inherited = inspect.getattr_static(latentmix.GaussianMixture, method, None)
    same = inspect.getattr_static(owner, method) is inherited
    return f"latentmix.GaussianMixture.{method}" if same else None


def docstrings():
    """Return what has a docstring with an example, each once however many inherit it."""
    found = {}
    named = {name: resolve_name(name) for name in DOCUMENTED}
    for name, value in {**PUBLIC, **METHODS, **named}.items():
        text = inspect.getdoc(value) or ""
        if ">>>" in text and text not in found:
            short = getattr(value, "__qualname__", name)
            found[text] = pytest.param(name, text, id=short)
    for name in sorted({value.__module__ for value in PUBLIC.values()}):
        text = inspect.getdoc(sys.modules[name]) or ""
        if ">>>" in text:
            found[text] = pytest.param(name, text, id=name.removeprefix("latentmix."))
    return list(found.values())


def blocks(page):
    """Return the examples that stand on a page itself, one below the other."""
    return "\n".join(re.findall(r"^```pycon\n(.*?)^```", TEXTS[page], re.DOTALL | re.MULTILINE))


def documented():
    """Return the names that stand on pages, with the page of each."""
    directive = re.compile(r"^\.\. auto(?:class|exception|function|method|property):: (\S+)", re.M)
    return {name: page for page in PAGES for name in directive.findall(TEXTS[page])}


DOCUMENTED = documented()


def run(name, text):
    """Run an example, and fail with doctest's own words where it comes out otherwise."""
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
    said = []
    doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(test, out=said.append)
    assert not said, "".join(said)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Let examples write where nobody minds."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("name", "text"), docstrings())
def test_the_example_of_a_docstring_runs(name, text, request, tmp_path):
    if name.startswith("latentmix.plots"):
        shutil.copytree(request.getfixturevalue("finished"), tmp_path / "runs" / "shapes")
    run(name, text)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem
)
def test_the_examples_of_a_page_run(page, request, tmp_path):
    if page.stem == "plots":
        shutil.copytree(request.getfixturevalue("finished"), tmp_path / "runs" / "shapes")
    run(page.name, blocks(page))


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_stands_on_a_page_with_an_example(name):
    page = DOCUMENTED[name]
    own = inspect.getdoc(PUBLIC[name]) or ""
    if name.startswith("latentmix.errors."):
        own = inspect.getdoc(errors)  # one for all
    shown = own.partition(">>>")[2] + blocks(page)
    assert re.search(rf"\b{name.rpartition('.')[2]}\b", shown) or ">>>" in own


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_stands_on_a_page_with_an_example(name):
    owner, _, method = name.rpartition(".")
    assert name in DOCUMENTED or shared_name(PUBLIC[owner], method) in DOCUMENTED
    shown = [inspect.getdoc(METHODS[name]), inspect.getdoc(PUBLIC[owner])]
    shown = "".join((text or "").partition(">>>")[2] for text in shown)
    page = DOCUMENTED.get(name, DOCUMENTED[owner])
    assert re.search(rf"\.{method}\b", shown + blocks(page))


def test_a_page_documents_nothing_twice():
    directive = re.compile(r"^\.\. auto(?!summary)\w+:: (\S+)", re.MULTILINE)
    told = directive.findall("\n".join(TEXTS.values()))
    assert sorted(told) == sorted(set(told))
