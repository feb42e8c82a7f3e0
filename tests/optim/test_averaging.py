"""Averages of the weights against the same in float64, one number at a time."""

import numpy as np
import pytest
import torch
from torch import nn

from cifarlab.optim.averaging import build_averaging
from cifarlab.recipes.text import build
from cifarlab.system.errors import RecipeError

STEPS = 23


def network(seed=0):
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))
    layers[2].bias.requires_grad_(False)
    return layers.to(memory_format=torch.channels_last)


def averager_of(net, **settings):
    return build_averaging(build({"averaging": settings}).averaging, net, 4, STEPS)


def floats(net):
    """All that is averaged, as one vector."""
    tensors = [t.detach() for t in (*net.parameters(), *net.buffers()) if t.is_floating_point()]
    return np.concatenate([t.double().numpy().ravel() for t in tensors])


def change(net, step):
    """Training, as far as an average sees it: all weights and statistics move."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for t in (*net.parameters(), *net.buffers()):
            if t.is_floating_point():
                t.mul_(0.9).add_(torch.randn(t.shape, generator=generator))
            else:
                t.add_(1)


def walk(net, averager, steps, total=STEPS):
    for step in steps:
        change(net, step)
        averager.update(net, step, total)


def ema_by_hand(decay, every):
    net = network()
    slow = None
    for step in range(STEPS):
        change(net, step)
        fast = floats(net)
        if step < every:
            slow = fast
        elif (step + 1) % every == 0:
            slow = decay * slow + (1 - decay) * fast
    return floats(net), slow


def lookahead_by_hand(decay, every, total):
    """Airbench96's loop: an update at every fifth step, one with decay 1 after the last."""
    net = network()
    slow = floats(net)
    alphas = decay**every * (np.arange(total + 1) / total) ** 3
    for current in range(1, total + 1):
        change(net, current - 1)
        for alpha in [alphas[current]] * (current % every == 0) + [1.0] * (current == total):
            slow = alpha * slow + (1 - alpha) * floats(net)
            with torch.no_grad():
                set_floats(net, slow)
    return floats(net), slow


def set_floats(net, vector):
    tensors = [t for t in (*net.parameters(), *net.buffers()) if t.is_floating_point()]
    parts = np.split(vector, np.cumsum([t.numel() for t in tensors])[:-1])
    for t, part in zip(tensors, parts, strict=True):
        t.copy_(torch.tensor(part).reshape(t.shape))


# settings for an update every so many steps
INTERVALS = {
    "ema": lambda steps: {"every": steps},
    "lookahead": lambda steps: {"every": steps},
    "swa": lambda steps: {"every": f"{steps} steps", "start": "0 steps"},
}
each_kind = pytest.mark.parametrize("kind", INTERVALS)


@pytest.mark.parametrize("every", [1, 4, 5, 11])
@pytest.mark.parametrize("decay", [0, 0.5, 0.99])
def test_ema(decay, every):
    net = network()
    averager = averager_of(net, kind="ema", decay=decay, every=every)
    walk(net, averager, range(STEPS))
    fast, slow = ema_by_hand(decay, every)
    np.testing.assert_array_equal(floats(net), fast)  # training does not see it
    np.testing.assert_allclose(floats(averager.average), slow, rtol=0, atol=2e-6)


@pytest.mark.parametrize("every", [1, 4, 5, 23])
@pytest.mark.parametrize("decay", [0, 0.5, 0.95])
@pytest.mark.parametrize("total", [STEPS, 20])
def test_lookahead(decay, every, total):
    net = network()
    averager = averager_of(net, kind="lookahead", decay=decay, every=every)
    walk(net, averager, range(total), total)
    fast, slow = lookahead_by_hand(decay, every, total)
    np.testing.assert_allclose(floats(averager.average), slow, rtol=0, atol=2e-6)
    np.testing.assert_allclose(floats(net), fast, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(floats(net), floats(averager.average))


def test_look_ahead_leaves_the_fast_weights_alone_between_its_updates():
    net = network()
    averager = averager_of(net, kind="lookahead", every=5)
    walk(net, averager, range(5))
    np.testing.assert_array_equal(floats(net), floats(averager.average))
    slow = floats(averager.average)
    for step in range(5, 9):
        change(net, step)
        before = floats(net)
        averager.update(net, step, STEPS)
        np.testing.assert_array_equal(floats(net), before)
        np.testing.assert_array_equal(floats(averager.average), slow)


@each_kind
def test_counters_are_copied_and_not_averaged(kind):
    net = network()
    averager = averager_of(net, **INTERVALS[kind](5), kind=kind)
    walk(net, averager, range(10))
    assert int(averager.average[1].num_batches_tracked) == int(net[1].num_batches_tracked) == 10


@each_kind
@pytest.mark.parametrize("middle", [1, 4, 5, 12])
def test_it_resumes_from_the_average_and_the_step_alone(kind, middle):
    net = network()
    averager = averager_of(net, **INTERVALS[kind](5), kind=kind)
    walk(net, averager, range(middle))
    resumed_net = network(seed=1)
    resumed = averager_of(resumed_net, **INTERVALS[kind](5), kind=kind)
    resumed_net.load_state_dict(net.state_dict())
    resumed.average.load_state_dict(averager.average.state_dict())
    walk(net, averager, range(middle, STEPS))
    walk(resumed_net, resumed, range(middle, STEPS))
    np.testing.assert_array_equal(floats(resumed.average), floats(averager.average))
    np.testing.assert_array_equal(floats(resumed_net), floats(net))


@each_kind
def test_the_average_is_a_copy_without_gradients_in_the_same_layout(kind):
    net = network()
    averager = averager_of(net, **INTERVALS[kind](2), kind=kind)
    np.testing.assert_array_equal(floats(averager.average), floats(net))
    requires_grad = [p.requires_grad for p in net.parameters()]
    assert not any(p.requires_grad for p in averager.average.parameters())
    strides = [p.stride() for p in net.parameters()]
    addresses = [p.data_ptr() for p in net.parameters()]
    walk(net, averager, range(4))
    assert [p.requires_grad for p in net.parameters()] == requires_grad == [True] * 5 + [False]
    assert [p.stride() for p in net.parameters()] == strides
    assert [p.stride() for p in averager.average.parameters()] == strides
    assert [p.data_ptr() for p in net.parameters()] == addresses
    assert not {p.data_ptr() for p in averager.average.parameters()} & set(addresses)
    assert averager.average.training == net.training


@each_kind
def test_an_update_never_reads_a_number_from_the_device(kind):
    # a tensor on the meta device has no numbers: to ask for one is an error
    net = network().to("meta")
    averager = averager_of(net, **INTERVALS[kind](2), kind=kind)
    for step in range(4):
        averager.update(net, step, 4)
    assert all(p.is_meta for p in averager.average.parameters())


@pytest.mark.parametrize(
    ("start", "every"), [(0, 1), (3, 1), (21, 1), (0, 4), (10, 4), (15, 4), (0, 11), (1, 11)]
)
def test_swa_is_the_mean_of_the_weights_at_equal_distances(start, every):
    net = network()
    averager = averager_of(net, kind="swa", start=f"{start} steps", every=f"{every} steps")
    walk(net, averager, range(STEPS))
    other, snapshots = network(), []
    for step in range(STEPS):
        change(other, step)
        if step + 1 > start and (step + 1 - start) % every == 0:
            snapshots.append(floats(other))
    expected = np.mean(snapshots, axis=0)
    np.testing.assert_array_equal(floats(net), floats(other))  # training does not see it
    np.testing.assert_allclose(floats(averager.average), expected, rtol=0, atol=2e-6)


def test_swa_starts_at_a_fraction_of_the_planned_run_and_counts_in_epochs():
    nets = network(), network()
    texts = averager_of(nets[0], kind="swa", start="0.5 of the run", every="1 epoch")
    steps = averager_of(nets[1], kind="swa", start="12 steps", every="4 steps")
    for net, averager in zip(nets, (texts, steps), strict=True):
        walk(net, averager, range(STEPS))
    np.testing.assert_array_equal(floats(texts.average), floats(steps.average))


def test_before_its_first_mean_swa_is_the_network_itself():
    net = network()
    averager = averager_of(net, kind="swa", start="12 steps", every="4 steps")
    for step in range(15):
        walk(net, averager, [step])
        np.testing.assert_array_equal(floats(averager.average), floats(net))


@pytest.mark.parametrize(
    ("most", "settings"),
    [
        (11, {"kind": "ema"}),  # the first update copies: of the second on there is an average
        (23, {"kind": "lookahead"}),  # which starts from the initial weights
        (9, {"kind": "swa", "start": "5 steps"}),
        (5, {"kind": "swa", "start": "0.565 of the run"}),
    ],
)
def test_an_average_that_would_never_happen_is_refused(most, settings):
    swa = settings["kind"] == "swa"
    longest, too_long = (f"{n} steps" if swa else n for n in (most, most + 1))
    assert averager_of(network(), every=longest, **settings)
    with pytest.raises(RecipeError, match="would average nothing") as caught:
        averager_of(network(), every=too_long, **settings)
    assert "averaging.every" in caught.value.hint
    assert ("averaging.start" in caught.value.hint) == swa


def test_none_is_none():
    assert averager_of(network(), kind="none") is None


@each_kind
def test_a_network_without_counters_is_averaged_too(kind):
    net = nn.Linear(2, 3)
    averager = averager_of(net, **INTERVALS[kind](1), kind=kind)
    walk(net, averager, range(3), total=3)
    assert np.isfinite(floats(averager.average)).all()
