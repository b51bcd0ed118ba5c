"""What must hold of warps whatever their amounts: hypothesis looks for the exception."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from latentmix.kernels.warp import N_AMOUNTS, Warps, warped

amounts = st.lists(st.floats(-1, 1, width=32), min_size=N_AMOUNTS, max_size=N_AMOUNTS)
most = st.builds(
    Warps,
    shift=st.floats(0, 2),
    rotation=st.floats(0, 360),
    shear=st.floats(0, 3),
    scale=st.floats(0, 3),
    stroke=st.floats(0, 1),
    bend=st.floats(0, 1),
)
# Few, as each is compiled.
shapes = st.sampled_from([(1, 1), (2, 9), (8, 8), (5, 6, 3)])


@settings(max_examples=150, deadline=None)
@given(shapes, most, amounts, st.integers(0, 2**31 - 1))
def test_no_warp_leaves_the_range_of_intensities(shape, warps, amounts, seed):
    """However far: what lies beyond the border is 0, and all else between pixels."""
    x = np.random.RandomState(seed).rand(3, int(np.prod(shape))).astype(np.float32)
    each = jnp.tile(jnp.asarray(amounts, jnp.float32), (3, 1))
    found = np.asarray(warped(jnp.asarray(x), each, warps, shape))
    assert found.shape == x.shape
    assert np.isfinite(found).all()
    assert found.min() >= -1e-6
    assert found.max() <= x.max() + 1e-5


@settings(max_examples=50, deadline=None)
@given(most, amounts, st.floats(0, 1, width=32))
def test_a_black_image_stays_black_and_brightness_is_kept(warps, amounts, brightness):
    each = jnp.tile(jnp.asarray(amounts, jnp.float32), (2, 1))
    x = np.random.RandomState(0).rand(1, 36).astype(np.float32)
    pair = jnp.asarray(np.vstack([x, brightness * x]))
    found = np.asarray(warped(pair, each, warps, (6, 6)))
    np.testing.assert_allclose(found[1], brightness * found[0], atol=1e-5)
    assert not np.asarray(warped(jnp.zeros((2, 36)), each, warps, (6, 6))).any()
