"""The feature map of a test set, as a picture and as a page to explore."""

import numpy as np

from pictures.feature_maps import Dots, feature_map
from pictures.page import images_page
from recipe import EVAL_METHODS


def draw_test_set(trained, dataset, answers, centers, title, words):
    """The feature map of the test set, as a picture and as a page, which marks what is wrong by
    the method of these words: a dict of bytes."""
    prefix, (images, labels) = trained.run.prefix, dataset.test
    num_classes, names = trained.network.num_classes, dataset.names
    picture = feature_map(
        answers.features, labels, num_classes, f"{prefix}\n{title}", centers=centers, names=names
    )
    dots, _ = Dots.of(answers.features, labels, centers)
    distances = None
    if centers is not None:
        own = np.linalg.norm(answers.features.astype(np.float64) - centers[labels], axis=1)
        distances = np.stack([answers.distance, own], axis=1)
    found = {EVAL_METHODS[method].words: classes for method, classes in answers.found.items()}
    to_explore = images_page(
        dots, images, found, distances, trained.names, f"{prefix}: {title}", words, dataset.files
    )
    return {"png": picture, "html": to_explore}
