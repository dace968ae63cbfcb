"""mmengine's runner, quiet on the console, and whole in what it writes."""

import logging
import sys
from itertools import count
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.logging import MMLogger
from mmengine.registry import VISBACKENDS
from mmengine.runner import Runner
from mmengine.visualization.vis_backend import LocalVisBackend, force_init_env

from casvit_dense.engine.console import EarlyMessages
from casvit_dense.engine.loading import loaders_watched
from casvit_dense.errors import UserError
from casvit_dense.files import disk_errors, write_whole


class QuietRunner(Runner):
    """A runner whose messages go to its log file; the console shows no more than its errors.

    A full disk or a killed worker of a loader ends it by a `UserError`.
    """

    _experiment_name: str

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Builds mmengine's logger, and fills its file with what was said before it existed.

        mmengine names a run by config and second, and runs of one name share log and history.
        """
        name, numbers = self._experiment_name, count(2)
        while MMLogger.check_instance_created(self._experiment_name):
            self._experiment_name = f"{name}-{next(numbers)}"
        logger = super().build_logger(*args, **kwargs)
        target: logging.Handler = logging.NullHandler()  # only the first process has a file
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handleError = _end_the_run  # type: ignore[method-assign]
                target = handler
            elif isinstance(handler, logging.StreamHandler):
                handler.setLevel(logging.ERROR)
                handler.setStream(getattr(sys.stdout, "console", sys.stdout))
        for handler in logging.getLogger().handlers:
            if isinstance(handler, EarlyMessages):
                handler.pass_on(target)
        return logger

    @master_only
    def dump_config(self) -> None:
        """Writes the config beside the checkpoints, in place of an earlier run's."""
        name = Path(self.cfg.filename or f"{self.timestamp}.py").name
        write_whole(Path(self.work_dir, name), self.cfg.dump().encode())

    def train(self) -> Any:
        """Trains."""
        with disk_errors(self.work_dir), loaders_watched():
            return super().train()

    def test(self) -> dict[str, float]:
        """Evaluates."""
        with disk_errors(self.work_dir), loaders_watched():
            metrics: dict[str, float] = super().test()
        return metrics


@VISBACKENDS.register_module(name="LocalVisBackend", force=True)
class WholeVisBackend(LocalVisBackend):
    """mmengine's files of scalars and config beside the log; the config appears whole."""

    @force_init_env
    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Writes the config."""
        write_whole(Path(self._config_save_file), config.pretty_text.encode())


def _end_the_run(record: logging.LogRecord) -> None:
    """In place of logging's own, which prints the error's traceback and goes on."""
    try:
        raise
    except OSError as error:
        raise UserError(f"the log file cannot be written: {error}") from error
