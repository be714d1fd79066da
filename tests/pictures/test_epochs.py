"""The page that goes through a run's epochs: one file, with the GIF's own dots."""

import base64
import zlib

import numpy as np
import pytest
from test_page import Parsed

from pictures import epochs
from pictures.feature_maps import Dots


def frames(count, images, classes=10):
    random = np.random.RandomState(images)
    labels = np.arange(images) % classes
    return [
        (Dots(random.normal(k, 1, (images, 2)), labels, random.normal(k, 1, (classes, 2))),
         f"run\nepoch {k}: accuracy 0.{k}")
        for k in range(count)
    ]  # fmt: skip


def unpacked(column):
    content = base64.b64decode(column["array"]["data"])
    content = zlib.decompress(content, 31) if content[:2] == b"\x1f\x8b" else content
    return np.frombuffer(content, column["dtype"])


def sources(parsed):
    return [dict(one["data"]["entries"]) for one in parsed.models("ColumnDataSource")]


def test_thirty_epochs_of_ten_thousand_dots_are_small():
    content = epochs.page({"training": frames(30, 10_000), "test": frames(30, 10_000)}, "a run")
    assert len(content) < 8e6
    assert "is shown" not in Parsed(content).text("p")


def test_more_dots_than_there_is_room_for_are_an_even_choice(monkeypatch):
    monkeypatch.setattr(epochs, "MAX_BYTES", 4 * 100)
    parsed = Parsed(epochs.page({"test": frames(2, 200)}, "a run"))
    assert "One image of 4 is shown" in parsed.text("p")
    assert 50 in {len(unpacked(one["x0"])) for one in sources(parsed) if "x0" in one}


def test_the_dots_lie_where_the_gif_has_them():
    (first, second) = frames(2, 40)
    parsed = Parsed(epochs.page({"test": [first, second]}, "a <run> &"))
    assert parsed.text("h1") == "a <run> &"
    assert not [tag for tag in parsed.tags if "src" in tag or "href" in tag]
    low, high = epochs.corners_of({"test": [first, second]})
    packed = {len(unpacked(one["x0"])): one for one in sources(parsed) if "x0" in one}
    for k, (dots, _) in enumerate((first, second)):
        for places in (dots.points, dots.centers):
            steps = [unpacked(packed[len(places)][f"{axis}{k}"]) for axis in "xy"]
            there = low + np.stack(steps, axis=1) / epochs.STEPS * (high - low)
            np.testing.assert_allclose(there, places, atol=1e-3)


@pytest.mark.parametrize("count", [1, 3])
def test_the_slider_has_the_epochs(count):
    parsed = Parsed(epochs.page({"test": frames(count, 20)}, "run"))
    (slider,) = parsed.models("Slider")
    assert slider["value"] == count - 1 and slider["end"] == max(1, count - 1)
    controls = [slider, *parsed.models("Button")]  # of a single epoch they lead nowhere
    assert [one.get("disabled", False) for one in controls] == [count == 1] * 4


def test_the_same_page_has_the_same_bytes():
    first, second = (epochs.page({"test": frames(2, 20)}, "run") for _ in range(2))
    assert first == second
