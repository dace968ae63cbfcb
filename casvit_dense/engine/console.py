"""What a training or an evaluation shows on the console, and what only its log file keeps.

The console shows the messages of `LOG`, from the first process. The log file that mmengine keeps
gets these, too, and everything else: mmengine's own messages with environment and config, what
other packages print while a run is built, and Python's warnings.
"""

import errno
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import TextIOBase
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import TextIO

from mmengine.config import Config
from mmengine.logging import MMLogger

from casvit_dense.coco_backends import COCO_KINDS, COCO_TITLES
from casvit_dense.errors import Stopped, UserError
from casvit_dense.log import LOG, log_entry
from casvit_dense.signals import ask_to_stop
from casvit_dense.zoo import COCO_PREFIX, METRICS, family_of

#: What other packages print.
PRINTS = logging.getLogger("stdout")
PRINTS.setLevel(logging.INFO)

#: Variables by which launchers number processes over all machines.
RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")


class PrintsToLog(TextIOBase):
    """A standard output whose lines become messages of `PRINTS`."""

    def __init__(self, console: TextIO) -> None:
        self.console = console
        self._line = ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in filter(str.strip, lines):
            PRINTS.info(line)
        return len(text)


class EarlyMessages(MemoryHandler):
    """Holds messages until there is a log file, and passes them on to it from then on."""

    def __init__(self) -> None:
        super().__init__(capacity=sys.maxsize, flushLevel=sys.maxsize)
        self.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        # mmengine's files leave out warnings that they had, and compare them without arguments.
        record.msg, record.args = record.getMessage(), ()
        super().emit(record)

    def pass_on(self, target: logging.Handler) -> None:
        """Hands over what was held, and everything that follows at once."""
        self.setTarget(target)
        self.flushLevel = logging.NOTSET
        self.flush()


@contextmanager
def quiet_console() -> Iterator[None]:
    """Shows the messages of `LOG` alone, and keeps everything for the log file.

    What is said before a `QuietRunner` opens the log file is held until then. Prints are kept from
    the console until `show_prints` is called.
    """
    console, root = sys.stdout, logging.getLogger()
    shown: logging.Handler = logging.NullHandler()
    if is_first_process():
        shown = logging.StreamHandler(console)
        shown.setFormatter(logging.Formatter("%(message)s"))
        shown.handleError = _raise_again  # type: ignore[method-assign]
    held = EarlyMessages()
    # mmengine logs by the newest of its loggers, which may be that of an earlier run.
    MMLogger.get_instance(f"before the run {time.time_ns()}").handlers = [held]
    LOG.addHandler(shown)
    root.addHandler(held)
    try:
        logging.captureWarnings(True)
        sys.stdout = PrintsToLog(console)
        yield
    except (Stopped, UserError):
        raise
    except Exception:  # a traceback follows; what was said before may explain it
        if held.target is None:
            held.setTarget(logging.StreamHandler(sys.stderr))
        raise
    finally:
        sys.stdout = console
        logging.captureWarnings(False)
        LOG.removeHandler(shown)
        root.removeHandler(held)
        held.close()


def _raise_again(record: logging.LogRecord) -> None:
    """An output that takes no more ends a run, as it ends any command; logging would go on.

    A training whose reader or terminal is gone saves first.
    """
    try:
        raise
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO) or not ask_to_stop("a closed output"):
            raise


def show_prints() -> None:
    """Ends the capture of prints: from here on they are the user's own, as those of a debugger."""
    if isinstance(sys.stdout, PrintsToLog):
        sys.stdout = sys.stdout.console


def is_first_process() -> bool:
    """Whether this is the process that speaks; also before there is a process group."""
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"


def log_model(cfg: Config) -> None:
    """Logs which config is used and what model it builds."""
    family, backbone = family_of(Path(cfg.filename).stem), cfg.model.backbone
    arch = backbone.get("arch")
    name = f"{backbone.type}-{arch}" if isinstance(arch, str) else backbone.type
    title = family.title if family else cfg.model.type
    log_entry("config", cfg.filename)
    log_entry("model", f"{title}, backbone {name}")


def log_schedule(cfg: Config, processes: int) -> None:
    """Logs batch, learning rate and length of a training."""
    batch = cfg.train_dataloader.get("batch_size")  # a sampler of batches may set it instead
    steps = cfg.optim_wrapper.get("accumulative_counts", 1)
    parts = []
    if batch:
        counted = f"{processes} process{'es' * (processes > 1)} x {batch}"
        counted += f" x {steps} accumulated steps" if steps > 1 else ""
        parts = [f"batch {processes * batch * steps} ({counted})"]
    optimizer = cfg.optim_wrapper.get("optimizer") or {}
    if "lr" in optimizer:
        rate = optimizer["lr"]
        shown = f"{rate:g}" if isinstance(rate, (int, float)) else rate
        parts.append(f"learning rate {shown} ({optimizer.get('type')})")
    for key, unit in (("max_epochs", "epoch"), ("max_iters", "iteration")):
        if (length := cfg.train_cfg.get(key)) is not None:
            parts.append(f"{length} {unit}{'s' * (length != 1)}")
    log_entry("schedule", ", ".join(parts))


def format_metrics(metrics: Mapping[str, float]) -> list[str]:
    """The figures of an evaluation for people: percent, as papers have them.

    Args:
        metrics: as our evaluators return them: ``coco/bbox_mAP`` and so on as fractions with -1
            where there is no truth, ``mIoU`` and so on in percent. Others are shown as they are.

    Returns:
        One line for the precision and one for the recall of boxes or masks, one for pixels, and
        one for all others.
    """
    lines: dict[str, list[str]] = {}
    for name, value in metrics.items():
        kind, _, number = name.removeprefix(COCO_PREFIX).partition("_")
        if kind in COCO_KINDS and number in COCO_TITLES:
            group = f"{kind} {'AP' if 'AP' in number else 'AR'}"
            title = COCO_TITLES[number]
            if group not in lines:
                title = f"{COCO_KINDS[kind]} {title}"
            percent = "-" if value == -1 or math.isnan(value) else f"{100 * value:.2f}"
        elif name in METRICS:
            group, title, percent = "pixels", METRICS[name].title, f"{value:.2f}"
        else:
            lines.setdefault("others", []).append(f"{name} {value:.4g}")
            continue
        lines.setdefault(group, []).append(f"{title} {percent}")
    return [
        ", ".join(figures) + " (percent)" * (group != "others") for group, figures in lines.items()
    ]


def class_table(title: str, values: Mapping[str, float]) -> str:
    """The figures of every class for people, one line each: percent, NaN where there is none."""
    width = max(map(len, values))
    figures = {name: "-" if math.isnan(value) else f"{value:.2f}" for name, value in values.items()}
    return "\n".join(
        [
            f"{title} by class, percent:",
            *(f"  {name:<{width}}  {figure:>6}" for name, figure in figures.items()),
        ]
    )
