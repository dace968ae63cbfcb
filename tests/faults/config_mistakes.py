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


def mistakes(table: str) -> list[Mistake]:
    """Mistakes of a table: base, text, and what is meant."""
    lines = (line for line in table.splitlines() if line and not line.startswith("#"))
    return [Mistake(*line.split(" | ")) for line in lines]


#: The name that is meant is asked for: "did you mean '…'?"
MISSPELLINGS = mistakes("""
# Sections
retinanet | trian_cfg = dict(max_epochs=3) | train_cfg
retinanet | train_cgf = dict(max_epochs=3) | train_cfg
retinanet | optim_wraper = dict(optimizer=dict(lr=0.1)) | optim_wrapper
retinanet | optimizer = dict(type='SGD', lr=0.1) | optim_wrapper.optimizer
retinanet | optimzer = dict(type='SGD', lr=0.1) | optim_wrapper.optimizer
retinanet | lr_config = dict(policy='step') | param_scheduler
retinanet | runner = dict(max_epochs=3) | train_cfg
retinanet | checkpoint_config = dict(interval=3) | default_hooks.checkpoint
retinanet | evaluation = dict(interval=3) | val_evaluator
retinanet | total_epochs = 3 | train_cfg.max_epochs
retinanet | max_epochs = 3 | train_cfg.max_epochs
retinanet | batch_size = 3 | train_dataloader.batch_size
retinanet | lr = 0.3 | optim_wrapper.optimizer.lr
fpn | data = dict(samples_per_gpu=3) | train_dataloader
fpn | fp16 = dict(loss_scale=512.0) | optim_wrapper
fpn | custom_hook = [dict(type='EMAHook')] | custom_hooks
fpn | default_hook = dict(checkpoint=dict(interval=3)) | default_hooks
fpn | param_schedulers = [] | param_scheduler
fpn | train_datalaoder = dict(batch_size=3) | train_dataloader
fpn | val_evalutor = dict(iou_metrics=['mDice']) | val_evaluator
fpn | randomnes = dict(seed=3) | randomness
fpn | load_form = 'weights.pth' | load_from
fpn | modle = dict(backbone=dict(arch='s')) | model
fpn | find_unused_parameter = True | find_unused_parameters
# Keys of the runner's dicts
retinanet | train_cfg = dict(max_epoch=3) | max_epochs
retinanet | train_cfg = dict(val_intervall=3) | val_interval
fpn | train_cfg = dict(max_iter=3) | max_iters
retinanet | val_cfg = dict(fp61=True) | fp16
retinanet | train_dataloader = dict(num_worker=3) | num_workers
retinanet | train_dataloader = dict(batchsize=3) | batch_size
retinanet | train_dataloader = dict(persistent_worker=True) | persistent_workers
retinanet | train_dataloader = dict(sampler=dict(shufle=False)) | shuffle
retinanet | default_hooks = dict(chekpoint=dict(interval=3)) | checkpoint
retinanet | default_hooks = dict(loger=dict(type='LoggerHook', interval=3)) | logger
retinanet | default_hooks = dict(checkpoint=dict(intervall=3)) | interval
retinanet | default_hooks = dict(checkpoint=dict(max_keep_ckpt=3)) | max_keep_ckpts
retinanet | default_hooks = dict(logger=dict(intervals=3)) | interval
retinanet | env_cfg = dict(mp_cgf=dict(mp_start_method='spawn')) | mp_cfg
retinanet | env_cfg = dict(cudnn_benchmrak=True) | cudnn_benchmark
fpn | env_cfg = dict(mp_cfg=dict(opencv_num_thread=2)) | opencv_num_threads
fpn | env_cfg = dict(dist_cfg=dict(backends='gloo')) | backend
fpn | randomness = dict(seeds=3) | seed
fpn | randomness = dict(determinstic=True) | deterministic
fpn | auto_scale_lr = dict(base_batchsize=3) | base_batch_size
fpn | log_processor = dict(window_sizes=3) | window_size
# Learning
retinanet | optim_wrapper = dict(optimiser=dict(lr=0.1)) | optimizer
retinanet | optim_wrapper = dict(optimizer=dict(weight_deacy=0.1)) | weight_decay
retinanet | optim_wrapper = dict(optimizer=dict(beta=(0.9, 0.9))) | betas
retinanet | optim_wrapper = dict(clip_gard=dict(max_norm=1)) | clip_grad
retinanet | optim_wrapper = dict(clip_grad=dict(maxnorm=1)) | max_norm
retinanet | optim_wrapper = dict(accumulative_count=4) | accumulative_counts
fpn | optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mul=0.0)) | norm_decay_mult
fpn | optim_wrapper = dict(optimizer=dict(type='AdmaW')) | AdamW
fpn | optim_wrapper = dict(type='OptimWraper') | OptimWrapper
fpn | param_scheduler = [dict(type='MultiStepRL', milestones=[8])] | MultiStepLR
fpn | param_scheduler = [dict(type='MultiStepLR', milestone=[8])] | milestones
fpn | param_scheduler = [dict(type='PolyLR', powr=0.9)] | power
fpn | param_scheduler = [dict(type='LinearLR', start_facter=0.1)] | start_factor
fpn | custom_hooks = [dict(type='EMAHok')] | EMAHook
fpn | custom_hooks = [dict(type='EMAHook', ema_typ='A')] | ema_type
# The model
retinanet | model = dict(backbon=dict(arch='s')) | backbone
retinanet | model = dict(backbone=dict(norm_evl=True)) | norm_eval
retinanet | model = dict(backbone=dict(type='CASVit')) | CASViT
retinanet | model = dict(backbone=dict(drop_path=0.1)) | drop_path_rate
retinanet | model = dict(neck=dict(out_channel=32)) | out_channels
retinanet | model = dict(neck=dict(norm_cfg=dict(type='GNN'))) | GN
retinanet | model = dict(bbox_head=dict(num_class=3)) | num_classes
retinanet | model = dict(bbox_head=dict(loss_cls=dict(gama=1.0))) | gamma
retinanet | model = dict(bbox_head=dict(loss_cls=dict(type='FocalLos'))) | FocalLoss
retinanet | model = dict(bbox_head=dict(anchor_generator=dict(ratio=[1.0]))) | ratios
retinanet | model = dict(test_cfg=dict(score_tr=0.1)) | score_thr
retinanet | model = dict(test_cfg=dict(max_per_image=50)) | max_per_img
retinanet | model = dict(test_cfg=dict(nms=dict(iou_treshold=0.6))) | iou_threshold
retinanet | model = dict(test_cfg=dict(nms_threshold=0.6)) | iou_threshold
retinanet | model = dict(train_cfg=dict(assigner=dict(pos_iou_th=0.6))) | pos_iou_thr
mask-rcnn | model = dict(train_cfg=dict(rpn_proposals=dict())) | rpn_proposal
mask-rcnn | model = dict(test_cfg=dict(rccn=dict(score_thr=0.1))) | rcnn
mask-rcnn | model = dict(roi_head=dict(mask_head=dict(num_conv=2))) | num_convs
mask-rcnn | model = dict(roi_heads=dict(type='StandardRoIHead')) | roi_head
fpn | model = dict(decode_head=dict(channel=32)) | channels
fpn | model = dict(decode_head=dict(dropout=0.1)) | dropout_ratio
fpn | model = dict(data_preprocessor=dict(bgr_to_rbg=True)) | bgr_to_rgb
fpn | model = dict(test_cfg=dict(mod='slide')) | mode
# Data
retinanet | train_dataloader = dict(dataset=dict(annfile='a.json')) | ann_file
retinanet | train_dataloader = dict(dataset=dict(type='CocoDatset')) | CocoDataset
retinanet | train_dataloader = dict(dataset=dict(filter_cfg=dict(minsize=3))) | min_size
fpn | train_dataloader = dict(dataset=dict(data_prefix=dict(img_paths='a'))) | img_path
retinanet | val_evaluator = dict(type='DenseCocoMetrics') | DenseCocoMetric
retinanet | val_evaluator = dict(metrics=['bbox']) | metric
fpn | val_evaluator = dict(iou_metric=['mIoU']) | iou_metrics
# Overrides
retinanet | --train_dataloader.batch_sise=2 | batch_size
retinanet | --train_datalodaer.batch_size=2 | train_dataloader
retinanet | --model.bakbone.arch=s | backbone
retinanet | --model.backbone.drop_path_rat=0.1 | drop_path_rate
retinanet | --model.test_cfg.score_th=0.1 | score_thr
retinanet | --train_cfg.max_epocs=2 | max_epochs
retinanet | --optim_wrapper.optimizer.lrr=0.1 | lr
retinanet | --default_hooks.checkpoint.intervel=2 | interval
retinanet | --train_dataloader.dataset.pipeline.2.scales=64 | scale
retinanet | --train_dataloader.dataset.pipeline.2.type=Resise | Resize
fpn | --train_dataloader.dataset.pipeline.3.probs=0.5 | prob
fpn | --randomness.sed=3 | seed
fpn | --optimizer.lr=0.1 | optim_wrapper.optimizer
fpn | --env_cfg.dist_cfg.bakend=gloo | backend
fpn | --param_scheduler.1.eta_mn=0.1 | eta_min
# A metric that no evaluator gives
retinanet | --default_hooks.checkpoint.save_best=coco/segm_mAP | coco/bbox_mAP
fpn | default_hooks = dict(checkpoint=dict(save_best='mIOU')) | mIoU
""")

#: What is wanted instead is said.
WRONG_VALUES = mistakes("""
retinanet | train_cfg = dict(max_epochs='3') | whole number, 1 or more
retinanet | train_cfg = dict(max_epochs=0) | whole number, 1 or more
retinanet | train_cfg = dict(max_epochs=1.5) | whole number, 1 or more
retinanet | train_cfg = dict(val_interval=0) | whole number, 1 or more
retinanet | train_cfg = 12 | a dict
retinanet | train_dataloader = dict(batch_size=-1) | whole number, 1 or more
retinanet | train_dataloader = dict(num_workers=-2) | whole number, 0 or more
retinanet | train_dataloader = dict(batch_size='four') | whole number, 1 or more
retinanet | train_dataloader = [1] | a dict
retinanet | optim_wrapper = dict(optimizer=dict(lr='high')) | a number
retinanet | optim_wrapper = dict(optimizer=dict(lr=-0.1)) | number, 0 or more
retinanet | optim_wrapper = dict(optimizer='AdamW') | a dict
retinanet | optim_wrapper = dict(optimizer=dict(betas=0.9)) | cannot be built
retinanet | optim_wrapper = dict(clip_grad=1.0) | a dict
retinanet | model = dict(neck=dict(num_outs='five')) | a number
retinanet | model = dict(neck='FPN') | a dict
retinanet | model = dict(bbox_head=dict(num_classes=0)) | whole number, 1 or more
retinanet | default_hooks = dict(checkpoint=dict(interval='often')) | or -1
retinanet | default_hooks = dict(checkpoint=dict(interval=0)) | 1 or more, or -1
retinanet | default_hooks = dict(checkpoint=dict(rule='most')) | cannot be built
retinanet | default_hooks = dict(logger=dict(interval=0)) | 1 or more
retinanet | --custom_hooks=EMAHook | a list
retinanet | custom_hooks = ['EMAHook'] | a dict with a type
retinanet | resume = 'yes' | True or False
retinanet | work_dir = 3 | a text
fpn | param_scheduler = [dict(type='MultiStepLR', milestones=8)] | a list of numbers
fpn | param_scheduler = [dict(type='MultiStepLR', milestones='8,11')] | a list
fpn | param_scheduler = [dict(type='MultiStepLR', milestones=[11, 8])] | must rise
fpn | param_scheduler = [dict(type='LinearLR', start_factor=2)] | be built
fpn | param_scheduler = ['PolyLR'] | a dict with a type
fpn | randomness = dict(seed='seven') | whole number, 0 or more
fpn | randomness = 7 | a dict
fpn | train_dataloader = dict(dataset='ADE20KDataset') | a dict
fpn | train_dataloader = dict(dataset=dict(pipeline=['Resize'])) | a dict with a
fpn | train_dataloader = dict(dataset=dict(pipeline='Resize')) | a list
fpn | --train_dataloader.dataset.pipeline.3.prob=2.0 | cannot be built
fpn | --train_dataloader.dataset.pipeline.2.keep_ratio='yes' | True or False
fpn | --train_cfg.max_iters=many | whole number, 1 or more
fpn | --train_dataloader.dataset.pipeline.9.prob=0.5 | not an index
fpn | --env_cfg.cudnn_benchmark=maybe | True or False
fpn | --env_cfg.dist_cfg.timeout=-1 | number, 0 or more
fpn | --log_level=LOUD | no level is called 'LOUD'; there are CRITICAL, DEBUG
fpn | --launcher=pytorch | the flag --launcher
retinanet | model = dict(data_preprocessor=dict(mean=3)) | DetDataPreprocessor cannot be built
""")

#: Only the files show the first (the base has used its own pipeline before); the second is one for
#: trainings alone.
OTHERS = mistakes("""
retinanet | train_pipeline = [dict(type='LoadImageFromFile')] | base
fpn | --default_hooks.checkpoint=None | no checkpoint
""")

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
