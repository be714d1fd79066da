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
    labels, names, prefix = dataset.test.labels, trained.names, trained.run.prefix
    dots = Dots.of(answers.features, labels, centers)
    found = {EVAL_METHODS[method].words: classes for method, classes in answers.found.items()}
    columns = {"image": range(len(labels))}
    if dataset.files:
        columns["file"] = list(map(str, dataset.files))
    columns["class"] = [names[j] for j in labels]
    for by, classes in found.items():
        columns[by] = [names[j] for j in classes]
    if centers is not None:
        own = np.linalg.norm(answers.features.astype(np.float64) - centers[labels], axis=1)
        columns["distance to nearest center"] = list(map("{:.6g}".format, answers.distance))
        columns["distance to own center"] = list(map("{:.6g}".format, own))
    wrong = {by: classes != labels for by, classes in found.items()}
    page = images_page(
        dots, dataset.test.images, columns, wrong, names, f"{prefix}: {title}", words
    )
    features = {f"feature {k}": map(str, column) for k, column in enumerate(answers.features.T, 1)}
    rows = [[*columns, *features], *zip(*columns.values(), *features.values())]
    return {
        "png": feature_map(dots, f"{prefix}\n{title}", dataset.names),
        "html": page,
        "features.csv": as_csv(rows).encode(),
    }
