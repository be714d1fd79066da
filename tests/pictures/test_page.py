"""The pages to explore: one file, small, with the right images and dots, whatever the names are."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers import mnist5k
from PIL import Image

from pictures import page
from pictures.feature_maps import Dots

EVIL = [
    "<img src=x onerror=alert(1)>", "</script><b>", "a \"b\" 'c' &amp; d",
    "$$x$$ @{image} DATA TITLE", "中文",
]  # fmt: skip
FIRST_WRONG = {"class prediction": 3, "nearest center": 6}
OURS = re.findall(r"<(\w+)", page.TEMPLATE.read_text(encoding="utf-8").partition("const $")[0])


class Parsed(HTMLParser):
    """A page, whose elements are ours, whatever the names are; nothing in it may need another
    file."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.texts, self.inside = [], {}, ""
        self.feed(content.decode())
        assert self.tags == OURS
        self.title = self.texts["title"]
        self.data = json.loads(self.texts["application/json"])
        (self.first, *_) = self.data["sets"]

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not {"src", "href"} & {name for name, _ in attrs}
        self.inside = dict(attrs).get("type", tag)

    def handle_data(self, text):
        self.texts[self.inside] = self.texts.get(self.inside, "") + text.strip()

    def places(self, packed):
        """Between 0 and 1."""
        return np.frombuffer(base64.b64decode(packed), "<i2").reshape(-1, 2) / self.data["steps"]


def answers(count, names=EVIL, images=None, centers=True):
    """The arguments of a page; by each method every tenth answer is wrong."""
    random = np.random.RandomState(0)
    labels = np.arange(count) % len(names)
    features, places = random.normal(size=(count, 2)), random.normal(size=(len(names), 2))
    return {
        "dots": Dots.of(features, labels, places if centers else None),
        "images": np.zeros((count, 1, 28, 28), np.uint8) if images is None else images,
        "columns": {"image": range(count), "class": [names[j] for j in labels]},
        "wrong": {words: np.arange(count) % 10 == first for words, first in FIRST_WRONG.items()},
        "names": names,
        "title": "DATA <title> & </title>",
        "method": "class prediction",
    }


def made(**arguments):
    return Parsed(page.images_page(**arguments))


def test_a_page_of_mnist_is_one_small_file():
    images = np.tile(mnist5k().train.images, (3, 1, 1, 1))[:10_000]
    content = page.images_page(**answers(10_000, [str(j) for j in range(10)], images))
    assert len(content) < 8e6
    shown = Parsed(content).first
    numbers = shown["rows"]["image"]
    assert sorted(numbers) == list(range(10_000))
    for k in (0, 5000, 9999):
        seen = Image.open(io.BytesIO(base64.b64decode(shown["images"][k])))
        assert np.array_equal(np.asarray(seen), images[numbers[k], 0])


def test_names_are_kept_as_they_are():
    arguments = answers(200)
    parsed = made(**arguments)
    assert parsed.title == arguments["title"]
    assert [name for _, name in parsed.data["classes"]] == EVIL
    rows = parsed.first["rows"]
    assert rows["class"] == [EVIL[i % len(EVIL)] for i in rows["image"]]


@pytest.mark.parametrize("most, wrong", [(100, 60), (40, 40)])
def test_of_too_many_images_the_wrong_ones_go_first(monkeypatch, most, wrong):
    monkeypatch.setattr(page, "MAX_IMAGES", most)
    parsed = made(**answers(300))
    shown = np.array(parsed.first["rows"]["image"])
    is_wrong = np.isin(shown % 10, list(FIRST_WRONG.values()))
    assert len(set(shown)) == most and is_wrong.sum() == wrong
    assert np.diff(np.sort(shown[~is_wrong])).max(initial=0) < 15  # evenly
    assert f"Of 300 images {most} are here" in parsed.data["said"]


def test_a_network_without_centers_has_a_page():
    assert "a cross is the center" in made(**answers(50)).data["said"]
    parsed = made(**answers(50, centers=False))
    assert "center" not in parsed.data["said"] and parsed.first["frames"][0]["centers"] == ""


def test_large_images_are_shrunk_in_their_colours():
    images = np.zeros((20, 3, 60, 90), np.uint8)
    images[:, 0] = 200
    shown = made(**answers(20, images=images)).first
    seen = Image.open(io.BytesIO(base64.b64decode(shown["images"][0])))
    assert seen.size == (28, 19) and seen.getpixel((14, 9)) == (200, 0, 0)


def test_classes_that_are_there_can_be_switched():
    arguments = answers(200, [f"class {j}" for j in range(200)])
    arguments["dots"] = arguments["dots"]._replace(labels=arguments["dots"].labels % 2 * 7)
    assert made(**arguments).data["classes"] == [[0, "class 0"], [7, "class 7"]]


def test_what_is_wrong_by_the_chosen_method_is_outlined():
    for method, first in FIRST_WRONG.items():
        shown = made(**{**answers(60), "method": method}).first
        (marked,) = (one for one in shown["kinds"] if one["marked"])
        assert marked["name"] == f"wrong by {method} (6)"
        numbers = np.array(shown["rows"]["image"])
        assert len(numbers) == 60 and (numbers % 10 == first).tolist() == marked["wrong"]


def frames(count, images, classes=10):
    random = np.random.RandomState(images)
    labels = np.arange(images) % classes
    return [
        (Dots.of(random.normal(k, 1, (images, 2)), labels, random.normal(k, 1, (classes, 2))),
         f"run\nepoch {k}: accuracy 0.{k}")
        for k in range(count)
    ]  # fmt: skip


def test_more_dots_than_there_is_room_for_are_an_even_choice(monkeypatch):
    monkeypatch.setattr(page, "MAX_BYTES", 4 * 100)
    parsed = Parsed(page.epochs_page({"test": frames(2, 200)}, "a run"))
    assert "One image of 4 is shown" in parsed.data["said"]
    dots = parsed.places(parsed.first["frames"][0]["dots"])
    assert len(dots) == len(parsed.first["labels"]) == 50


def test_the_dots_lie_where_the_gif_has_them():
    epochs = frames(2, 40)
    parsed = Parsed(page.epochs_page({"test": epochs}, "a <run> &"))
    low, side = page.square_around(epochs)
    for (dots, title), frame in zip(epochs, parsed.first["frames"]):
        assert frame["title"] == title
        for places, key in ((dots.points, "dots"), (dots.centers, "centers")):
            np.testing.assert_allclose(low + side * parsed.places(frame[key]), places, atol=1e-3)
        medians = [np.median(dots.points[dots.labels == j], axis=0) for j in frame["named"]]
        assert frame["named"] == list(range(10))
        np.testing.assert_allclose(low + side * parsed.places(frame["names"]), medians, atol=1e-3)
