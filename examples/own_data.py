"""Images and labels of your own, as arrays.

python examples/own_data.py
"""

import numpy as np

import cifarlab as lab

# 600 images of 16 x 16 grey pixels: noise with a bright bar, upright or lying
rng = np.random.default_rng(0)
labels = np.repeat(["upright", "lying"], 300)
images = rng.integers(0, 120, (600, 16, 16), np.uint8)
for image, label in zip(images, labels, strict=True):
    position = rng.integers(2, 14)
    bar = image[:, position] if label == "upright" else image[position]
    bar += 100

run = lab.train("quickstart", {"training.duration": "5 epochs"}, data=(images, labels))
print(run)
print(run.history[["epoch", "train.loss", "val.accuracy"]])
print(run.predict(images[:3]))
