"""A process's anonymous memory, sampled from outside: not the pages of files. Linux only."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Self

# Seconds between two looks at a process.
INTERVAL = 0.005


class Sampled:
    """The most anonymous memory of a process while this is entered, in bytes."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.most = anonymous_memory(pid)

    def __enter__(self) -> Self:
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample)
        self._sampler.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._sampler.join()

    def _sample(self) -> None:
        while not self._done.wait(INTERVAL):
            self.most = max(self.most, anonymous_memory(self._pid))


def anonymous_memory(pid: int) -> int:
    """Return the bytes of a process's anonymous pages that are in memory."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    # A process that has just died holds none.
    return 1024 * int(found[1]) if found else 0
