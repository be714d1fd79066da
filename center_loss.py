"""Center loss for Gluon. This file needs MXNet alone: copy it into your project, with
``process/mxnet_compat.py`` where MXNet cannot be imported by itself."""

from typing import Callable, NamedTuple

from mxnet import gluon


class CenterLoss(gluon.loss.Loss):
    r"""Pull every feature towards the center of its class, and the centers after the features.

    For features x_i (B, d), labels y_i and centers c (C, d), where n_j of the batch's labels are j:

    ``hist``: every class weighs the same, however often the batch holds it ::

        loss_i    = lmbd / 2 * ||x_i - c_{y_i}||^2 / n_{y_i}
        d/dx_i    = lmbd * (x_i - c_{y_i}) / n_{y_i}
        d/dc_j    = lmbd * mean over {i : y_i = j} of (c_j - x_i)

    ``paper``: Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition",
    ECCV 2016, Equations 2 to 4. The gradient that the centers receive is the paper's update
    Delta c_j, not the derivative of the loss ::

        loss_i    = lmbd / 2 * ||x_i - c_{y_i}||^2
        d/dx_i    = lmbd * (x_i - c_{y_i})
        Delta c_j = sum over {i : y_i = j} of (c_j - x_i) / (1 + n_j)

    The centers are trained by SGD whose learning rate is the paper's alpha, without weight decay:
    ``trainer.step(center_loss.step_size(batch_size))``, which is ``batch_size`` for ``hist`` and 1
    for ``paper``, where Delta c_j is a mean already. They need a Trainer of their own: without one
    they never move, and nothing says so.

    Parameters
    ----------
    num_classes : int
        Number of classes, C. MXNet clips labels outside [0, C) without a word in the forward
        pass; with `sparse_grad` the backward pass then raises an error, later and elsewhere.
    feature_size : int
        Number of features, d.
    lmbd : float
        Weight of the loss, lambda in the paper's Equation 5; what other losses of Gluon call
        `weight`.
    formulation : {'hist', 'paper'}
        Which of the two above.
    sparse_grad : bool
        Give the centers row-sparse gradients, so that a step costs what its batch needs and not
        what all classes need. Under plain SGD both kinds give the same centers, bit for bit.
        With weight decay, momentum or Adam row-sparse gradients leave absent classes alone.
        MXNet does not support with them: float16, ``grad_req="add"``, the training of what was
        exported as a symbol and imported again, and dense centers in a Gluon Trainer with a
        distributed kvstore.

    Inputs
    ------
    feature : (B, d) float
    label : (B,) or (B, 1) integer or float
        The class of each feature.
    sample_weight : (B,) or (B, 1) float, optional
        What each loss, and with it each feature's pull on its center, is multiplied by. It does
        not change n_j.
    batch_labels : (any,) of the type of label, optional
        Where a batch is split over devices, the labels of the whole batch: n_j counts these.
        By default they are `label`.

    A hybridized block takes each of the optional inputs always or never.

    Outputs
    -------
    loss : (B,) of the features' type

    Raises
    ------
    ValueError
        An unknown formulation.
    mxnet.MXNetError
        Feature and label do not fit each other, or the centers.

    Examples
    --------
    >>> import mxnet as mx
    >>> center_loss = CenterLoss(num_classes=10, feature_size=2, lmbd=0.1)
    >>> center_loss.initialize(mx.init.Xavier(magnitude=2.24))
    >>> center_loss(mx.nd.ones((4, 2)), mx.nd.array([0, 1, 1, 9])).shape
    (4,)
    """

    def __init__(
        self, num_classes, feature_size, lmbd=1.0, formulation="hist", sparse_grad=False, **kwargs
    ):
        super().__init__(weight=lmbd, batch_axis=0, **kwargs)
        if formulation not in FORMULATIONS:
            names = tuple(FORMULATIONS)
            raise ValueError(f"formulation is {formulation!r}, but must be one of {names}")
        self._formula = FORMULATIONS[formulation]
        self._dtype = "float32"
        with self.name_scope():
            self.embedding = gluon.nn.Embedding(num_classes, feature_size, sparse_grad=sparse_grad)

    def step_size(self, batch_size):
        """What ``trainer.step`` of the centers takes after a batch of so many images."""
        return batch_size if self._formula.mean_over_batch else 1

    def forward(self, *args):
        if self.embedding.weight.dtype != self._dtype:  # a load of parameters may change it
            self._dtype = self.embedding.weight.dtype
            self._clear_cached_op()
        return super().forward(*args)

    def hybrid_forward(self, F, feature, label, sample_weight=None, batch_labels=None):
        label = F.reshape(label, shape=(-1,))
        center = self.embedding(label)
        count = F.cast(count_labels(F, label, batch_labels), dtype=self.embedding.weight.dtype)
        loss = self._formula.loss(F, feature, center, count, self._weight)
        if sample_weight is None:
            return loss
        return F.elemwise_mul(loss, F.reshape(sample_weight, shape=(-1,)))


def hist_loss(F, feature, center, count, lmbd):
    """lmbd / 2 * ||x_i - c_{y_i}||^2 / n_{y_i}."""
    return lmbd / 2 * squared_distance(F, feature, center) / count


def paper_loss(F, feature, center, count, lmbd):
    """lmbd / 2 * ||x_i - c_{y_i}||^2, whose centers receive the paper's Delta c."""
    loss = lmbd / 2 * squared_distance(F, feature, F.BlockGrad(center))
    # This term has the paper's Delta c as its gradient and, in sum, the value 0.
    pull = squared_distance(F, F.BlockGrad(feature), center) / 2 / (1 + count)
    return loss + (pull - F.BlockGrad(pull))


class Formula(NamedTuple):
    """A formulation: its losses, and whether their gradients are to be divided by the batch."""

    loss: Callable
    mean_over_batch: bool


FORMULATIONS = {
    "hist": Formula(hist_loss, mean_over_batch=True),
    "paper": Formula(paper_loss, mean_over_batch=False),
}


class ParameterCenterLoss(gluon.HybridBlock):
    """Center loss with the centers in a plain Parameter, as in ShownX's mxnet-center-loss.

    Kept to be compared with: it gives the losses and gradients of `CenterLoss` with the ``hist``
    formulation. It takes `feature` (B, d) and `label` (B,) alone.
    """

    def __init__(self, num_classes, feature_size, lmbd=1.0, **kwargs):
        super().__init__(**kwargs)
        self._lmbd = lmbd
        with self.name_scope():
            self.centers = self.params.get("centers", shape=(num_classes, feature_size))

    def step_size(self, batch_size):
        return batch_size

    def hybrid_forward(self, F, feature, label, centers):
        center = F.take(centers, label)
        return self._lmbd / 2 * squared_distance(F, feature, center) / count_labels(F, label)


def count_labels(F, label, batch_labels=None):
    """n_{y_i}: how many of the batch's labels equal each label, shape (B,), float32.

    Comparing every pair costs B^2 and, unlike a histogram, nothing for every class there is.
    """
    batch_labels = label if batch_labels is None else F.reshape(batch_labels, shape=(-1,))
    equal = F.broadcast_equal(F.expand_dims(label, axis=1), F.expand_dims(batch_labels, axis=0))
    return F.sum(F.cast(equal, dtype="float32"), axis=1)


def squared_distance(F, a, b):
    """||a_i - b_i||^2, shape (B,), of two arrays of the very same shape."""
    return F.sum(F.square(F.elemwise_sub(a, b)), axis=1)
