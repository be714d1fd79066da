"""Softmax loss + center loss on MNIST, the whole idea on one screen: `python -m examples.mnist`."""

from process.startup import prepare_mxnet

prepare_mxnet()  # in a project of your own: import mxnet_compat, as the README says

import numpy as np  # noqa: E402
from mxnet import autograd, cpu, gluon, init, random  # noqa: E402

from center_loss import CenterLoss  # noqa: E402
from data import batches, load_dataset  # noqa: E402
from models import LeNet  # noqa: E402
from utils import accuracies, classify  # noqa: E402

LMBD, ALPHA, LR, BATCH, EPOCHS = 0.1, 0.5, 0.02, 32, 5

random.seed(0)
shuffle = np.random.RandomState(0).permutation
mnist = load_dataset("auto", None)
net = LeNet(classes=10, feature_size=2)  # x_i -> logits (B, 10), feature (B, 2)
softmax_loss = gluon.loss.SoftmaxCrossEntropyLoss()
center_loss = CenterLoss(num_classes=10, feature_size=2, lmbd=LMBD, formulation="paper")
for block in (net, center_loss):
    block.initialize(init.Xavier(magnitude=2.24))
    block.hybridize()
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": LR, "momentum": 0.9})
center_trainer = gluon.Trainer(center_loss.collect_params(), "sgd", {"learning_rate": ALPHA})

for epoch in range(EPOCHS):
    order = shuffle(len(mnist.train.labels))
    for ((image, label, _),) in batches(mnist.train, BATCH, [cpu()], order):
        with autograd.record():
            logits, feature = net(image)
            loss = softmax_loss(logits, label) + center_loss(feature, label)  # L_S + lambda L_C
        loss.backward()
        trainer.step(len(label))  # theta <- theta - lr dL / dtheta
        center_trainer.step(center_loss.step_size(len(label)))  # c_j <- c_j - alpha Delta c_j
    centers = center_loss.embedding.weight.data().asnumpy()
    right = accuracies(classify(net, centers, mnist.test.images, cpu()), mnist.test.labels)
    print("epoch {}: class {softmax:.4f}, nearest center {knn:.4f}".format(epoch, **right))
