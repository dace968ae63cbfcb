"""Benchmark cases: one network in one form, on one backend, at one input; and suites of them.

Imports without torch, since the command's help needs it.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from casvit_dense.errors import UserError
from casvit_dense.zoo import FAMILIES, casvit_configs, family_of, peer_configs

PARTS = ("backbone", "model")
MODES = ("infer", "train", "count")
INFERENCE_FORMS = ("reference", "fused")
TRAINING_FORMS = ("fused-memory", "fused-time")  # what "fused" means in training
FORMS = (*INFERENCE_FORMS, *TRAINING_FORMS)
BACKENDS = ("eager", "compile", "cudagraphs", "onnxruntime", "openvino")
RUNTIMES = ("onnxruntime", "openvino")  # run an exported file
DTYPES = ("fp32", "autocast", "bf16", "fp16")
MEMORY_FORMATS = ("default", "channels_last")
SMALLEST, LARGEST = 32, 8192  # pixels of a side


@dataclass(frozen=True)
class BenchmarkCase:
    """One thing whose speed is measured.

    Attributes:
        model: ``casvit-xs`` to ``casvit-t`` for the plain backbone with four maps, another backbone
            by name (``timm:NAME``, see docs/backbones.md), or a config.
        part: ``backbone``, or ``model`` for everything from the image to the predictions.
        mode: ``infer``; ``train`` for forward and backward with frozen BatchNorm; ``count`` for
            parameters and multiply-adds alone.
        size: height and width of the input in pixels.
        batch: images of one call.
        device: ``cpu`` or ``cuda``.
        dtype: ``fp32``, ``bf16``, ``fp16``: of weights and activations; ``autocast``: fp32
            weights under torch's autocast (bf16 on CPUs, fp16 on GPUs).
        form: ``reference`` or ``fused``; in training ``fused-memory`` or ``fused-time``.
        backend: what runs it; ``cudagraphs`` is ``torch.compile`` with CUDA graphs.
        memory_format: ``default`` is contiguous for the reference and the fused form's own choice.
    """

    model: str = "casvit-xs"
    part: str = "backbone"
    mode: str = "infer"
    size: tuple[int, int] = (512, 512)
    batch: int = 1
    device: str = "cpu"
    dtype: str = "fp32"
    form: str = "reference"
    backend: str = "eager"
    memory_format: str = "default"

    @property
    def name(self) -> str:
        """The model's name: a config goes by its stem."""
        return Path(self.model).stem if self.model.endswith(".py") else self.model

    @property
    def label(self) -> str:
        """What tells the case from others of its group."""
        words = [self.form, self.backend, self.dtype]
        return " ".join(words + [self.memory_format] * (self.memory_format != "default"))

    @property
    def group(self) -> "BenchmarkCase":
        """The reference in eager fp32 at the same input: what a ratio is measured against."""
        return replace(
            self, form="reference", backend="eager", dtype="fp32", memory_format="default"
        )

    @property
    def path_reference(self) -> "BenchmarkCase":
        """The reference on the same backend: what a form's own ratio is measured against."""
        return replace(self, form="reference")

    @property
    def input_words(self) -> str:
        """The group in words."""
        height, width = self.size
        return f"{self.name} {self.part}, {self.mode}, {self.batch}x3x{height}x{width}"

    def unsupported_reason(self) -> str | None:
        """Why there is no such thing, or not on this machine; ``None`` where there is."""
        exported = self.backend in RUNTIMES
        compiled = self.backend in ("compile", "cudagraphs")
        reasons = {
            "training is measured on the backbone": self.mode == "train" and self.part == "model",
            f"{self.backend} does not train": self.mode == "train" and exported,
            f"{self.backend} files are fp32": exported and self.dtype != "fp32",
            f"{self.backend} runs on the CPU here": exported and self.device != "cpu",
            f"{self.backend} chooses its own layout": exported and self.memory_format != "default",
            "CUDA graphs need a GPU": self.backend == "cudagraphs" and self.device == "cpu",
            "CUDA graphs of a model's parts would overwrite each other's outputs": (
                self.backend == "cudagraphs" and self.part == "model"
            ),
            # What is kept for the backward pass is then the compiler's choice.
            "fused-memory decides what torch keeps, in eager mode": (
                self.form == "fused-memory" and compiled
            ),
            f"{self.form} is a form for training": (
                self.mode != "train" and self.form in TRAINING_FORMS
            ),
            f"in training, fused is {' or '.join(TRAINING_FORMS)}": (
                self.mode == "train" and self.form == "fused"
            ),
            f"{self.model} is a backbone; give a config": (
                self.part == "model" and not self.model.endswith(".py")
            ),
        }
        if reason := next((reason for reason, holds in reasons.items() if holds), None):
            return reason
        if self.dtype == "fp32":
            return None
        from casvit_dense.benchmark.machine import missing_precision

        return missing_precision(self.device, self.dtype)


def product(**values: Sequence[Any]) -> list[BenchmarkCase]:
    """Every combination of the values, a group's reference first.

    Args:
        **values: fields of `BenchmarkCase`, each with its values. In training, the form ``fused``
            stands for both training forms; what is counted is the reference alone.
    """
    cases: list[BenchmarkCase] = []
    for row in itertools.product(*values.values()):
        case = BenchmarkCase(**dict(zip(values, row, strict=True)))
        if case.mode == "count":
            cases.append(case.group)
        elif case.mode == "train" and case.form == "fused":
            cases += [replace(case, form=form) for form in TRAINING_FORMS]
        else:
            cases.append(case)
    return sorted(dict.fromkeys(cases), key=_order)


def _order(case: BenchmarkCase) -> tuple[int, int, int, int]:
    """Inside a group; models, sizes and the rest keep the order in which they were asked for."""
    return (
        DTYPES.index(case.dtype),
        BACKENDS.index(case.backend),
        MEMORY_FORMATS.index(case.memory_format),
        FORMS.index(case.form),
    )


def supported(cases: Iterable[BenchmarkCase]) -> tuple[list[BenchmarkCase], list[str]]:
    """The cases that can be measured here, and a line about every kind of the others.

    Raises:
        UserError: none can.
    """
    cases = list(cases)
    reasons_of = {case: case.unsupported_reason() for case in cases}
    left = [case for case in cases if reasons_of[case] is None]
    reasons = list(dict.fromkeys(reason for reason in reasons_of.values() if reason))
    if not left:
        raise UserError(f"nothing to measure: {'; '.join(reasons) or 'no case was named'}")
    return left, [f"left out: {reason}" for reason in reasons]


def groups(cases: Iterable[BenchmarkCase]) -> dict[BenchmarkCase, list[BenchmarkCase]]:
    """Cases that are timed against each other, by what they have in common."""
    found: dict[BenchmarkCase, list[BenchmarkCase]] = {}
    for case in cases:
        found.setdefault(case.group, []).append(case)
    return found


def parse_size(text: str) -> tuple[int, int]:
    """``512`` or ``800x1280`` (height x width) as two numbers of pixels; else a `UserError`."""
    sides = text.lower().split("x")
    if not 1 <= len(sides) <= 2 or not all(side.isdecimal() for side in sides):
        raise UserError(f"size {text!r}: give 512 or 800x1280 (height x width)")
    height, width = int(sides[0]), int(sides[-1])
    if not all(SMALLEST <= side <= LARGEST for side in (height, width)):
        raise UserError(f"size {text}: sides from {SMALLEST} to {LARGEST} pixels can be measured")
    return height, width


def parse_spec(text: str, base: BenchmarkCase) -> BenchmarkCase:
    """``form=fused,backend=openvino`` as a case, other fields from ``base``; else a `UserError`."""
    choices: Mapping[str, Sequence[str]] = {
        "form": FORMS,
        "backend": BACKENDS,
        "dtype": DTYPES,
        "memory_format": MEMORY_FORMATS,
    }
    fields: dict[str, str] = {}
    for pair in text.split(","):
        key, _, value = (part.strip() for part in pair.partition("="))
        if key not in choices:
            raise UserError(f"{text!r}: {key!r} is none of {', '.join(choices)}")
        if value not in choices[key]:
            raise UserError(f"{text!r}: {key} is one of {', '.join(choices[key])}, not {value!r}")
        fields[key] = value
    return replace(base, **fields)  # type: ignore[arg-type]


def pairs(bases: Iterable[BenchmarkCase], specs: Sequence[str]) -> list[BenchmarkCase]:
    """For each base, the two cases that ``specs`` make of it.

    Raises:
        UserError: one of them cannot be measured, or both are the same.
    """
    found = []
    for base in bases:
        two = [parse_spec(text, base) for text in specs]
        reason = two[0].unsupported_reason() or two[1].unsupported_reason()
        if reason or two[0] == two[1]:
            raise UserError(f"--compare {' '.join(specs)}: {reason or 'both are the same'}")
        found += two
    return found


#: How the names of backbones without a config begin.
PLAIN = "casvit-"
CPU_BACKENDS = ("eager", "compile", *RUNTIMES)
SCALING_SIDES = (224, 320, 512, 768, 1024, 1536, 2048)  # pixels
TRAINING_BATCH = 2
GPU_SIZES = ((224, 224), (800, 1280))
GPU_BATCHES = (1, 64)
PAPER_SIZE = (224, 224)


def variants() -> tuple[str, ...]:
    """Our backbones without a config, the smallest first."""
    from casvit_dense.casvit import ARCHS

    return tuple(PLAIN + name for name in ARCHS)


def cpu() -> list[BenchmarkCase]:
    """Backbones at 512x512 on every backend, training steps, areas from 224 to 2048, peers."""
    cases = product(model=variants(), form=INFERENCE_FORMS, backend=CPU_BACKENDS)
    cases += product(model=variants(), form=INFERENCE_FORMS, mode=["train"], batch=[TRAINING_BATCH])
    for side in SCALING_SIDES:
        smallest = dict(model=variants()[:1], size=[(side, side)])
        cases += product(**smallest)
        cases += product(**smallest, form=["fused"], backend=RUNTIMES)
    cases += product(model=peers(), form=INFERENCE_FORMS, backend=("eager", *RUNTIMES))
    return cases + counts()


def counts() -> list[BenchmarkCase]:
    """Parameters and multiply-adds of the twelve models and of the peers' on the same heads."""
    found = []
    for family in FAMILIES:
        models = [str(path) for path in (*casvit_configs(family), *peer_configs(family))]
        size = [family.counting_size]
        found += product(model=models, part=["model"], mode=["count"], size=size)
    return found


def peers() -> list[str]:
    """The peers' configs of Semantic FPN, whose backbones give all four maps."""
    family = family_of("sem_fpn_40k")
    assert family is not None
    return [str(path) for path in peer_configs(family)]


def gpu() -> list[BenchmarkCase]:
    """Backbones in fp32, autocast and bf16, one image and 64, inference and training."""
    cases = []
    for mode, recorded in (("infer", "fused"), ("train", "fused-time")):
        for size in GPU_SIZES:
            shared = dict(
                model=variants(), mode=[mode], size=[size], batch=GPU_BATCHES, device=["cuda"]
            )
            cases += [
                *product(**shared, form=["reference"], dtype=("fp32", "autocast")),
                *product(**shared, form=["fused"], dtype=("fp32", "bf16")),
                *product(**shared, form=[recorded], dtype=["bf16"], backend=["cudagraphs"]),
            ]
    return cases


def rivals() -> list[BenchmarkCase]:
    """The paper's rivals from timm at 512x512, as `cpu` measures ours and the other peers."""
    from casvit_dense.results.targets import read_targets

    models = [f"timm:{row.timm}" for row in read_targets().rivals]
    return product(model=models, form=INFERENCE_FORMS, backend=["eager"]) + product(
        model=models, form=["fused"], backend=RUNTIMES
    )


def paper() -> list[BenchmarkCase]:
    """Throughput at 224x224 of ours and the peers: ONNX Runtime, and the GPU where there is one."""
    import torch

    models = (*variants(), *peers())
    cases = product(model=models, size=[PAPER_SIZE], form=INFERENCE_FORMS, backend=["onnxruntime"])
    if torch.cuda.is_available():
        shared = dict(model=models, size=[PAPER_SIZE], batch=[64], device=["cuda"])
        cases += product(**shared, form=INFERENCE_FORMS, dtype=("fp32", "bf16"))
    return cases


SUITES: dict[str, Callable[[], list[BenchmarkCase]]] = {
    "cpu": cpu,
    "rivals": rivals,
    "gpu": gpu,
    "paper": paper,
}


def suite(name: str) -> list[BenchmarkCase]:
    """The cases of a suite."""
    return list(dict.fromkeys(SUITES[name]()))
