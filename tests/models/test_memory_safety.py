"""Narrow networks train without writing beside their memory.

oneDNN's gradient of the weights of a 1x1 convolution with a stride, in channels_last, writes
behind its workspace where the convolution reads fewer than 16 channels (torch 2.13 on x86-64;
valgrind shows it at any size, glibc aborts from about 64 pixels on). That is a residual network's
shortcut. torch's group normalisation crashes in channels_last where its input needs no gradient:
an image, or what frozen stages give. A crash would end the tests, so each case is a process.
"""

import json
import os
import subprocess
import sys

import pytest

TRAIN = """
import json, sys, torch
from cifarlab.models.build import build_body
from cifarlab.models.classifier import Classifier
from cifarlab.models.network import stages
from cifarlab.recipes.text import build
tree, frozen = json.loads(sys.argv[1]), int(sys.argv[2])
net = Classifier(build_body(build({"model": tree}).model, (96, 96, 1), 2), [0.5], [0.5])
for stage in stages(net)[:frozen]:
    for parameter in stage:
        parameter.requires_grad_(False)
for _ in range(8):
    net(torch.randint(0, 256, (8, 96, 96, 1), dtype=torch.uint8)).sum().backward()
trained = [p for p in net.parameters() if p.requires_grad]
assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
"""
NARROW = {"stem_width": 4, "depths": [1], "channels": [8], "strides": [2]}
TWO_STAGES = {"stem_width": 4, "depths": [1, 1], "channels": [4, 8], "strides": [2, 2]}
PRE = ["norm", "act", "conv", "norm", "act", "conv", "add"]


def train_in_process(tree, frozen=0):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TRAIN, json.dumps(tree), str(frozen)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return process.returncode, process.stderr


@pytest.mark.parametrize("width", [4, 16])
@pytest.mark.parametrize("settings", [{}, {"weight_standardization": True}], ids=str)
def test_a_shortcut_with_a_stride(width, settings):
    tree = {**NARROW, "stem_width": width, "channels": [2 * width], **settings}
    assert train_in_process(tree) == (0, "")


@pytest.mark.parametrize("kind", ["layer", "instance"])
def test_an_image_that_is_normalized_first(kind):
    tree = {**NARROW, "input_norm": True, "norm": {"kind": kind}}
    assert train_in_process(tree) == (0, "")


@pytest.mark.parametrize("kind", ["layer", "group", "instance"])
def test_a_normalization_behind_a_frozen_stage(kind):
    norm = {"kind": kind, "num_groups": 2} if kind == "group" else {"kind": kind}
    tree = {**TWO_STAGES, "order": PRE, "norm": norm}
    assert train_in_process(tree, frozen=1) == (0, "")
