"""Crews of several fits at a time, and what they leave of BLAS's threads."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from latentmix import GaussianMixture
from latentmix.kernels.crew import Crew


def blas_threads():
    blas = ThreadpoolController().select(user_api="blas")
    return [library["num_threads"] for library in blas.info()]


@pytest.mark.parametrize("last_out", ["the first in", "the last in"])
def test_crews_that_overlap_leave_blas_as_it_was(last_out):
    before, size = blas_threads(), Crew().size
    with ThreadPoolExecutor(1) as here, ThreadPoolExecutor(1) as there:
        one = here.submit(lambda: Crew().__enter__()).result()
        two = there.submit(lambda: Crew().__enter__()).result()
        assert (one.size, two.size) == (size, size)
        leave = [(here, one), (there, two)]
        if last_out == "the first in":
            leave.reverse()
        for number, (thread, crew) in enumerate(leave):
            assert set(blas_threads()) == {1}, number
            thread.submit(crew.__exit__, None, None, None).result()
        # Both threads still live: whoever set the limit could yet keep it.
        assert blas_threads() == before
        assert Crew().size == size


def test_fits_in_several_threads_leave_blas_as_it_was_and_equal_those_alone():
    before = blas_threads()
    tables = [np.random.RandomState(i).randn(300 + 200 * i, 4) for i in range(6)]

    def fit(x):
        return GaussianMixture(3, random_state=0, tol=0.1).fit(x).means_

    alone = [fit(x) for x in tables]
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(fit, tables))
    assert blas_threads() == before
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


FORK = """
import os, warnings
warnings.simplefilter("ignore")  # of forks while threads live
from threadpoolctl import ThreadpoolController
from latentmix.kernels.crew import Crew

blas = ThreadpoolController().select(user_api="blas")
before = blas.info(), Crew().size
with Crew() as crew:
    crew.run(len, [[1]] * 4)
    child = os.fork()
    if child == 0:
        with Crew() as own:
            same = own.size == before[1] and len(own.run(len, [[1]] * 4)) > 0
        os._exit(0 if same and blas.info() == before[0] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert blas.info() == before[0]
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_process_forked_from_a_crew_has_crews_of_its_own():
    code = FORK.replace("len(own.run(len, [[1]] * 4)) > 0", "len(own.run(len, [[1]] * 4)) > 0")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_crew_whose_work_fails_leaves_blas_as_it_was():
    before = blas_threads()
    with pytest.raises(ZeroDivisionError), Crew() as crew:
        crew.run(lambda tasks: 1 / 0, [1, 2])
    assert blas_threads() == before
