# From scratch in minutes: a tenfold rate, a short warm-up, then a cosine down to nothing.
_base_ = "../../_base_/schedules/segmentation_40k.py"

train_cfg = dict(max_iters=1200, val_interval=600)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=50, end=1200),
]
auto_scale_lr = dict(base_batch_size=8)
randomness = dict(seed=0)
default_hooks = dict(checkpoint=dict(interval=600, max_keep_ckpts=1))
