"""Strict comparison of a file's tensors with a module's, and the report of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from casvit_dense.checkpoint.dialects import Weights
from casvit_dense.checkpoint.variant import NO_STAGES, describe_arch
from casvit_dense.errors import UserError

#: Names shown of each list in an error.
SHOWN = 8

#: Name of a tensor the module lacks -> the rule by which it may be left out, if one allows it.
Rule = Callable[[str], str | None]


@dataclass(frozen=True)
class LoadReport:
    """What a strict load did.

    Attributes:
        path: the weight file.
        sha256: of the file's bytes.
        dialect: how the file was written, in words.
        variant: ``xs``, ``s``, ``m``, ``t``, or the depths and dims found.
        matched: number of tensors taken over.
        left_out: names of tensors not taken, under the rule that allows it.
        initialised: names the file lacks, which keep the values they had.
    """

    path: Path
    sha256: str
    dialect: str
    variant: str
    matched: int
    left_out: dict[str, tuple[str, ...]]
    initialised: tuple[str, ...]

    def __str__(self) -> str:
        held = f", {self.variant}" if self.variant != NO_STAGES else ""
        lines = [
            f"weights {self.path} (sha256 {self.sha256[:12]}): {self.dialect}{held}",
            f"  {self.matched} tensors matched",
        ]
        lines += [f"  {len(names)} left out: {rule}" for rule, names in self.left_out.items()]
        if self.initialised:
            lines.append(f"  {len(self.initialised)} not in the file, kept as initialised")
        return "\n".join(lines)


def compare(
    own: Mapping[str, Tensor],
    weights: Weights,
    leave_out: Rule,
    may_be_absent: Callable[[str], bool] = lambda name: False,
) -> LoadReport:
    """Holds a module's tensors against a file's.

    Args:
        own: the module's tensors, named as in ``weights.state``.
        weights: the file.
        leave_out: rule for tensors the module lacks.
        may_be_absent: whether the file may lack a tensor of the module.

    Raises:
        UserError: anything missing, unexpected, of another shape or not finite, with lists.
    """
    state = weights.state
    left_out: dict[str, list[str]] = {}
    unexpected = []
    for name in state.keys() - own.keys():
        rule = leave_out(name)
        if rule is None:
            unexpected.append(name)
        else:
            left_out.setdefault(rule, []).append(name)
    absent = own.keys() - state.keys()
    missing = [name for name in absent if not may_be_absent(name)]
    reshaped = [
        f"{name} {list(state[name].shape)} instead of {list(own[name].shape)}"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    ]
    check_finite(weights)
    if missing or unexpected or reshaped:
        raise misfit(own, weights, missing, unexpected, reshaped)
    return LoadReport(
        path=weights.path,
        sha256=weights.sha256,
        dialect=weights.dialect,
        variant=describe_arch(state),
        matched=len(own) - len(absent),
        left_out={rule: tuple(sorted(left_out[rule])) for rule in sorted(left_out)},
        initialised=tuple(sorted(absent)),
    )


def check_finite(weights: Weights) -> None:
    """Refuses a file that a failed training left behind.

    Raises:
        UserError: with the tensors that hold NaN or infinity.
    """
    broken = sorted(name for name, t in weights.state.items() if not torch.isfinite(t).all())
    if broken:
        raise UserError(
            f"weight file {weights.path} holds numbers that are not finite; nothing was loaded\n"
            + capped("not finite", broken)
        )


def load_strictly(
    module: nn.Module,
    weights: Weights,
    leave_out: Rule,
    may_be_absent: Callable[[str], bool] = lambda name: False,
    prefix: str = "",
) -> LoadReport:
    """Loads a file into a module whose tensors it names with ``prefix``, all or nothing.

    Raises:
        UserError: as ``compare``; the module is then as it was.
    """
    own = {prefix + name: tensor for name, tensor in module.state_dict().items()}
    report = compare(own, weights, leave_out, may_be_absent)
    loaded = {
        name.removeprefix(prefix): weights.state.get(name, tensor) for name, tensor in own.items()
    }
    module.load_state_dict(loaded)
    print_log(str(report), logger="current")
    return report


def misfit(
    own: Mapping[str, Tensor],
    weights: Weights,
    missing: list[str],
    unexpected: list[str],
    reshaped: list[str],
) -> UserError:
    """The error that says how a file and a module differ."""
    theirs, ours = describe_arch(weights.state), describe_arch(own)
    variants = f": it seems to hold {theirs}, the model has {ours}" if theirs != ours else ""
    lines = [
        f"weight file {weights.path} ({weights.dialect}) does not fit{variants}; nothing was loaded"
    ]
    lists = (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
    lines += [capped(title, sorted(names)) for title, names in lists if names]
    return UserError("\n".join(lines))


def capped(title: str, names: list[str]) -> str:
    """One line with the count and the first names."""
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"  {title} ({len(names)}): {', '.join(names[:SHOWN])}{more}"
