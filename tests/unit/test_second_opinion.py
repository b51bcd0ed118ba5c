"""A classifier of images beside a round's groups: what it makes of wrong ones, and who decides."""

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

from latentmix.data import RowView
from latentmix.estimators.teacher import Grouped, overruled
from latentmix.kernels.warp import Warps
from latentmix.training.classifier import STEPS_TOLD, Lessons, _agrees, second_opinion
from latentmix.training.events import StopTraining, nobody

LESSONS = Lessons((8, 8), 3, Warps(shift=0.05, rotation=5.0), n_steps=150)


def images(n_rows=240, seed=0):
    """Return bytes of three kinds of 8x8 images, and which is which."""
    random, kinds = np.random.RandomState(seed), np.arange(n_rows) % 3
    bright = np.zeros((3, 8, 8), int)
    bright[0, :4] = bright[1, :, :4] = bright[2, 2:6, 2:6] = 200
    noise = random.randint(0, 50, (n_rows, 8, 8))
    return (bright[kinds] + noise).astype(np.uint8).reshape(n_rows, 64), kinds


def asked(rows, groups, known=(), seed=0, lessons=LESSONS, listener=nobody):
    with jax.enable_x64(False):
        return second_opinion(rows, groups, np.asarray(known, np.int64), lessons, seed, listener)


def test_groups_that_are_wrong_here_and_there_are_not_believed():
    rows, kinds = images()
    groups = kinds.copy()
    groups[::7] = (groups[::7] + 1) % 3
    proba = asked(rows, groups)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, atol=1e-5)
    assert np.mean(groups == kinds) < 0.86
    assert np.mean(proba.argmax(axis=1) == kinds) > 0.97


def test_rows_beyond_doubt_teach_what_groups_do_not():
    """Every group of one kind is wrong: only known rows say what the kind is."""
    rows, kinds = images()
    groups = np.where(kinds == 2, 1, kinds)
    known = np.flatnonzero(kinds == 2)[:4]
    groups[known] = 2
    without, taught = asked(rows, groups), asked(rows, groups, known=known)
    hidden = np.setdiff1d(np.flatnonzero(kinds == 2), known)
    assert taught[hidden, 2].mean() > without[hidden, 2].mean() + 0.8


def test_what_is_believed_is_measured_by_the_row_s_own_group():
    """Of a group that is not learned yet its better rows are believed, not none."""
    proba = np.array([[0.99, 0.01], [0.98, 0.02], [0.5, 0.5], [0.9, 0.1], [0.7, 0.3]])
    believed = _agrees(jnp.asarray(proba), jnp.asarray([0, 0, 0, 1, 1]))
    np.testing.assert_array_equal(believed, [True, True, False, False, True])


def test_no_group_is_forgotten_for_being_learned_late():
    """When it stops to believe all, after 60 steps, it is sure of few digits yet.

    Measured by 0.95 alone six of them had no row at the end, and 0.40 were right; so 0.89 are.
    """
    digits, kinds = load_digits(return_X_y=True)
    rows = (15.9 * digits).astype(np.uint8)
    proba = asked(rows, kinds, lessons=Lessons((8, 8), 10, Warps(), n_steps=200))
    assert np.bincount(proba.argmax(axis=1), minlength=10).min() > 60
    assert np.mean(proba.argmax(axis=1) == kinds) > 0.75


def test_the_seed_decides_the_bits_and_rows_may_be_a_view():
    rows, kinds = images(60)
    few = Lessons((8, 8), 3, LESSONS.warps, n_steps=5)
    once = asked(rows, kinds, known=[3, 4], lessons=few)
    again = asked(RowView(rows, np.arange(60)), kinds, known=[3, 4], lessons=few)
    np.testing.assert_array_equal(once, again)
    assert (asked(rows, kinds, known=[3, 4], seed=1, lessons=few) != once).any()


def test_more_rows_than_one_answer_takes_are_answered():
    rows, kinds = images(2100)
    few = Lessons((8, 8), 3, LESSONS.warps, n_steps=2)
    proba = asked(rows, kinds, lessons=few)
    assert proba.shape == (2100, 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, atol=1e-5)


def test_listeners_are_told_how_far_it_is_and_may_end_it():
    rows, kinds = images(60)
    heard = []

    def stops(event):
        heard.append(event)
        if event.step == 2 * STEPS_TOLD:
            raise StopTraining

    many = Lessons((8, 8), 3, LESSONS.warps, n_steps=2 * STEPS_TOLD + 5)
    whole = asked(rows, kinds, lessons=many, listener=heard.append)
    assert [event.step for event in heard] == [STEPS_TOLD, 2 * STEPS_TOLD, 2 * STEPS_TOLD + 5]
    assert {event.n_steps for event in heard} == {2 * STEPS_TOLD + 5}
    heard.clear()
    stopped = asked(rows, kinds, lessons=many, listener=stops)
    assert [event.step for event in heard] == [STEPS_TOLD, 2 * STEPS_TOLD]
    assert (stopped != whole).any()


def test_wider_warps_are_wider_and_a_stroke_goes_no_further_than_all_the_way():
    assert LESSONS.times(0.5).rotation == 2.5
    assert Lessons((8, 8), 3, Warps(stroke=0.9), 1).times(1.5).stroke == 1.0


def test_only_what_is_all_but_certain_overrules_and_never_a_known_row():
    groups = np.array([0, 0, 0, 1])
    proba = np.array([[0.1, 0.9], [0.25, 0.75], [0.02, 0.98], [0.01, 0.99]])
    found = overruled(Grouped(np.arange(len(groups)), groups, np.array([2])), proba)
    np.testing.assert_array_equal(found.groups, [1, 0, 0, 1])


def test_a_group_that_would_lose_most_of_its_rows_keeps_them():
    """As one does that the classifier has not learned: it is certain that there is none."""
    groups = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    proba = np.eye(2)[[1, 1, 1, 0, 1, 1, 0, 0]]
    found = overruled(Grouped(np.arange(len(groups)), groups, np.arange(0)), proba)
    np.testing.assert_array_equal(found.groups, [0, 0, 0, 0, 1, 1, 0, 0])
