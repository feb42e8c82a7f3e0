"""A scaled recipe: a fraction of the images and epochs, all else at its fraction of the run."""

import pytest

from cifarlab.config.duration import Duration
from cifarlab.recipes.catalog import find, shipped_recipes
from cifarlab.recipes.scale import scale_recipe
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build, fingerprint
from cifarlab.system.errors import UserError
from cifarlab.training.plan import plan_batches

IMAGES, BATCH = 45_000, 45
PER_EPOCH = IMAGES // BATCH


def scale_made(recipe, scale):
    """The recipe at that scale, and the steps that an epoch then has."""
    small = scale_recipe(recipe, scale)
    assert small.training.batch_size == recipe.training.batch_size
    return small, round(PER_EPOCH * small.data.train_subset_fraction)


ALL_DURATIONS = {
    "augment": {"progressive_resize": [{"start": "10 epochs", "pixels": 16}]},
    "optimizer": {"norms": {"until": "20 epochs"}},
    "schedule": {
        "kind": "multistep",
        "warmup": "10000 steps",
        "milestones": ["40000 steps", "60 epochs", "0.75 of the run"],
    },
    "training": {
        "duration": "100 epochs",
        "batch_size": BATCH,
        "selective_backprop": {"keep": 0.5, "start": "30 epochs"},
        "freeze": [{"start": "50000 steps", "stages": 1}],
        "extensions": [{"duration": "10 epochs", "schedule": "hold"}],
    },
}


def durations(recipe):
    """Every duration of ALL_DURATIONS, in the recipe's order."""
    schedule, training = recipe.schedule, recipe.training
    return [
        recipe.augment.progressive_resize[0].start,
        recipe.optimizer.norms.until,
        schedule.warmup,
        *schedule.milestones,
        training.duration,
        training.selective_backprop.start,
        training.freeze[0].start,
        training.extensions[0].duration,
    ]


@pytest.mark.parametrize("scale", [0.1, 0.5])
def test_every_duration_keeps_its_fraction_of_the_run(scale):
    recipe = build(ALL_DURATIONS)
    small, per_epoch = scale_made(recipe, scale)
    assert per_epoch == PER_EPOCH * scale
    plan, small_plan = plan_batches(recipe, IMAGES), plan_batches(small, per_epoch * BATCH)
    assert small_plan.steps == pytest.approx(plan.steps * scale**2)
    n_steps = plan.segments[0].steps, small_plan.segments[0].steps
    for long, short in zip(durations(recipe), durations(small), strict=True):
        fractions = (
            long.in_steps(PER_EPOCH, n_steps[0]) / n_steps[0],
            short.in_steps(per_epoch, n_steps[1]) / n_steps[1],
        )
        assert fractions[0] == pytest.approx(fractions[1], abs=1e-3), (long, short)


@pytest.mark.parametrize(
    ("schedule", "path", "value"),
    [
        ({"kind": "step", "step_size": "20 epochs"}, "step_size", Duration.parse("2 epochs")),
        ({"kind": "cosine_restarts", "period": "1000 steps"}, "period", Duration.parse("10 steps")),
        ({"kind": "plateau", "patience": 20}, "patience", 2),
    ],
)
def test_other_schedules(schedule, path, value):
    assert getattr(scale_recipe(build({"schedule": schedule}), 0.1).schedule, path) == value


def test_an_exponential_ends_at_the_same_lr():
    recipe = build({"schedule": {"kind": "exponential", "gamma": 0.9}})
    small = scale_recipe(recipe, 0.1)
    assert small.schedule.gamma**3 == pytest.approx(recipe.schedule.gamma**30)


@pytest.mark.parametrize("every", [1, 300])
@pytest.mark.parametrize("kind", ["ema", "lookahead"])
def test_an_average_looks_back_over_the_same_fraction_of_the_run(kind, every):
    recipe = build({"averaging": {"kind": kind, "decay": 0.999, "every": every}})
    small = scale_recipe(recipe, 0.1)

    def remaining_weight(averaging, steps):
        """Return the average's weight after so many steps, without progress's factor."""
        updates = steps if kind == "lookahead" else steps / averaging.every
        return averaging.decay**updates

    assert small.averaging.every == max(1, round(every / 100))
    assert remaining_weight(small.averaging, 30) == pytest.approx(
        remaining_weight(recipe.averaging, 3000), rel=1e-9
    )


def test_what_is_no_length_of_time_stays():
    recipe = build({**ALL_DURATIONS, "seed": 3, "name": "mine", "data": {"val_fraction": 0.2}})
    small = scale_recipe(recipe, 0.1)
    same = {"seed", "name", "model", "evaluation", "averaging"}
    assert small.model_dump(include=same) == recipe.model_dump(include=same)
    assert small.data == recipe.data.model_copy(update={"train_subset_fraction": 0.1})
    assert small.optimizer.lr == recipe.optimizer.lr
    assert str(small.schedule.milestones[2]) == "0.75 of the run"


def test_a_fraction_of_a_fraction():
    assert scale_recipe(
        build({"data": {"train_subset_fraction": 0.5}}), 0.1
    ).data.train_subset_fraction == pytest.approx(0.05)


def test_a_step_is_left_of_few_and_none_of_none():
    schedule = {"kind": "multistep", "warmup": "0 steps", "milestones": ["5 steps"]}
    small = scale_recipe(build({"schedule": schedule}), 0.1)
    assert [str(small.schedule.warmup), str(small.schedule.milestones[0])] == ["0 steps", "1 step"]


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_can_be_scaled(name):
    recipe = find(name)
    assert fingerprint(scale_recipe(recipe, 1.0)) == fingerprint(recipe)
    assert fingerprint(scale_recipe(recipe, 0.1)) != fingerprint(recipe)


@pytest.mark.parametrize("scale", [0, -1, 1.1, float("nan")])
def test_no_scale(scale):
    with pytest.raises(UserError, match="scale"):
        scale_recipe(Recipe(), scale)
