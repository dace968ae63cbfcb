_base_ = "casvit-xs_8xb256_in1k.py"

model = dict(backbone=dict(arch="m"))
