"""Runs a file of `casvit-dense export` in ONNX Runtime alone: run_onnx.py MODEL.onnx IMAGE."""

import json
import sys

import cv2
import numpy as np
import onnxruntime

if len(sys.argv) != 3:
    sys.exit(__doc__)
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
texts = session.get_modelmeta().custom_metadata_map
about = {key: json.loads(text) for key, text in texts.items()}
if about.get("part") != "model":
    sys.exit(f"{sys.argv[1]} is not a whole model: its maps need a head, so nothing is shown")

picture = cv2.imread(sys.argv[2])  # (H, W, 3), BGR
if picture is None:
    sys.exit(f"{sys.argv[2]} is not an image that OpenCV reads")
sides = sorted(picture.shape[:2], reverse=True)
if about["dynamic"]:
    scale = min(room / side for room, side in zip(about["resize"], sides, strict=True))
    image = cv2.resize(picture, None, fx=scale, fy=scale)
else:
    image = cv2.resize(picture, about["input_shape"][:1:-1])
ratio = np.array([picture.shape[1] / image.shape[1], picture.shape[0] / image.shape[0]] * 2)
pixels = image[:, :, ::-1] if about["channel_order"] == "RGB" else image
batch = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)
outputs = dict(zip(about["outputs"], session.run(None, {about["input_name"]: batch}), strict=True))

if about["kind"] == "segmenter":
    for label, count in zip(*np.unique(outputs["labels"], return_counts=True), strict=True):
        print(f"{about['classes'][label]}: {count / outputs['labels'].size:.1%} of the image")
for i in range(len(outputs.get("boxes", ()))):
    box = (outputs["boxes"][i] * ratio).round(1).tolist()
    print(f"{about['classes'][outputs['labels'][i]]} {outputs['scores'][i]:.2f} at {box}")
