"""What every checkpoint of a training says of it, as plain values."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mmengine.hooks import Hook
from mmengine.runner import Runner

from casvit_dense.results.hashes import digest, plain

#: Key of a checkpoint's ``meta``: how it was trained.
TRAINING_RECORD: Final = "training"


class RecordHook(Hook):
    """Stores in every checkpoint what is known of its training.

    Args:
        records: by key of a checkpoint's ``meta``.
    """

    def __init__(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        self.records = records

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        for key, record in self.records.items():
            checkpoint["meta"][key] = dict(record)


def record_after_resume(
    before: Mapping[str, Any] | None, now: Mapping[str, Any], changes: Sequence[str]
) -> Mapping[str, Any]:
    """The record of a resumed training.

    A run that has changed is of neither recipe: its hash is one of its own.

    Args:
        before: of the checkpoint; None where it has none.
        now: as the run would be recorded if it began here.
        changes: since the checkpoint was written.
    """
    if before is not None and not changes:
        return before
    changed = [*((before or {}).get("changes") or ()), *(changes or ["of an unknown run"])]
    return {**now, "recipe_sha256": digest(plain([before, now])), "changes": changed}
