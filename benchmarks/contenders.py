"""Training loops to be compared, one a process: `python -m benchmarks.contenders NAME IMAGES`.

``ours`` is the epoch loop that main.py runs; ``bare`` the hybridized passes and nothing else,
``parameter`` the same with the centers in a Parameter; ``2019`` is written like the program of
2019; ``torch`` and ``torch-channels-last`` are PyTorch with the distance matrix that its center
losses usually have.
"""

import sys
import time

import numpy as np

from benchmarks.harness import answer
from runtime import prepare_mxnet

BATCH = 128


def ours(images, *flags):
    import mxnet as mx

    import train

    args, split, learner = begin(images, *flags)
    order = train.shuffled(images, 0, 0)

    def epoch():
        train.train_epoch(learner, split, args.batch_size, [mx.cpu()], order, "Epoch 0")

    return epoch


def bare(images):
    _, split, learner = begin(images)
    return bare_epoch(learner, split)


def parameter(images):
    import mxnet as mx

    import train
    from center_loss import ParameterCenterLoss

    args, split, learner = begin(images)
    center_loss = ParameterCenterLoss(args.num_classes, args.feature_size, args.lmbd)
    center_loss.initialize(mx.init.Xavier(magnitude=2.24))
    center_loss.hybridize(static_alloc=True)
    network, (_, alpha, divisor) = learner.trainers
    centers = (train.new_trainer(center_loss, learning_rate=alpha), alpha, divisor)
    return bare_epoch(learner._replace(center_loss=center_loss, trainers=[network, centers]), split)


def bare_epoch(learner, split):
    """A function that makes the passes of an epoch, over batches cut here."""
    import mxnet as mx
    from mxnet import autograd, gluon

    import data

    cut = [slices[0] for slices in data.batches(split, BATCH, [mx.cpu()])]
    cross_entropy = gluon.loss.SoftmaxCrossEntropyLoss()
    cross_entropy.hybridize(static_alloc=True)

    def epoch():
        for image, label, _ in cut:
            with autograd.record():
                output, feature = learner.net(image)
                loss = cross_entropy(output, label) + learner.center_loss(feature, label)
            loss.backward()
            for trainer, _, divisor in learner.trainers:
                trainer.step(divisor)
        mx.nd.waitall()

    return epoch


def like_2019(images):
    import mxnet as mx
    from mxnet import autograd, gluon, nd
    from mxnet.gluon.data.vision import transforms

    import data
    from models import LeNetPlus

    split = repeated(data.read_mnist5k().train, images)
    pictures = nd.array(split.images.transpose(0, 2, 3, 1), dtype="uint8")
    dataset = gluon.data.ArrayDataset(pictures, split.labels.astype("float32"))
    loader = gluon.data.DataLoader(
        dataset.transform_first(transforms.ToTensor()), batch_size=BATCH, shuffle=True
    )

    class CenterLoss(gluon.Block):
        def __init__(self):
            super().__init__()
            self.embedding = gluon.nn.Embedding(10, 2)

        def forward(self, feature, label):
            count = nd.array(np.bincount(label.asnumpy().astype("int64"), minlength=10))
            distance = nd.sum(nd.square(feature - self.embedding(label)), axis=1)
            return distance / 2 / nd.take(count, label)

    net, center_loss = LeNetPlus(), CenterLoss()
    for block in (net, center_loss):
        block.initialize(mx.init.Xavier(magnitude=2.24))
    net.hybridize()
    cross_entropy = gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1, "wd": 1e-4})
    center_trainer = gluon.Trainer(center_loss.collect_params(), "sgd", {"learning_rate": 0.5})

    def epoch():
        moving = 0.0
        for image, label in loader:
            with autograd.record():
                output, feature = net(image)
                loss = cross_entropy(output, label) + center_loss(feature, label)
            loss.backward()
            trainer.step(BATCH)
            center_trainer.step(BATCH)
            moving = 0.99 * moving + 0.01 * nd.mean(loss).asscalar()

    return epoch


def pytorch(images, channels_last=False):
    import torch
    from torch import nn

    random = np.random.RandomState(0)  # what the pixels are takes no time
    pixels = random.randint(0, 256, (images, 1, 28, 28)).astype(np.uint8)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    layers, before = [], 1
    for channels in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(before, channels, 5, padding=2), nn.LeakyReLU(0.01)]
            before = channels
        layers.append(nn.MaxPool2d(2))
    features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 3 * 3, 2))
    features, output = features.to(memory_format=layout), nn.Linear(2, 10)
    centers = nn.Parameter(torch.randn(10, 2))
    network = [*features.parameters(), *output.parameters()]
    sgd = torch.optim.SGD(network, lr=0.1, weight_decay=1e-4)
    center_sgd = torch.optim.SGD([centers], lr=0.5)
    classes = torch.arange(10)
    every_image = torch.from_numpy(pixels)
    every_label = torch.from_numpy(random.randint(0, 10, images))

    def epoch():
        order = torch.randperm(images)
        for start in range(0, images, BATCH):
            rows = order[start : start + BATCH]
            image = (every_image[rows].float() / 255).to(memory_format=layout)
            label = every_label[rows]
            feature = features(image)
            distance = torch.cdist(feature, centers).square()
            own = (label[:, None] == classes).float()
            loss = nn.functional.cross_entropy(output(feature), label)
            loss = loss + (distance * own).clamp(1e-12, 1e12).sum() / 2 / len(rows)
            sgd.zero_grad()
            center_sgd.zero_grad()
            loss.backward()
            sgd.step()
            center_sgd.step()

    return epoch


def begin(images, *flags):
    """Flags, images and what is trained, as main.py has them."""
    import mxnet as mx

    import data
    import main
    import train

    args, _ = main.parse(["--train", "--center_loss", *map(str, flags)])
    split = repeated(data.read_mnist5k().train, images)
    dataset = data.Dataset("repeated", split, split)
    return args, split, train.new_learner(args, dataset, [mx.cpu()], False)


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
    "torch-channels-last": lambda images: pytorch(images, channels_last=True),
}


if __name__ == "__main__":
    name, images, *flags = sys.argv[1:]
    if not name.startswith("torch"):
        prepare_mxnet()
    epoch = CONTENDERS[name](int(images), *flags)

    def timed():
        began = time.perf_counter()
        epoch()
        return time.perf_counter() - began

    answer(timed)
