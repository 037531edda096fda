"""Views of photos: parts of them as more images, for calibration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rdquant as rdq
from rdquant.compression.tolerance import Split, Tolerance
from rdquant.data.views import Views, enlarged, has_photos


def photos(count: int = 6, channels: int = 3, high: int = 64, wide: int = 80) -> rdq.ArrayDataset:
    """Noise."""
    x = np.random.default_rng(0).standard_normal((count, channels, high, wide)).astype(np.float32)
    return rdq.ArrayDataset(x, np.arange(count), batch_size=4)


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(*[st.floats(0, 1)] * 4),
    st.tuples(*[st.floats(-2, 2)] * 3),
)
def test_a_part_of_a_plane_is_the_plane(
    size: tuple[int, int], part: tuple[float, ...], plane: tuple[float, ...]
) -> None:
    high, wide = size
    height, width = max(0.3, part[0]) * high, max(0.3, part[1]) * wide
    top, left = part[2] * (high - height), part[3] * (wide - width)
    # Beyond the centres of the outermost pixels there is nothing to interpolate: those go on.
    at = [
        np.clip(start + (np.arange(n) + 0.5) * length / n - 0.5, 0, n - 1)
        for n, start, length in ((high, top, height), (wide, left, width))
    ]
    y, x = np.meshgrid(np.arange(high), np.arange(wide), indexing="ij")
    photo = (plane[0] * y + plane[1] * x + plane[2])[np.newaxis].astype(np.float32)
    found = enlarged(photo, (top, height), (left, width))
    assert found.dtype == np.float32
    wanted = plane[0] * at[0][:, np.newaxis] + plane[1] * at[1] + plane[2]
    np.testing.assert_allclose(found[0], wanted, atol=1e-4)


def test_the_whole_is_itself() -> None:
    (photo,), _ = photos().get(0)
    np.testing.assert_array_equal(enlarged(photo, (0, 64), (0, 80)), photo)


def test_photos_come_first_and_unchanged_views_behind_them() -> None:
    data = photos()
    views = Views(data, seed=1)
    assert len(views) == 12
    x = np.concatenate([batch for batch, _ in views])
    whole, _ = data.get(np.arange(6))
    np.testing.assert_array_equal(x[:6], whole)
    np.testing.assert_array_equal(views.labels, np.tile(np.arange(6), 2))
    assert views.item_name(3) == data.item_name(3)
    assert views.item_name(9) == f"a view of {data.item_name(3)}"
    assert x.dtype == np.float32
    assert x.shape[1:] == whole.shape[1:]
    for view, photo in zip(x[6:], whole, strict=True):
        assert photo.min() <= view.min() < view.max() <= photo.max()
        # Noise that has been enlarged varies less from pixel to pixel than noise.
        assert np.square(np.diff(view)).mean() < 0.9 * np.square(np.diff(photo)).mean()


def test_a_view_depends_on_its_photo_and_the_seed_alone() -> None:
    views = Views(photos(), seed=1)
    x = np.concatenate([batch for batch, _ in views])
    some, labels = views.get([11, 2, 7])
    np.testing.assert_array_equal(some, x[[11, 2, 7]])
    np.testing.assert_array_equal(labels, [5, 2, 1])
    np.testing.assert_array_equal(views.take([7, 8]).held(1 << 20).get(0)[0][0], x[7])
    other = Views(photos(), seed=2)
    assert other.fingerprint != views.fingerprint == Views(photos(), seed=1).fingerprint
    assert not np.array_equal(other.get(7)[0][0], x[7])


def test_half_of_the_views_are_mirrored() -> None:
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32), (200, 3, 64, 64))
    x, _ = Views(rdq.ArrayDataset(ramp, np.zeros(200, int))).get(np.arange(200, 400))
    rising = np.diff(x).sum(axis=(1, 2, 3)) > 0
    assert 70 < rising.sum() < 130
    shown = np.abs(x[:, 0, 0, -1] - x[:, 0, 0, 0]) / 63
    assert shown.min() > 0.5  # √(0.4 · 0.8), less half a pixel at each end
    assert shown.max() <= 1


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (photos(), True),
        (photos(channels=1), False),
        (photos(high=32, wide=32), False),
        (rdq.Digits("test"), False),
        (rdq.ArrayDataset(np.zeros((4, 64)), np.zeros(4, int)), False),
    ],
    ids=["photos", "grey", "small", "digits", "rows"],
)
def test_photos_alone_are_fitted_to_with_views(data: rdq.Dataset, wanted: bool) -> None:
    assert has_photos(data) is wanted
    split = Split.of(data, Tolerance(kl=1.0), 300, 0)
    fitted = max(2, 2 * min(300, len(data)) // 3)
    assert len(split.fit) == fitted * (2 if wanted else 1)
    assert len(split.held) == min(300, len(data)) - fitted
    # No photo that measures what is lost is fitted to.
    held = np.concatenate([x for x, _ in split.held])
    fit, _ = split.fit.get(np.arange(fitted))
    if len(np.unique(held.reshape(len(held), -1), axis=0)) == len(held):
        assert not any(np.array_equal(a, b) for a in held for b in fit)
