"""The action that answers for images of any origin, and how well unknown ones are told."""

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

import utils
from data import edges
from datasets import folders, idx
from learner import choose_contexts, restored
from process.console import note, printable, say, warn
from process.errors import UserError, check_signals
from runs.trained import find_run, open_run

AT_ONCE = 500  # images that are read before they are answered
COLUMNS = ("path", "class", "probability", "nearest_center", "distance")
UNKNOWN = "unknown"
REJECTED = 0.05  # the share of test images whose distances count as too far, unless it is given


def predict(args):
    """Say for each image which class it is of, by the best network of a run.

    Parameters
    ----------
    args : argparse.Namespace
        All flags, as `main.parse` gives them.

    Raises
    ------
    UserError
        Anything that the user can mend; images that cannot be read are named at the end.
    """
    run = find_run(args.prefix, args.ckpt_dir, args.out_dir, tell=note)
    limited = args.threshold is not None or args.reject is not None
    wanted = "--threshold or --reject" if limited else None
    trained = open_run(run, args.given, needs_centers_for=wanted)
    threshold = args.threshold if args.reject is None else trained.threshold(args.reject)
    paths = image_files(args.predict)
    (ctx, *_) = choose_contexts(args.use_gpu, args.gpus)
    net, centers = restored(trained, trained.image_shape, ctx)
    broken, unlike = [], 0
    if args.format == "csv":
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
        images = 255 - images if args.invert else images
        unlike += int(trained.is_unlike(edges(images)).sum())
        answers = utils.predict(net, centers, images, ctx, trained.classes)
        for i, (path, _) in enumerate(read):
            name, near = trained.name_of(answers.predicted[i]), (None, None)
            if centers is not None:
                distance = float(answers.distance[i])
                near = (trained.name_of(answers.nearest[i]), round(distance, 6))
                name = UNKNOWN if threshold is not None and distance > threshold else name
            probability = round(float(answers.probability[i]), 6)
            say(line((str(path), name, probability, *near), args.format))
    if unlike:
        other = "dark on light" if trained.light_on_dark else "light on dark"
        advice = "leave --invert away" if args.invert else "--invert turns images"
        warn(f"{unlike} of {len(paths)} images are {other}, unlike those of training: {advice}")
    if broken:
        raise UserError(f"{folders.some(broken)}: no image that can be read")


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
            inside = [Path(root, name) for root, _, names in os.walk(path, onerror=refuse)
                      for name in names]  # fmt: skip
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


def tell_unknown(path, trained, net, centers, ctx, known, share):
    """How well images of no class are told from those of the test set.

    Parameters
    ----------
    path : str
        An IDX file of images, or images as `image_files` finds them.
    trained : runs.trained.Trained
    net, centers, ctx
        As for `utils.predict`.
    known : utils.Answers
        Those to the test set.
    share : float or None
        Of the test images, that may be refused.

    Returns
    -------
    str
        The area under the ROC curve, and the share of unknown images that are refused, by the
        distance to the nearest center and by the largest class probability.
    """
    share = REJECTED if share is None else share
    images = read_unknown(Path(path), trained.image_shape)
    unknown = utils.predict(net, centers, images, ctx, trained.classes)
    scores = {"largest class probability": (-known.probability, -unknown.probability)}
    if centers is not None:
        scores["distance to the nearest center"] = (known.distance, unknown.distance)
    lines = [f"{len(images)} unknown images of {path}, {100 * share:g}% of the test set refused:"]
    for name, (ours, theirs) in scores.items():
        truth = np.repeat([0, 1], [len(ours), len(theirs)])
        area = roc_auc_score(truth, np.concatenate([ours, theirs]))
        refused = np.mean(theirs > np.quantile(ours, 1 - share))
        lines.append(f"by the {name}: AUROC {area:.4f}, {refused:.4f} refused")
    return "\n".join(lines)


def read_unknown(path, shape):
    """Images (N, C, H, W) uint8 of an IDX file, or of image files."""
    if path.is_file() and path.suffix.lower() not in folders.FORMATS:
        images = idx.read_idx(path, (3, 4), (idx.BYTES,))
        images = images.reshape(*images.shape[:3], -1).transpose(0, 3, 1, 2)
        if not len(images):
            raise UserError(f"{path} has no image")
        if images.shape[1:] != tuple(shape):
            raise UserError(f"{path}: its images are {images.shape[1:]}, not {tuple(shape)}")
        return images
    decoded = folders.decode(image_files([str(path)]), shape)
    whole = [image for image in decoded if image is not None]
    if len(whole) < len(decoded):
        warn(f"{len(decoded) - len(whole)} images of {path} cannot be read")
    if not whole:
        raise UserError(f"{path} has no image that can be read")
    return np.stack(whole)
