# From scratch in minutes: a tenfold rate, one epoch of warm-up, then a cosine down to nothing.
_base_ = "../../_base_/schedules/detection_1x.py"

train_cfg = dict(max_epochs=20, val_interval=10)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, begin=0, end=1, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=0.0, begin=1, end=20, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=8)
randomness = dict(seed=0)
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=1))
