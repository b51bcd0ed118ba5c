"""Adam with its bias corrections folded into two numbers: the paper's steps, to rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from latentmix.training.adam import scale_by_adam


def steps_of_the_paper(gradients):
    """Yield the directions as Kingma and Ba write them, in float64."""
    mean = square = 0.0
    for t, gradient in enumerate(gradients, start=1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        yield mean / (1 - 0.9**t) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)


def test_steps_are_those_of_the_paper_from_the_first_to_a_late_one():
    random = np.random.RandomState(0)
    # From far above epsilon to below it, where it decides how long a step is.
    scales = 10.0 ** random.uniform(-10, 2, 200)
    gradients = (scales * random.standard_normal((300, 200))).astype(np.float32)
    rule = scale_by_adam()
    state, update = rule.init(jnp.zeros(200)), jax.jit(rule.update)
    for gradient, expected in zip(
        gradients, steps_of_the_paper(gradients.astype(float)), strict=True
    ):
        steps, state = update(jnp.asarray(gradient), state)
        # 1 - 0.999^t has lost 1e-5 of itself in float32.
        np.testing.assert_allclose(steps, expected, rtol=2e-5, atol=1e-6)


def test_the_state_is_that_of_optax_so_that_earlier_checkpoints_load():
    parameters = {"weight": jnp.zeros((3, 2))}
    state, theirs = scale_by_adam().init(parameters), optax.scale_by_adam().init(parameters)
    assert jax.tree.structure(state) == jax.tree.structure(theirs)


def test_a_weight_that_never_had_a_gradient_stays_where_it_is():
    rule = scale_by_adam()
    steps, _ = rule.update(jnp.zeros(3), rule.init(jnp.zeros(3)))
    np.testing.assert_array_equal(steps, np.zeros(3))
