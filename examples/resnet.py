"""CenterLoss beside softmax cross-entropy on the features of a ResNet-18, in a plain loop.

Run from the project's folder as `python -m examples.resnet`: random weights and data, a few steps.
"""

from process.startup import prepare_mxnet

prepare_mxnet()  # in a project of your own: import mxnet_compat, as the README says

from mxnet import autograd, gluon, init, nd, random  # noqa: E402
from mxnet.gluon.model_zoo import vision  # noqa: E402

from center_loss import CenterLoss  # noqa: E402

CLASSES, BATCH, STEPS, LMBD = 5, 16, 4, 0.01

random.seed(0)
resnet = vision.resnet18_v2(classes=CLASSES)
extract, classify = resnet.features, resnet.output  # (B, 3, H, W) -> (B, 512) -> (B, CLASSES)
cross_entropy = gluon.loss.SoftmaxCrossEntropyLoss()
center_loss = CenterLoss(CLASSES, 512, lmbd=LMBD, formulation="paper")
for block in (resnet, center_loss):
    block.initialize(init.Xavier())
    block.hybridize()
trainer = gluon.Trainer(resnet.collect_params(), "adam", {"learning_rate": 1e-3})
center_trainer = gluon.Trainer(center_loss.collect_params(), "sgd", {"learning_rate": 0.5})  # alpha

label = nd.arange(BATCH) % CLASSES
data = random.normal(shape=(BATCH, 3, 32, 32)) + label.reshape((-1, 1, 1, 1))
for step in range(STEPS):
    with autograd.record():
        feature = extract(data)
        softmax, center = cross_entropy(classify(feature), label), center_loss(feature, label)
        loss = softmax + center
    loss.backward()
    trainer.step(BATCH)
    center_trainer.step(1)  # the paper's update is a mean already; with "hist": step(BATCH)
    means = softmax.mean().asscalar(), center.mean().asscalar()
    print("step {}: softmax loss {:.4f}, center loss {:.4f}".format(step, *means))
