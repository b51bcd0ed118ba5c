"""Two fits and one checkpoint folder: the second is refused, the first does not notice."""

import subprocess
import sys

import numpy as np
import pytest

import latentmix.estimators.mixture
from latentmix import GaussianMixture
from latentmix.errors import InputError
from latentmix.training.em_checkpoint import FolderKeeper

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.skipif(sys.platform == "win32", reason="has no such locks"),
]

rng = np.random.RandomState(3)
X = np.concatenate([rng.randn(150, 2), rng.randn(150, 2) + 1.5])
LONG = {"n_components": 3, "random_state": 0, "tol": 0, "max_iter": 20}

OTHER_PROCESS = """
import sys
import numpy as np
from latentmix import GaussianMixture

GaussianMixture(3).fit(np.load(sys.argv[1]), checkpoint=sys.argv[2])
"""


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Let fits save after every pass."""

    class EagerKeeper(FolderKeeper):
        def __init__(self, folder, **how):
            super().__init__(folder, seconds=0.0, **how)

    monkeypatch.setattr(latentmix.estimators.mixture, "FolderKeeper", EagerKeeper)


def fit_and_try(attempt, folder):
    """Return a fit in a folder, of whose fifth iteration `attempt` was called."""

    def listen(event):
        if event.iteration == 5:
            attempt()

    return GaussianMixture(**LONG).fit(X, checkpoint=folder, listener=listen)


def assert_unharmed(mixture, folder):
    np.testing.assert_array_equal(mixture.means_, GaussianMixture(**LONG).fit(X).means_)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("rows", [X, X[:100]])
def test_a_second_fit_of_this_process_is_refused(rows, tmp_path):
    folder = tmp_path / "kept"

    def attempt():
        kept = {path.name: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(InputError, match=r"in use: another fit.*folder of its own"):
            GaussianMixture(**LONG).fit(rows, checkpoint=folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept

    assert_unharmed(fit_and_try(attempt, folder), folder)


def test_a_fit_of_another_process_is_refused(tmp_path):
    folder, rows, errors = tmp_path / "kept", tmp_path / "rows.npy", []
    np.save(rows, X)

    def attempt():
        command = [sys.executable, "-c", OTHER_PROCESS, rows, folder]
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        errors.append(run.stderr)

    assert_unharmed(fit_and_try(attempt, folder), folder)
    assert "is in use: another fit is keeping itself there" in errors[0]


def test_a_fit_that_was_stopped_holds_the_folder_no_longer(tmp_path):
    def stop():
        raise KeyboardInterrupt

    # `caught` holds the frames of the fit, as an interactive session does.
    with pytest.raises(KeyboardInterrupt) as caught:
        fit_and_try(stop, tmp_path)
    assert (tmp_path / "em.json").is_file()
    assert_unharmed(GaussianMixture(**LONG).fit(X, checkpoint=tmp_path), tmp_path)
    assert caught.traceback
