"""`verbose`: every start is printed whole, however many there are and however they run."""

import re

import numpy as np
import pytest

from latentmix import GaussianMixture
from latentmix.training.events import StopTraining

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
CENTRES = rng.randn(6, 2) * 2
MANY = CENTRES[rng.randint(6, size=20_500)] + rng.randn(20_500, 2)


def printed(capsys, X, **parameters):
    """Fit, and return what was printed, cut into starts, without what differs from run to run."""
    events = []
    GaussianMixture(6, random_state=0, verbose_interval=5, **parameters).fit(
        X, listener=events.append
    )
    text = re.sub(r"lapse \S+s", "lapse", capsys.readouterr().out)
    return re.split(r"^(?=Initialization \d)", text, flags=re.MULTILINE)[1:], events


def assert_whole(start):
    """Assert that a start has its heading, every fifth iteration, and its end."""
    lines = start.splitlines()
    iterations = [int(line.split()[1]) for line in lines if line.startswith("  Iteration")]
    crossed = [iteration // 5 for iteration in iterations]
    assert crossed == list(range(1, len(crossed) + 1))
    assert re.match(r"Initialization (converged|did not converge)\.", lines[len(iterations) + 1])


@pytest.mark.parametrize("acceleration", [None, "squarem"])
@pytest.mark.parametrize("verbose", [1, 2])
def test_every_start_of_many_rows_is_printed_whole_and_so_are_the_best(
    capsys, verbose, acceleration
):
    asked = {"verbose": verbose, "acceleration": acceleration, "init_params": "random_from_data"}
    starts, events = printed(capsys, MANY, n_init=4, max_iter=60, **asked)
    assert [start.splitlines()[0] for start in starts] == [
        f"Initialization {number}" for number in (0, 1, 2, 3, 0, 1)
    ]
    for start in starts:
        assert_whole(start)
    assert "The best of these go on with all rows" in starts[3]
    assert ("ll change" in starts[0]) == (verbose == 2)
    if acceleration is None:
        lines = sum(start.count("  Iteration") for start in starts)
        assert lines == sum(event.iteration % 5 == 0 for event in events)


@pytest.mark.parametrize("max_iter", range(6, 14))
def test_leaps_that_were_taken_back_drop_no_line(capsys, max_iter):
    asked = {"verbose": 1, "acceleration": "squarem", "n_init": 2, "tol": 1e-7}
    starts, _ = printed(capsys, MANY[:2000], max_iter=max_iter, **asked)
    assert len(starts) == 2
    for start in starts:
        assert_whole(start)
        assert "did not converge" in start


def test_the_last_iteration_says_how_a_start_ended():
    events = []
    mixture = GaussianMixture(6, random_state=0, n_init=3, max_iter=500, tol=1e-4)
    mixture.fit(MANY[:2000], listener=events.append)
    ends = [event for event in events if event.last]
    assert sorted(event.start for event in ends) == [0, 1, 2]
    assert all(event.converged for event in ends)


@pytest.mark.parametrize("n_init", [1, 4])
@pytest.mark.parametrize("acceleration", [None, "squarem"])
def test_a_listener_ends_the_fit_at_the_iteration_it_was_told_of(acceleration, n_init):
    asked = {"random_state": 0, "acceleration": acceleration, "n_init": n_init, "tol": 0}
    told = []

    def enough(event):
        told.append(event)
        if event.iteration >= 7:
            raise StopTraining

    X = MANY if n_init > 1 else MANY[:2000]
    mixture = GaussianMixture(6, **asked, init_params="random_from_data").fit(X, listener=enough)
    assert not mixture.converged_
    # Of many rows the finalists of a comparison that was ended look at them once.
    assert mixture.n_iter_ == (1 if n_init > 1 else told[-1].iteration)
    assert mixture.lower_bounds_[-1] in [event.log_likelihood for event in told]
    # What is kept is what the last iteration led to: at least as good as what was told of.
    assert mixture.score(X) >= mixture.lower_bounds_[-1]
