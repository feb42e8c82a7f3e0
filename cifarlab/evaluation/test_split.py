"""The one function that opens the test split."""

from datetime import UTC, datetime

from cifarlab.data.config import Data
from cifarlab.data.dataset import Dataset, Subset
from cifarlab.data.splits import test_subset
from cifarlab.run_folder.audit_findings import Audit
from cifarlab.run_folder.folder import RunFolder


def open_test_split(
    dataset: Dataset, data: Data, folder: RunFolder | Audit, opener: str, command: str
) -> Subset:
    """Return the test images, and record in the provenance that they were opened.

    The record is written first: an opening that fails or is killed still counts.

    Args:
        dataset: the data of the run or of the audit
        data: the recipe's part on data
        folder: of a run after its training, or of an audit; it keeps the record
        opener: what opens the split: train, evaluate, export or audit
        command: the command or function that the user called

    Raises:
        DataError: the data have no test split
    """
    provenance = folder.provenance()
    opening = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "opener": opener}
    openings = [*provenance.get("test_openings", []), {**opening, "command": command}]
    folder.write_provenance({**provenance, "test_openings": openings})
    return test_subset(dataset, data)
