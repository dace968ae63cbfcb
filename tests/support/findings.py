"""Published figures and findings by hand."""

from casvit_dense.results.targets import Target
from casvit_dense.results.verify import Finding, Verdict


def target(backbone: str = "CAS-ViT-XS", **others: object) -> Target:
    usual = dict(head="retinanet_1x", metrics={"bbox_mAP": 36.5}, source="A paper", tolerance=0.3)
    return Target(backbone=backbone, **{**usual, **others})  # type: ignore[arg-type]


def finding(of: Target, verdict: Verdict = Verdict.NOT_RUN, **others: object) -> Finding:
    usual = dict(metric="bbox_mAP", published=36.5, ours=None, spread=None, difference=None)
    usual |= dict(reasons=(), rows=())  # type: ignore[dict-item]
    return Finding(target=of, verdict=verdict, **{**usual, **others})  # type: ignore[arg-type]
