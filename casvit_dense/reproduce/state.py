"""What is there of a run, what is missing, and what is left to do."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS

from casvit_dense.engine.checks import MODEL_ZOO, check_data, check_weights
from casvit_dense.engine.record import describe_dataset
from casvit_dense.errors import UserError
from casvit_dense.reproduce.counting import (
    Images,
    count_images,
    enter_scope,
    quietly,
    training_set,
)
from casvit_dense.reproduce.facts import Facts, facts_of
from casvit_dense.reproduce.plan import Run, Settings
from casvit_dense.reproduce.products import Progress, is_result, look_at_checkpoints, stranger
from casvit_dense.results.ledger import Rejected, read_ledger
from casvit_dense.results.row import Evaluation, Row

TRAINING, TESTING = ("train_dataloader", "val_dataloader", "test_dataloader"), ("test_dataloader",)


@dataclass(frozen=True)
class State:
    """What is there of a run.

    Attributes:
        run: the run.
        facts: of its model.
        progress: see `Progress`.
        row: its result.
        missing: what keeps it from going on, each with what to do; by ``'weights'``, ``'data'``
            and ``'folder'``.
        todo: steps that are left, ``'train'`` and ``'test'``.
        unchecked: whether the row counts though the data are not there to be compared with it.
    """

    run: Run
    facts: Facts
    progress: Progress
    row: Evaluation | None
    missing: dict[str, str]
    todo: tuple[str, ...]
    unchecked: bool = False


class Inspector:
    """Looks at runs. What they share, such as a data set, is looked at once.

    Args:
        settings: of the plan.
        say: takes a line before something that takes long.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.say = say
        self._found: dict[str, Any] = {}

    def look(self, run: Run) -> State:
        """The state of a run as it is now on disk.

        Raises:
            UserError: its config or options are wrong.
        """
        facts: Facts = self.once(f"facts {run.model.stem}", facts_of, run.model, self.settings)
        progress = look_at_checkpoints(run.work_dir)
        images = self.images(facts).own
        row = self._row(run, facts, progress, images)
        if row is not None:
            unchecked = images is None or self._truth(facts) is None
            return State(run, facts, progress, row, {}, (), unchecked)
        other = stranger(progress, run, facts, images)
        missing = {} if other is None else {"folder": other}
        if progress.checkpoint is None:
            missing |= self._message("weights", facts.weights, check_first_weights, facts)
        loaders = TRAINING if progress.last is None else TESTING
        missing |= self._message("data", facts.data_key(loaders), self._check_data, facts, loaders)
        todo = ("train", "test") if progress.last is None else ("test",)
        return State(run, facts, progress, None, missing, todo)

    def rows(self) -> tuple[list[Row], list[Rejected]]:
        """Rows and rejected lines of the ledger; none if there is no ledger yet."""
        return read_ledger(self.settings.rows) if self.settings.rows.is_file() else ([], [])

    def once(self, key: str, make: Callable[..., Any], *args: Any) -> Any:
        """What ``make`` returned when the key was first asked for."""
        if key not in self._found:
            self._found[key] = make(*args)
        return self._found[key]

    def images(self, facts: Facts) -> Images:
        """How many images a model trains on."""
        images: Images = self.once(f"images {training_set(facts.cfg)}", self._count, facts.cfg)
        return images

    def _count(self, cfg: Config) -> Images:
        self.say(f"counting the training images of {Path(cfg.filename).stem}")
        return count_images(cfg)

    def _row(
        self, run: Run, facts: Facts, progress: Progress, images: int | None
    ) -> Evaluation | None:
        """The newest row that is this run's result, if there is one."""
        for row in reversed(self.rows()[0]):
            if (
                isinstance(row, Evaluation)
                and is_result(row, run, facts, progress, images)
                and self._truth(facts) in (None, row.dataset.annotations_sha256)
            ):
                return row
        return None

    def _truth(self, facts: Facts) -> str | None:
        truth: str | None = self.once(f"truth {facts.data_key(TESTING)}", truth_sha256, facts.cfg)
        return truth

    def _check_data(self, facts: Facts, loaders: Iterable[str]) -> None:
        self.say(f"looking at the data of {Path(facts.cfg.filename).stem}")
        enter_scope(facts.cfg)
        check_data(facts.cfg, loaders)

    def _message(
        self, kind: str, key: str, check: Callable[..., None], *args: Any
    ) -> dict[str, str]:
        """What a check has to say, by the kind of thing that it looks for."""

        def message() -> str | None:
            try:
                check(*args)
            except UserError as error:
                return str(error)
            return None

        said = self.once(f"{kind} {key}", message)
        return {} if said is None else {kind: said}


def truth_sha256(cfg: Config) -> str | None:
    """Hash of the test set's annotations; None where it cannot be read."""
    enter_scope(cfg)
    with suppress(OSError, UserError), quietly():
        return describe_dataset(DATASETS.build(cfg.test_dataloader.dataset)).annotations_sha256
    return None


def check_first_weights(facts: Facts) -> None:
    """Looks whether the backbone's first weights are there and can be read.

    Raises:
        UserError: they are not, with the place where they are expected.
    """
    file = facts.weights
    if file and not Path(file).expanduser().is_file():
        of = MODEL_ZOO if facts.cfg.model.backbone.type == "CASViT" else "docs/peers.md"
        raise UserError(
            f"no pretrained weights at {file}. Save the file under that name (see docs/weights.md "
            f"and {of}), or name its folder by --pretrained DIR"
        )
    if file:
        check_weights(facts.cfg)
