"""The studies that come with cifarlab: of each report, of questions across them, of speed/94."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from cifarlab.config.plugins import Plugin
from cifarlab.experiments.study.definition import Reported, Study, StudyRow, read_study
from cifarlab.experiments.study.speed import SPEED94
from cifarlab.recipes.catalog import reported_accuracy, shipped_recipes
from cifarlab.recipes.text import find_or_read


def _row(recipe: str, name: str | None = None) -> StudyRow:
    """A shipped recipe with its source's number."""
    number = reported_accuracy(recipe)
    source = recipe.partition("/")[0]
    reported_number = Reported(**number._asdict(), source=source) if number else None
    return StudyRow(
        name=name or recipe.partition("/")[2] or recipe, recipe=recipe, reported=reported_number
    )


def _report_study(report: str, baseline: str, about: str, without: tuple[str, ...] = ()) -> Study:
    """All recipes of a report but those ``without`` which it compares like with like."""
    names = [name for name in shipped_recipes() if name.startswith(f"{report}/")]
    rows = tuple(_row(name) for name in names if name.partition("/")[2] not in without)
    return Study(name=report, about=about, baseline=baseline, rows=rows)


def _overrides_study(
    name: str,
    about: str,
    recipe: str,
    first: str,
    overrides: Mapping[str, Mapping[str, Any]],
    usual: Mapping[str, Any] | None = None,
) -> Study:
    """One recipe with the ``usual`` overrides, called ``first``, and each of these over them."""
    rows = {first: {}, **overrides}
    return Study(
        name=name,
        about=about,
        rows=tuple(
            StudyRow(name=row, recipe=recipe, overrides={**(usual or {}), **overrides})
            for row, overrides in rows.items()
        ),
    )


def _optimizer(kind: str, **settings: Any) -> dict[str, Any]:
    return {"optimizer": {"kind": kind, **settings}}


def _schedule(kind: str, **settings: Any) -> dict[str, Any]:
    return {"schedule": {"kind": kind, **settings}}


def _order(text: str) -> dict[str, Any]:
    return {"model.order": text.split()}


_REPORTS = (
    _report_study(
        "asha2021", "resnet34-schedule", "asha2021's best networks, and its further work."
    ),
    _report_study(
        "fudan", "resnet24", "fudan's networks under 5 million parameters, part by part."
    ),
    _report_study(
        "kth2022",
        "baseline",
        "From the tutorial CNN to a residual network, as kth2022 went.",
        without=("resnet-cifar100",),  # other images
    ),
    _report_study(
        "kth2024", "baseline", "Regularisers, optimizers and schedules on one small CNN."
    ),
    _report_study(
        "nyu2024",
        "resnet",
        "nyu2024's network, with its activations and dropout rates.",
        without=("competition",),  # trained on the validation images too
    ),
)

_NORMALIZATION = Study(
    name="normalisation",
    about="Which normalisation helps the tutorial CNN in 10 epochs, as kth2022 compared them?",
    rows=(
        StudyRow(name="none", recipe="kth2022/norm-batch", overrides={"model.norm.kind": "none"}),
        *(_row(f"kth2022/norm-{kind}", kind) for kind in ("batch", "layer", "group", "instance")),
    ),
)
_OPTIMIZERS = _overrides_study(
    "optimizers",
    "Which optimizer trains ResNet10 best, each at its usual rate?",
    "fudan/resnet10",
    "nesterov",
    {
        "sgd": {"optimizer.nesterov": False},
        "adam": _optimizer("adam"),
        "adamw": _optimizer("adamw", weight_decay=0.05),
        "rmsprop": _optimizer("rmsprop"),
        "adagrad": _optimizer("adagrad"),
        "adadelta": _optimizer("adadelta"),
        "muon": _optimizer("muon", lr=0.1, aux_sgd={"lr": 0.1, "weight_decay": 1e-3}),
    },
)
_SCHEDULES = _overrides_study(
    "schedules",
    "Which schedule of the rate suits ResNet10 in 50 epochs?",
    "fudan/resnet10",
    "exponential",
    {
        "constant": _schedule("constant"),
        "step": _schedule("step", step_size="20 epochs"),
        "multistep": _schedule("multistep"),
        "linear": _schedule("linear"),
        "cosine": _schedule("cosine"),
        "cosine-warmup": _schedule("cosine", warmup="2 epochs"),
        "restarts": _schedule("cosine_restarts", period="20 epochs"),
        "onecycle": _schedule("onecycle"),
        "plateau": _schedule("plateau", patience=3, factor=0.5),
    },
)
_ACTIVATIONS = _overrides_study(
    "activations",
    "Is any activation better than ReLU in ResNet10?",
    "fudan/resnet10",
    "relu",
    {
        name.replace("_", "-"): {"model.activation": name}
        for name in ("relu6", "leaky_relu", "elu", "silu", "gelu")
    },
)
_ORDERS = _overrides_study(
    "block-orders",
    "In which order do a residual block's layers train best (ResNet10)?",
    "fudan/resnet10",
    "original",
    {
        "norm-after-add": _order("conv norm act conv add norm act"),
        "act-before-add": _order("conv norm act conv norm act add"),
        "act-before-norm": _order("conv act norm conv norm add act"),
        "pre-activation": _order("norm act conv norm act conv add"),
        "kth2022": _order("conv act norm conv add act norm"),
    },
)
_AUGMENTATION = _overrides_study(
    "augmentation",
    "What does each augmentation bring ResNet10, one at a time?",
    "fudan/resnet10",
    "none",
    {
        "flip": {"augment.hflip": "random"},
        "crop": {"augment.crop.padding": 4},
        "crop-flip": {"augment.crop.padding": 4, "augment.hflip": "random"},
        "shift": {"augment.translate": 0.1},
        "rotation": {"augment.degrees": 15},
        "zoom": {"augment.scale": 0.1},
        "vertical-flip": {"augment.vflip": True},
        "noise": {"augment.gaussian_noise.sigma": 0.1},
        "jitter": {
            "augment.color_jitter": {"brightness_shift": 0.2, "contrast": 0.2, "saturation": 0.2}
        },
        "cutout": {"augment.cutout": 16, "augment.cutout_inside": False},
        "mixup": {"augment.mix.kind": "mixup"},
        "cutmix": {"augment.mix.kind": "cutmix"},
        "randaugment": {"augment.policy.kind": "randaugment"},
        "trivialaugment": {"augment.policy.kind": "trivialaugment"},
    },
    usual={"augment.crop.padding": 0, "augment.hflip": "none"},
)
_REGULARISATION = Study(
    name="regularisation",
    about="Which single regulariser helps the tutorial CNN, as kth2024 compared them, and others?",
    rows=(
        *(_row(f"kth2024/{n}") for n in ("baseline", "dropout", "weight-decay", "augmentation")),
        *(
            StudyRow(name=name, recipe="kth2024/baseline", overrides=overrides)
            for name, overrides in {
                "l1": {"optimizer.l1": 1e-5},
                "label-smoothing": {"loss.label_smoothing": 0.1},
                "mixup": {"augment.mix.kind": "mixup"},
                "cutout": {"augment.cutout": 8},
                "averaged-weights": {"averaging.kind": "ema", "averaging.decay": 0.999},
                "batch-norm": {
                    "model.block": ["conv", "act", "norm", "conv", "act", "norm", "pool"]
                },
            }.items()
        ),
    ),
)
_LABEL_NOISE = _overrides_study(
    "label-noise",
    "What do wrong training labels cost ResNet10, and what helps?",
    "fudan/resnet10",
    "clean",
    {
        f"{kind}-{noise_rate}{suffix}": {
            "data.label_noise.kind": kind,
            "data.label_noise.noise_rate": noise_rate,
            **help_,
        }
        for kind, noise_rate in (("symmetric", 0.2), ("symmetric", 0.4), ("pair", 0.4))
        for suffix, help_ in (
            ("", {}),
            ("-mixup", {"augment.mix.kind": "mixup"}),
            ("-smoothing", {"loss.label_smoothing": 0.2}),
        )
    },
)
_DROPOUT_ORDER = Study(
    name="dropout-order",
    about="Do batch normalisation and dropout help or hinder each other, and in which order?",
    rows=(
        StudyRow(
            name="combined",
            recipe="kth2024/combined",
            overrides={"training.duration": "100 epochs"},
        ),
        *(_row(f"kth2024/{n}") for n in ("exchanged", "batch-norm-only", "dropout-only")),
        StudyRow(
            name="neither",
            recipe="kth2024/augmentation",
        ),
    ),
)
_LATE = ["0.5 of the run", "0.75 of the run", "0.9 of the run"]
_FAILURES = Study(
    name="kth2024-failures",
    about="kth2024's three failures (AdamW, step decay, exchanged order), "
    "8 epochs each, and each with one suspect cause changed.",
    overrides={"training.duration": "8 epochs"},
    rows=tuple(
        StudyRow(name=name, recipe=f"kth2024/{recipe}", overrides=overrides)
        for name, recipe, overrides in (
            ("combined", "combined", {}),
            ("adamw", "adamw", {}),
            # 0.004 of the weights at each step, as where decay is not multiplied by the rate
            ("adamw-undivided", "adamw", {"optimizer.weight_decay": 4.0}),
            ("step-decay", "step-decay", {}),
            ("step-decay-late", "step-decay", {"schedule.milestones": _LATE}),
            ("exchanged", "exchanged", {}),
            ("exchanged-norm-alone", "exchanged", {"model.dropout": 0.0}),
            ("exchanged-dropout-alone", "exchanged", {"model.norm.kind": "none"}),
        )
    ),
)
_QUICKSTART = _overrides_study(
    "quickstart",
    "Do augmentation and the optimizer matter on the embedded digits? Runs in a minute.",
    "quickstart",
    "quickstart",
    {"no-crop": {"augment.crop.padding": 0}, "adamw": {"optimizer.kind": "adamw"}},
)

STUDIES = {
    study.name: study
    for study in (
        *_REPORTS,
        _NORMALIZATION,
        _OPTIMIZERS,
        _SCHEDULES,
        _ACTIVATIONS,
        _ORDERS,
        _AUGMENTATION,
        _REGULARISATION,
        _LABEL_NOISE,
        _DROPOUT_ORDER,
        _FAILURES,
        SPEED94,
        _QUICKSTART,
    )
}


def find_study(name: str, plugins: Sequence[Plugin] = ()) -> Study:
    """The shipped study called ``name``, or the one in the YAML file of that path.

    With ``plugins``, which are loaded. Raises UserError, with the nearest shipped name, and
    RecipeError for a bad file.
    """
    read = partial(read_study, plugins=plugins)
    return find_or_read("study", "studies", name, STUDIES, read).add_plugins(plugins)
