"""All that is to be measured on a GPU, in the order of its worth; it goes on where it was.

    CIFARLAB_DATA=... python benchmarks/on_gpu.py [--minutes 30] [--out runs/on-gpu]
                                                  [--peer "NAME=python peer.py"] [--list]

The first half hour says what matters: what the machine gives, whether the GPU computes what the
processor does and whether any step waits for it, which form of ``speed/94`` is fastest (whole
batches, compiled, as CUDA graphs, several runs side by side), and how the loop compares with its
bare steps. What has been measured is not measured again: ``progress.json`` in the folder of results
says so after each, so that several calls, each cut off at any moment, come to the same. What was
cut off begins anew, and is not begun where less time is left than it took, or is guessed to take on
an H100: a measurement longer than --minutes is left out by every call. Results of another machine,
another torch or another commit are not gone on with.

A peer's command trains and evaluates as often as it likes and prints, as its last line, JSON with
``accuracy`` (0..1) and ``seconds`` of one run (see speedrun.py). ``--rehearse`` does all of it in
small, on the processor.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from cifarlab.system.device import device_name, fastest_device
from cifarlab.system.errors import CifarlabError, UserError
from cifarlab.system.files import write_json
from cifarlab.training.provenance import code_commit

HERE = Path(__file__).parent
WHOLE = "training.micro_batch_size=null"
COMPILED, GRAPHS = "default", "reduce-overhead"  # modes of torch.compile
# what makes each script's work small; a later option wins
SMALL: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # options, and changes of a recipe
    "speedrun.py": (("--seeds", "1"), ("training.duration=10 steps", "training.batch_size=8")),
    "throughput.py": (("--batch", "4", "--images", "16", "--repeats", "1"), ()),
    "evaluate.py": (("--images", "20", "--repeats", "1"), ()),
    "augmentation.py": (("--batch", "8", "--repeats", "1"), ()),
    "gpu_agreement.py": ((), ("quickstart",)),
    "promises.py": (("--steps", "3"), ("quickstart",)),
    "recording.py": (("--epochs", "1", "--fraction", "0.1"), ("quickstart=digits",)),
    "reproduce.py": (("--only", "nothing"), ()),
    "cifarlab": ((), ("quickstart", "--data", "digits")),
}
TAKES_DATA = ("speedrun.py", "throughput.py")


class Measurement(NamedTuple):
    """A script of this folder, or cifarlab: its options, then what is changed of a recipe.

    ``seconds`` is a guess, for an H100: none has been measured there.
    """

    name: str
    seconds: float
    script: str
    options: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    compile_mode: str = ""

    def command(self, options: argparse.Namespace) -> list[str]:
        """Return the words that start it."""
        small_options, small_changes = SMALL[self.script] if options.rehearse else ((), ())
        python = [sys.executable, "-u"]
        if self.script == "cifarlab":
            return [*python, "-m", "cifarlab", *self.options, *(small_changes or self.changes)]
        words = [*python, str(HERE / self.script), *self.options]
        words += [] if self.script == "recording.py" else ["--device", options.device]
        words += ["--data", options.data] if self.script in TAKES_DATA else []
        return [*words, *small_options, *self.changes, *small_changes]


def measurements(options: argparse.Namespace) -> list[Measurement]:
    """Return all of them, the most wanted first."""
    peers = tuple(word for peer in options.peer for word in ("--peer", peer))
    speed96 = ("--recipe", "speed/96", "--seeds")
    float32 = (WHOLE, "training.precision=float32")
    hours = ("--jobs", "6", "--hours", f"{options.minutes / 60:.3f}")
    return [
        Measurement("machine", 40, "cifarlab", ("check", "--benchmark"), ("wrn-28-10",)),
        Measurement("agreement", 120, "gpu_agreement.py"),
        Measurement("speed-94", 150, "speedrun.py", ("--seeds", "10", *peers), (WHOLE,)),
        Measurement("speed-94-compiled", 180, "speedrun.py", ("--seeds", "10"), (WHOLE,), COMPILED),
        Measurement("speed-94-graphs", 180, "speedrun.py", ("--seeds", "10"), (WHOLE,), GRAPHS),
        Measurement(
            "speed-94-side-by-side", 120, "speedrun.py", ("--seeds", "18", "--jobs", "6"), (WHOLE,)
        ),
        Measurement("loop-512", 90, "throughput.py", ("--batch", "512")),
        Measurement("loop-128", 90, "throughput.py", ("--batch", "128")),
        Measurement("loop-speed-94", 60, "throughput.py", ("--recipe", "speed/94")),
        Measurement("evaluation", 150, "evaluate.py"),
        Measurement("loop-512-compiled", 150, "throughput.py", ("--batch", "512"), (), COMPILED),
        Measurement("speed-96", 150, "speedrun.py", (*speed96, "3"), (WHOLE,)),
        Measurement("promises", 120, "promises.py"),
        # the first half hour ends about here
        Measurement("speed-94-micro-batches", 120, "speedrun.py", ("--seeds", "5")),
        Measurement("speed-94-float32", 120, "speedrun.py", ("--seeds", "3"), float32),
        Measurement("augmentation", 120, "augmentation.py"),
        Measurement("tensor-stats", 120, "recording.py"),
        *(
            Measurement(
                f"speed-94-seeds-from-{first}",
                100,
                "speedrun.py",
                ("--first-seed", str(first), "--seeds", "10"),
                (WHOLE,),
            )
            for first in (10, 20, 30)
        ),
        Measurement("speed-96-compiled", 300, "speedrun.py", (*speed96, "5"), (WHOLE,), COMPILED),
        Measurement("reports", 600, "reproduce.py", hours),
    ]


def main() -> None:
    """Measure what is not measured yet and fits; say what was left out."""
    options = parse_options()
    file = options.out / "progress.json"
    os.environ["CIFARLAB_DEVICE"] = options.device
    progress = read_progress(file, identify())
    end = time.monotonic() + 60 * options.minutes
    for measurement in measurements(options):
        earlier = progress["measurements"].get(measurement.name, {})
        if options.list or earlier.get("outcome") == "done":
            say(measurement, earlier.get("outcome", "not measured yet"))
            continue
        seconds_left = end - time.monotonic()
        if seconds_left < (1 if options.rehearse else earlier.get("seconds", measurement.seconds)):
            say(measurement, "left out: no time")
            continue
        say(measurement, "begins")
        start, folder = time.monotonic(), options.out / measurement.name
        outcome = carry_out(measurement, options, folder, seconds_left)
        seconds = time.monotonic() - start
        entry = {"outcome": outcome, "command": " ".join(measurement.command(options)[1:])}
        if outcome != "cut off":  # that says nothing of what it takes
            entry["seconds"] = seconds
        progress["measurements"][measurement.name] = entry
        write_json(file, progress)
        say(measurement, f"{outcome} after {seconds:.0f} s: {folder}")


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30, help="what is not begun then is not")
    parser.add_argument("--out", type=Path, default=Path("runs/on-gpu"), help="folder of results")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:3, mps")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--list", action="store_true", help="say what is measured, and measure not")
    parser.add_argument("--rehearse", action="store_true", help="in small, on the processor")
    options = parser.parse_args()
    options.device = "cpu" if options.rehearse else options.device
    options.out = options.out.resolve()
    return options


def identify() -> dict[str, Any]:
    """Return what results must have in common to stand in one folder."""
    torch_version, commit = torch.__version__, code_commit()
    return {"machine": device_name(fastest_device()), "torch": torch_version, "commit": commit}


def read_progress(file: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """Return what was measured on this machine, by this code.

    Raises:
        UserError: the folder has results of another machine, another torch or another commit
    """
    if not file.exists():
        return {**identity, "measurements": {}}
    progress: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    for name, value in identity.items():
        if progress.get(name) != value:
            what = f"{file.parent} has results of another {name}: {progress.get(name)}"
            raise UserError(what, "give another folder with --out")
    return progress


def carry_out(
    measurement: Measurement, options: argparse.Namespace, folder: Path, seconds: float
) -> str:
    """Run a measurement for at most so many seconds; return its outcome in words."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"BENCHMARK_RESULTS": str(folder)}
    environment["CIFARLAB_COMPILE"] = measurement.compile_mode
    if options.rehearse:  # as if it were compiled
        environment["TORCH_COMPILE_DISABLE"] = "1"
    with (folder / "output.txt").open("w", encoding="utf-8") as output:
        code = run_command(measurement.command(options), environment, output, seconds)
    if code is None:
        return "cut off"
    return "done" if code == 0 else f"failed with {code}"


def run_command(
    command: list[str], environment: dict[str, str], output: Any, seconds: float
) -> int | None:
    """Return the exit code of a command; None where it and all that it started were ended."""
    process = subprocess.Popen(
        command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        return process.wait(seconds)
    except BaseException as error:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            return None
        raise


def say(measurement: Measurement, text: str) -> None:
    """Print the time, what it is about, and the text."""
    print(time.strftime("%H:%M:%S"), measurement.name, text, flush=True)


if __name__ == "__main__":
    try:
        main()
    except CifarlabError as error:
        sys.exit(str(error))
