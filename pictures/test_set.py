"""The feature map of a test set, as a picture, as a page to explore, and as numbers."""

import numpy as np

from pictures.feature_maps import Dots, feature_map
from pictures.page import images_page
from process.console import as_csv
from recipe import EVAL_METHODS


def draw_test_set(trained, dataset, answers, centers, title, words):
    """The feature map of the test set as bytes, by the end of a file's name: ``png``; ``html``, a
    page, which marks what is wrong by the method of these words; ``features.csv``, a row an image.
    """
    labels, names = dataset.test.labels, trained.names
    dots = Dots.of(answers.features, labels, centers)
    picture = feature_map(dots, f"{trained.run.prefix}\n{title}", dataset.names)
    found = {EVAL_METHODS[method].words: classes for method, classes in answers.found.items()}
    distances = {}
    if centers is not None:
        own = np.linalg.norm(answers.features.astype(np.float64) - centers[labels], axis=1)
        distances = {"distance to nearest center": answers.distance,
                     "distance to own center": own}  # fmt: skip
    to_explore = images_page(
        dots, dataset.test.images, found, distances, names, f"{trained.run.prefix}: {title}", words,
        dataset.files,
    )  # fmt: skip
    columns = {
        "image": range(len(labels)),
        **({"file": dataset.files} if dataset.files else {}),
        "class": [names[j] for j in labels],
        **{words: [names[j] for j in classes] for words, classes in found.items()},
        **{words: map("{:.6g}".format, values) for words, values in distances.items()},
        **{f"feature {k}": map(str, column) for k, column in enumerate(answers.features.T, 1)},
    }
    numbers = as_csv([list(columns), *zip(*columns.values())])
    return {"png": picture, "html": to_explore, "features.csv": numbers.encode()}
