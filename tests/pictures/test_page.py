"""The page to explore: one file, small, with the right images, whatever the names are."""

import base64
import html
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers import mnist5k
from PIL import Image

from pictures import page
from pictures.feature_maps import Dots

EVIL = [
    "<img src=x onerror=alert(1)>",
    "</script><b>",
    "a \"b\" 'c' &amp; d",
    "$$x$$ @{image}",
    "中文",
    "p0001",  # as Bokeh's ids may be
    "123e4567-e89b-42d3-a456-426614174000",
]


class Parsed(HTMLParser):
    """The tags of a page with their attributes, and the texts in them."""

    def __init__(self, content):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts = [], []
        self.feed(content.decode())
        document = next(text for tag, text in self.texts if tag.get("type") == "application/json")
        self.document = json.loads(html.unescape(document))

    def handle_starttag(self, tag, attrs):
        self.tags.append({"tag": tag, **dict(attrs)})

    def handle_data(self, data):
        self.texts.append((self.tags[-1] if self.tags else {}, data))

    def text(self, tag):
        return next(text for at, text in self.texts if at.get("tag") == tag)

    def models(self, name):
        """The attributes of Bokeh's models of this name."""
        return list(found_in(self.document, name))

    def columns(self):
        """What the page knows of the images; arrays stay packed."""
        sources = [dict(one["data"]["entries"]) for one in self.models("ColumnDataSource")]
        return max(sources, key=len)


def found_in(tree, name):
    for child in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(child, (dict, list)):
            yield from found_in(child, name)
    if isinstance(tree, dict) and tree.get("name") == name:
        yield tree["attributes"]


def answers(count, names=EVIL, images=None, centers=True):
    """The arguments of a page; by each method every tenth answer is wrong."""
    random = np.random.RandomState(0)
    labels = np.arange(count) % len(names)
    predicted, nearest = labels.copy(), labels.copy()
    for answer, first in ((predicted, 3), (nearest, 6)):
        answer[first::10] = (answer[first::10] + 1) % len(names)
    found = {"class prediction": predicted, "nearest center": nearest}
    if not centers:
        del found["nearest center"]
    return {
        "dots": Dots(random.normal(size=(count, 2)), labels, random.normal(size=(len(names), 2))),
        "images": np.zeros((count, 1, 28, 28), np.uint8) if images is None else images,
        "found": found,
        "distances": random.uniform(size=(count, 2)) if centers else None,
        "names": names,
        "title": "a <title> & </title>",
    }


def test_a_page_of_mnist_is_one_small_file():
    images = np.tile(mnist5k().train.images, (3, 1, 1, 1))[:10_000]
    content = page.page(**answers(10_000, [str(j) for j in range(10)], images))
    assert len(content) < 8e6
    parsed = Parsed(content)
    assert "width=device-width" in next(t["content"] for t in parsed.tags if "content" in t)
    assert not [tag for tag in parsed.tags if "src" in tag or "href" in tag]
    (panel,) = parsed.models("Div")
    assert panel["disable_math"] is True  # or it would ask the network for MathJax
    thumbnails = parsed.columns()["image"]
    numbers = [int(i) for i in parsed.columns()["test image"]]
    assert sorted(numbers) == list(range(10_000))
    for k in (0, 5000, 9999):
        seen = Image.open(io.BytesIO(base64.b64decode(thumbnails[k])))
        assert np.array_equal(np.asarray(seen), images[numbers[k], 0])


def test_names_are_shown_as_they_are():
    arguments = answers(200)
    parsed = Parsed(page.page(**arguments))
    assert parsed.text("title") == parsed.text("h1") == arguments["title"]
    assert not [tag for tag in parsed.tags if tag["tag"] in ("img", "b")]
    columns, (boxes,) = parsed.columns(), parsed.models("CheckboxGroup")
    assert boxes["labels"] == EVIL  # Bokeh makes text of them, but HTML of the columns
    shown = [int(i) for i in columns["test image"]]
    assert columns["class"] == [html.escape(EVIL[i % len(EVIL)]) for i in shown]
    for column, answer in arguments["found"].items():
        right = answer == arguments["dots"].labels
        assert columns[column] == [
            html.escape(f"{EVIL[answer[i]]} {'✓' if right[i] else '✗'}") for i in shown
        ]
    own = [arguments["distances"][i, 1] for i in shown]
    np.testing.assert_allclose(np.array(columns["distance to own center"], float), own, rtol=1e-3)


@pytest.mark.parametrize("most, wrong", [(100, 60), (40, 40)])
def test_of_too_many_images_the_wrong_ones_go_first(monkeypatch, most, wrong):
    monkeypatch.setattr(page, "MAX_IMAGES", most)
    parsed = Parsed(page.page(**answers(300)))
    shown = np.array([int(i) for i in parsed.columns()["test image"]])
    is_wrong = np.isin(shown % 10, [3, 6])
    assert len(set(shown)) == most and is_wrong.sum() == wrong
    assert np.diff(np.sort(shown[~is_wrong])).max(initial=0) < 15  # evenly
    assert f"Of 300 images {most} are here" in parsed.text("p")


def test_a_network_without_centers_has_a_page():
    arguments = answers(50, centers=False)
    none = arguments["dots"]._replace(centers=np.empty((0, 2)))
    parsed = Parsed(page.page(**{**arguments, "dots": none}))
    assert not [column for column in parsed.columns() if "center" in column]
    assert "black edge" in parsed.text("p") and "cross" not in parsed.text("p")
    (kinds,) = parsed.models("RadioGroup")
    assert kinds["labels"] == ["all images", "wrong by class prediction (5)"]


def test_large_images_are_shrunk_in_their_colours():
    images = np.zeros((20, 3, 60, 90), np.uint8)
    images[:, 0] = 200
    columns = Parsed(page.page(**answers(20, images=images))).columns()
    seen = Image.open(io.BytesIO(base64.b64decode(columns["image"][0])))
    assert seen.size == (28, 19) and seen.getpixel((14, 9)) == (200, 0, 0)


def test_classes_that_are_there_can_be_switched():
    names = [f"class {j}" for j in range(200)]
    arguments = answers(200, names)
    (control,) = Parsed(page.page(**arguments)).models("MultiSelect")
    assert len(control["options"]) == len(control["value"]) == 200
    dots = arguments["dots"]
    arguments["dots"] = dots._replace(labels=dots.labels % 2 * 7)
    (control,) = Parsed(page.page(**arguments)).models("CheckboxGroup")
    assert control["labels"] == ["class 0", "class 7"]


def test_what_is_wrong_by_the_chosen_method_has_the_edge():
    arguments = answers(60)
    for method in ("class prediction", "nearest center"):
        parsed = Parsed(page.page(**arguments, method=method))
        assert f"wrong by {method} have a black edge" in parsed.text("p")
        edges = [glyph["line_alpha"] for glyph in parsed.models("Scatter") if "line_alpha" in glyph]
        assert {"type": "field", "field": f"wrong by {method}"} in edges


def test_a_dot_names_its_file():
    files = [f"test/a/{i}<b>\x1b.png" for i in range(60)]
    columns = Parsed(page.page(**answers(60), files=files)).columns()
    shown = [int(i) for i in columns["test image"]]
    assert columns["file"] == [f"test/a/{i}&lt;b&gt;\\x1b.png" for i in shown]


def test_centers_are_shown():
    arguments = answers(60)
    arguments["dots"].centers[0] = 100, -100
    parsed = Parsed(page.page(**arguments))
    assert "A cross is the center of a class" in parsed.text("p")
    crosses = {"type": "value", "value": "x"}
    assert any(glyph.get("marker") == crosses for glyph in parsed.models("Scatter"))
    sources = [dict(one["data"]["entries"]) for one in parsed.models("ColumnDataSource")]
    corners = [one for one in sources if isinstance(one["x"], list) and len(one["x"]) == 2]
    assert [(max(one["x"]), min(one["y"])) for one in corners] == [(100, -100)]  # of the map
