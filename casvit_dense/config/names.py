"""Names at the top level of a config, and overrides: mmengine ignores those that nothing reads."""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher, get_close_matches
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, NamedTuple

from mmengine.config import Config
from mmengine.runner import Runner

from casvit_dense.config.tree import walk
from casvit_dense.errors import UserError

#: Top-level keys that mmengine, this package or the frameworks' own tools (the last four) read. Any
#: other is a variable of the file.
KNOWN_KEYS: Final = (frozenset(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"}) | {
    "activation_checkpointing",
    "compile",
    "custom_imports",
    "efficient_conv_bn_eval",
    "find_unused_parameters",
    "model_wrapper_cfg",
    "sync_bn",
    "runner_type",
    "strategy",
    "tta_model",
    "tta_pipeline",
}

#: Keys of the frameworks before mmengine, which read none of them, and what took their place
#: (https://mmengine.readthedocs.io/en/latest/migration/runner.html).
REPLACED: Final = {
    "checkpoint_config": "default_hooks.checkpoint",
    "cudnn_benchmark": "env_cfg.cudnn_benchmark",
    "data": "train_dataloader",
    "dist_params": "env_cfg.dist_cfg",
    "evaluation": "val_evaluator",
    "fp16": "optim_wrapper",
    "log_config": "default_hooks.logger",
    "lr_config": "param_scheduler",
    "momentum_config": "param_scheduler",
    "mp_start_method": "env_cfg.mp_cfg.mp_start_method",
    "opencv_num_threads": "env_cfg.mp_cfg.opencv_num_threads",
    "optimizer": "optim_wrapper.optimizer",
    "optimizer_config": "optim_wrapper.clip_grad",
    "resume_from": "load_from",
    "runner": "train_cfg",
    "seed": "randomness.seed",
    "total_epochs": "train_cfg.max_epochs",
    "workflow": "train_cfg.val_interval",
}
#: Names that people give to what stands deeper.
DEEPER: Final = {
    "batch_size": "train_dataloader.batch_size",
    "checkpoint": "default_hooks.checkpoint",
    "epochs": "train_cfg.max_epochs",
    "learning_rate": "optim_wrapper.optimizer.lr",
    "lr": "optim_wrapper.optimizer.lr",
    "max_epochs": "train_cfg.max_epochs",
    "max_iters": "train_cfg.max_iters",
    "milestones": "param_scheduler",
    "num_workers": "train_dataloader.num_workers",
    "save_best": "default_hooks.checkpoint.save_best",
    "val_interval": "train_cfg.val_interval",
    "weight_decay": "optim_wrapper.optimizer.weight_decay",
}


#: What a name at the top level may be meant for -> where that stands.
MEANT: Final = {key: key for key in KNOWN_KEYS if "tta" not in key} | REPLACED | DEEPER


@cache
def meant_by(name: str) -> str | None:
    """The key that a name at the top level was probably meant for."""
    near = nearest(name, MEANT, 0.8)
    return None if near is None else MEANT[near]


class Fault(NamedTuple):
    """What is wrong at a place of a config, which is a dotted key."""

    place: str
    text: str


def did_you_mean(name: Any, choices: Iterable[str]) -> str:
    """The nearest choice, or else all of them if they are few, as the end of a sentence."""
    known = sorted({str(choice) for choice in choices})
    if close := nearest(str(name), known, 0.6):
        return f"; did you mean '{close}'?"
    return f"; there are {', '.join(known)}" if 0 < len(known) <= 20 else ""


def nearest(name: str, choices: Iterable[Any], cutoff: float = 0.85) -> str | None:
    """The choice that ``name`` is probably a misspelling of, if any.

    Letters at the start count a little more: ``score_threshold`` means ``score_thr``, not
    ``iou_threshold``.
    """

    def likeness(choice: str) -> float:
        start = takewhile(lambda pair: pair[0] == pair[1], zip(choice, name, strict=False))
        return SequenceMatcher(None, choice, name).ratio() + 0.007 * len(list(start))

    matches = get_close_matches(name, known := [str(c) for c in choices], len(known) or 1, cutoff)
    return max(matches, key=likeness, default=None)


def top_level_faults(cfg: Config) -> Iterator[Fault]:
    """Variables of a config that nothing reads, though they seem to be there to be read.

    A variable is read where its file or one that inherits it uses its name, or where its value
    stands in a section.
    """
    files = files_of(cfg.filename)
    loaded = {name for file in files for name in file.loaded}
    overridden = set(overridden_in(files))
    sections = {key: cfg[key] for key in cfg if key in KNOWN_KEYS}
    for name in cfg:
        meant = meant_by(name)
        if name in KNOWN_KEYS or name in loaded - overridden or not (meant or name in overridden):
            continue
        value, used_in = cfg[name], walk(sections)
        if isinstance(value, (int, float)) and name not in overridden:
            # A number says nothing elsewhere.
            used_in = (
                (place, node) for place, node in used_in if f"{place}.".startswith(f"{meant}.")
            )
        if any(is_in(value, node) for _, node in used_in):
            continue
        if meant is not None:
            yield Fault(name, f"nothing reads '{name}'; did you mean '{meant}'?")
        else:
            text = (
                f"nothing reads this '{name}': the base that has it used its own before; set the "
                "section that uses it, too, e.g. train_dataloader = dict(dataset=…)"
            )
            yield Fault(name, text)


def is_in(value: Any, node: Any) -> bool:
    """Whether a part of a config is a value; of texts, also a part of it."""
    if isinstance(value, str) and isinstance(node, str):
        return value in node
    return type(value) is type(node) and bool(value == node)


class Names(NamedTuple):
    """The names of a config file: those assigned at its top level, and those used anywhere."""

    assigned: set[str]
    loaded: set[str]


def overridden_in(files: Sequence[Names]) -> Iterator[str]:
    """Names that a file gives a value after a base has used them, and that nothing later uses."""
    used: set[str] = set()
    for index, file in enumerate(files):
        used |= file.loaded
        before = {name for base in files[index + 1 :] for name in base.assigned & base.loaded}
        yield from (file.assigned & before) - used


def files_of(name: str | None) -> list[Names]:
    """The names of a Python file and of all that it inherits, each before its bases."""
    if not name or not name.endswith(".py") or not Path(name).is_file():
        return []
    text = Path(name).read_text(encoding="utf-8")
    tree = ast.parse(text)
    targets = (t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets)
    assigned = {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
    loaded = {name.id for name in names if isinstance(name.ctx, ast.Load)}
    loaded |= set(re.findall(r"_base_\.(\w+)", text))
    paths = (Config._get_cfg_path(base, name)[0] for base in Config._get_base_files(name))
    return [Names(assigned, loaded), *(names for path in paths for names in files_of(path))]


def check_override(cfg: Config, dotted: str) -> None:
    """Refuses an override that would have no effect or looks misspelt.

    A part of a key may be new (an option that the config leaves at its default), unless it
    resembles a neighbour, or stands below a list or a plain value.

    Args:
        cfg: the config as it is before the override.
        dotted: key such as ``train_dataloader.dataset.pipeline.2.scale``.
    """
    parts = dotted.split(".")
    reason, node = _why_unread(cfg, parts[0]), cfg
    for depth, part in enumerate(parts):
        reason = reason or _why_wrong(node, part, ".".join(parts[:depth]))
        if reason is not None:
            raise UserError(f"--cfg-options {dotted}: {reason}")
        node = node[int(part)] if isinstance(node, (list, tuple)) else node.get(part)
        if node is None:  # new from here on
            return


def _why_unread(cfg: Config, top: str) -> str | None:
    if top == "custom_imports":
        return (
            "modules are imported while a config file is read; write it into a file that inherits "
            "this one"
        )
    if top == "launcher":
        return "the flag --launcher says what started the processes"
    if top in KNOWN_KEYS:
        return None
    if top in cfg:
        return (
            f"'{top}' is a variable of the config file that nothing reads afterwards; override the "
            "place that uses it, e.g. train_dataloader.dataset.…"
        )
    meant = meant_by(top)
    return f"nothing reads '{top}'" + (f"; did you mean '{meant}'?" if meant else "")


def _why_wrong(node: Any, part: str, path: str) -> str | None:
    if isinstance(node, (list, tuple)):
        if part.isdigit() and int(part) < len(node):
            return None
        return f"'{path}' is a list of {len(node)}; '{part}' is not an index into it"
    if not hasattr(node, "get"):
        return f"'{path}' is {node!r}, not a dict"
    meant = None if part in node else nearest(part, node)
    return f"no key '{part}'; did you mean '{meant}'?" if meant else None
