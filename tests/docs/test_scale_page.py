"""The figures of docs/scale.md are those of the measurements in benchmarks/results/."""

import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = " ".join((ROOT / "docs" / "scale.md").read_text(encoding="utf-8").split())
COSTS = PAGE.partition("## What it costs")[2].partition("## What is stored")[0]
WAYS = ("search-processes", "study-processes", "search-ray", "study-ray")
GIB, MB, GB, TB = 1024, 1e6, 1e9, 1e12
# what the page assumes, and what stands in names
ASSUMED = {
    "100",
    "800",
    "10,000",
    "10",
    "30",
    "1",
    "2",
    "4",
    "5",
    "7/4",
    "500",
    "1,000",
    "200",
    "8",
}


def read(name: str) -> dict[str, Any]:
    """The newest result of a script on a CPU."""
    files = sorted((ROOT / "benchmarks" / "results").glob(f"{name}_cpu_*.json"))
    content: dict[str, Any] = json.loads(files[-1].read_text(encoding="utf-8"))
    return content


def median_of_rows(where: str, column: str) -> float:
    return float(
        statistics.median(row[column] for row in read(f"search-scale-{where}")["rows"][1:])
    )


def measurements() -> list[str]:
    """The table's figures, as the page words them."""
    start = {way: read(f"start-{way}")["seconds"]["median"] for way in WAYS}
    memory = {
        source: max(row["private_mib"]) / GIB
        for source, row in read("search-memory")["sources"].items()
    }
    images = read("search-memory")["sources"]["cifar10"]["images_mib"]
    nets = read("sizes")["networks"]
    gradients = {name: net["gradient_bytes"] / MB for name, net in nets.items()}
    folders = {name: net["folder"] for name, net in nets.items()}
    cpu_ms = {w: median_of_rows(w, "own_ms_per_epoch") for w in ("processes", "ray")}
    return [
        f"quickstart (78 thousand parameters): {read('processes-quickstart')['ratio']:.2f} of the",
        f"`speed/94` {gradients['speed/94']:.1f} MB, ResNet-18 {gradients['resnet18']:.0f} MB, "
        f"ResNet-34 {gradients['asha2021/resnet34']:.0f} MB",
        f"a search {start['search-processes']:.1f} s, a study {start['study-processes']:.1f} s, "
        f"a search through Ray {start['search-ray']:.1f} s, "
        f"a study through Ray {start['study-ray']:.1f} s",
        *map(overhead, WAYS),
        f"{memory['digits']:.2f} GiB on the digits, {memory['cifar10']:.2f} GiB on CIFAR-10; "
        f"the images once per machine: {images:.0f} MiB",
        f"{cpu_ms['processes']:.1f} ms on one machine, {cpu_ms['ray']:.1f} ms through Ray",
        both_back_ends(),
        *(simulated(where) for where in ("processes", "ray")),
        f"{read('startup')['seconds']['first opening']['median']:.0f} s for 60,000 images",
        f"classic CNN {folders['asha2021/classic']['adam'] / MB:.0f} MB; "
        f"ResNet-34 under SGD {folders['asha2021/resnet34']['sgd'] / MB:.0f} MB, "
        f"under Adam {folders['asha2021/resnet34']['adam'] / MB:.0f} MB",
    ]


def overhead(way: str) -> str:
    row = read(f"overhead-{way}")
    kind, _, where = way.partition("-")
    site = "through Ray" if where == "ray" else "in processes"
    return (
        f"{kind} {site}, {row['trials']} trials of {row['seconds_per_trial']:.0f} s: "
        f"{100 * row['overhead_fraction']:.1f} %; {row['before_first_step']:.1f} s before the "
        f"first step, {row['after_last_run']:.1f} s after the last run, "
        f"one worker idle for {row['one_worker_idle']:.0f} s at the end, "
        f"{row['per_trial_between']:.2f} s per trial between"
    )


def both_back_ends() -> str:
    """asha2021's first search, whose trials seeds decide where one is trained at a time."""
    result = read("search-backends-asha2021-classic")
    assert result["tables_are_equal"]
    seconds = [result["backends"][where]["seconds"] for where in ("processes", "ray")]
    return (
        f"`asha2021/classic`, {result['trials']} trials, `--scale {result['scale']:g}`: equal "
        f"tables, in processes in {seconds[0]:.0f} s, through Ray in {seconds[1]:.0f} s"
    )


def simulated(where: str) -> str:
    result = read(f"search-scale-{where}")
    rows = result["rows"]
    growth = (rows[-1]["driver_mib"] - rows[0]["driver_mib"]) * 1024
    kib = growth / (rows[-1]["trials"] - rows[0]["trials"])
    first, last = rows[1]["own_ms_per_trial"], rows[-1]["own_ms_per_trial"]
    return (
        f"{result['trials']:,} trials: {first:.1f} ms of the driver per trial at first, "
        f"{last:.1f} at the end; {median_of_rows(where, 'ms_per_trial'):.0f} ms on the clock; "
        f"memory {rows[-1]['driver_mib']:.0f} MiB at the end, {kib:.1f} KiB per trial; "
        f"record {result['record_mib']:.1f} MiB; table, page and figures "
        f"{result['report_seconds']:.0f} s"
    )


def conclusions() -> list[str]:
    """What follows from the pieces for 8 GPUs, 100 machines and 10,000 trials."""
    nets = read("sizes")["networks"]
    ring = {name: net["gradient_bytes"] * 7 / 4 for name, net in nets.items()}
    speed, resnet = ring["speed/94"], ring["resnet18"]
    folder = {name: net["folder"] for name, net in nets.items()}
    epoch = median_of_rows("ray", "own_ms_per_epoch")
    clock = median_of_rows("ray", "ms_per_epoch")
    trial = median_of_rows("ray", "own_ms_per_trial")
    large, small = folder["asha2021/resnet34"]["adam"], folder["speed/94"]["own"]
    digits = max(read("search-memory")["sources"]["digits"]["private_mib"]) / GIB
    return [
        f"{speed / MB:.0f} MB for `speed/94`, {resnet / MB:.0f} MB for ResNet-18; over links of "
        f"100 GB/s that is {1000 * speed / (100 * GB):.1f} ms and "
        f"{1000 * resnet / (100 * GB):.1f} ms",
        f"eight workers need {8 * digits:.1f} GiB",
        f"{epoch:.1f} ms for each: below epochs of {0.8 * epoch:.1f} s it can't keep up. On the "
        f"clock {clock:.0f} ms passed for each",
        f"from epochs of {0.8 * clock:.0f} s on",
        # a folder has two checkpoints, of which an epoch writes one: the best is a second name
        f"write {800 * large / 2 / 10 / GB:.0f} GB/s, "
        f"`speed/94` {800 * small / 2 / 10 / GB:.1f} GB/s",
        f"{10_000 * trial / 60_000:.1f} minutes of the driver's processor and "
        f"{read('search-scale-ray')['seconds'] / 60:.0f} minutes on the clock",
        f"ResNet-34 take up to {10_000 * large / TB:.0f} TB, "
        f"of `speed/94` {10_000 * small / TB:.1f} TB",
    ]


@pytest.mark.parametrize("sentence", [*measurements(), *conclusions()])
def test_a_figure_is_what_was_measured(sentence: str) -> None:
    assert sentence in PAGE


def test_no_other_figure_is_there() -> None:
    text = COSTS
    for sentence in (*measurements(), *conclusions()):
        text = text.replace(sentence, "")
    text = re.sub(r"`[^`]*`|ResNet-\d+|speed-94|torch [\d.]+|\]\([^)]*\)", "", text)
    assert set(re.findall(r"\d[\d,./]*\d|\d", text)) <= ASSUMED


def test_every_bar_of_the_first_step_is_met() -> None:
    assert read("start-search-processes")["seconds"]["median"] < 5
    assert read("start-study-processes")["seconds"]["median"] < 5
    assert read("start-search-ray")["seconds"]["median"] < 10
    assert read("start-study-ray")["seconds"]["median"] < 10


@pytest.mark.parametrize("way", WAYS)
def test_less_than_a_twentieth_is_not_spent_in_training(way: str) -> None:
    row = read(f"overhead-{way}")
    assert row["trials"] == 30 and row["seconds_per_trial"] == pytest.approx(30, rel=0.2)
    assert row["overhead_fraction"] < 0.05


@pytest.mark.parametrize("where", ["processes", "ray"])
def test_time_and_memory_of_the_driver_are_flat(where: str) -> None:
    result = read(f"search-scale-{where}")
    rows = result["rows"][1:]
    assert result["trials"] == 10_000 and result["report_seconds"] < 60
    middle = len(rows) // 2
    for column in ("own_ms_per_trial", "ms_per_decision"):
        early, late = (
            statistics.median(row[column] for row in part)
            for part in (rows[:middle], rows[middle:])
        )
        assert late < 1.25 * early, column
    growth = rows[-1]["driver_mib"] - rows[0]["driver_mib"]
    assert growth * 1024 / (rows[-1]["trials"] - rows[0]["trials"]) < 5  # KiB for each trial


def test_sizes_of_checkpoints_and_records() -> None:
    nets = read("sizes")["networks"]
    for net in (nets["resnet18"], nets["asha2021/resnet34"]):
        assert net["folder"]["sgd"] / net["gradient_bytes"] == pytest.approx(4, abs=0.1)
        assert net["folder"]["adam"] / net["gradient_bytes"] == pytest.approx(6, abs=0.1)
    assert "4 times the weights under SGD, 6 times under Adam" in PAGE
    record = read("search-scale-processes")
    assert record["record_mib"] * 1024 / record["trials"] < 1
    assert "under 1 KB per trial" in PAGE


def test_sizes_of_images_are_arithmetic() -> None:
    assert (64 * 64 * 3, 96 * 96 * 3, 32 * 32 * 3) == (12_288, 27_648, 3_072)
    assert "12 to 27 KB per image of 64 to 96 pixels, 3 KB of 32" in PAGE
