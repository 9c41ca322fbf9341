"""Pictures are as they were when somebody looked at them.

``python -m tests.picture_models tests/images`` draws them anew.
"""

from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from matplotlib.testing.compare import compare_images

from tests.picture_models import PICTURES, drawn

IMAGES = Path(__file__).parent / "images"

TOLERANCE = 1.0
"""Root mean square of 0 to 255. matplotlib 3.8.0 and 3.11.2 differ by 0.01 at most where there is no text."""

OF_CELLS = 6.0
"""Of cells in colours: where they meet, which 4 % of the pixels touch, the two versions shade by up to 30 levels,
30 · √0.04 = 6; 4.3 were seen."""


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_the_one_that_was_looked_at(name, tmp_path):
    drawn(name, tmp_path / f"{name}.png")
    tolerance = OF_CELLS if name == "profiles" else TOLERANCE
    assert compare_images(IMAGES / f"{name}.png", tmp_path / f"{name}.png", tolerance) is None


def test_pictures_are_light_and_all_of_them_are_drawn():
    found = {path.stem: path.stat().st_size for path in IMAGES.iterdir()}
    assert found.keys() == PICTURES.keys()
    assert max(found.values()) < 30_000
