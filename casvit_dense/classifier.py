"""The official image classifier, to try a downloaded weight file before days of training.

Reference code: https://github.com/Tianfang-Zhang/CAS-ViT, commit 041d2d6, MIT licence
(``classification/model/rcvit.py``). Rewritten around the dense backbone; the final norm is the
output norm of its last stage.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from casvit_dense.casvit import ARCHS, CASViT
from casvit_dense.checkpoint.formats import read_weights, renamed
from casvit_dense.checkpoint.loading import LoadReport, load_strictly
from casvit_dense.errors import UserError

NAMES = {f"casvit-{arch}": arch for arch in ARCHS}


class CASViTClassifier(nn.Module):
    """CAS-ViT with its two linear heads, of which one learned from a teacher.

    Args:
        arch: variant, as for ``CASViT``.
        num_classes: outputs of each head.
        drop_path_rate: stochastic depth, as for ``CASViT``.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Sequence[int]] = "xs",
        num_classes: int = 1000,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = CASViT(
            arch, out_indices=(3,), drop_path_rate=drop_path_rate, norm_eval=False
        )
        (features,) = self.backbone.out_channels
        self.head = nn.Linear(features, num_classes)
        self.dist_head = nn.Linear(features, num_classes)

    def extract_feat(self, x: Tensor) -> Tensor:
        """Images ``(N, 3, H, W)`` to the features ``(N, C)`` that the heads read."""
        (feature_map,) = self.backbone(x)
        return feature_map.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Logits ``(N, num_classes)``: the mean of the heads, or both of them in training."""
        features = self.extract_feat(x)
        logits, teacher_logits = self.head(features), self.dist_head(features)
        if self.training:
            return logits, teacher_logits
        return (logits + teacher_logits) / 2


def get_model(
    name: str,
    pretrained: str | os.PathLike[str] | None = None,
    num_classes: int = 1000,
    ema: bool = False,
) -> CASViTClassifier:
    """A published classifier by name; call ``eval()`` on it before use.

    Args:
        name: ``casvit-xs``, ``casvit-s``, ``casvit-m`` or ``casvit-t`` (the largest).
        pretrained: classification file of any known format, loaded strictly with both heads.
        num_classes: outputs of each head.
        ema: take the file's averaged weights.

    Raises:
        UserError: unknown name, or a file that cannot be read safely or does not fit.
    """
    if name not in NAMES:
        raise UserError(f"unknown model {name!r}; choose from {', '.join(NAMES)}")
    model = CASViTClassifier(NAMES[name], num_classes)
    if pretrained is not None:
        load_classifier(model, pretrained, ema)
    return model


def load_classifier(
    model: CASViTClassifier, path: str | os.PathLike[str], ema: bool = False
) -> LoadReport:
    """Loads a classification file with its final norm and heads, strictly."""
    weights = read_weights(path, ema)
    if weights.kind != "classification":
        raise UserError(
            f"weight file {weights.path} holds no classifier ({weights.format}); "
            "give an ImageNet classification file"
        )
    names = {name: re.sub(r"^norm\.", "backbone.norm6.", name) for name in weights.state}
    state = renamed(weights.state, names, weights.path)
    return load_strictly(model, replace(weights, state=state), leave_out=lambda name: None)
