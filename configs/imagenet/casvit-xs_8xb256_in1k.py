# Named as the port's, after the official script's default batch. The official README trains with 8
# GPUs x 128 images and accumulates two batches, the same 256 images a GPU and step; so does this.
_base_ = ["_base_/classifier.py", "_base_/imagenet.py", "_base_/schedule_300e.py"]
