_base_ = "casvit-xs_8xb64-30e_in1k-384.py"

model = dict(backbone=dict(arch="s"))
