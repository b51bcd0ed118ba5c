"""What the documents show holds for a type checker, too: `py.typed` is no empty promise."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
# What is not installed here, or carries no types, is taken as it is; ours is not. Labels that a
# data set may lack are indexed, as in a notebook.
CONFIG = """[mypy]
check_untyped_defs = true
ignore_missing_imports = true
follow_imports = silent
strict_optional = false
"""


def test_the_python_blocks_of_all_pages_are_well_typed(tmp_path):
    api = pytest.importorskip("mypy.api")
    (tmp_path / "mypy.ini").write_text(CONFIG)
    shown = {}
    for page in PAGES:
        if blocks := BLOCK.findall(page.read_text(encoding="utf-8")):
            name = re.sub(r"\W", "_", str(page.relative_to(ROOT).with_suffix(""))) + ".py"
            shown[name] = tmp_path / name
            shown[name].write_text("\n".join(blocks), encoding="utf-8")
    assert len(shown) >= 6
    options = ["--config-file", str(tmp_path / "mypy.ini"), "--cache-dir", str(tmp_path / "cache")]
    said, wrong, code = api.run([*options, *map(str, shown.values())])
    assert code == 0, said + wrong
