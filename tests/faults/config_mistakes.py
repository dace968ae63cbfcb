"""Misspellings and wrong values in config files and overrides: what a training says of each.

``python tests/faults/config_mistakes.py`` starts a training with every mistake, on data that do not
exist, and prints how many were refused before these were looked for, how many with the name that
was meant, and what was written.
"""

import contextlib
import io
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NamedTuple

CONFIGS = Path(__file__).parents[2] / "configs"
BASES = {
    "retinanet": CONFIGS / "demo/retinanet_casvit-mini_fpn_shapes.py",
    "mask-rcnn": CONFIGS / "demo/mask-rcnn_casvit-mini_fpn_shapes.py",
    "fpn": CONFIGS / "demo/fpn_casvit-mini_shapes.py",
}


class Mistake(NamedTuple):
    """A mistake and what its message must name.

    Attributes:
        base: key of `BASES`.
        text: lines of a file that inherits the base, or ``--key=value`` for an override.
        meant: the name that is meant, or for a wrong value what is wanted.
    """

    base: str
    text: str
    meant: str

    @property
    def override(self) -> str | None:
        return self.text.removeprefix("--") if self.text.startswith("--") else None


#: The name that is meant is asked for: "did you mean '…'?"
MISSPELLINGS = [
    # Sections.
    Mistake("retinanet", "trian_cfg = dict(max_epochs=3)", "train_cfg"),
    Mistake("retinanet", "train_cgf = dict(max_epochs=3)", "train_cfg"),
    Mistake("retinanet", "optim_wraper = dict(optimizer=dict(lr=0.1))", "optim_wrapper"),
    Mistake("retinanet", "optimizer = dict(type='SGD', lr=0.1)", "optim_wrapper.optimizer"),
    Mistake("retinanet", "optimzer = dict(type='SGD', lr=0.1)", "optim_wrapper.optimizer"),
    Mistake("retinanet", "lr_config = dict(policy='step')", "param_scheduler"),
    Mistake("retinanet", "runner = dict(max_epochs=3)", "train_cfg"),
    Mistake("retinanet", "checkpoint_config = dict(interval=3)", "default_hooks.checkpoint"),
    Mistake("retinanet", "evaluation = dict(interval=3)", "val_evaluator"),
    Mistake("retinanet", "total_epochs = 3", "train_cfg.max_epochs"),
    Mistake("retinanet", "max_epochs = 3", "train_cfg.max_epochs"),
    Mistake("retinanet", "batch_size = 3", "train_dataloader.batch_size"),
    Mistake("retinanet", "lr = 0.3", "optim_wrapper.optimizer.lr"),
    Mistake("fpn", "data = dict(samples_per_gpu=3)", "train_dataloader"),
    Mistake("fpn", "fp16 = dict(loss_scale=512.0)", "optim_wrapper"),
    Mistake("fpn", "custom_hook = [dict(type='EMAHook')]", "custom_hooks"),
    Mistake("fpn", "default_hook = dict(checkpoint=dict(interval=3))", "default_hooks"),
    Mistake("fpn", "param_schedulers = []", "param_scheduler"),
    Mistake("fpn", "train_datalaoder = dict(batch_size=3)", "train_dataloader"),
    Mistake("fpn", "val_evalutor = dict(iou_metrics=['mDice'])", "val_evaluator"),
    Mistake("fpn", "randomnes = dict(seed=3)", "randomness"),
    Mistake("fpn", "load_form = 'weights.pth'", "load_from"),
    Mistake("fpn", "modle = dict(backbone=dict(arch='s'))", "model"),
    Mistake("fpn", "find_unused_parameter = True", "find_unused_parameters"),
    # Keys of the runner's dicts.
    Mistake("retinanet", "train_cfg = dict(max_epoch=3)", "max_epochs"),
    Mistake("retinanet", "train_cfg = dict(val_intervall=3)", "val_interval"),
    Mistake("fpn", "train_cfg = dict(max_iter=3)", "max_iters"),
    Mistake("retinanet", "val_cfg = dict(fp61=True)", "fp16"),
    Mistake("retinanet", "train_dataloader = dict(num_worker=3)", "num_workers"),
    Mistake("retinanet", "train_dataloader = dict(batchsize=3)", "batch_size"),
    Mistake("retinanet", "train_dataloader = dict(persistent_worker=True)", "persistent_workers"),
    Mistake("retinanet", "train_dataloader = dict(sampler=dict(shufle=False))", "shuffle"),
    Mistake("retinanet", "default_hooks = dict(chekpoint=dict(interval=3))", "checkpoint"),
    Mistake(
        "retinanet", "default_hooks = dict(loger=dict(type='LoggerHook', interval=3))", "logger"
    ),
    Mistake("retinanet", "default_hooks = dict(checkpoint=dict(intervall=3))", "interval"),
    Mistake(
        "retinanet", "default_hooks = dict(checkpoint=dict(max_keep_ckpt=3))", "max_keep_ckpts"
    ),
    Mistake("retinanet", "default_hooks = dict(logger=dict(intervals=3))", "interval"),
    Mistake("retinanet", "env_cfg = dict(mp_cgf=dict(mp_start_method='spawn'))", "mp_cfg"),
    Mistake("retinanet", "env_cfg = dict(cudnn_benchmrak=True)", "cudnn_benchmark"),
    Mistake("fpn", "env_cfg = dict(mp_cfg=dict(opencv_num_thread=2))", "opencv_num_threads"),
    Mistake("fpn", "env_cfg = dict(dist_cfg=dict(backends='gloo'))", "backend"),
    Mistake("fpn", "randomness = dict(seeds=3)", "seed"),
    Mistake("fpn", "randomness = dict(determinstic=True)", "deterministic"),
    Mistake("fpn", "auto_scale_lr = dict(base_batchsize=3)", "base_batch_size"),
    Mistake("fpn", "log_processor = dict(window_sizes=3)", "window_size"),
    # Learning.
    Mistake("retinanet", "optim_wrapper = dict(optimiser=dict(lr=0.1))", "optimizer"),
    Mistake("retinanet", "optim_wrapper = dict(optimizer=dict(weight_deacy=0.1))", "weight_decay"),
    Mistake("retinanet", "optim_wrapper = dict(optimizer=dict(beta=(0.9, 0.9)))", "betas"),
    Mistake("retinanet", "optim_wrapper = dict(clip_gard=dict(max_norm=1))", "clip_grad"),
    Mistake("retinanet", "optim_wrapper = dict(clip_grad=dict(maxnorm=1))", "max_norm"),
    Mistake("retinanet", "optim_wrapper = dict(accumulative_count=4)", "accumulative_counts"),
    Mistake(
        "fpn",
        "optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mul=0.0))",
        "norm_decay_mult",
    ),
    Mistake("fpn", "optim_wrapper = dict(optimizer=dict(type='AdmaW'))", "AdamW"),
    Mistake("fpn", "optim_wrapper = dict(type='OptimWraper')", "OptimWrapper"),
    Mistake("fpn", "param_scheduler = [dict(type='MultiStepRL', milestones=[8])]", "MultiStepLR"),
    Mistake("fpn", "param_scheduler = [dict(type='MultiStepLR', milestone=[8])]", "milestones"),
    Mistake("fpn", "param_scheduler = [dict(type='PolyLR', powr=0.9)]", "power"),
    Mistake("fpn", "param_scheduler = [dict(type='LinearLR', start_facter=0.1)]", "start_factor"),
    Mistake("fpn", "custom_hooks = [dict(type='EMAHok')]", "EMAHook"),
    Mistake("fpn", "custom_hooks = [dict(type='EMAHook', ema_typ='A')]", "ema_type"),
    # The model.
    Mistake("retinanet", "model = dict(backbon=dict(arch='s'))", "backbone"),
    Mistake("retinanet", "model = dict(backbone=dict(norm_evl=True))", "norm_eval"),
    Mistake("retinanet", "model = dict(backbone=dict(type='CASVit'))", "CASViT"),
    Mistake("retinanet", "model = dict(backbone=dict(drop_path=0.1))", "drop_path_rate"),
    Mistake("retinanet", "model = dict(neck=dict(out_channel=32))", "out_channels"),
    Mistake("retinanet", "model = dict(neck=dict(norm_cfg=dict(type='GNN')))", "GN"),
    Mistake("retinanet", "model = dict(bbox_head=dict(num_class=3))", "num_classes"),
    Mistake("retinanet", "model = dict(bbox_head=dict(loss_cls=dict(gama=1.0)))", "gamma"),
    Mistake(
        "retinanet",
        "model = dict(bbox_head=dict(loss_cls=dict(type='FocalLos')))",
        "FocalLoss",
    ),
    Mistake(
        "retinanet",
        "model = dict(bbox_head=dict(anchor_generator=dict(ratio=[1.0])))",
        "ratios",
    ),
    Mistake("retinanet", "model = dict(test_cfg=dict(score_tr=0.1))", "score_thr"),
    Mistake("retinanet", "model = dict(test_cfg=dict(max_per_image=50))", "max_per_img"),
    Mistake(
        "retinanet", "model = dict(test_cfg=dict(nms=dict(iou_treshold=0.6)))", "iou_threshold"
    ),
    Mistake("retinanet", "model = dict(test_cfg=dict(nms_threshold=0.6))", "iou_threshold"),
    Mistake(
        "retinanet", "model = dict(train_cfg=dict(assigner=dict(pos_iou_th=0.6)))", "pos_iou_thr"
    ),
    Mistake("mask-rcnn", "model = dict(train_cfg=dict(rpn_proposals=dict()))", "rpn_proposal"),
    Mistake("mask-rcnn", "model = dict(test_cfg=dict(rccn=dict(score_thr=0.1)))", "rcnn"),
    Mistake("mask-rcnn", "model = dict(roi_head=dict(mask_head=dict(num_conv=2)))", "num_convs"),
    Mistake("mask-rcnn", "model = dict(roi_heads=dict(type='StandardRoIHead'))", "roi_head"),
    Mistake("fpn", "model = dict(decode_head=dict(channel=32))", "channels"),
    Mistake("fpn", "model = dict(decode_head=dict(dropout=0.1))", "dropout_ratio"),
    Mistake("fpn", "model = dict(data_preprocessor=dict(bgr_to_rbg=True))", "bgr_to_rgb"),
    Mistake("fpn", "model = dict(test_cfg=dict(mod='slide'))", "mode"),
    # Data.
    Mistake("retinanet", "train_dataloader = dict(dataset=dict(annfile='a.json'))", "ann_file"),
    Mistake("retinanet", "train_dataloader = dict(dataset=dict(type='CocoDatset'))", "CocoDataset"),
    Mistake(
        "retinanet",
        "train_dataloader = dict(dataset=dict(filter_cfg=dict(minsize=3)))",
        "min_size",
    ),
    Mistake(
        "fpn",
        "train_dataloader = dict(dataset=dict(data_prefix=dict(img_paths='a')))",
        "img_path",
    ),
    Mistake("retinanet", "val_evaluator = dict(type='DenseCocoMetrics')", "DenseCocoMetric"),
    Mistake("retinanet", "val_evaluator = dict(metrics=['bbox'])", "metric"),
    Mistake("fpn", "val_evaluator = dict(iou_metric=['mIoU'])", "iou_metrics"),
    # Overrides.
    Mistake("retinanet", "--train_dataloader.batch_sise=2", "batch_size"),
    Mistake("retinanet", "--train_datalodaer.batch_size=2", "train_dataloader"),
    Mistake("retinanet", "--model.bakbone.arch=s", "backbone"),
    Mistake("retinanet", "--model.backbone.drop_path_rat=0.1", "drop_path_rate"),
    Mistake("retinanet", "--model.test_cfg.score_th=0.1", "score_thr"),
    Mistake("retinanet", "--train_cfg.max_epocs=2", "max_epochs"),
    Mistake("retinanet", "--optim_wrapper.optimizer.lrr=0.1", "lr"),
    Mistake("retinanet", "--default_hooks.checkpoint.intervel=2", "interval"),
    Mistake("retinanet", "--train_dataloader.dataset.pipeline.2.scales=64", "scale"),
    Mistake("retinanet", "--train_dataloader.dataset.pipeline.2.type=Resise", "Resize"),
    Mistake("fpn", "--train_dataloader.dataset.pipeline.3.probs=0.5", "prob"),
    Mistake("fpn", "--randomness.sed=3", "seed"),
    Mistake("fpn", "--optimizer.lr=0.1", "optim_wrapper.optimizer"),
    Mistake("fpn", "--env_cfg.dist_cfg.bakend=gloo", "backend"),
    Mistake("fpn", "--param_scheduler.1.eta_mn=0.1", "eta_min"),
    # A metric that no evaluator gives.
    Mistake("retinanet", "--default_hooks.checkpoint.save_best=coco/segm_mAP", "coco/bbox_mAP"),
    Mistake("fpn", "default_hooks = dict(checkpoint=dict(save_best='mIOU'))", "mIoU"),
]

#: What is wanted instead is said.
WRONG_VALUES = [
    Mistake("retinanet", "train_cfg = dict(max_epochs='3')", "whole number, 1 or more"),
    Mistake("retinanet", "train_cfg = dict(max_epochs=0)", "whole number, 1 or more"),
    Mistake("retinanet", "train_cfg = dict(max_epochs=1.5)", "whole number, 1 or more"),
    Mistake("retinanet", "train_cfg = dict(val_interval=0)", "whole number, 1 or more"),
    Mistake("retinanet", "train_cfg = 12", "a dict"),
    Mistake("retinanet", "train_dataloader = dict(batch_size=-1)", "whole number, 1 or more"),
    Mistake("retinanet", "train_dataloader = dict(num_workers=-2)", "whole number, 0 or more"),
    Mistake("retinanet", "train_dataloader = dict(batch_size='four')", "whole number, 1 or more"),
    Mistake("retinanet", "train_dataloader = [1]", "a dict"),
    Mistake("retinanet", "optim_wrapper = dict(optimizer=dict(lr='high'))", "a number"),
    Mistake("retinanet", "optim_wrapper = dict(optimizer=dict(lr=-0.1))", "number, 0 or more"),
    Mistake("retinanet", "optim_wrapper = dict(optimizer='AdamW')", "a dict"),
    Mistake("retinanet", "optim_wrapper = dict(optimizer=dict(betas=0.9))", "cannot be built"),
    Mistake("retinanet", "optim_wrapper = dict(clip_grad=1.0)", "a dict"),
    Mistake("retinanet", "model = dict(neck=dict(num_outs='five'))", "a number"),
    Mistake("retinanet", "model = dict(neck='FPN')", "a dict"),
    Mistake("retinanet", "model = dict(bbox_head=dict(num_classes=0))", "whole number, 1 or more"),
    Mistake("retinanet", "default_hooks = dict(checkpoint=dict(interval='often'))", "or -1"),
    Mistake("retinanet", "default_hooks = dict(checkpoint=dict(interval=0))", "1 or more, or -1"),
    Mistake("retinanet", "default_hooks = dict(checkpoint=dict(rule='most'))", "cannot be built"),
    Mistake("retinanet", "default_hooks = dict(logger=dict(interval=0))", "1 or more"),
    Mistake("retinanet", "--custom_hooks=EMAHook", "a list"),
    Mistake("retinanet", "custom_hooks = ['EMAHook']", "a dict with a type"),
    Mistake("retinanet", "resume = 'yes'", "True or False"),
    Mistake("retinanet", "work_dir = 3", "a text"),
    Mistake(
        "fpn", "param_scheduler = [dict(type='MultiStepLR', milestones=8)]", "a list of numbers"
    ),
    Mistake("fpn", "param_scheduler = [dict(type='MultiStepLR', milestones='8,11')]", "a list"),
    Mistake("fpn", "param_scheduler = [dict(type='MultiStepLR', milestones=[11, 8])]", "must rise"),
    Mistake("fpn", "param_scheduler = [dict(type='LinearLR', start_factor=2)]", "be built"),
    Mistake("fpn", "param_scheduler = ['PolyLR']", "a dict with a type"),
    Mistake("fpn", "randomness = dict(seed='seven')", "whole number, 0 or more"),
    Mistake("fpn", "randomness = 7", "a dict"),
    Mistake("fpn", "train_dataloader = dict(dataset='ADE20KDataset')", "a dict"),
    Mistake("fpn", "train_dataloader = dict(dataset=dict(pipeline=['Resize']))", "a dict with a"),
    Mistake("fpn", "train_dataloader = dict(dataset=dict(pipeline='Resize'))", "a list"),
    Mistake("fpn", "--train_dataloader.dataset.pipeline.3.prob=2.0", "cannot be built"),
    Mistake("fpn", "--train_dataloader.dataset.pipeline.2.keep_ratio='yes'", "True or False"),
    Mistake("fpn", "--train_cfg.max_iters=many", "whole number, 1 or more"),
    Mistake("fpn", "--train_dataloader.dataset.pipeline.9.prob=0.5", "not an index"),
]

#: Only the files show the first (the base has used its own pipeline before); the second is one for
#: trainings alone.
OTHERS = [
    Mistake("retinanet", "train_pipeline = [dict(type='LoadImageFromFile')]", "base"),
    Mistake("fpn", "--default_hooks.checkpoint=None", "no checkpoint"),
]

MISTAKES = [*MISSPELLINGS, *WRONG_VALUES]


def main() -> int:
    """Starts every training in an empty folder. Exit code 1: one was not refused as it should."""
    from casvit_dense.cli import main as command

    failures, suggested, tried = [], 0, [*MISTAKES, *OTHERS]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for mistake in tried:
            config, arguments = Path(folder, "mistake.py"), ["--data-root", "no/such/folder"]
            config.write_text(f"_base_ = {str(BASES[mistake.base])!r}\n")
            if mistake.override is None:
                config.write_text(f"{config.read_text()}{mistake.text}\n")
            else:
                arguments += ["--cfg-options", mistake.override]
            said = io.StringIO()
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                try:
                    code: object = command(["train", str(config), *arguments])
                except BaseException:
                    code = traceback.format_exc()
            config.unlink()
            written = [str(path) for path in Path(folder).rglob("*")]
            message = said.getvalue()
            if code != 2 or "no/such/folder" in message or written:
                failures.append(f"{mistake.text}: exit {code}, {written}, {message}")
            named = f"did you mean '{mistake.meant}'?" if mistake in MISSPELLINGS else mistake.meant
            suggested += named in message
            if named not in message:
                print(f"no suggestion of {mistake.meant}: {mistake.text}: {message}")
        os.chdir(CONFIGS)
    print(*failures, sep="\n")
    print(
        f"{len(tried)} mistakes: {len(tried) - len(failures)} refused before data are read, "
        f"nothing written; {suggested} with the right suggestion"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
