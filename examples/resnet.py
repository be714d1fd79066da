"""CenterLoss on the features of a ResNet-18, trained on a folder of images in a plain loop.

`python -m examples.resnet FOLDER` takes images as `main.py --data_dir FOLDER` does: one folder a
class. It trains in colour at 64 x 64 pixels, and prints the accuracies on the test images.
"""

import argparse
import sys

from process.startup import prepare_mxnet

prepare_mxnet()  # in a project of your own: import mxnet_compat, as the README says

import numpy as np  # noqa: E402
from mxnet import autograd, cpu, gluon, init, random  # noqa: E402
from mxnet.gluon.model_zoo import vision  # noqa: E402

from center_loss import CenterLoss  # noqa: E402
from data import batches, count_classes, load_dataset  # noqa: E402
from process.errors import UserError  # noqa: E402
from recipe import Network  # noqa: E402
from utils import nearest_center  # noqa: E402

BATCH, EPOCHS, LMBD, ALPHA, LR = 16, 8, 0.01, 0.5, 1e-3

parser = argparse.ArgumentParser(prog="python -m examples.resnet", description=__doc__)
parser.add_argument("folder")
folder = parser.parse_args().folder
try:
    network = Network(**count_classes(folder), image_size=64, color=True)
    images = load_dataset("auto", folder, network)
except UserError as error:
    sys.exit(f"resnet: error: {error}")
random.seed(0)
shuffle = np.random.RandomState(0).permutation
resnet = vision.resnet18_v1(classes=network.num_classes)
extract, classify = resnet.features, resnet.output  # (B, 3, H, W) -> (B, 512, 1, 1)
cross_entropy = gluon.loss.SoftmaxCrossEntropyLoss()
center_loss = CenterLoss(network.num_classes, 512, lmbd=LMBD, formulation="paper")
for block in (resnet, center_loss):
    block.initialize(init.Xavier())
    block.hybridize()
trainer = gluon.Trainer(resnet.collect_params(), "adam", {"learning_rate": LR})
center_trainer = gluon.Trainer(center_loss.collect_params(), "sgd", {"learning_rate": ALPHA})

for epoch in range(EPOCHS):
    sums, order = np.zeros(2), shuffle(len(images.train.labels))
    for ((image, label, _),) in batches(images.train, BATCH, [cpu()], order):
        with autograd.record():
            feature = extract(image).flatten()
            softmax, center = cross_entropy(classify(feature), label), center_loss(feature, label)
            loss = softmax + center
        loss.backward()
        trainer.step(len(label))
        center_trainer.step(center_loss.step_size(len(label)))
        sums += softmax.sum().asscalar(), center.sum().asscalar()
    means = sums / len(order)
    print("epoch {}: softmax loss {:.4f}, center loss {:.4f}".format(epoch, *means))

centers, right = center_loss.embedding.weight.data().asnumpy(), np.zeros(2)
for ((image, label, _),) in batches(images.test, BATCH, [cpu()]):
    feature = extract(image).flatten()
    predicted = classify(feature).argmax(axis=1).asnumpy()
    nearest = nearest_center(feature.asnumpy(), centers)
    right += [np.sum(answer == label.asnumpy()) for answer in (predicted, nearest)]
print(
    "test: class prediction {:.4f}, nearest center {:.4f}".format(*right / len(images.test.labels))
)
