"""How GPUs of CUDA are divided among trials, here and on a cluster."""

import math

from cifarlab.system.errors import UserError


def divide_gpus(
    n_gpus: int, jobs: int | None, gpus_per_trial: float | None
) -> tuple[int | None, float]:
    """Return how many trials train at a time, and the part of a GPU that each one has.

    Unless the user says so, a trial has a GPU of its own, and where there are more trials than GPUs
    as large a part as fits. Without GPUs, ``jobs`` stays as it is.

    Args:
        n_gpus: GPUs that there are
        jobs: trials at a time; None: as many as the GPUs take
        gpus_per_trial: GPUs of a trial; None: as many as ``jobs`` leaves

    Raises:
        UserError: there are too few GPUs
    """
    if not n_gpus:
        if gpus_per_trial is None:
            return jobs, 0.0
        what = f"--gpus-per-trial {gpus_per_trial:g}: trials train on no GPU of CUDA here"
        raise UserError(what, "leave it out, or mend CIFARLAB_DEVICE and CUDA_VISIBLE_DEVICES")
    per_gpu = math.ceil((jobs or 1) / n_gpus)
    if gpus_per_trial is not None:
        per_gpu = int(1 / gpus_per_trial + 1e-9)  # 1 / 0.1 may be less than 10
    capacity = n_gpus * per_gpu
    if jobs is not None and jobs > capacity:
        gpus = f"{n_gpus} GPU" if n_gpus == 1 else f"{n_gpus} GPUs"
        what = f"--jobs {jobs} --gpus-per-trial {gpus_per_trial:g}: {gpus} take {capacity} trials"
        hint = "take fewer jobs or a smaller part of a GPU, or leave one of them out"
        raise UserError(what, hint)
    # Ray counts in ten-thousandths: 7 times 0.1429 would be more than one GPU
    return jobs or capacity, math.floor(1e4 / per_gpu) / 1e4
