"""The one function that opens the test split."""

from datetime import UTC, datetime

from cifarlab.data.config import Data
from cifarlab.data.dataset import Dataset, Subset
from cifarlab.data.splits import test_subset
from cifarlab.run_folder.audit_findings import Audit
from cifarlab.run_folder.folder import RunFolder


def open_test_split(
    dataset: Dataset, data: Data, folder: RunFolder | Audit, by: str, command: str
) -> Subset:
    """The test images, of a run after its training; each opening is recorded in the provenance.

    The record is written first: an opening that fails or is killed still counts. Raises DataError
    where the split is not there.
    """
    provenance = folder.provenance()
    opening = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "by": by}
    openings = [*provenance.get("test_openings", []), {**opening, "command": command}]
    folder.write_provenance({**provenance, "test_openings": openings})
    return test_subset(dataset, data)
