# A quarter of the demo's iterations from the weights of casvit-mini_shapes-64, BatchNorm frozen as
# in the paper. With --from-scratch: the same schedule without them.
_base_ = "fpn_casvit-mini_shapes.py"

model = dict(
    backbone=dict(
        norm_eval=True,
        init_cfg=dict(
            _delete_=True,
            type="CASViTWeights",
            checkpoint="work_dirs/casvit-mini_shapes-64/epoch_8.pth",
        ),
    )
)
train_cfg = dict(max_iters=300, val_interval=50)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=50, end=300),
]
default_hooks = dict(checkpoint=dict(interval=150))
