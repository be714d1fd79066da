"""The action that answers for images of any origin."""

import csv
import io
import json
import os
from pathlib import Path

import numpy as np

from data import edges
from datasets import folders
from process.console import printable, say, warn
from process.errors import UserError, check_signals
from utils import classify

AT_ONCE = 500  # images that are read before they are answered
COLUMNS = ("path", "class", "probability", "nearest_center", "distance")
UNKNOWN = "unknown"


def predict(trained, paths, ctx, form="text", threshold=None, invert=False):
    """Print for each image which class it is of, by the best network of a run.

    Parameters
    ----------
    trained : runs.trained.Trained
    paths : list of str
        Files, and folders of them.
    ctx : mxnet.Context
    form : {'text', 'csv', 'json'}
        Of the lines.
    threshold : float, optional
        The distance to the nearest center beyond which an image is unknown.
    invert : bool
        Whether to exchange dark and light.

    Raises
    ------
    UserError
        Anything that the user can mend; images that cannot be read are named at the end.
    """
    paths = image_files(paths)
    net, centers = trained.on(ctx)
    broken, unlike = [], 0
    if form == "csv":
        say(line(COLUMNS, "csv"))
    for start in range(0, len(paths), AT_ONCE):
        check_signals()
        chunk = paths[start : start + AT_ONCE]
        decoded = folders.decode(chunk, trained.image_shape)
        broken += [path for path, image in zip(chunk, decoded) if image is None]
        read = [(path, image) for path, image in zip(chunk, decoded) if image is not None]
        if not read:
            continue
        images = np.stack([image for _, image in read])
        images = 255 - images if invert else images
        unlike += int(trained.is_unlike(edges(images)).sum())
        answers = classify(net, centers, images, ctx, trained.classes)
        for (path, _), row in zip(read, rows(trained, answers, threshold)):
            say(line((str(path), *row), form))
    if unlike:
        other = "dark on light" if trained.light_on_dark else "light on dark"
        advice = "leave --invert away" if invert else "--invert turns images"
        warn(f"{unlike} of {len(paths)} images are {other}, unlike those of training: {advice}")
    if broken:
        raise UserError(f"{folders.some(broken)}: no image that can be read")


def rows(trained, answers, threshold):
    """All columns but the path, for each image."""
    for i, predicted in enumerate(answers.found["softmax"]):
        name, near = trained.name_of(predicted), (None, None)
        if answers.distance is not None:
            distance = float(answers.distance[i])
            near = (trained.name_of(answers.found["knn"][i]), round(distance, 6))
            name = UNKNOWN if threshold is not None and distance > threshold else name
        yield (name, round(float(answers.probability[i]), 6), *near)


def image_files(paths):
    """The images among paths, and those in folders among them, however deep.

    Raises
    ------
    UserError
        A path is not there, or there is no image at all.
    """
    files = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = []
            for root, _, names in os.walk(path, onerror=refuse):
                check_signals()
                inside += [Path(root, name) for name in names]
            files += sorted(one for one in inside if one.suffix.lower() in folders.FORMATS)
        elif path.exists():
            files.append(path)
        else:
            raise UserError(f"{path} is not there")
    if not files:
        raise UserError(f"{', '.join(paths)}: no file's name ends in {', '.join(folders.FORMATS)}")
    return files


def refuse(error):
    raise UserError(f"{error.filename} cannot be read ({error.strerror})") from error


def line(row, form):
    """A row, whose columns are `COLUMNS`, as text, CSV or JSON."""
    if form == "json":
        return json.dumps(dict(zip(COLUMNS, row)))
    if form == "csv":
        file = io.StringIO()
        csv.writer(file).writerow("" if one is None else one for one in row)
        return file.getvalue()[: -len("\r\n")]
    path, name, probability, nearest, distance = row
    near = "" if nearest is None else f", nearest center {nearest} at {distance:.4g}"
    return f"{printable(path)}: {name} (probability {probability:.4f}{near})"
