"""How well images of no class are told from those of the test set."""

from pathlib import Path

import numpy as np

from datasets import folders, idx
from datasets.images import FORMATS
from inference.predict import image_files
from process.errors import UserError

REJECTED = 0.05  # the fraction of test images that are refused, unless it is given


def tell_unknown(path, trained, loaded, known, reject):
    """How well images of no class are told from those of the test set, in words: the area under the
    ROC curve, and the fraction of unknown images that are refused, by the distance to the nearest
    center and by the largest class probability.

    `path` is an IDX file of images, or images as `image_files` finds them; `loaded` is the run
    `trained` on a device; `known` are the `utils.Answers` to the test set, of which the
    fraction `reject` may be refused, `REJECTED` where that is None.
    """
    from sklearn.metrics import roc_auc_score  # half a second, wanted here only

    reject = REJECTED if reject is None else reject
    images = read_unknown(Path(path), trained)
    unknown = loaded.answer(images)
    scores = {"largest class probability": (known.doubt, unknown.doubt)}
    if known.distance is not None:
        scores["distance to the nearest center"] = (known.distance, unknown.distance)
    lines = [f"{len(images)} unknown images of {path}, {100 * reject:g}% of the test set refused:"]
    for name, (ours, theirs) in scores.items():
        truth = np.repeat([0, 1], [len(ours), len(theirs)])
        area = roc_auc_score(truth, np.concatenate([ours, theirs]))
        refused = np.mean(theirs > np.quantile(ours, 1 - reject))
        lines.append(f"by the {name}: AUROC {area:.4f}, {refused:.4f} refused")
    return "\n".join(lines)


def read_unknown(path, trained):
    """Images (N, C, H, W) uint8 of an IDX file, or of image files, as a run takes them."""
    shape = tuple(trained.image_shape)
    if path.is_file() and path.suffix.lower() not in FORMATS:
        images = idx.read_images(path)
    else:
        paths, _ = image_files([str(path)])
        images = folders.read_files([paths], shape, trained.prepares)[0].images
    if not len(images):
        raise UserError(f"{path} has no image that can be read")
    if images.shape[1:] != shape:
        raise UserError(f"{path}: its images are {images.shape[1:]}, not {shape}")
    trained.warn_of_unlike(trained.count_unlike(images), f"unknown images of {path}")
    return images
