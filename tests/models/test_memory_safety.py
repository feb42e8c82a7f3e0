"""Narrow networks train without writing beside their memory.

oneDNN's gradient of the weights of a 1x1 convolution with a stride, in channels_last, writes
behind its workspace where the convolution reads fewer than 16 channels (torch 2.13 on x86-64;
valgrind shows it at any size, glibc aborts from about 64 pixels on). That is a residual network's
shortcut. And its group normalisation crashes in channels_last where its input asks for no gradient,
as an image does. A crash would end the tests, so each case is a process of its own.
"""

import os
import subprocess
import sys

import pytest

TRAIN = """
import sys, torch
from cifarlab.models import Classifier, build_body
from cifarlab.recipe import build
width = int(sys.argv[1])
tree = {"stem": width, "blocks": [1], "channels": [2 * width], "strides": [2]}
net = Classifier(build_body(build({"model": tree}).model, (96, 96, 1), 2), [0.5], [0.5])
for _ in range(8):
    net(torch.randint(0, 256, (8, 96, 96, 1), dtype=torch.uint8)).sum().backward()
"""


@pytest.mark.parametrize("width", [4, 16])
def test_a_shortcut_with_a_stride(width):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TRAIN, str(width)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


FIRST = """
import sys, torch
from cifarlab.models import Classifier, build_body
from cifarlab.recipe import build
tree = {"stem": 4, "blocks": [1], "channels": [4], "strides": [1], "input_norm": True}
model = build({"model": {**tree, "norm": {"kind": sys.argv[1]}}}).model
channels = int(sys.argv[2])
net = Classifier(build_body(model, (8, 8, channels), 2), [0.5] * channels, [0.5] * channels)
for _ in range(20):
    images = torch.randint(0, 256, (6, 8, 8, channels), dtype=torch.uint8)
    net(images).logsumexp(1).sum().backward()
"""


@pytest.mark.parametrize("channels", ["1", "3"])
@pytest.mark.parametrize("kind", ["layer", "instance"])
def test_a_normalisation_of_the_images_themselves(kind, channels):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", FIRST, kind, channels]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
