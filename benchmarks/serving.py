"""A worker in another interpreter, asked for one thing at a time over its standard input.

Standard library only: both ends of the pipe, whatever packages the interpreters have.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


class Worker:
    """A long-lived process that answers requests, and sleeps between them."""

    def __init__(self, interpreter: str, script: str, *arguments: str) -> None:
        path = Path(__file__).with_name(script)
        self._process = subprocess.Popen(
            [interpreter, str(path), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def ask(self, method: str, **arguments: Any) -> Any:
        """Call a method of the object that the worker serves, and return its answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([method, arguments]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"A worker ended while it was asked to {method}; see its error above.")
        return json.loads(answer)

    def close(self) -> None:
        """Let the worker end."""
        self._process.communicate()


def serve(served: object) -> None:
    """Answer requests until the driver closes the pipe; what others print goes to stderr."""
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        method, arguments = json.loads(line)
        print(json.dumps(getattr(served, method)(**arguments)), file=answers, flush=True)
