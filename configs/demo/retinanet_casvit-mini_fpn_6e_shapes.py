# A third of the demo's epochs from the weights of casvit-mini_shapes-64, BatchNorm frozen as in the
# paper. With --from-scratch: the same schedule without them.
_base_ = "retinanet_casvit-mini_fpn_shapes.py"

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
train_cfg = dict(max_epochs=6, val_interval=1)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type="CosineAnnealingLR", eta_min=0.0, begin=1, end=6, convert_to_iter_based=True),
]
