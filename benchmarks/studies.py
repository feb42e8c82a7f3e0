"""The reports' studies in full length, as far as a time limit allows; call it again to go on.

    CIFARLAB_DATA=... python benchmarks/studies.py --device cuda --limit 560 --jobs 6 [--seeds 3]

The rows most wanted come first: fudan's mixup and kth2022's deeper network, each beside its
baseline. At the limit the running study is interrupted, as with Ctrl-C: checkpoints stay under
``runs/``, and the next call goes on from there. What is finished is written to
``results/studies_<device>_<date>.json`` each time: each study's comparison with all numbers.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from _results import write_result

DATA = "cifar10-jpeg.tar.xz"
PARTS = (
    ("fudan", "mixup"),
    ("kth2022", "resnet-deeper"),
    ("kth2022", None),
    ("nyu2024", None),
    ("fudan", None),
    ("asha2021", None),
    ("kth2024", None),
)
GRACE = 30  # seconds for checkpoints to be written


def command(study: str, only: str | None, options: argparse.Namespace) -> list[str]:
    """The command that trains what is missing of that study's rows."""
    words = [sys.executable, "-m", "cifarlab", "study", study, "--resume", "--data", DATA]
    words += [
        "--n-seeds",
        str(options.seeds),
        "--jobs",
        str(options.jobs),
        "--scale",
        str(options.scale),
    ]
    return words if only is None else [*words, "--only", only]


def run(words: list[str], options: argparse.Namespace, seconds: float) -> str:
    """Run one study for so long at most; how it ended."""
    environment = os.environ | {"CIFARLAB_DEVICE": options.device}
    if data := environment.get("CIFARLAB_DATA"):
        environment["CIFARLAB_DATA"] = str(Path(data).resolve())
    process = subprocess.Popen(words, cwd=options.runs, env=environment)
    try:
        code = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return "interrupted: no time"
    return "done" if code == 0 else f"failed with {code}"


def comparisons(runs: Path) -> dict[str, object]:
    """What each study under ``runs`` has found so far, by its folder's name."""
    files = sorted(runs.glob("runs/studies/*/study.json"))
    contents = {file.parent.name: json.loads(file.read_text(encoding="utf-8")) for file in files}
    return {
        name: {"comparison": content["comparison"], "runs": content["runs"]}
        for name, content in contents.items()
    }


def main() -> None:
    """Run what fits, write what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--limit", type=float, default=560, help="seconds in all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=6, help="runs at a time on the device")
    parser.add_argument("--scale", type=float, default=1.0, help="see `cifarlab study`")
    parser.add_argument("--runs", type=Path, default=Path(), help="the folder that holds runs/")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    start_time, outcomes = time.monotonic(), []
    for study, only in PARTS:
        seconds_left = options.limit - GRACE - (time.monotonic() - start_time)
        words = command(study, only, options)
        outcome = run(words, options, seconds_left) if seconds_left > GRACE else "left out: no time"
        outcomes.append({"command": shlex.join(words[3:]), "outcome": outcome})
        print(outcomes[-1], flush=True)
    payload = {"jobs": options.jobs, "outcomes": outcomes, "studies": comparisons(options.runs)}
    print(write_result("studies", options.device, payload))


if __name__ == "__main__":
    main()
