"""What is there of a run, what is missing, and what is left to do.

Checkpoints and rows say themselves which run they belong to; nothing else is recorded.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.checkpoint.reader import file_sha256
from casvit_dense.checkpoint.whole import check_whole
from casvit_dense.engine.check_data import check_data
from casvit_dense.engine.checks import check_weights
from casvit_dense.engine.record import training_of
from casvit_dense.errors import UserError
from casvit_dense.reproduce.plan import Run, Settings
from casvit_dense.reproduce.recipe import (
    DataFacts,
    Recipe,
    count_images,
    read_truth,
    recipe_of,
    register_quietly,
    without_pipelines,
)
from casvit_dense.results.ledger import Rejected, read_ledger
from casvit_dense.results.lines import Row
from casvit_dense.results.row import Evaluation, Training
from casvit_dense.results.verify import is_unchanged
from casvit_dense.training.saving import VALIDATED, is_stopped, numbered

TRAINING, TESTING = ("train_dataloader", "val_dataloader", "test_dataloader"), ("test_dataloader",)

#: What a user does about missing weights; ``--pretrained`` is a folder here.
FOLDER_REMEDY = (
    "save it under that name (see docs/weights.md), or name its folder by --pretrained DIR"
)


@dataclass(frozen=True)
class CheckpointProgress:
    """How far the checkpoints of a run are.

    Attributes:
        checkpoint: the newest one that can be read.
        training: what it records of its training; None if nothing.
        damaged: those that are newer and cannot be read.
        validated: whether the validation after its last iteration was made; the checkpoint of the
            end is written again then, and the best one chosen.
    """

    checkpoint: Path | None = None
    training: Training | None = None
    damaged: tuple[Path, ...] = ()
    validated: bool = True

    @property
    def last(self) -> Path | None:
        """The checkpoint if it is the end of the whole schedule, and was validated."""
        return self.checkpoint if self.validated and is_complete(self.training) else None

    @property
    def stopped(self) -> bool:
        """Whether a signal ended the training there, with everything saved."""
        return self.checkpoint is not None and is_stopped(self.checkpoint)


def read_progress(folder: Path) -> CheckpointProgress:
    """Reads the checkpoints of a work directory, newest first, until one can be read."""
    damaged: list[Path] = []
    for path in numbered(folder):
        try:
            check_whole(path)
            content = read_checkpoint(path)
            training, validated = training_of(content), is_validated(content)
            return CheckpointProgress(path, training, tuple(damaged), validated)
        except UserError:
            damaged.append(path)
    return CheckpointProgress(damaged=tuple(damaged))


def is_validated(content: Mapping[str, Any]) -> bool:
    """Whether a checkpoint misses no validation after its last iteration, as far as it says."""
    part: Any = content
    for key in ("message_hub", "runtime_info"):
        part = part.get(key) if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or VALIDATED not in part:
        return True
    return bool(part[VALIDATED] == content["meta"].get("iter"))


def is_complete(training: Training | None) -> bool:
    """Whether a training went to the end of its schedule."""
    return (
        training is not None
        and training.iterations is not None
        and training.iterations == training.planned_iterations
    )


def mismatch_reason(
    progress: CheckpointProgress, run: Run, recipe: Recipe, images: int | None
) -> str | None:
    """Why the checkpoint that was found is not of a run; None if it is, or if there is none.

    ``images`` are those of the training set; None where it cannot be counted.
    """
    path, training = progress.checkpoint, progress.training
    if path is None:
        return None
    if training is None:
        reason = "does not say how it was trained"
    elif training.recipe_sha256 != recipe.trained.recipe:
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
    row: Evaluation, run: Run, recipe: Recipe, progress: CheckpointProgress, images: int | None
) -> bool:
    """Whether a row is the result of a run; for the arguments see `mismatch_reason`.

    Where the last checkpoint is still there, the row must be of that very file; where it is gone,
    the row alone is proof.
    """
    return (
        row.config == run.model.stem
        and row.config_sha256 == recipe.evaluated.config
        and is_unchanged(row)
        and row.training is not None
        and (row.training.recipe_sha256, row.training.seed) == (recipe.trained.recipe, run.seed)
        and images in (None, row.training.images)
        and is_complete(row.training)
        and (progress.last is None or row.weights.sha256 == file_sha256(progress.last))
    )


@dataclass(frozen=True)
class State:
    """What is there of a run.

    Attributes:
        run: the run.
        recipe: of its model.
        progress: see `CheckpointProgress`.
        row: its result.
        missing: why it cannot go on, each with what to do; by ``'weights'``, ``'data'`` and
            ``'folder'``.
        todo: steps that are left, ``'train'`` and ``'test'``.
        unchecked: the row counts though the data cannot be read to be compared with it.
    """

    run: Run
    recipe: Recipe
    progress: CheckpointProgress
    row: Evaluation | None
    missing: dict[str, str]
    todo: tuple[str, ...]
    unchecked: bool = False


class Inspector:
    """Finds the state of runs. What they share, such as a data set, is read once.

    ``log`` takes a line before something that takes long.
    """

    def __init__(self, settings: Settings, log: Callable[[str], None]) -> None:
        self.settings = settings
        self.log = log
        self._found: dict[str, Any] = {}

    def look(self, run: Run) -> State:
        """The state of a run as it is on disk; a `UserError` if its config or options are wrong."""
        recipe: Recipe = self.once(f"recipe {run.model.stem}", recipe_of, run.model, self.settings)
        progress = read_progress(run.work_dir)
        images = self.images(recipe).own_images
        row = self._row(run, recipe, progress, images)
        if row is not None:
            unchecked = images is None or self._truth(recipe).annotations_sha256 is None
            return State(run, recipe, progress, row, {}, (), unchecked)
        missing: dict[str, str] = {}
        if (reason := mismatch_reason(progress, run, recipe, images)) is not None:
            missing["folder"] = reason
        if progress.checkpoint is None:
            message = self.once(
                f"weights {recipe.weights}", error_of, check_weights, recipe.cfg, FOLDER_REMEDY
            )
            missing |= {"weights": message} if message else {}
        message = self._data_problem(recipe, TRAINING if progress.last is None else TESTING)
        missing |= {"data": message} if message else {}
        todo = ("train", "test") if progress.last is None else ("test",)
        return State(run, recipe, progress, None, missing, todo)

    def rows(self) -> tuple[list[Row], list[Rejected]]:
        """Rows and rejected lines of the ledger; none if there is no ledger yet."""
        return read_ledger(self.settings.rows) if self.settings.rows.is_file() else ([], [])

    def once(self, key: str, make: Callable[..., Any], *args: Any) -> Any:
        """What ``make`` returned when the key was first asked for."""
        if key not in self._found:
            self._found[key] = make(*args)
        return self._found[key]

    def images(self, recipe: Recipe) -> DataFacts:
        """How many images a model trains on."""
        key = f"images {without_pipelines(recipe.cfg.train_dataloader.dataset)}"
        images: DataFacts = self.once(key, self._count, recipe.cfg)
        return images

    def _count(self, cfg: Config) -> DataFacts:
        self.log(f"counting the training images of {Path(cfg.filename).stem}")
        return count_images(cfg)

    def _row(
        self, run: Run, recipe: Recipe, progress: CheckpointProgress, images: int | None
    ) -> Evaluation | None:
        """The newest row that is this run's result, if there is one."""
        for row in reversed(self.rows()[0]):
            if (
                isinstance(row, Evaluation)
                and is_result(row, run, recipe, progress, images)
                and self._truth(recipe).annotations_sha256 in (None, row.dataset.annotations_sha256)
            ):
                return row
        return None

    def _truth(self, recipe: Recipe) -> DataFacts:
        truth: DataFacts = self.once(f"truth {recipe.data_key(TESTING)}", read_truth, recipe.cfg)
        return truth

    def _data_problem(self, recipe: Recipe, loaders: Iterable[str]) -> str | None:
        """What is missing or damaged in the data that some steps need."""
        problems = [
            self.once(
                f"data {recipe.data_key(loaders)}", error_of, self._check_data, recipe, loaders
            ),
            self.images(recipe).problem if loaders == TRAINING else None,
            self._truth(recipe).problem,
        ]
        return next((problem for problem in problems if problem), None)

    def _check_data(self, recipe: Recipe, loaders: Iterable[str]) -> None:
        self.log(f"checking the data of {Path(recipe.cfg.filename).stem}")
        register_quietly(recipe.cfg)
        check_data(recipe.cfg, loaders)


def error_of(check: Callable[..., None], *args: Any) -> str | None:
    """The message of a check that fails; None if it passes."""
    try:
        check(*args)
    except UserError as error:
        return str(error)
    return None
