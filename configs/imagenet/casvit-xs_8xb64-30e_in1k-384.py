# Begins with the weights of the 300 epochs (load_from).
_base_ = ["_base_/classifier.py", "_base_/imagenet_384.py", "_base_/schedule_30e.py"]

model = dict(backbone=dict(drop_path_rate=0.0))
