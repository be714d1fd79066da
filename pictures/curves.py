"""Learning curves: losses and error rates over the epochs."""

from pictures.figure import new_figure, own_style, to_bytes
from runs.record import COLUMNS

LOSSES = [column for column in COLUMNS if column.endswith("loss")]
ACCURACIES = [column for column in COLUMNS if column.startswith(("train_", "test_"))]


@own_style
def curves(history, title, identity=None):
    """Draw losses and error rates over the epochs, on logarithmic scales where none is zero.

    Parameters
    ----------
    history : list of runs.record.Epoch
    title : str
    identity : str, optional
        As for `feature_map`.

    Returns
    -------
    bytes
        A PNG.
    """
    figure = new_figure(10, 4.2)
    losses, errors = figure.subplots(1, 2)
    epochs = [epoch.epoch for epoch in history]
    for axes, keys, shown in ((losses, LOSSES, float), (errors, ACCURACIES, lambda a: 1 - a)):
        there = [key for key in keys if getattr(history[0], key) is not None]
        drawn = {key: [shown(getattr(epoch, key)) for epoch in history] for key in there}
        for key, values in drawn.items():
            line = "--" if key.startswith("train") else "-"
            marker = "s" if key.endswith("knn") or key.startswith("center") else "o"
            axes.plot(epochs, values, line + marker, markersize=4, label=key)
        if min(map(min, drawn.values())) > 0:
            axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(color="0.9", linewidth=0.5)
        axes.legend(fontsize=8)
    losses.set(title="loss, and the parts that it is the sum of")
    errors.set(title="error rate: 1 - accuracy")
    figure.suptitle(title, fontsize=10, parse_math=False)
    return to_bytes(figure, Run=identity)
