"""What the how-to for Dask shows is run as it stands, on a cluster of this machine."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("dask.dataframe", reason="extra [dask]")
pytest.importorskip("distributed", reason="extra [dask]")
pytest.importorskip("pyarrow", reason="extra [parquet]")

PAGE = Path(__file__).parents[2] / "docs" / "how-to-dask.md"
BLOCK = re.compile(r"```python\n(.*?)```", flags=re.DOTALL)


@pytest.mark.filterwarnings("ignore")  # of Dask's own, at start and end
def test_from_a_folder_of_parquet_files_to_labels(tmp_path, monkeypatch):
    random = np.random.RandomState(0)
    kinds = random.randint(3, size=3000)
    rows = 6 * np.eye(3)[kinds] + random.randn(3000, 3)
    (tmp_path / "rows").mkdir()
    for number in range(3):
        own = slice(1000 * number, 1000 * (number + 1))
        frame = pd.DataFrame(rows[own], columns=["a", "b", "c"])
        frame.to_parquet(tmp_path / "rows" / f"{number}.parquet")
    monkeypatch.chdir(tmp_path)
    (block,) = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(block.splitlines()) <= 10
    scope = {}
    try:
        exec(compile(block, PAGE.name, "exec"), scope)
        assert sorted(scope["counts"]) == sorted(np.bincount(kinds).tolist())
        labels = scope["labels"].compute()
    finally:
        scope["client"].shutdown()
    table = np.zeros((3, 3), int)
    np.add.at(table, (labels, kinds), 1)
    assert table.max(axis=1).sum() > 2990
