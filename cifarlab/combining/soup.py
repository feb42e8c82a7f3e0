"""One network of the mean weights of several (Wortsman et al. 2022), if it is worth anything.

The weights of runs that share no training, such as those of other seeds, rarely average into
anything: their networks are the same up to a permutation of units at best (Ainsworth et al. 2023).
Of runs that went on from one checkpoint they often do.
"""

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from cifarlab.combining.gain import compare_by_image, format_bounds, gain_over_mean, read_split
from cifarlab.combining.members import MemberRuns
from cifarlab.data.dataset import Subset
from cifarlab.evaluation.activity import subsample
from cifarlab.evaluation.measure import predict
from cifarlab.models.classifier import Classifier
from cifarlab.system.errors import UserError
from cifarlab.system.formatting import percent, points

_STATISTICS_IMAGES, _BATCH = 10_000, 250


def average_weights(members: MemberRuns) -> Classifier:
    """Return the network of the members' mean weights, its running statistics measured anew.

    Raises:
        UserError: the networks differ, no validation images say whether it is worth anything, or
            they say that it is worse than its members on average
    """
    first, validation = members.first, members.data.validation
    for run in members.runs[1:]:
        if run.recipe.model != first.recipe.model:
            what = f"{run.folder.path} is another network than {first.folder.path}"
            raise UserError(f"{what}: their weights have no mean", "take --as ensemble")
    if validation is None:
        what = "these runs held nothing out, and a soup may be worth nothing"
        raise UserError(what, "train with data.val_fraction=0.1, or take --as ensemble")
    soup = copy.deepcopy(first.predictor.classifier)
    states = [run.predictor.classifier.state_dict() for run in members.runs]
    soup.load_state_dict({name: _mean([s[name] for s in states]) for name in states[0]})
    _measure_statistics(soup, members)
    _require_useful(soup, members, validation)
    return soup


def _mean(tensors: list[Tensor]) -> Tensor:
    """Return the mean of floating-point tensors, of others the first."""
    return torch.stack(tensors).mean(0) if tensors[0].is_floating_point() else tensors[0]


def _measure_statistics(soup: Classifier, members: MemberRuns) -> None:
    """Measure the running statistics of batch normalisation on training images."""
    training, compute = members.data.training, members.first.predictor.compute
    indices = subsample(training.indices, _STATISTICS_IMAGES)
    parts = np.array_split(indices, -(-len(indices) // _BATCH))
    batches = (torch.from_numpy(np.array(training.images[part])) for part in parts)
    with compute.autocast():
        update_bn(batches, soup, compute.device)
    soup.eval()


def _require_useful(soup: Classifier, members: MemberRuns, validation: Subset) -> None:
    """Raise UserError where the soup is worse than its members on average."""
    first = members.first
    predictor = replace(first.predictor, classifier=soup)
    predictions = predict(predictor, validation, first.recipe.evaluation.tta_views)
    right, base = compare_by_image(predictions, [read_split(run, "val") for run in members.runs])
    over_mean = gain_over_mean(right, base)
    if over_mean["gain"] < 0:
        raise UserError(
            f"this soup is worse than its members' mean: on {len(right):,} validation images it "
            f"has {percent(right.mean())}, they {percent(base.mean())} on average, so "
            f"{points(over_mean['gain'])} points{format_bounds(over_mean['interval'])}",
            "weights of independent seeds rarely average into anything: take --as ensemble, or "
            "--as distilled for one network's time",
        )
