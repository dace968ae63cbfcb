"""What differs between two configs, or between a run so far and as it would go on."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from casvit_dense.config.kept import KEPT, model_config
from casvit_dense.config.names import KNOWN_KEYS
from casvit_dense.files import CONFIG_SUFFIXES


def config_differences(first: str | Path, second: str | Path) -> list[str]:
    """What differs between two configs, a line each; variables that nothing reads do not.

    Args:
        first: config file, or a checkpoint or an exported file that keeps its config.
        second: the same. Of two of which one is kept, the sections that are kept are compared.

    Raises:
        UserError: one cannot be read.
    """
    files = (Path(first), Path(second))
    are_kept = [file.suffix not in CONFIG_SUFFIXES for file in files]
    configs = [model_config(None if k else f, f) for k, f in zip(are_kept, files, strict=True)]
    keys = set(KEPT if any(are_kept) else KNOWN_KEYS)
    before, now = ({key: data(cfg[key]) for key in keys & {*cfg}} for cfg in configs)
    return list(differences("", before, now))


def sections(cfg: Config) -> Config:
    """A config without its variables, as a config file would have it."""
    kept = {key: data(value) for key, value in cfg.to_dict().items() if key in KNOWN_KEYS}
    return Config({key: value for key, value in kept.items() if value is not None})


def differences(place: str, before: Any, now: Any) -> Iterator[str]:
    """What differs between two values of a place, a line for each of the innermost places."""
    if before == now:
        return
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted({*before, *now}):
            inner = f"{place}.{key}" if place else key
            yield from differences(inner, before.get(key), now.get(key))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for number, pair in enumerate(zip(before, now, strict=True)):
            yield from differences(f"{place}.{number}", *pair)
    else:
        yield f"{place}: was {_short(before)}, is {_short(now)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def data(value: Any) -> Any:
    """A part of a config in which tuples are lists and nothing says whence it was inherited."""
    if isinstance(value, Mapping):
        return {key: data(item) for key, item in value.items() if key != "_scope_"}
    return [data(item) for item in value] if isinstance(value, (list, tuple)) else value
