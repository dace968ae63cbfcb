"""The config that a checkpoint or an exported file keeps, as plain data: nothing in it is run."""

import re
import sys
from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import mmcv.ops
import mmengine
from mmengine.config import Config
from mmengine.registry import Registry
from torch import nn

from casvit_dense.checkpoint import LoadReport, MisfitError, load_model, read_checkpoint
from casvit_dense.checkpoint.formats import MODEL_RECORD, read_weights
from casvit_dense.config.backbone import imported, with_backbone
from casvit_dense.config.dataset import ConfigDataset
from casvit_dense.config.read import SCOPES, read_config, register_modules
from casvit_dense.config.shapes import shape_model
from casvit_dense.config.tree import LOADERS, walk
from casvit_dense.config.values import REFUSALS
from casvit_dense.errors import UserError, shortlist
from casvit_dense.export.description import read_description
from casvit_dense.export.model import is_exported
from casvit_dense.results.hashes import SECTIONS
from casvit_dense.training.saving import LAST_CHECKPOINT

#: Modules that may be imported for a kept config: those that register what ours use.
OWN_MODULE: Final = re.compile(r"casvit_dense\.(engine|classification)(\.\w+)*")

#: Sections of a config that are kept: all that figures depend on.
KEPT: Final = (*SECTIONS, "custom_imports")

#: Key of a dict that stands for a tuple, which JSON does not know and configs need.
TUPLE: Final = "__tuple__"

#: Keys whose text names something in a registry. mmengine imports names that are in none.
NAMING: Final = ("type", "constructor")
#: Registered, and they evaluate text, unpickle files or start programs.
UNSAFE: Final = re.compile(
    r"CameraMotionCompensation|RFSearch\w*|OpenImages\w*|\w*Biomedical\w*|DVCLive\w*"
)
#: Files of a data set that would be unpickled, and places that are not on this machine.
UNSAFE_FILE: Final = re.compile(r".*(\.pkl|\.pickle|\.pth|://.*)", re.DOTALL)

#: The largest number in a kept model: channels, classes or boxes.
LARGEST: Final = 1_000_000
#: A model may hold this many times the numbers of its file: output norms and the like.
SPARE: Final = 2


def model_config(
    config: str | Path | Config | None,
    checkpoint: str | Path,
    trusted_only: bool = False,
    backbone: str | None = None,
) -> Config:
    """The config given, or without one that which a checkpoint or an exported file keeps.

    Args:
        trusted_only: refuse a config file that does not belong to the project.
        backbone: in the place of the config's, see `with_backbone`.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    if isinstance(config, Config):
        cfg = config
    elif config is None:
        cfg = kept_config(Path(checkpoint), backbone)
    else:
        cfg = read_config(config, trusted_only)
    return cfg if backbone is None else with_backbone(cfg, backbone)


def kept_config(file: Path, backbone: str | None = None) -> Config:
    """The config inside a checkpoint or an exported file.

    Evaluations go to the work directory of the training where the file is still in it.

    Args:
        file: the checkpoint or exported file.
        backbone: as after ``--backbone``: a class of the user's own that the file may name, too.

    Raises:
        UserError: the file has none, it is damaged, or needs modules that are not ours.
    """
    record = kept_record(file)
    if record is None:
        raise UserError(
            f"{file} does not know its config, as files from elsewhere and those of earlier "
            f"versions: give it, CONFIG {file}"
        )
    name, content = record.get("name"), record.get("config")
    if not isinstance(name, str) or not re.fullmatch(r"[\w.+-]+", name):
        raise UserError(f"{file}: the config that it keeps has no name; give CONFIG {file}")
    if not isinstance(content, Mapping):
        raise UserError(
            f"{file}: its config was not plain data and is not kept; give CONFIG {file}"
        )
    try:
        import_own_modules(content, file)
        check_content(content, file, imported(backbone))
        cfg = Config(from_plain(content), cfg_text=f"# kept in {file}\n", filename=f"{name}.py")
        for loader in LOADERS:
            if cfg.get(loader):
                _ = ConfigDataset.first(cfg, loader).images  # read here, as later
        if not is_exported(file):
            check_size(cfg, file)
    except (*REFUSALS, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(
            f"{file}: the config that it keeps is damaged ({reason:.150}); give CONFIG {file}"
        ) from error
    if (file.parent / LAST_CHECKPOINT).is_file():
        cfg.work_dir = str(file.parent)
    return cfg


def check_size(cfg: Config, file: Path) -> None:
    """Refuses a model that is larger than the weights in the file, before it takes memory.

    Raises:
        UserError: it is.
    """
    tensors = read_weights(file, casvit=False).state.values()
    numbers = [n for _, n in walk(cfg.model.to_dict()) if isinstance(n, (int, float))]
    arch = cfg.model.backbone.get("arch")
    blocks = sum(arch["depths"]) if isinstance(arch, Mapping) else 0
    fits = max(numbers, default=0) <= LARGEST and blocks <= len(tensors)
    if fits:
        size = sum(tensor.numel() for tensor in shape_model(cfg).state_dict().values())
        fits = size <= SPARE * sum(tensor.numel() for tensor in tensors)
    if not fits:
        raise UserError(
            f"{file}: the model of the config that it keeps is larger than its weights; "
            f"give CONFIG {file}"
        )


def load_known(model: nn.Module, checkpoint: str | Path) -> LoadReport:
    """Loads a whole model, strictly; see `load_model`.

    Raises:
        UserError: as there; where it is for another model and keeps a config, that is said.
    """
    try:
        return load_model(model, checkpoint)
    except MisfitError as error:
        record = kept_record(Path(checkpoint)) if Path(checkpoint).is_file() else None
        if record is None:
            raise
        raise UserError(
            f"{error}\n  {checkpoint} keeps the config that it fits: give it alone"
        ) from error


def kept_record(file: Path) -> Mapping[str, Any] | None:
    """What a checkpoint or an exported file says of its model: name, config, classes; or None."""
    if is_exported(file):
        return read_description(file).model
    meta = read_checkpoint(file).get("meta")
    record = meta.get(MODEL_RECORD) if isinstance(meta, Mapping) else None
    return record if isinstance(record, Mapping) else None


def check_content(content: Mapping[str, Any], file: Path, trusted: Collection[str] = ()) -> None:
    """Refuses what would run code while a model or a data set is built.

    Args:
        content: of the config.
        file: that it is kept in.
        trusted: types that may be built though they are in no registry.

    Raises:
        UserError: it names something that is in no registry or not safe.
    """
    scope = content.get("default_scope")
    known = registered_names(scope).union(trusted) if scope in SCOPES else set()
    wrong = []
    for place, value in walk(content):
        key = re.sub(r"(\.\d+)*$", "", place).rpartition(".")[2]  # of an item, that of its list
        if key == "_scope_" and value not in SCOPES:
            wrong.append(f"{key} {value!r}")
        if key in NAMING and isinstance(value, str):
            name = value.removeprefix(f"{scope}.")
            if name not in known or UNSAFE.fullmatch(name):
                wrong.append(f"{key} {value!r}")
    for loader in LOADERS:
        texts = (text for _, text in walk(content.get(loader)) if isinstance(text, str))
        wrong += [f"file {text!r}" for text in texts if UNSAFE_FILE.fullmatch(text)]
    if wrong:
        raise UserError(
            f"{file}: the config that it keeps has {shortlist(wrong, 3)}, which could run code; "
            f"if you trust it, give CONFIG {file}"
        )


def registered_names(scope: str) -> set[str]:
    """The names of everything that configs of a framework can build, operators of mmcv included."""
    register_modules(scope)
    modules = (mmengine.registry, import_module(f"{scope}.registry"))
    found = [v for module in modules for v in vars(module).values() if isinstance(v, Registry)]
    return {name for registry in found for name in registry.module_dict} | set(vars(mmcv.ops))


def import_own_modules(content: Mapping[str, Any], file: Path) -> None:
    """Imports those modules of a config that belong to this package.

    Raises:
        UserError: it needs others: a file must not say which code to import.
    """
    imports = content.get("custom_imports")
    names = imports.get("imports") if isinstance(imports, Mapping) else None
    names = [names] if isinstance(names, str) else list(names or ())
    own = [name for name in names if OWN_MODULE.fullmatch(str(name))]
    others = [str(name) for name in names if name not in own and name not in sys.modules]
    if others:
        raise UserError(
            f"{file}: its model needs {', '.join(others)}, which is imported for a config alone; "
            f"give CONFIG {file}"
        )
    for name in own:
        import_module(name)


def model_record(cfg: Config, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint keeps of its model.

    Args:
        cfg: resolved config; its framework's registries must be filled.
        recipe: see `ResolvedConfig`.
    """
    trains = bool(cfg.get("train_dataloader"))
    dataset = ConfigDataset.first(cfg, "train_dataloader" if trains else "test_dataloader")
    try:
        kept = to_plain({key: recipe[key] for key in KEPT if recipe.get(key) is not None})
    except TypeError:  # objects that a config file made
        kept = None
    return {
        "name": Path(cfg.filename).stem,
        "classes": list(dataset.classes),
        "ignore_label": dataset.config.get("ignore_label"),
        "config": kept,
    }


def to_plain(value: Any) -> Any:
    """A config's content as JSON has it, tuples marked.

    Raises:
        TypeError: it holds something that is no data.
    """
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return {TUPLE: [to_plain(item) for item in value]}
    if isinstance(value, list):
        return [to_plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"{value!r} is no data")


def from_plain(value: Any) -> Any:
    """The inverse of `to_plain`."""
    if isinstance(value, Mapping):
        if set(value) == {TUPLE}:
            return tuple(from_plain(item) for item in value[TUPLE])
        return {key: from_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [from_plain(item) for item in value]
    return value
