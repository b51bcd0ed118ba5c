"""The page "how we measure" has a command for every benchmark, and its files and links exist."""

import ast
import json
import re
from pathlib import Path

import pytest

from latentmix.comparison.plans import sha256_of_record
from latentmix.comparison.table import read_rows

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-we-measure.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL)
COMMANDS = "\n".join(BLOCKS).replace("\\\n", " ").splitlines()
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))
# A result that no machine at hand could give yet; the page says so.
NOT_YET = {"benchmarks/results/accelerator.md"}


def named_in_commands(name: str) -> bool:
    return any(f"benchmarks/{name}" in command for command in COMMANDS)


def worked_for(script: Path) -> list[str]:
    """Return the scripts that the first paragraph of a worker says it works for."""
    about = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    return re.findall(r"\w+\.py", about.partition("\n\n")[0])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_every_program_has_a_command_or_works_for_one_that_has(script):
    source = script.read_text(encoding="utf-8")
    if re.search(r"^def main\(", source, flags=re.MULTILINE):
        assert named_in_commands(script.name)
    elif "__main__" in source:
        assert named_in_commands(script.name) or any(map(named_in_commands, worked_for(script)))


def test_every_file_in_a_command_exists():
    named = set(re.findall(r"(?:benchmarks|tests)/[\w./]+\.\w+", "\n".join(COMMANDS)))
    assert len(named) > len(NOT_YET)
    assert {name for name in named if not (ROOT / name).exists()} <= NOT_YET


def test_every_option_in_a_command_is_one_of_its_script():
    seen = 0
    for command in COMMANDS:
        script = re.match(r"python ((?:benchmarks|tests)/\S+\.py)", command)
        if script is None:
            continue
        source = (ROOT / script[1]).read_text(encoding="utf-8")
        if script[1] == "benchmarks/mixture.py":
            source += (ROOT / "benchmarks" / "mixture_memory.py").read_text(encoding="utf-8")
        for option in re.findall(r" (--[\w-]+)", command):
            assert f'"{option}"' in source, command
        seen += 1
    assert seen > 20


def test_the_page_links_the_result_of_every_command_that_writes_one():
    written = re.findall(r"--(?:out|csv) (benchmarks/results/\S+)", "\n".join(COMMANDS))
    linked = {f"benchmarks/results/{name}" for name in re.findall(r"results/([\w.]+)\)", TEXT)}
    assert set(written) <= linked | NOT_YET


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)[^)]*\)", TEXT))
def test_every_link_leads_somewhere(target):
    assert "://" in target or (PAGE.parent / target).exists()


def test_every_row_of_the_table_of_methods_has_its_recipe():
    results = ROOT / "benchmarks" / "results"
    methods = json.loads((results / "clustering.json").read_text(encoding="utf-8"))
    hashes = {row.method_sha256 for row in read_rows(results / "clustering.csv")}
    assert {sha256_of_record(method) for method in methods.values()} == set(methods) == hashes
