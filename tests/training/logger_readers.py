"""What each tool's own reader has of a logged run, in one form."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Logged:
    """Values by name and epoch, as often as they were logged; settings; result; figures."""

    epochs: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    result: dict[str, float] = field(default_factory=dict)
    figures: dict[str, bytes] = field(default_factory=dict)
    folder: str = ""
    group: str = ""
    project: str = ""

    def add(self, name: str, epoch: int, value: float) -> None:
        """Sort a number by its name."""
        if name.startswith("result/"):
            assert name not in self.result
            self.result[name] = value
        else:
            self.epochs.setdefault(name, []).append((epoch, value))


def read_tensorboard(run: Path) -> Logged:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader, logged = EventAccumulator(str(run / "tensorboard")), Logged()
    reader.Reload()
    for name in reader.Tags()["scalars"]:
        for event in reader.Scalars(name):
            logged.add(name, event.step, event.value)
    for name in reader.Tags()["images"]:
        (event,) = reader.Images(name)
        logged.figures[name.removeprefix("figures/")] = event.encoded_image_string
    text = reader.Tensors("run folder/text_summary")[0].tensor_proto.string_val[0]
    logged.folder = text.decode().strip()
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = reader.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = HParamsPluginData.FromString(content).session_start_info.hparams
    kinds = {key: value.WhichOneof("kind") for key, value in hparams.items()}
    logged.settings = {key: getattr(hparams[key], kind) for key, kind in kinds.items()}
    return logged


def read_mlflow(uri: str, experiment: str) -> Logged:
    from mlflow import MlflowClient

    client, logged = MlflowClient(uri), Logged()
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    assert run.info.status == "FINISHED"
    for name in run.data.metrics:
        for metric in client.get_metric_history(run.info.run_id, name):
            logged.add(name, metric.step, metric.value)
    logged.settings, logged.folder = run.data.params, run.data.tags["cifarlab.run_folder"]
    logged.group = run.data.tags["cifarlab.group"]
    for file in client.list_artifacts(run.info.run_id, "figures"):
        path = client.download_artifacts(run.info.run_id, file.path)
        logged.figures[Path(path).stem] = Path(path).read_bytes()
    return logged


def read_trackio(project: str) -> Logged:
    from trackio.sqlite_storage import SQLiteStorage
    from trackio.utils import MEDIA_DIR

    logged = Logged()
    (run,) = SQLiteStorage.get_run_records(project)
    for row in SQLiteStorage.get_logs(project, run["name"], run_id=run["id"]):
        for name, value in row.items():
            if isinstance(value, dict):
                content = (MEDIA_DIR / value["file_path"]).read_bytes()
                logged.figures[name.removeprefix("figures/")] = content
            elif name not in ("step", "timestamp"):
                logged.add(name, row["step"], value)
    logged.settings = SQLiteStorage.get_run_config(project, run["name"], run_id=run["id"])
    logged.folder, logged.group = logged.settings["run_folder"], logged.settings["_Group"] or ""
    return logged


def read_wandb(run: Path) -> Logged:
    """Read the one offline file; no Python reader of it is shipped, but its messages are."""
    logged = Logged()
    (folder,) = run.glob("wandb/offline-run-*")
    for record in _wandb_records(next(folder.glob("*.wandb"))):
        if record.HasField("run"):
            config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            logged.settings, logged.folder = config, config["run_folder"]
            logged.group, logged.project = record.run.run_group, record.run.project
        if record.HasField("history"):
            items = record.history.item
            row = {"/".join(item.nested_key): json.loads(item.value_json) for item in items}
            for name, value in row.items():
                if not name.startswith(("_", "figures/")):
                    logged.add(name, row["_step"], value)
                if name.endswith("/path"):
                    file = folder / "files" / value
                    logged.figures[name.split("/")[1]] = file.read_bytes()
        if record.HasField("summary"):
            for item in record.summary.update:
                if item.key.startswith("result/"):
                    logged.result[item.key] = json.loads(item.value_json)
    return logged


def _wandb_records(file: Path) -> Iterator[Any]:
    """Yield the records of a LevelDB log: blocks of 32 KiB, records in up to several parts."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, position, record = file.read_bytes(), 7, b""
    while position + 7 <= len(content):
        left = 2**15 - position % 2**15
        if left < 7:
            position += left
            continue
        _, size, part = struct.unpack_from("<IHB", content, position)
        record += content[position + 7 : position + 7 + size]
        position += 7 + size
        if part in (1, 4):  # whole, or the last part
            yield Record.FromString(record)
            record = b""
