"""The check of a whole config and its overrides, before anything is built and data are read."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from casvit_dense.config.keys import Fault, key_faults
from casvit_dense.config.names import check_override, top_level_faults
from casvit_dense.config.read import SCOPES
from casvit_dense.config.values import number_faults, save_best_faults, section_faults, trial_faults
from casvit_dense.errors import UserError

#: Faults that are told of one config.
SHOWN = 10


def apply_overrides(cfg: Config, overrides: Mapping[str, Any]) -> None:
    """Applies ``--cfg-options`` to a config as it was read, and checks what comes out.

    Raises:
        UserError: nothing reads a key, a type does not exist, or a value means nothing; each with
            the nearest name there is.
    """
    for dotted in overrides:
        check_override(cfg, dotted)
    cfg.merge_from_dict(dict(overrides))
    found = faults(cfg)
    if not found:
        return
    lines = [told(cfg, overrides, fault) for fault in found[:SHOWN]]
    if len(found) > SHOWN:
        lines.append(f"and {len(found) - SHOWN} more faults")
    raise UserError("\n".join(lines))


def faults(cfg: Config) -> list[Fault]:
    """Everything that is wrong with a config; values only where the keys are right."""
    sections, scope = dict(cfg.items()), cfg.get("default_scope")
    found = [*top_level_faults(cfg), *number_faults(sections)]
    if scope in SCOPES:
        found += list(section_faults(sections)) or key_faults(sections, scope)
        found = found or [*trial_faults(sections, scope), *save_best_faults(sections, scope)]
    elif "model" in cfg:
        found.append(Fault("default_scope", f"is {scope!r}; set it to {' or '.join(SCOPES)}"))
    return list({fault.place: fault for fault in reversed(found)}.values())[::-1]


def told(cfg: Config, overrides: Mapping[str, Any], fault: Fault) -> str:
    """A fault with the place where the user wrote it."""
    for dotted in overrides:
        if f"{fault.place}.".startswith(f"{dotted}.") or f"{dotted}.".startswith(f"{fault.place}."):
            deeper = "" if fault.place == dotted else f"{fault.place}: "
            return f"--cfg-options {dotted}: {deeper}{fault.text}"
    return f"{cfg.filename}: {fault.place}: {fault.text}"
