"""What is to be trained and evaluated: the published models, or the models of a plan file."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from casvit_dense.backbones.names import stem_with
from casvit_dense.errors import UserError, validation_message
from casvit_dense.evaluations import SEED_PREFIX
from casvit_dense.files import WORK_DIRS, short_path
from casvit_dense.results.ledger import LEDGER
from casvit_dense.zoo import DENSE_DATASETS, FAMILIES, casvit_configs, config_file, match_stems


def _no_duplicates(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed is there twice")
    return seeds


def _literals(value: Any) -> Any:
    """Texts that are Python literals as their values, as after ``--cfg-options``.

    YAML has no tuples, which some transforms need, and reads 1e-4 as a text.
    """
    if isinstance(value, Mapping):
        return {key: _literals(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_literals(item) for item in value]
    if isinstance(value, str):
        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return value
    return value


Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(_no_duplicates)]
Overrides = Annotated[Mapping[str, Any], AfterValidator(_literals)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlannedModel(_Strict):
    """One model of a plan. Paths are relative to the plan file.

    Attributes:
        config: config file, or the stem of one that comes with the project. The stem names its
            folder and rows.
        data_root: folder of the data set, in place of the config's.
        pretrained: weight file of the backbone, in place of the config's.
        from_scratch: train without such a file.
        backbone: in place of the config's, as after ``--backbone``; part of the stem then.
        seeds: in place of the plan's.
        cfg_options: config overrides by dotted key, for training and evaluation; a text such as
            ``"(64, 64)"`` is read as on the command line.
    """

    config: Path
    data_root: Path | None = None
    pretrained: Path | None = None
    from_scratch: bool = False
    backbone: str | None = None
    seeds: Seeds | None = None
    cfg_options: Overrides = Field(default_factory=dict)

    @property
    def stem(self) -> str:
        stem = self.config.stem
        return stem if self.backbone is None else stem_with(stem, self.backbone)


class Plan(_Strict):
    """Models and the seeds that each of them is trained with."""

    models: Annotated[tuple[PlannedModel, ...], Field(min_length=1)]
    seeds: Seeds = (0,)


@dataclass(frozen=True)
class Settings:
    """Settings of a whole plan.

    Attributes:
        work_dirs: every run gets a folder below it.
        ledger: file of result rows; ``results.jsonl`` in ``work_dirs`` by default.
        data_roots: folder of a data set by its name, one of `zoo.DENSE_DATASETS`.
        pretrained: folder of the weight files, which keep the names that the configs give them.
        launcher: ``'none' | 'torchrun' | 'slurm'``.
        gpus: processes of a training.
        step_times: seconds of a training step by stem of a config.
    """

    work_dirs: Path = WORK_DIRS
    ledger: Path | None = None
    data_roots: Mapping[str, str] = field(default_factory=dict)
    pretrained: Path | None = None
    launcher: str = "none"
    gpus: int = 1
    step_times: Mapping[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> Path:
        """The ledger's file."""
        return self.ledger or self.work_dirs / LEDGER

    def check(self) -> None:
        """Checks what needs no config.

        Raises:
            UserError: an unknown data set, or several GPUs without a launcher.
        """
        for name in self.data_roots:
            if name not in DENSE_DATASETS:
                raise UserError(
                    f"--data-root {name}=…: the data sets are {', '.join(DENSE_DATASETS)}"
                )
        if self.launcher == "none" and self.gpus > 1:
            raise UserError(f"--gpus {self.gpus} needs --launcher torchrun or slurm")

    def check_gpus(self) -> None:
        """Compares the GPUs that are asked for with those of this machine, if it has any.

        Raises:
            UserError: it has fewer.
        """
        found = torch.cuda.device_count()
        if self.launcher == "torchrun" and 0 < found < self.gpus:
            raise UserError(
                f"--gpus is {self.gpus}, but torch sees {found} here; give --gpus {found}, and the "
                "images of a step are shared out among them"
            )


@dataclass(frozen=True)
class Run:
    """One model under one seed."""

    model: PlannedModel
    seed: int
    work_dir: Path

    @property
    def name(self) -> str:
        return f"{self.model.stem}, seed {self.seed}"


def zoo_plan() -> Plan:
    """The published models, smallest variant first in each family."""
    configs = [path for family in FAMILIES for path in casvit_configs(family)]
    return Plan(models=tuple(PlannedModel(config=short_path(path)) for path in configs))


def read_plan(path: Path) -> Plan:
    """A plan from a YAML or JSON file.

    Raises:
        UserError: it cannot be read, has an unknown or missing key, names a config file that is
            not there, or names one stem twice.
    """
    try:
        plan = Plan.model_validate(yaml.safe_load(path.read_text()))  # JSON is YAML too
    except ValidationError as error:
        raise UserError(f"plan {path}: {validation_message(error)}") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"plan {path} cannot be read: {' '.join(str(error).split())}") from error
    models = tuple(_located(model, path.parent) for model in plan.models)
    stems = [model.stem for model in models]
    for model in models:
        if not model.config.is_file():
            raise UserError(
                f"plan {path}: no config file {model.config}, and none of that name comes with the "
                "project"
            )
        if stems.count(model.stem) > 1:
            raise UserError(
                f"plan {path}: {model.stem} is there twice, and its name is that of its folder and "
                "rows; write a config of another name, which may inherit from the first"
            )
    return plan.model_copy(update={"models": models})


def _located(model: PlannedModel, folder: Path) -> PlannedModel:
    """The model with its paths found from the folder of the plan file, or among our configs."""
    paths = {key: getattr(model, key) for key in ("config", "data_root", "pretrained")}
    update = {key: folder / path for key, path in paths.items() if path is not None}
    if not update["config"].is_file():
        update["config"] = config_file(str(model.config)) or update["config"]
    return model.model_copy(update=update)


def choose(plan: Plan, patterns: Sequence[str]) -> Plan:
    """The models whose stem matches a name or pattern, all without any; see `match_stems`."""
    chosen = match_stems([model.stem for model in plan.models], patterns)
    models = tuple(model for model in plan.models if model.stem in chosen)
    return plan.model_copy(update={"models": models})


def with_seeds(plan: Plan, count: int | None) -> Plan:
    """The plan with seeds 0 to ``count - 1`` for every model; unchanged with None."""
    if count is None:
        return plan
    models = tuple(model.model_copy(update={"seeds": None}) for model in plan.models)
    return plan.model_copy(update={"models": models, "seeds": tuple(range(count))})


def with_backbone(plan: Plan, name: str | None) -> Plan:
    """The plan with another backbone in every recipe, each of them once; unchanged with None."""
    if name is None:
        return plan
    models = [model.model_copy(update={"backbone": name}) for model in plan.models]
    once = {model.stem: model for model in reversed(models)}
    return plan.model_copy(update={"models": tuple(reversed(once.values()))})


def runs_of(plan: Plan, work_dirs: Path) -> list[Run]:
    """Every model with its first seed, then every model with its second, and so on.

    Seed 0 has the folder that ``train`` uses by default, and the others lie in it, so that asking
    for more seeds later keeps what is there.
    """
    seeds = {model.stem: model.seeds or plan.seeds for model in plan.models}
    runs = []
    for place in range(max(map(len, seeds.values()))):
        for model in plan.models:
            for seed in seeds[model.stem][place : place + 1]:
                folder = work_dirs / model.stem
                runs.append(Run(model, seed, folder / f"{SEED_PREFIX}{seed}" if seed else folder))
    return runs
