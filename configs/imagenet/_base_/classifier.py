# CAS-ViT with one head, as the released training script builds it; the published weights have two.
custom_imports = dict(
    imports=["casvit_dense.engine", "casvit_dense.classification.register"],
    allow_failed_imports=False,
)
model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(
        type="ImgDataPreprocessor",  # images come in RGB
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
    backbone=dict(type="CASViT", arch="xs", out_indices=(3,), drop_path_rate=0.1, norm_eval=False),
    num_classes=1000,
    heads=1,
    label_smoothing=0.1,
    init_cfg=dict(type="TruncNormal", layer="Linear", std=0.02),
)
