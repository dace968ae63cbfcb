"""Where a training goes on, and what has changed since."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mmengine.config import Config, ConfigDict

from casvit_dense.checkpoint.formats import MODEL_RECORD
from casvit_dense.checkpoint.reader import file_sha256
from casvit_dense.checkpoint.training_state import read_training_state
from casvit_dense.checkpoint.whole import UNFINISHED, check_whole
from casvit_dense.config.diff import differences
from casvit_dense.config.kept import from_plain
from casvit_dense.config.machine import world_size
from casvit_dense.config.resolve import ResolvedConfig
from casvit_dense.engine.console import is_first_process
from casvit_dense.engine.hooks import BACKBONE_RECORD, backbone_record
from casvit_dense.engine.record import leaves
from casvit_dense.errors import UserError, shortlist
from casvit_dense.files import is_file
from casvit_dense.locks import exclusive_lock
from casvit_dense.options import RunOptions
from casvit_dense.results.hashes import digest, recipe_of
from casvit_dense.training.processes import on_main_process
from casvit_dense.training.records import TRAINING_RECORD, record_after_resume
from casvit_dense.training.saving import VALIDATED, numbered

#: Key of a checkpoint's ``meta``: what decides how a run goes on, beside its config.
CONDITIONS: Final = "conditions"

#: Changes that people are told; the row keeps all.
SHOWN: Final = 10

#: Sections of a recipe -> where a config has them.
PLACES: Final = {
    "data": "train_dataloader",
    "length": "train_cfg",
    "optimiser": "optim_wrapper",
    "schedule": "param_scheduler",
    "hooks": "custom_hooks",
}


@dataclass(frozen=True)
class ResumedRun:
    """A training that goes on.

    Attributes:
        checkpoint: from which.
        content: what it holds.
        messages: what the user should be told.
    """

    checkpoint: Path
    content: Mapping[str, Any]
    messages: tuple[str, ...]

    @property
    def seed(self) -> int | None:
        """Of the run so far."""
        seed: int | None = self.content["meta"].get("seed")
        return seed

    @property
    def iterations(self) -> int:
        """Those that were made."""
        iterations: int = self.content["meta"]["iter"]
        return iterations

    @property
    def is_over(self) -> bool:
        """Whether all iterations of the schedule were made."""
        record = _mapping(self.content["meta"].get(TRAINING_RECORD))
        return record.get("planned_iterations") == self.iterations

    @property
    def is_validated(self) -> bool:
        """Whether a validation was made after the last iteration."""
        facts = self.content["message_hub"]["runtime_info"]
        return bool(facts.get(VALIDATED) == self.iterations)


def find_resumed(cfg: Config, options: RunOptions) -> ResumedRun | None:
    """The checkpoint to resume from: the one named, or the newest whole one.

    A checkpoint that is damaged, not finite or no state of a training is left out, and said.

    Raises:
        UserError: the named checkpoint cannot be resumed, or none of those found can.
    """
    resume = options.resume
    if resume is None and cfg.get("resume"):
        resume = cfg.get("load_from") or "auto"
    if resume is None:
        return None
    scheduled = bool(cfg.get("param_scheduler"))
    if resume != "auto":
        path = Path(resume)
        return ResumedRun(path, read_whole_state(path, scheduled), ())
    messages = []
    for path in numbered(Path(cfg.work_dir)):
        try:
            content = read_whole_state(path, scheduled)
        except UserError as error:
            messages.append(f"skipped: {error}")
            continue
        return ResumedRun(path, content, tuple(messages))
    if messages:
        raise UserError("\n".join([f"no checkpoint in {cfg.work_dir} can be resumed:", *messages]))
    return None


def read_whole_state(path: Path, scheduled: bool) -> Mapping[str, Any]:
    """Reads a checkpoint to resume from, and demands all of it; see `read_training_state`.

    Raises:
        UserError: it is missing, damaged, or lacks the state of a training.
    """
    content = read_training_state(path, scheduled)
    check_whole(path)
    return content


def check_same_start(resumed: ResumedRun | None) -> None:
    """Compares where this process begins with where the first one does.

    Machines that do not share the work directory would mix the gradients of different weights.

    Raises:
        UserError: they differ.
    """
    own = 0 if resumed is None else resumed.content["meta"]["iter"]
    first = on_main_process(lambda: own)
    if own != first:
        raise UserError(
            f"the first process begins at iteration {first}, this one at {own}: give a --work-dir "
            "that all machines share, or copy its checkpoints to each"
        )


@contextmanager
def one_training_in(folder: Path, found: list[Path]) -> Iterator[None]:
    """Keeps other trainings out of a work directory, and removes what a killed one left half.

    Args:
        found: checkpoints from which it was chosen where to begin.

    Raises:
        UserError: another one runs in it, or has since the choice.
    """
    if not is_first_process():
        yield
        return
    with exclusive_lock(folder, ".lock", "another training", "give another --work-dir"):
        if numbered(folder) != found:
            raise UserError(
                f"another training has just run in {folder}: give another --work-dir, or --resume "
                "to go on with it"
            )
        for path in folder.glob(UNFINISHED.format("*")):
            path.unlink()
        yield


def check_unused(folder: Path, options: RunOptions) -> list[str]:
    """Refuses to begin a training among the checkpoints of another.

    Returns:
        What the user should be told.

    Raises:
        UserError: there are some.
    """
    if found := numbered(folder):
        raise UserError(
            f"{folder} holds a training already ({found[0].name}): --resume goes on with it, "
            "--work-dir names another folder"
        )
    if options.resume is None:
        return []
    return [f"nothing to resume in {folder}: starting from the beginning"]


def go_on(cfg: Config, resumed: ResumedRun, options: RunOptions) -> list[str]:
    """Has a config go on from a checkpoint, with the seed of the run so far.

    Returns:
        What the user should be told.

    Raises:
        UserError: nothing is left to do.
    """
    checkpoint, messages = resumed.checkpoint, [*resumed.messages]
    if resumed.is_over and not options.allow_changed_resume:
        if resumed.is_validated or cfg.get("val_cfg") is None:
            raise UserError(
                f"{checkpoint} is the end of its training: the schedule was over after "
                f"{resumed.iterations} iterations. --allow-changed-resume goes on with a longer one"
            )
        messages.append(f"{checkpoint} is the end of its training; only its validation is missing")
    cfg.load_from = str(checkpoint)
    randomness = cfg.setdefault("randomness", ConfigDict())
    if randomness.get("seed") is None:
        randomness.seed = resumed.seed
    if options.pretrained is not None:
        messages.append(f"--pretrained is not read: the run resumes from {checkpoint}")
    newer = [path.name for path in numbered(Path(cfg.work_dir)) if path != checkpoint]
    if options.resume != "auto" and newer:
        messages.append(f"the run goes on beside {shortlist(newer)}, and may overwrite them")
    return messages


def conditions_of(cfg: Config, options: RunOptions, dataset: Any) -> dict[str, Any]:
    """What decides how a run goes on, beside its recipe, as plain values.

    Args:
        dataset: of the training, built.
    """
    return {
        "processes": world_size(options.launcher),
        "images a process and step": cfg.train_dataloader.get("batch_size"),
        "training data": f"{len(dataset)} images, {digest(list(map(truth_of, leaves(dataset))))}",
    }


def truth_of(dataset: Any) -> list[Any]:
    """What tells the truth of a data set from another: its file's hash, or its maps' sizes."""
    file = Path(getattr(dataset, "ann_file", None) or "")
    if is_file(file):
        return [file_sha256(file)]
    maps = (Path(dataset.get_data_info(i).get("seg_map_path") or "") for i in range(len(dataset)))
    return [[path.name, path.stat().st_size] for path in maps if is_file(path)]


def changes_since(
    resumed: ResumedRun, resolved: ResolvedConfig, records: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What differs between a run so far and as it would go on, a line each.

    Args:
        records: of the run as it would go on; see `records_of`.
    """
    meta = resumed.content["meta"]
    before, now = ({key: _mapping(known.get(key)) for key in records} for known in (meta, records))
    kept, model = before[MODEL_RECORD].get("config"), now[MODEL_RECORD]
    changes: list[str] = []
    if isinstance(kept, Mapping):
        changes += _recipe_changes(recipe_of(from_plain(kept)), recipe_of(resolved.recipe))
    else:  # of earlier versions, and of configs that are not plain data
        if backbone := _mapping(meta.get(BACKBONE_RECORD)):
            changes += differences("model.backbone", backbone, backbone_record(resolved.config))
        if before[TRAINING_RECORD].get("recipe_sha256") != resolved.hashes.recipe:
            changes.append("the recipe, of which the checkpoint keeps no more than a hash")
    if (classes := before[MODEL_RECORD].get("classes")) is not None:
        changes += differences("classes", list(classes), list(model["classes"]))
    if before[CONDITIONS]:
        changes += differences("", before[CONDITIONS], now[CONDITIONS])
    seed = (resolved.config.get("randomness") or {}).get("seed")
    if None not in (seed, resumed.seed):
        changes += differences("seed", resumed.seed, seed)
    names = differences("config", before[MODEL_RECORD].get("name"), model["name"])
    return [*names, *changes] if changes else []  # a name alone says nothing


def resumed_records(
    resumed: ResumedRun, records: Mapping[str, Mapping[str, Any]], changes: list[str]
) -> dict[str, Mapping[str, Any]]:
    """The records of a run that goes on."""
    before = resumed.content["meta"].get(TRAINING_RECORD)
    return {
        **records,
        TRAINING_RECORD: record_after_resume(before, records[TRAINING_RECORD], changes),
    }


def refuse_changes(resumed: ResumedRun, changes: list[str]) -> None:
    """Ends a resume that would be another run.

    Raises:
        UserError: there are changes.
    """
    if changes:
        lines = [f"{resumed.checkpoint} cannot be resumed, since things have changed:"]
        lines += first_of(changes)
        lines.append(
            "Give what the first run had, or a new --work-dir for a new run; or "
            "--allow-changed-resume, which the result's row will say"
        )
        raise UserError("\n  ".join(lines))


def first_of(changes: list[str]) -> list[str]:
    """The changes that people are told, and how many more there are."""
    more = len(changes) - SHOWN
    return [*changes[:SHOWN], *([f"and {more} more"] if more > 0 else [])]


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _recipe_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for section in now:
        if section != "from_checkpoint":
            place = PLACES.get(section, section)
            yield from differences(place, before.get(section), now[section])
