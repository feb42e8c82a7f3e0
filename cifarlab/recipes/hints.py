"""What other tools call our settings: whoever types their words is told ours."""

import difflib
import shlex
from collections.abc import Iterable
from typing import Any

from cifarlab.recipes.keys import keys

LIST_KEYS = "'cifarlab recipes keys' lists every setting"

_WORDS = {
    "training.duration": "epochs n_epochs num_epochs nb_epochs max_epochs num_train_epochs steps "
    "n_steps num_steps max_steps iterations n_iter max_iter",
    "training.batch_size": "batch bs train_batch_size per_device_train_batch_size",
    "training.micro_batch_size": "micro_batch microbatch",
    "training.precision": "dtype",
    "training.precision=bfloat16": "amp fp16 bf16 half mixed_precision",
    "training.precision=float32": "fp32",
    "loss.label_smoothing": "smoothing ls",
    "data.sampler.kind=balanced": "balanced_sampler class_balanced oversampling",
    "data.sampler.kind=weights": "weighted_sampler sample_weights weightedrandomsampler",
    "loss.class_weights=balanced": "class_weight class_weights weighted_loss",
    "loss.kind=focal": "focal focal_loss",
    "loss.kind=binary_cross_entropy": "bce bce_loss",
    "evaluation.metric.kind": "metric metric_for_best_model scoring",
    "training.clip_grad_norm": "clip clip_grad grad_clip clip_norm clipnorm max_norm max_grad_norm "
    "gradient_clip_val gradient_clipping",
    "training.early_stopping={patience: 5}": "patience early_stop early_stopping_patience",
    "training.max_time": "time_limit time_budget max_train_time",
    "optimizer.lr": "lr learning_rate learningrate base_lr init_lr initial_lr max_lr peak_lr "
    "learning_rate_init eta",
    "optimizer.weight_decay": "wd weightdecay l2 l2_reg",
    "optimizer.momentum": "momentum mom",
    "optimizer.kind": "optimizer optim opt optimizer_name",
    "schedule.kind": "schedule scheduler sched lr_scheduler lr_schedule scheduler_type",
    "schedule.warmup": "warmup warmup_epochs warmup_steps num_warmup_steps",
    "schedule.gamma": "lr_gamma decay_rate lr_decay",
    "schedule.step_size": "decay_epochs lr_step_size",
    "schedule.end_factor": "min_lr eta_min",
    "model.kind": "model arch architecture network net backbone model_name",
    "model.init": "initialization weight_init",
    "model.activation": "act act_layer nonlinearity",
    "model.dropout": "dropout drop drop_rate dropout_rate",
    "model.depths": "layers num_blocks",
    "model.channels": "width widths filters num_filters",
    "model.norm.kind": "norm norm_layer",
    "data.source": "dataset data data_dir data_path dataset_path dataset_name root",
    "data.val_fraction": "val val_split val_fraction val_size val_ratio validation_split "
    "validation_fraction validation_size valid_size",
    "data.test_fraction": "test_split test_fraction test_size test_ratio",
    "data.train_subset_fraction": "subset subset_fraction train_fraction train_size",
    "data.images.size": "img_size image_size imgsz input_size resize resolution",
    "data.images.channels": "color_mode in_channels",
    "data.images.channels=grey": "grayscale greyscale",
    "data.normalization": "normalize normalise normalization",
    "augment.hflip=random": "hflip horizontal_flip random_horizontal_flip",
    "augment.vflip=true": "vflip vertical_flip",
    "augment.crop.padding": "crop random_crop padding",
    "augment.color_jitter.brightness_shift": "jitter color_jitter colour_jitter",
    "augment.policy.kind": "aa auto_augment autoaugment",
    "augment.policy.kind=randaugment": "randaugment randaug",
    "augment.policy.kind=trivialaugment": "trivialaugment",
    "augment.mix.kind=mixup": "mixup",
    "augment.mix.kind=cutmix": "cutmix",
    "augment.cutout": "random_erasing reprob",
    "augment.degrees": "rotation random_rotation",
    "averaging.kind=ema": "ema model_ema",
    "averaging.kind=swa": "swa",
    "averaging.kind=lookahead": "lookahead",
    "evaluation.tta_views": "tta test_time_augmentation",
    "evaluation.checkpoint=best": "save_best load_best_model_at_end keep_best",
    "seed": "random_seed manual_seed random_state",
}
# word -> key, or key=value where the word says the value, too
SYNONYMS = {word: key for key, words in _WORDS.items() for word in words.split()}
_IN_EPOCHS = {"training.duration", "schedule.warmup"}
# What no recipe says.
_ELSEWHERE = {
    "device": "the fastest device is taken; the environment variable CIFARLAB_DEVICE overrides it",
    "workers": "images are held in memory: there are no loader workers, leave it out",
    "output": "the run folder is named by --run",
}
_ELSEWHERE_WORDS = {
    "device gpu gpus cuda accelerator no_cuda": "device",
    "workers num_workers n_workers": "workers",
    "output out output_dir out_dir save_dir log_dir logdir save_path": "output",
}


def advice(word: str, value: Any = None, known: Iterable[str] = ()) -> str | None:
    """Return what to write for another tool's option or setting, None where nothing is like it.

    ``word`` is a name or a dotted path; ``value`` is what it was to be set to, None where that is
    not known. A word may also be one of the ``known`` paths, or the last part of the shortest.
    """
    last = _last(word).lower().replace("-", "_")
    for words, topic in _ELSEWHERE_WORDS.items():
        if last in words.split():
            return _ELSEWHERE[topic]
    matching_paths = [
        path for path in known if word == path or ("." not in word and _last(path) == last)
    ]
    key = SYNONYMS.get(last) or min(matching_paths, key=lambda path: path.count("."), default=None)
    return key and f"write {_assignment(key, value, last)}"


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def key_hint(path: str, value: Any, known: list[str]) -> str:
    """Return what to do about a path that is none of the ``known`` ones of a recipe."""
    if kinds := kinds_with(path):
        return f"it is a key of kind {', '.join(kinds)}; {LIST_KEYS}"
    if suggestion := advice(path, value, known):
        return f"{suggestion}; {LIST_KEYS}"
    return nearest(path, known)


def kinds_with(path: str) -> list[str]:
    """Return the kinds of a part that have the setting of that path; none where none has."""
    tags = (key.kind.rpartition(", ")[2] for key in keys() if key.path == path)
    return list(dict.fromkeys(tags))


def nearest(word: Any, known: list[str]) -> str:
    """Return the nearest of the ``known`` words, and all of them where they are few."""
    text = word if isinstance(word, str) and len(word) < 200 else ""
    match = difflib.get_close_matches(text, known, n=1, cutoff=0.5)
    start = f"did you mean {match[0]!r}? " if match else ""
    if len(known) <= 12:
        return f"{start}Allowed: {', '.join(known)}"
    return f"{start}{LIST_KEYS}"


def _assignment(key: str, value: Any, word: str) -> str:
    """``key=value`` as it can be typed; a number of epochs or steps gets its unit."""
    if "=" in key:
        key, _, value = key.partition("=")
        return f"{key}={shlex.quote(value)}"
    if isinstance(value, list | dict) or value is None:
        return f"{key}='30 epochs'" if key == "training.duration" else f"{key}=..."
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if key in _IN_EPOCHS and text.replace(".", "", 1).isdecimal():
        text += " steps" if "step" in word or "iter" in word else " epochs"
    return f"{key}={shlex.quote(text)}"
