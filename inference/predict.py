"""The action that answers for images of any origin."""

import json
from pathlib import Path

import numpy as np

from datasets import folders, layouts
from datasets.images import FORMATS
from process.console import as_csv, printable, say, warn
from process.errors import UserError

AT_ONCE = 100  # images that are read before they are answered
COLUMNS = ("path", "class", "probability", "nearest_center", "distance", "class_prediction")
UNKNOWN = "unknown"


def predict(trained, paths, ctx, method, form="text", threshold=None):
    """Print for each image which class it is of, by the best network of a run.

    Parameters
    ----------
    trained : runs.trained.Trained
    paths : list of str
        Files, and folders of them.
    ctx : mxnet.Context
    method : str
        One of `recipe.EVAL_METHODS`, by which an image is answered.
    form : {'text', 'csv', 'json'}
        Of the lines.
    threshold : float, optional
        The distance to the nearest center beyond which an image is unknown.

    Raises UserError, at the end, where files cannot be read.
    """
    paths, others = image_files(paths)
    if others:
        warn(f"{others} files are left out: images end in {', '.join(FORMATS)}")
    loaded = trained.on(ctx)
    broken, several, unlike = [], [], 0
    if form == "csv":
        say(csv_line(COLUMNS))
    for start in range(0, len(paths), AT_ONCE):
        chunk = paths[start : start + AT_ONCE]
        decoded = list(folders.decode(chunk, trained.image_shape, trained.prepares))
        whole = [one.pixels for one in decoded if one.fault is None]
        answered = iter(())
        if whole:
            images = np.stack(whole)
            unlike += trained.count_unlike(images)
            answered = rows(trained, loaded.answer(images), method, threshold)
        for path, one in zip(chunk, decoded):
            row = {"path": str(path), **dict.fromkeys(COLUMNS[1:])}
            if one.fault == folders.NO_INK:
                row["class"] = UNKNOWN
            elif one.fault is None:
                row.update(zip(COLUMNS[1:], next(answered)))
            else:
                broken.append(row["path"])
            if one.digits > 1:
                several.append(row["path"])
            if form == "json" or one.fault != folders.UNREADABLE:
                say(line(row, one, form, method))
    trained.warn_of_unlike(unlike, f"of {len(paths)} images")
    if several:
        warn(f"several digits, answered as one: {', '.join(several)}")
    if broken:
        raise UserError(f"{folders.UNREADABLE}: {', '.join(broken)}")


def rows(trained, answers, method, threshold):
    """All columns but the path, for each image."""
    names = trained.names
    for i, found in enumerate(answers.found[method]):
        name, near = names[found], (None, None)
        if answers.distance is not None:
            distance = float(answers.distance[i])
            near = (names[answers.found["knn"][i]], round(distance, 6))
            name = UNKNOWN if threshold is not None and distance > threshold else name
        predicted = names[answers.found["softmax"][i]]
        yield (name, round(float(answers.probability[i]), 6), *near, predicted)


def image_files(paths):
    """The images among paths, and those in folders among them, however deep; and how many other
    files these hold. Raises UserError where a path is not there, or there is no image at all."""
    files, others = [], 0
    for path in map(Path, paths):
        if path.is_dir():
            images, left_out = layouts.walk(path)
            files += images
            others += len(left_out)
        elif path.exists():
            files.append(path)
        else:
            raise UserError(f"{path} is not there")
    if not files:
        raise UserError(f"{', '.join(paths)}: no file's name ends in {', '.join(FORMATS)}")
    return files, others


def line(row, image, form, method):
    """A row, a dict of `COLUMNS`, and what else was found in its image, as text, CSV or JSON."""
    if form == "json":
        digits = image.digits if image.digits != 1 else None
        found = {"box": image.box, "digits": digits, "fault": image.fault}
        return json.dumps({**row, **{k: v for k, v in found.items() if v is not None}})
    if form == "csv":
        return csv_line(row.values())  # None is an empty cell
    return f"{printable(row['path'])}: {row['class']} ({image.fault or reason(row, method)})"


def csv_line(cells):
    return as_csv([cells])[: -len("\r\n")]


def reason(row, method):
    """What an answer by this method is based on, and what the other method says."""
    probability = f"probability {row['probability']:.4f}"
    if row["distance"] is None:
        return probability
    near = f"nearest center {row['nearest_center']} at {row['distance']:.4g}"
    if method == "knn":
        return f"{near}, class prediction {row['class_prediction']} with {probability}"
    return f"{probability}, {near}"
