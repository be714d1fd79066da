"""Whether a training fits its devices and MXNet's arrays."""

from learner import new_net
from process.errors import UserError


def check_split(split, recipe, devices, workers=1):
    """Raise UserError unless every batch can be split over all devices, and none is too large."""
    size, shape = len(split.labels), split.images.shape[1:]
    batch = min(recipe.batch_size, size)
    smallest = size % batch or batch
    if smallest // workers < devices:
        raise UserError(
            f"{size} images in batches of {recipe.batch_size} leave one of {smallest}, too small "
            f"for {devices} devices{' of each worker' * (workers > 1)}: choose another --batch_size"
        )
    part = -(-batch // (devices * workers))
    largest = new_net(recipe).largest_layer(shape)
    pairs = batch if "center" in recipe.losses else 0
    # Where the logits of a batch take 2^31 bytes MXNet damages its memory, and aborts at the end.
    if part * recipe.num_classes >= 2**29 or part * max(largest, pairs) >= 2**31:
        raise UserError(
            f"a batch of {batch} images of {shape[1]} x {shape[2]} pixels with "
            f"{recipe.num_classes} classes needs arrays beyond the limit of MXNet: choose a "
            "smaller --batch_size"
        )
