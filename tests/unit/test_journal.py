"""A journal: nothing that was appended is lost, wherever its file is cut off."""

from __future__ import annotations

import json

import pytest

from latentmix.errors import IntegrityError, WriteError
from latentmix.storage import journal
from latentmix.storage.journal import append_entry, read_journal

ENTRIES = [{"do": "name", "cluster": 3, "name": "é\n=1"}, {"do": "undo"}, {"rows": [1, 2]}]


def test_what_is_appended_is_read_in_its_order(tmp_path):
    path = tmp_path / "j.jsonl"
    assert read_journal(path) == ([], [])
    for entry in ENTRIES:
        append_entry(path, entry)
    assert read_journal(path) == (ENTRIES, [])


def test_cut_off_anywhere_only_the_last_entry_can_be_missing(tmp_path):
    path = tmp_path / "j.jsonl"
    for entry in ENTRIES:
        append_entry(path, entry)
    whole = path.read_bytes()
    ends = [whole.index(json.dumps(e, separators=(",", ":")).encode()) for e in ENTRIES]
    ends = [
        at + len(json.dumps(e, separators=(",", ":"))) for at, e in zip(ends, ENTRIES, strict=True)
    ]
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        found = read_journal(path)
        n_whole = sum(end <= size for end in ends)
        assert found.entries == ENTRIES[:n_whole], size
        # And whatever is there, the next entry stands.
        append_entry(path, {"do": "redo"})
        assert read_journal(path).entries == [*ENTRIES[:n_whole], {"do": "redo"}], size


@pytest.mark.parametrize("line", [b'{"do": "na', b"\xff\xfe", b"[1]", b"7", b"\x00\x00"])
def test_a_line_that_is_none_is_left_out_and_numbered(tmp_path, line):
    path = tmp_path / "j.jsonl"
    append_entry(path, ENTRIES[0])
    with path.open("ab") as file:
        file.write(line)
    append_entry(path, ENTRIES[1])
    found = read_journal(path)
    assert found.entries == ENTRIES[:2]
    assert len(found.cut_short) == 1


def test_a_disk_that_is_full_says_so_and_what_is_there_counts(tmp_path, monkeypatch):
    path = tmp_path / "j.jsonl"
    append_entry(path, ENTRIES[0])

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal.os, "fsync", full)
    with pytest.raises(WriteError, match="No space left"):
        append_entry(path, ENTRIES[1])
    monkeypatch.undo()
    assert read_journal(path) == (ENTRIES[:1], [])


def test_a_journal_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(IntegrityError, match="cannot be read"):
        read_journal(tmp_path)
