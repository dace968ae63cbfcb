"""Networks to measure: random weights, the same in every process."""

import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from casvit_dense.casvit import ARCHS, CASViT, DropPath
from casvit_dense.errors import UserError
from casvit_dense.measure.counts import dense_head
from casvit_dense.measure.subject import Subject

SEED = 0
PLAIN = "casvit-"  # names of backbones without a config


def build(subject: Subject) -> nn.Module:
    """The reference form of a subject's network on the CPU in fp32, eval mode.

    Weights are random with a fixed seed; statistics and affine parameters of BatchNorm too, so
    that folding them is real work. Detectors keep detections of any score: their number, and with
    it the work behind the heads, then does not depend on the weights.

    Raises:
        UserError: no such backbone, or the config cannot be read.
    """
    check_model(subject.model)
    torch.manual_seed(SEED)
    if subject.model.endswith(".py"):
        network = _build_configured(subject)
    else:
        network = CASViT(subject.model.removeprefix(PLAIN))
    randomise_norms(network)
    network.eval()  # not chained: of some peers this returns nothing
    return network


def check_model(model: str) -> None:
    """Looks whether there is such a backbone or such a config file.

    Raises:
        UserError: there is not.
    """
    if model.endswith(".py"):
        if not Path(model).is_file():
            raise UserError(f"no config file {model}")
    elif model not in {PLAIN + name for name in ARCHS}:
        names = ", ".join(PLAIN + name for name in ARCHS)
        raise UserError(f"no model {model!r}: give {names}, or a config file (.py)")


def _build_configured(subject: Subject) -> nn.Module:
    from mmengine.model import revert_sync_batchnorm

    from casvit_dense.engine.options import RunOptions
    from casvit_dense.engine.prepare import prepare
    from casvit_dense.engine.registries import use_scope_of

    cfg = prepare(subject.model, RunOptions())
    models = import_module(f"{use_scope_of(cfg)}.registry").MODELS
    with warnings.catch_warnings():
        # What heads say about their losses is of no use here.
        warnings.simplefilter("ignore", UserWarning)
        if subject.part == "backbone":
            return revert_sync_batchnorm(models.build(cfg.model.backbone))
        for test_cfg in (cfg.model.test_cfg, cfg.model.test_cfg.get("rcnn", {})):
            if "score_thr" in test_cfg:
                test_cfg.score_thr = 0.0
        return revert_sync_batchnorm(models.build(cfg.model))


def randomise_norms(network: nn.Module) -> None:
    """Gives every BatchNorm statistics and affine parameters around those it begins with."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                for mean in (module.running_mean, module.bias):
                    if mean is not None:
                        mean.normal_(0.0, 0.1)
                for scale in (module.running_var, module.weight):
                    if scale is not None:
                        scale.uniform_(0.5, 1.5)


def freeze_norms(backbone: nn.Module) -> nn.Module:
    """Training mode by the dense recipe: statistics of BatchNorm frozen, nothing dropped."""
    backbone.train()
    for module in backbone.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
    return backbone


def example(subject: Subject, device: str = "cpu") -> Tensor:
    """The input ``(batch, 3, height, width)``: fp32, contiguous, standard normal, fixed seed."""
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(subject.batch, 3, *subject.size, generator=generator).to(device)


class WholeModel(nn.Module):
    """An mmdet or mmseg model as a function from normalised images to predictions."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Any:
        """Predictions for images ``(N, 3, H, W)``, post-processing included."""
        return self.model.predict(images, data_samples(self.model, images))

    def maps(self, images: Tensor) -> list[Tensor]:
        """What the dense head says, before any choice among detections."""
        features = self.model.extract_feat(images)
        return flatten(dense_head(self.model)(features))


def data_samples(model: nn.Module, images: Tensor) -> list[Any]:
    """One record for each image that says that it was neither resized nor padded."""
    height, width = images.shape[-2:]
    meta = {
        **dict.fromkeys(("ori_shape", "img_shape", "pad_shape"), (height, width)),
        **{"batch_input_shape": (height, width), "scale_factor": (1.0, 1.0)},
        **{"padding_size": [0, 0, 0, 0]},
    }
    if hasattr(model, "decode_head"):
        from mmseg.structures import SegDataSample as DataSample
    else:
        from mmdet.structures import DetDataSample as DataSample
    return [DataSample(metainfo=meta) for _ in range(len(images))]


def flatten(outputs: Tensor | Sequence[Any]) -> list[Tensor]:
    """The tensors of nested outputs, in order."""
    if isinstance(outputs, Tensor):
        return [outputs]
    return [tensor for part in outputs for tensor in flatten(part)]


def results_of(samples: Sequence[Any]) -> list[Tensor]:
    """What predictions are compared by: the scores of all detections, falling, or of all pixels."""
    return [
        sample.seg_logits.data
        if "seg_logits" in sample
        else sample.pred_instances.scores.sort(descending=True).values
        for sample in samples
    ]
