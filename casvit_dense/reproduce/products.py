"""What runs leave behind, and whose it is: checkpoints and rows speak for themselves."""

from dataclasses import dataclass
from pathlib import Path

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.checkpoint.reader import file_sha256
from casvit_dense.engine.record import training_of
from casvit_dense.engine.train import numbered
from casvit_dense.errors import UserError
from casvit_dense.reproduce.facts import Facts
from casvit_dense.reproduce.plan import Run
from casvit_dense.results.row import Evaluation, Training


@dataclass(frozen=True)
class Progress:
    """How far the checkpoints of a run are.

    Attributes:
        checkpoint: the newest one that can be read.
        training: what it says of its training; None if it says nothing.
        damaged: those that are newer and cannot be read.
    """

    checkpoint: Path | None = None
    training: Training | None = None
    damaged: tuple[Path, ...] = ()

    @property
    def last(self) -> Path | None:
        """The checkpoint if the whole schedule is behind it."""
        return self.checkpoint if is_whole(self.training) else None


def look_at_checkpoints(folder: Path) -> Progress:
    """Reads the checkpoints of a work directory, newest first, until one is sound."""
    damaged: list[Path] = []
    for path in numbered(folder):
        try:
            return Progress(path, training_of(read_checkpoint(path)), tuple(damaged))
        except UserError:
            damaged.append(path)
    return Progress(damaged=tuple(damaged))


def is_whole(training: Training | None) -> bool:
    """Whether a training went to the end of its schedule."""
    return (
        training is not None
        and training.iterations is not None
        and training.iterations == training.planned_iterations
    )


def stranger(progress: Progress, run: Run, facts: Facts, images: int | None) -> str | None:
    """Why the checkpoint that was found is not of a run; None if it is, or if there is none.

    Args:
        progress: what was found.
        run: the run.
        facts: of its model.
        images: of the training set; None where it is not there to be compared.
    """
    path, training = progress.checkpoint, progress.training
    if path is None:
        return None
    if training is None:
        reason = "does not say how it was trained"
    elif training.recipe_sha256 != facts.trained.recipe:
        reason = "was trained by another recipe"
    elif training.seed != run.seed:
        reason = f"was trained with seed {training.seed}"
    elif images not in (None, training.images):
        reason = (
            f"was trained on {training.images or 'an unknown number of'} images, and the data set "
            f"has {images}"
        )
    else:
        return None
    return f"{path} is not of this plan: it {reason}. Move {path.parent} away, or give --work-dirs"


def is_result(
    row: Evaluation, run: Run, facts: Facts, progress: Progress, images: int | None
) -> bool:
    """Whether a row is what comes out of a run; for the arguments see `stranger`.

    Where the last checkpoint is still there, the row must be of that very file; where it is gone,
    the row alone is proof.
    """
    return (
        row.config == run.model.stem
        and row.config_sha256 == facts.evaluated.config
        and (row.form, row.backend) == ("reference", "eager")
        and row.training is not None
        and (row.training.recipe_sha256, row.training.seed) == (facts.trained.recipe, run.seed)
        and images in (None, row.training.images)
        and is_whole(row.training)
        and (progress.last is None or row.weights.sha256 == file_sha256(progress.last))
    )
