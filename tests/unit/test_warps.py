"""Warps of images, each against what it must do to pixels that are easy to follow."""

import jax.numpy as jnp
import numpy as np
import pytest

from latentmix.kernels.warp import N_AMOUNTS, SIDE_FOR_FULL_STROKE, WAVES, Warps, warped

STILL = Warps(*np.zeros(len(Warps._fields)))
STROKE, ROTATION, SHEAR, WIDER, TALLER, RIGHT, DOWN, *BENDS = np.eye(N_AMOUNTS, dtype=np.float32)
BENDS_ACROSS, BENDS_DOWN = (
    dict(zip(WAVES, BENDS[start : start + len(WAVES)], strict=True)) for start in (0, len(WAVES))
)


def images(height, width, channels=1, n_images=4):
    random = np.random.RandomState(0)
    return random.rand(n_images, height, width, channels).astype(np.float32)


def warp(x, amounts, warps):
    """Return images (N, H, W, C), all warped by the same amounts."""
    rows = jnp.asarray(x.reshape(len(x), -1))
    each = jnp.asarray(np.tile(np.float32(amounts), (len(x), 1)))
    return np.asarray(warped(rows, each, warps, x.shape[1:])).reshape(x.shape)


@pytest.mark.parametrize("shape", [(5, 7), (28, 28, 1), (6, 4, 3)])
def test_without_an_amount_an_image_stays(shape):
    x = images(*shape)
    np.testing.assert_allclose(warp(x, np.zeros(N_AMOUNTS), Warps()), x, atol=1e-5)
    # Nor has an amount an effect on what is not to be warped.
    np.testing.assert_allclose(warp(x, np.ones(N_AMOUNTS), STILL), x, atol=1e-5)


@pytest.mark.parametrize("pixels", [-2, 1, 3])
def test_a_shift_by_whole_pixels_moves_them_and_leaves_zeros(pixels):
    height, width = 8, 16
    x = images(height, width)
    padded = np.pad(x, ((0, 0), (4, 4), (4, 4), (0, 0)))
    # Beyond the right and the lower border a thousandth of the last pixel is left.
    across = warp(x, RIGHT * pixels / width / 0.5, STILL._replace(shift=0.5))
    expected = padded[:, 4:-4, 4 + pixels : 4 + pixels + width]
    np.testing.assert_allclose(across, expected, atol=1.01e-3)
    down = warp(x, DOWN * pixels / height / 0.5, STILL._replace(shift=0.5))
    expected = padded[:, 4 + pixels : 4 + pixels + height, 4:-4]
    np.testing.assert_allclose(down, expected, atol=1.01e-3)


@pytest.mark.parametrize("side", [7, 10])
@pytest.mark.parametrize(("amount", "quarters"), [(1, 1), (-1, -1)])
def test_a_quarter_turn_is_numpys(side, amount, quarters):
    x = images(side, side, 3)
    turned = warp(x, ROTATION * amount, STILL._replace(rotation=90.0))
    np.testing.assert_allclose(turned, np.rot90(x, quarters, axes=(1, 2)), atol=1e-4)


def test_a_larger_scale_takes_in_more_of_the_image_in_its_direction():
    x = np.zeros((1, 9, 9, 1), np.float32)
    x[:, 4, 2:7] = 1  # a line across, five pixels wide
    halved = warp(x, WIDER, STILL._replace(scale=np.log(2)))
    assert halved.sum() < 3.01 and halved[0, 4, 4, 0] == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(warp(x, TALLER, STILL._replace(scale=np.log(2))), x, atol=1e-5)
    np.testing.assert_allclose(warp(x, -WIDER, STILL._replace(scale=np.log(2)))[0, 4], 1)


def test_a_shear_slants_an_upright_line_and_moves_no_row():
    x = np.zeros((1, 9, 9, 1), np.float32)
    x[:, 2:7, 4] = 1
    slanted = warp(x, SHEAR, STILL._replace(shear=1.0))[0, :, :, 0]
    # Source column = column + row, both from the middle: the line is where they cancel.
    np.testing.assert_allclose(slanted, np.fliplr(np.eye(9)) * x.any(axis=(0, 2, 3))[:, None])


@pytest.mark.parametrize("side", [14, SIDE_FOR_FULL_STROKE, 40])
def test_a_stroke_becomes_thicker_and_thinner_by_its_neighbours(side):
    x = np.zeros((1, side, side, 1), np.float32)
    x[:, 5:8, 5:8] = 1
    full = min(1.0, side / SIDE_FOR_FULL_STROKE)
    thick = warp(x, STROKE, STILL._replace(stroke=0.6))[0, :, :, 0]
    beside = [(4, 6), (8, 6), (6, 4), (6, 8)]
    np.testing.assert_allclose([thick[place] for place in beside], 0.6 * full, rtol=1e-5)
    assert thick[4, 4] == 0  # a corner is no neighbour
    np.testing.assert_allclose(thick[5:8, 5:8], 1, rtol=1e-5)
    thin = warp(x, -STROKE, STILL._replace(stroke=0.6))[0, :, :, 0]
    np.testing.assert_allclose(thin[5, 5:8], 1 - 0.6 * full, rtol=1e-5)
    assert thin[6, 6] == pytest.approx(1, rel=1e-5)
    assert thin.sum() < x.sum() < thick.sum()


@pytest.mark.parametrize("wave", [(1, 0), (0, 3), (2, 2)])
def test_a_bend_moves_pixels_along_its_wave(wave):
    """An image whose brightness is its column (row) shows where its pixels come from."""
    height, width, most = 24, 32, 0.04
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x = np.stack([columns, rows], axis=-1)[None]
    phase = np.pi * np.stack([(columns + 0.5) / width, (rows + 0.5) / height])
    moved = most / np.hypot(*wave) * np.cos(wave[0] * phase[0]) * np.cos(wave[1] * phase[1])
    inner = (slice(2, -2), slice(2, -2))  # beyond the border are zeros
    across = warp(x, BENDS_ACROSS[wave], STILL._replace(bend=most))[0]
    np.testing.assert_allclose((across[..., 0] - columns)[inner], (width * moved)[inner], atol=1e-4)
    np.testing.assert_allclose(across[..., 1][inner], rows[inner], atol=1e-4)
    down = warp(x, -BENDS_DOWN[wave], STILL._replace(bend=most))[0]
    np.testing.assert_allclose((down[..., 1] - rows)[inner], -(height * moved)[inner], atol=1e-4)
    np.testing.assert_allclose(down[..., 0][inner], columns[inner], atol=1e-4)


def test_channels_are_warped_alike_and_images_each_by_amounts_of_its_own():
    x, random = images(10, 8, 3), np.random.RandomState(1)
    amounts = jnp.asarray(random.uniform(-1, 1, (len(x), N_AMOUNTS)).astype(np.float32))
    together = np.asarray(warped(jnp.asarray(x.reshape(4, -1)), amounts, Warps(), (10, 8, 3)))
    together = together.reshape(x.shape)
    for channel in range(3):
        rows = jnp.asarray(x[..., channel].reshape(4, -1))
        alone = np.asarray(warped(rows, amounts, Warps(), (10, 8)))
        np.testing.assert_allclose(together[..., channel].reshape(4, -1), alone, atol=1e-6)
    for number in range(4):
        one = warp(x[number : number + 1], amounts[number], Warps())
        np.testing.assert_allclose(together[number], one[0], atol=1e-5)
    assert np.abs(together - x).max() > 0.1
