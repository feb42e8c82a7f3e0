"""What is drawn of a network: parameters and operations counted anew, equal blocks grouped."""

import numpy as np
import pytest
import torch
from made_networks import COLOR, GREY, MODELS
from torch.utils.flop_counter import FlopCounterMode

from cifarlab.explain.structure import architecture
from cifarlab.models.build import build_body, count_parameters
from cifarlab.models.whitening import Whitening
from cifarlab.recipes.catalog import find, usual_shape

SHIPPED = (
    "fudan/resnet10",
    "fudan/resnet48",
    "kth2024/baseline",
    "asha2021/classic",
    "nyu2024/resnet",
    "resnet50",
    "speed/94",
    "quickstart",
)


def count_operations(model, shape, classes):
    """Multiply-adds of one image by the formulas of a convolution and a linear layer."""
    body, total = build_body(model, shape, classes).eval(), []

    def record(module, _inputs, out):
        if isinstance(module, torch.nn.Conv2d | Whitening):
            total.append(out[0].numel() * module.weight[0].numel())
        elif isinstance(module, torch.nn.Linear):
            total.append(module.weight.numel())

    for module in body.modules():
        module.register_forward_hook(record)
    height, width, channels = shape
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        body(torch.zeros(1, channels, height, width))
    return sum(total), counter.get_total_flops()


@pytest.mark.parametrize("shape", [COLOR, GREY])
@pytest.mark.parametrize("kind", MODELS)
def test_numbers_of_small_networks(kind, shape):
    summary = architecture(MODELS[kind], shape, 3)
    by_formula, flops = count_operations(MODELS[kind], shape, 3)
    assert summary.multiply_adds == by_formula == flops // 2 > 0
    assert summary.parameters == count_parameters(MODELS[kind], shape, 3)
    assert summary.image_shape == shape


@pytest.mark.parametrize("name", SHIPPED)
def test_numbers_of_shipped_networks(name):
    recipe = find(name)
    shape, classes = usual_shape(recipe)
    summary = architecture(recipe.model, shape, classes)
    assert summary.multiply_adds == count_operations(recipe.model, shape, classes)[0]
    assert summary.parameters == count_parameters(recipe.model, shape, classes)


def test_resnet18_is_what_it_is_known_for():
    summary = architecture(find("resnet18").model, (32, 32, 3), 10)
    assert summary.parameters == 11_173_962
    assert round(summary.multiply_adds / 1e7) == 56  # 0.56 G, as others count it for CIFAR-10
    assert [stage.name for stage in summary.stages] == [
        "stem",
        "stage1",
        "stage2",
        "stage3",
        "stage4",
        "head",
    ]
    assert [block.times for block in summary.stages[1].blocks] == [2]
    assert [block.times for block in summary.stages[2].blocks] == [1, 1]
    assert summary.stages[4].blocks[-1].shape == (512, 4, 4)
    assert summary.stages[-1].blocks[0].shape == (10,)


def test_wrn_groups_its_equal_blocks():
    summary = architecture(find("wrn-28-10").model, (32, 32, 3), 10)
    assert [[b.times for b in s.blocks] for s in summary.stages[1:4]] == [[1, 3]] * 3
    first, repeated = summary.stages[2].blocks
    assert first.shortcut.steps and not repeated.shortcut.steps
    assert first.steps[first.shortcut.end].kind == "add"
    assert [step.text for step in first.steps[: first.shortcut.start]] == ["BN", "ReLU"]
    assert repeated.shortcut.start == 0
    assert repeated.parameters % 3 == 0 and repeated.parameters > first.parameters


def test_a_plain_network_s_layers_are_all_there():
    summary = architecture(MODELS["cnn"], COLOR, 3)
    [block] = summary.stages[0].blocks
    assert [step.text for step in block.steps] == ["3×3", "ReLU", "3×3", "ReLU", "pool"]
    assert block.steps[0].note == "4"
    assert [s.text for s in summary.stages[-1].blocks[0].steps] == [
        "flatten",
        "linear",
        "ReLU",
        "linear",
    ]
    assert summary.stages[-1].blocks[0].shape == (3,)


def test_a_group_s_shortcut_goes_from_its_first_output_to_before_its_last_activation():
    summary = architecture(MODELS["airbench"], COLOR, 3)
    [block] = summary.stages[1].blocks
    texts = [step.text for step in block.steps]
    assert texts == ["3×3", "pool", "BN", "GELU", "3×3", "BN", "+", "GELU"]
    assert (block.shortcut.start, block.shortcut.end) == (4, 6)
    assert summary.stages[0].name == "whitening"
    assert summary.stages[0].blocks[0].parameters == 24  # the bias alone


def test_nothing_is_allocated():
    summary = architecture(find("wrn-28-10").model, (32, 32, 3), 10)
    assert summary.parameters == 36_479_194
    assert np.isclose(summary.multiply_adds / 1e9, 5.2, atol=0.1)
