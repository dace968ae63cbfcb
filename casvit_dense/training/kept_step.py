"""A step of a training that is kept to be made again: a folder of plain tensors.

``weights.pth`` holds the model before the step and, as checkpoints do, its config; each process
adds its batches, ``batches_<process>.pth``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.errors import UserError
from casvit_dense.files import write_whole
from casvit_dense.training.draws import Draw

#: Folder of a work directory with its kept steps.
KEPT_STEPS: Final = "not_finite"
WEIGHTS: Final = "weights.pth"
BATCHES: Final = "batches_{}.pth"


@dataclass(frozen=True)
class KeptBatch:
    """A batch of a process; a step has several where gradients accumulate.

    Attributes:
        iteration: number of steps before it, as the runner counts them.
        images: paths, with ids where there are any.
        inputs: augmented images, (3, height, width) each.
        draws: of each image its `Draw` in numbers.
    """

    iteration: int
    images: Sequence[str]
    inputs: Sequence[Tensor]
    draws: Sequence[Sequence[int]]

    @property
    def drawn(self) -> list[Draw]:
        """The draws of the images."""
        return [Draw.of(*numbers) for numbers in self.draws]


def kept_batch(iteration: int, batch: Any) -> KeptBatch:
    """What is kept of a batch as loaders give it; parts that it lacks stay empty."""
    content = batch if isinstance(batch, Mapping) else {}
    samples = content.get("data_samples") or ()
    images = []
    for sample in samples:
        number = f" (id {sample.get('img_id')})" if "img_id" in sample else ""
        images.append(f"{sample.get('img_path')}{number}")
    inputs = [image.cpu() for image in content.get("inputs", ()) if isinstance(image, Tensor)]
    draws = [sample.get("draw") for sample in samples if "draw" in sample]
    return KeptBatch(iteration, images, inputs, draws)


def write_weights(folder: Path, state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Writes the model of a step."""
    _write(folder / WEIGHTS, {"state_dict": state, "meta": meta})


def write_batches(folder: Path, process: int, batches: Sequence[KeptBatch]) -> None:
    """Writes the batches of a process."""
    _write(folder / BATCHES.format(process), {"batches": [asdict(batch) for batch in batches]})


def read_batches(folder: Path, processes: int) -> Iterator[KeptBatch]:
    """The batches of a step, of one process after the other.

    Raises:
        UserError: a file is missing or damaged.
    """
    for process in range(processes):
        path = folder / BATCHES.format(process)
        try:
            batches = [KeptBatch(**batch) for batch in read_checkpoint(path)["batches"]]
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} does not hold the batches of a step: {error}") from error
        yield from batches


def _write(path: Path, content: Mapping[str, Any]) -> None:
    buffer = BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())
