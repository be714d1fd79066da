"""Training loops to be compared, one a process: `benchmarks.contenders NAME IMAGES MODEL`.

``ours`` is the epoch loop that main.py runs; ``bare`` the hybridized passes and nothing else,
``parameter`` the same with the centers in a Parameter; ``2019`` is written like the program of
2019; ``torch``, ``torch-channels-last`` and ``torch-compile`` are PyTorch with the distance matrix
that its center losses usually have.
"""

import itertools
import sys
import time

import numpy as np

from benchmarks.harness import answer
from process.startup import prepare_mxnet

BATCH = 128


def ours(images, model):
    """Epochs as main.py runs them, each after an evaluation and a look at the parameters."""
    import train
    from utils import classify

    split, learner = begin(images, model)
    epochs = itertools.count()

    def epoch():
        classify(learner.net, None, split.images, learner.contexts[0])
        learner.state()
        began = time.perf_counter()
        train.train_epoch(learner, split, next(epochs))
        return time.perf_counter() - began

    return epoch


def bare(images, model):
    split, learner = begin(images, model)
    return bare_epoch(learner, split)


def parameter(images, model):
    import mxnet as mx

    from center_loss import ParameterCenterLoss

    split, learner = begin(images, model)
    learner.center_loss = ParameterCenterLoss(10, 2)
    learner.center_loss.initialize(mx.init.Xavier(magnitude=2.24))
    learner.center_loss.hybridize(static_alloc=True)
    learner.trainers = learner.new_trainers()
    return bare_epoch(learner, split)


def bare_epoch(learner, split):
    """A function that makes the passes of an epoch, over batches cut here."""
    import mxnet as mx
    from mxnet import autograd

    import data

    cut = [slices[0] for slices in data.batches(split, BATCH, [mx.cpu()])]

    def epoch():
        for image, label, _ in cut:
            with autograd.record():
                output, feature = learner.net(image)
                loss = learner.cross_entropy(output, label) + learner.center_loss(feature, label)
            loss.backward()
            for trainer, _, divisor in learner.trainers:
                trainer.step(divisor)
        mx.nd.waitall()

    return epoch


def like_2019(images, _):
    import mxnet as mx
    from mxnet import autograd, gluon, nd
    from mxnet.gluon.data.vision import transforms

    from models import LeNetPlus

    split = some_images(images)
    pictures = nd.array(split.images.transpose(0, 2, 3, 1), dtype="uint8")
    dataset = gluon.data.ArrayDataset(pictures, split.labels.astype("float32"))
    loader = gluon.data.DataLoader(
        dataset.transform_first(transforms.ToTensor()), batch_size=BATCH, shuffle=True
    )
    net, embedding = LeNetPlus(), gluon.nn.Embedding(10, 2)
    for block in (net, embedding):
        block.initialize(mx.init.Xavier(magnitude=2.24))
    net.hybridize()
    cross_entropy = gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1, "wd": 1e-4})
    center_trainer = gluon.Trainer(embedding.collect_params(), "sgd", {"learning_rate": 0.5})

    def epoch():
        moving = 0.0
        for image, label in loader:
            with autograd.record():
                output, feature = net(image)
                count = nd.array(np.bincount(label.asnumpy().astype("int64"), minlength=10))
                distance = nd.sum(nd.square(feature - embedding(label)), axis=1)
                loss = cross_entropy(output, label) + distance / 2 / nd.take(count, label)
            loss.backward()
            trainer.step(BATCH)
            center_trainer.step(BATCH)
            moving = 0.99 * moving + 0.01 * nd.mean(loss).asscalar()

    return epoch


def torch_network(model):
    """The layers that give the features."""
    from torch import nn

    if model == "lenet":
        return nn.Sequential(
            nn.Conv2d(1, 16, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(16, 48, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Flatten(), nn.Linear(48 * 4 * 4, 512), nn.ReLU(), nn.Linear(512, 2),
        )  # fmt: skip
    layers, before = [], 1
    for channels in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(before, channels, 5, padding=2), nn.LeakyReLU(0.01)]
            before = channels
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 3 * 3, 2))


def pytorch(images, model, channels_last=False, compiled=False):
    import torch
    from torch import nn

    layout = torch.channels_last if channels_last else torch.contiguous_format
    features = torch_network(model).to(memory_format=layout)
    output = nn.Linear(2, 10)
    centers = nn.Parameter(torch.randn(10, 2))
    network = [*features.parameters(), *output.parameters()]
    sgd = torch.optim.SGD(network, lr=0.1, weight_decay=1e-4)
    center_sgd = torch.optim.SGD([centers], lr=0.5)
    classes = torch.arange(10)
    # What the pixels are takes no time.
    every_image = torch.randint(0, 256, (images, 1, 28, 28), dtype=torch.uint8)
    every_label = torch.randint(0, 10, (images,))

    def loss_of(image, label):
        feature = features(image)
        distance = torch.cdist(feature, centers).square()
        own = (label[:, None] == classes).float()
        loss = nn.functional.cross_entropy(output(feature), label)
        return loss + (distance * own).clamp(1e-12, 1e12).sum() / 2 / len(label)

    step_loss = torch.compile(loss_of) if compiled else loss_of

    def epoch():
        for rows in torch.randperm(images).split(BATCH):
            image = (every_image[rows].float() / 255).to(memory_format=layout)
            sgd.zero_grad()
            center_sgd.zero_grad()
            step_loss(image, every_label[rows]).backward()
            sgd.step()
            center_sgd.step()

    return epoch


def begin(images, model):
    """Images and what is trained on them, as main.py has it."""
    import mxnet as mx

    from cluster.workers import Alone
    from learner import Learner
    from recipe import Recipe

    recipe = Recipe(model=model, center_loss=True)
    return some_images(images), Learner(recipe, (1, 28, 28), [mx.cpu()], Alone())


def some_images(count):
    import data

    return repeated(data.load_dataset("mnist5k", None).train, count)


def repeated(split, images):
    """The first `images` of a split, over and over if it has fewer."""
    rows = np.arange(images) % len(split.labels)
    return type(split)(split.images[rows], split.labels[rows])


CONTENDERS = {
    "ours": ours,
    "bare": bare,
    "parameter": parameter,
    "2019": like_2019,
    "torch": pytorch,
    "torch-channels-last": lambda *args: pytorch(*args, channels_last=True),
    "torch-compile": lambda *args: pytorch(*args, compiled=True),
}


if __name__ == "__main__":
    name, images, model = sys.argv[1:]
    if not name.startswith("torch"):
        prepare_mxnet()
    epoch = CONTENDERS[name](int(images), model)

    def timed():
        began = time.perf_counter()
        return epoch() or time.perf_counter() - began

    answer(timed)
