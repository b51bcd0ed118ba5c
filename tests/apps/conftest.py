"""What the tests of the applications share."""

import pytest

from latentmix.apps.cli import cli, guarded


@pytest.fixture
def latentmix(capfd):
    """Return a function that runs one command and returns its code, output and error lines."""

    def run(*args):
        code = guarded(
            lambda: cli.main(
                [str(arg) for arg in args], prog_name="latentmix", standalone_mode=False
            )
        )
        out, err = capfd.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run
