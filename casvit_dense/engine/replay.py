"""A kept step made again: where numbers stop being finite."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import set_random_seed
from torch import Tensor, nn

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.config.kept import model_config
from casvit_dense.config.read import register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.engine.loading import name_records
from casvit_dense.engine.record import training_precision
from casvit_dense.errors import UserError, shortlist
from casvit_dense.files import is_file
from casvit_dense.options import AMP_DTYPES, RunOptions
from casvit_dense.provenance import device_name
from casvit_dense.results.row import FULL_PRECISION
from casvit_dense.training.draws import load_draws, mixed
from casvit_dense.training.finite import not_finite
from casvit_dense.training.kept_step import WEIGHTS, KeptBatch, read_batches

#: Names in one line.
SHOWN: Final = 3


@dataclass(frozen=True)
class Replayed:
    """What a step showed.

    Attributes:
        lines: for people.
        finite: whether losses, outputs of modules and gradients were finite here.
    """

    lines: Sequence[str]
    finite: bool


def watch_outputs(model: nn.Module) -> list[str]:
    """A list that gets the first module whose output is not finite; it is empty until then.

    Modules inside another one are done before it.
    """
    found: list[str] = []

    def look(module: nn.Module, args: Any, output: Any, name: str) -> None:
        if not found and list(not_finite(output)):
            found.append(f"{name or 'the model'} ({type(module).__name__})")

    for name, module in model.named_modules():
        module.register_forward_hook(partial(look, name=name))
    return found


def replay(config: str | Path | None, folder: Path, options: RunOptions) -> Replayed:
    """Makes a kept step again, forward and backward, with the random numbers that it had.

    The images are those that were kept; their annotations are drawn from the data once more. The
    batches of all processes go through the model one after the other: a BatchNorm that they shared
    (SyncBN) sees fewer images here.

    Args:
        config: config file; None: that which the step keeps.
        folder: of the step, see `kept_step`.
        options: where the data are, and overrides of the config.

    Raises:
        UserError: the folder or the data are missing, or do not fit.
    """
    file = folder / WEIGHTS
    if not is_file(file):
        raise UserError(f"{folder} is no kept step; trainings keep them as not_finite/iter_N")
    content = read_checkpoint(file)
    meta, state = content.get("meta"), content.get("state_dict") or {}
    if not isinstance(meta, Mapping) or not isinstance(meta.get("processes"), int):
        raise UserError(f"{file} is not of a step that a training kept")
    batches = list(read_batches(folder, meta["processes"]))
    cfg = resolve(model_config(config, file), options).config
    register_scope(cfg)
    model = loaded_model(cfg, file, state)
    dataset = training_data(cfg)
    precision = training_precision(cfg)
    context, note = autocast(precision)
    lines = [
        line("step", f"iteration {batches[-1].iteration + 1} on {device_name()}{note}"),
        line("weights", broken_of(state)),
    ]
    outputs, finite = watch_outputs(model), True
    for batch in batches:
        samples = drawn_samples(dataset, batch, file)
        lines += [line("images", text) for text in differences(batch, samples)]
        _, seed, process, *_ = batch.draws[0]
        set_random_seed(mixed(seed, process, batch.iteration))
        with context:
            losses = model._run_forward(
                model.data_preprocessor(collated(batch, samples), True), "loss"
            )
        loss, parts = model.parse_losses(losses)
        (loss / len(batches)).backward()
        shown = ", ".join(f"{name} {value.item():.4g}" for name, value in parts.items())
        lines.append(line("losses", shown))
        finite = finite and not any(not_finite(parts))
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    broken = list(not_finite(gradients))
    lines.append(line("outputs", f"first not finite: {outputs[0]}" if outputs else "finite"))
    lines.append(line("gradients", broken_of(gradients) if broken else largest(gradients)))
    finite = finite and not broken and not outputs
    if finite:
        lines.append("everything is finite on this machine")
    return Replayed(lines, finite)


def line(label: str, text: str) -> str:
    """A line of a replay, aligned with the others."""
    return f"{label:<9}  {text}"


def training_data(cfg: Config) -> Any:
    """The data set of a training, its records named as there."""
    try:
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    except OSError as error:
        raise UserError(
            f"the training data cannot be read: {error.filename}: {error.strerror}; --data-root "
            "says where they are"
        ) from error
    name_records(dataset, replace=True)
    return dataset


def loaded_model(cfg: Config, file: Path, state: Any) -> Any:
    """The model of a step; its weights need not be finite."""
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise UserError(f"{file} does not fit {cfg.filename}: {error}") from error
    return model.to("cuda" if torch.cuda.is_available() else "cpu").train()


def autocast(precision: str) -> tuple[AbstractContextManager[Any], str]:
    """The context of a forward pass, and what the user should know of it."""
    if precision == FULL_PRECISION:
        return nullcontext(), ""
    if not torch.cuda.is_available():
        return nullcontext(), f" in {FULL_PRECISION}, trained in {precision}"
    return torch.autocast("cuda", getattr(torch, AMP_DTYPES[precision])), f" in {precision}"


def drawn_samples(dataset: Any, batch: KeptBatch, file: Path) -> list[Any]:
    """The samples of a batch, drawn again.

    Raises:
        UserError: the data are not those of the training.
    """
    if not batch.draws or len(batch.draws) != len(batch.inputs):
        raise UserError(f"{file.parent}: its samples do not say how they were drawn")
    if max(index for index, *_ in batch.draws) >= len(dataset):
        raise UserError(f"the data have {len(dataset)} images, and the step used others")
    return load_draws(dataset, batch.drawn)


def differences(batch: KeptBatch, samples: Sequence[Any]) -> list[str]:
    """What is to be said of the images of a batch."""
    differing = [
        name
        for name, image, sample in zip(batch.images, batch.inputs, samples, strict=True)
        if not torch.equal(image, sample["inputs"])
    ]
    infinite = [batch.images[int(number)] for number in not_finite(batch.inputs)]
    said = f"{len(samples)}, as the data give them again"
    if differing:
        said = f"{len(differing)} of {len(samples)} are not what the data give now: "
        said += shortlist(differing, SHOWN)
    return [said, *(f"not finite: {name}" for name in infinite)]


def collated(batch: KeptBatch, samples: Sequence[Any]) -> dict[str, list[Any]]:
    """A batch of the kept images; where the data now give other sizes, of those."""
    pairs = zip(batch.inputs, (sample["inputs"] for sample in samples), strict=True)
    images = [kept if kept.shape == drawn.shape else drawn for kept, drawn in pairs]
    return {"inputs": images, "data_samples": [sample["data_samples"] for sample in samples]}


def broken_of(tensors: Mapping[str, Tensor]) -> str:
    """Which tensors are not finite."""
    broken = list(not_finite(tensors))
    if not broken:
        return "finite"
    return f"not finite: {len(broken)} of {len(tensors)}, {shortlist(broken, SHOWN)}"


def largest(gradients: Mapping[str, Tensor]) -> str:
    """The gradients of the largest norms."""
    norms = {name: gradient.norm().item() for name, gradient in gradients.items()}
    first = sorted(norms, key=lambda name: -norms[name])[:SHOWN]
    return "finite; largest norms: " + ", ".join(f"{name} {norms[name]:.3g}" for name in first)
