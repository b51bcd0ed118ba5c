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


@pytest.fixture(scope="session")
def small(small_settings):
    """Return the small recipe's settings as words of a command."""
    return [word for setting in small_settings for word in ("--set", setting)]


@pytest.fixture(scope="session")
def run_folder(shapes_file, small, tmp_path_factory):
    """Return the folder of a finished run of the shapes: to be read, never changed."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    args = ["run", str(shapes_file), "--out", str(folder), *small]
    assert guarded(lambda: cli.main(args, standalone_mode=False)) == 0
    return folder
