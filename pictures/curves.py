"""Learning curves: losses and error rates over the epochs."""

from datasets.dataset import SPLITS
from pictures.figure import new_figure, own_style, to_bytes
from recipe import EVAL_METHODS

LOSSES = {  # fields of an `Epoch`: how their lines look, and what they are called
    "loss": ("k-o", "sum"),
    "softmax_loss": ("k--s", "softmax loss"),
    "center_loss": ("k:^", "center loss"),
}
LINES = {"train": "--", "test": "-", "val": ":"}
METHODS = {"softmax": ("black", "o"), "knn": ("0.55", "s")}  # grey: a colour would mean a class


@own_style
def curves(history, title):
    """Draw the losses and error rates of a list of `runs.record.Epoch` as a PNG, on logarithmic
    scales where none is zero."""
    figure = new_figure(10, 4.2)
    losses, errors = figure.subplots(1, 2)
    parts = [key for key in LOSSES if getattr(history[0], key) is not None]
    for key in parts if len(parts) > 2 else parts[1:]:  # of one loss the sum is that loss
        line, label = LOSSES[key]
        plot(losses, history, key, lambda loss: loss, line, label)
    for split, line in LINES.items():
        for method, (color, marker) in METHODS.items():
            if getattr(history[0], f"{split}_{method}") is not None:
                label = f"{SPLITS.get(split, 'validation')}, {EVAL_METHODS[method].words}"
                plot(errors, history, f"{split}_{method}", lambda accuracy: 1 - accuracy,
                     line + marker, label, color=color)  # fmt: skip
    losses.set(title="loss: mean over the images of each epoch", ylabel="loss")
    errors.set(title="error rate: share of wrong answers", ylabel="error rate")
    for axes in (losses, errors):
        if all(y > 0 for line in axes.lines for y in line.get_ydata()):
            axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(color="0.9", linewidth=0.5)
        axes.legend(fontsize=8)
    figure.suptitle(title, fontsize=10, parse_math=False)
    return to_bytes(figure)


def plot(axes, history, key, shown, line, label, **style):
    """Draw a field of the epochs; older records may not have it in all of them."""
    known = [epoch for epoch in history if getattr(epoch, key) is not None]
    values = [shown(getattr(epoch, key)) for epoch in known]
    axes.plot([epoch.epoch for epoch in known], values, line, markersize=4, label=label, **style)
