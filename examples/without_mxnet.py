"""Answer without MXNet: `python -m examples.without_mxnet shipped/best.onnx photo.jpg ...`.

This model tells digits in photos; --export writes others, and a JSON file beside each. All that is
needed is onnxruntime, NumPy and Pillow, and SciPy where images are prepared as MNIST's were.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from datasets.images import open_image, read_image

model, *paths = sys.argv[1:] or sys.exit(__doc__)
facts = json.loads(Path(f"{model}.json").read_text())
session = onnxruntime.InferenceSession(model)
names = [output.name for output in session.get_outputs()]


def read(path):
    """An image file as the network takes it, (C, H, W) uint8; None where there is no ink."""
    if facts["prepare"] != "mnist":
        return read_image(path, facts["shape"])
    from datasets.digits import WORKING_SIDE, prepare

    prepared = prepare(open_image(path, "L", (WORKING_SIDE, WORKING_SIDE))[0])
    return prepared and prepared.pixels[np.newaxis]


for path in paths:
    pixels = read(path)
    if pixels is None:
        print(f"{path}: no ink found")
        continue
    image = pixels[np.newaxis].astype(np.float32) / 255
    outputs = {name: one[0] for name, one in zip(names, session.run(names, {"image": image}))}
    logits = outputs["output"].astype(np.float64)
    found, probability = logits.argmax(), 1 / np.exp(logits - logits.max()).sum()
    answer = f"class prediction {facts['classes'][found]} with probability {probability:.4f}"
    if "distance" in outputs:
        classes = np.array(facts["trained"])
        nearest = classes[outputs["distance"][classes].argmin()]
        distance = outputs["distance"][nearest]
        answer += f", nearest center {facts['classes'][nearest]} at {distance:.4g}"
        if facts["threshold"] is not None and distance > facts["threshold"]:
            answer += ", far from every class"
        found = nearest if facts["eval_method"] == "knn" else found
    print(f"{path}: {facts['classes'][found]} ({answer})")
