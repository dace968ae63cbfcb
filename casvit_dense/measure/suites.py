"""Named sets of subjects: what `docs/speed.md` shows."""

from collections.abc import Callable
from pathlib import Path

from casvit_dense.casvit import ARCHS
from casvit_dense.files import config_folder
from casvit_dense.measure.networks import PLAIN
from casvit_dense.measure.subject import RUNTIMES, Subject, product

#: Folder of our configs of a head, and how the peers' of the same head begin.
HEADS = {"retinanet": "retinanet", "mask_rcnn": "mask-rcnn", "sem_fpn": "fpn"}
VARIANTS = tuple(PLAIN + name for name in ARCHS)
FORMS = ("reference", "fused")
CPU_BACKENDS = ("eager", "compile", *RUNTIMES)
SCALING_SIDES = (224, 320, 512, 768, 1024, 1536, 2048)  # pixels
TRAINING_BATCH = 2
GPU_SIZES = ((224, 224), (800, 1280))
GPU_BATCHES = (1, 64)
PAPER_SIZE = (224, 224)
DETECTION_SIZE, SEGMENTATION_SIZE = (800, 1280), (512, 512)  # as papers count


def cpu(configs: Path) -> list[Subject]:
    """Backbones at 512x512 on every backend, training steps, areas from 224 to 2048, peers."""
    return [
        *product(model=VARIANTS, form=FORMS, backend=CPU_BACKENDS),
        *product(model=VARIANTS, form=FORMS, mode=["train"], batch=[TRAINING_BATCH]),
        *(
            subject
            for side in SCALING_SIDES
            for subject in [
                *product(model=VARIANTS[:1], size=[(side, side)]),
                *product(model=VARIANTS[:1], size=[(side, side)], form=["fused"], backend=RUNTIMES),
            ]
        ),
        *product(model=peers(configs), form=FORMS, backend=("eager", *RUNTIMES)),
        *counts(configs),
    ]


def counts(configs: Path) -> list[Subject]:
    """Parameters and multiply-adds of the twelve models and of the peers' on the same heads."""
    found = []
    for folder in HEADS:
        models = [*ours(configs, folder), *peers(configs, folder)]
        size = [counted_size(folder)]
        found += product(model=models, part=["model"], mode=["count"], size=size)
    return found


def counted_size(folder: str) -> tuple[int, int]:
    """Height and width that the models of a folder of `HEADS` are counted at."""
    return SEGMENTATION_SIZE if folder == "sem_fpn" else DETECTION_SIZE


def ours(configs: Path, folder: str) -> list[str]:
    """Our configs of a head, the smallest variant first."""
    found = list((configs / folder).glob("*.py"))
    return [str(p) for name in ARCHS for p in found if f"casvit-{name}_" in p.name]


def peers(configs: Path, folder: str = "sem_fpn") -> list[str]:
    """The peers' configs of a head. In those of Semantic FPN the backbones give all four maps."""
    return sorted(map(str, (configs / "peers").glob(f"{HEADS[folder]}_*.py")))


def gpu(configs: Path) -> list[Subject]:
    """Backbones in fp32, autocast and bf16, one image and 64, inference and training."""
    subjects = []
    for mode in ("infer", "train"):
        for size in GPU_SIZES:
            shared = dict(
                model=VARIANTS, mode=[mode], size=[size], batch=GPU_BATCHES, device=["cuda"]
            )
            subjects += [
                *product(**shared, form=["reference"], dtype=("fp32", "autocast")),
                *product(**shared, form=["fused"], dtype=("fp32", "bf16")),
                *product(**shared, form=["fused"], dtype=["bf16"], backend=["cudagraphs"]),
            ]
    return subjects


def paper(configs: Path) -> list[Subject]:
    """Throughput at 224x224 of ours and the peers: ONNX Runtime, and the GPU where there is one."""
    import torch

    models = (*VARIANTS, *peers(configs))
    subjects = product(model=models, size=[PAPER_SIZE], form=FORMS, backend=["onnxruntime"])
    if torch.cuda.is_available():
        shared = dict(model=models, size=[PAPER_SIZE], batch=[64], device=["cuda"])
        subjects += product(**shared, form=FORMS, dtype=("fp32", "bf16"))
    return subjects


SUITES: dict[str, Callable[[Path], list[Subject]]] = {"cpu": cpu, "gpu": gpu, "paper": paper}


def suite(name: str) -> list[Subject]:
    """The subjects of a suite.

    Raises:
        UserError: the project's configs are not where they should be.
    """
    return list(dict.fromkeys(SUITES[name](config_folder())))
