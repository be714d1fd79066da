"""The action that answers for images of any origin."""

import json
import math
from pathlib import Path

import numpy as np

from datasets import folders, layouts
from datasets.dataset import edges
from datasets.images import FORMATS
from process.console import as_csv, printable, say, warn
from process.errors import UserError, check_signals

AT_ONCE, BYTES_AT_ONCE = 500, 2**25  # images that are read before they are answered
COLUMNS = ("path", "class", "probability", "nearest_center", "distance", "class_prediction")
UNKNOWN = "unknown"
AS_IT_WAS = folders.Decoded()


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

    Raises
    ------
    UserError
        Anything that the user can mend; files that cannot be read are named at the end.
    """
    paths, others = image_files(paths)
    if others:
        warn(f"{others} files are left out: images end in {', '.join(FORMATS)}")
    loaded = trained.on(ctx)
    broken, several, unlike = [], [], 0
    if form == "csv":
        say(line(COLUMNS, "csv"))
    size = min(AT_ONCE, max(1, BYTES_AT_ONCE // math.prod(trained.image_shape)))
    for start in range(0, len(paths), size):
        check_signals()
        chunk = paths[start : start + size]
        decoded = list(folders.decode(chunk, trained.image_shape, trained.prepares))
        broken += [path for path, one in zip(chunk, decoded) if one.fault == folders.UNREADABLE]
        several += [path for path, one in zip(chunk, decoded) if one.digits > 1]
        answered = iter(())
        if any(one.fault is None for one in decoded):
            images = np.stack([one.pixels for one in decoded if one.fault is None])
            unlike += int(trained.is_unlike(edges(images)).sum())
            answered = rows(trained, loaded.answer(images), method, threshold)
        for path, one in zip(chunk, decoded):
            row = next(answered) if one.fault is None else (None,) * (len(COLUMNS) - 1)
            text = line((str(path), *row), form, method, one)
            if text is not None:
                say(text)
    if unlike:
        warn(trained.unlike_in_words(unlike, f"of {len(paths)} images"))
    if several:
        warn(f"several digits, answered as one: {', '.join(map(str, several))}")
    if broken:
        raise UserError(f"{folders.UNREADABLE}: {', '.join(map(str, broken))}")


def rows(trained, answers, method, threshold):
    """All columns but the path, for each image."""
    for i, found in enumerate(answers.found[method]):
        name, near = trained.name_of(found), (None, None)
        if answers.distance is not None:
            distance = float(answers.distance[i])
            near = (trained.name_of(answers.found["knn"][i]), round(distance, 6))
            name = UNKNOWN if threshold is not None and distance > threshold else name
        predicted = trained.name_of(answers.found["softmax"][i])
        yield (name, round(float(answers.probability[i]), 6), *near, predicted)


def image_files(paths):
    """The images among paths, and those in folders among them, however deep; and how many other
    files these hold.

    Raises
    ------
    UserError
        A path is not there, or there is no image at all.
    """
    files, others = [], 0
    for path in map(Path, paths):
        if path.is_dir():
            there = layouts.walk(path)
            files += filter(layouts.is_image, there)
            others += sum(not layouts.is_image(one) for one in there)
        elif path.exists():
            files.append(path)
        else:
            raise UserError(f"{path} is not there")
    if not files:
        raise UserError(f"{', '.join(paths)}: no file's name ends in {', '.join(FORMATS)}")
    return files, others


def line(row, form, method="softmax", image=AS_IT_WAS):
    """A row, whose columns are `COLUMNS`, as text, CSV or JSON.

    An image without ink is unknown; one that cannot be read has a line in JSON alone, None
    elsewhere.
    """
    path, name, probability, nearest, distance, predicted = row
    if image.fault == folders.NO_INK:
        name = UNKNOWN
    if form == "json":
        there = {} if image.box is None else {"box": image.box}
        several = {} if image.digits == 1 else {"digits": image.digits}
        fault = {} if image.fault is None else {"fault": image.fault}
        return json.dumps(
            {**dict(zip(COLUMNS, (path, name, *row[2:]))), **there, **several, **fault}
        )
    if image.fault == folders.UNREADABLE:
        return None
    if form == "csv":
        return as_csv([(path, name, *row[2:])])[: -len("\r\n")]  # None is an empty cell
    if image.fault:
        return f"{printable(path)}: {name} ({image.fault})"
    if method == "knn":
        why = f"nearest center {nearest} at {distance:.4g}, "
        why += f"class prediction {predicted} with probability {probability:.4f}"
    else:
        near = "" if nearest is None else f", nearest center {nearest} at {distance:.4g}"
        why = f"probability {probability:.4f}{near}"
    return f"{printable(path)}: {name} ({why})"
