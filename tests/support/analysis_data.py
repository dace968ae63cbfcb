"""Invented truth, detections with scripted errors, and noisy systems, for tests of the analysis."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
from pycocotools import mask as rle

from casvit_dense.analysis.coco_arrays import Detections, Truth

#: A box as x, y, width, height, or a mask in compressed run lengths.
Place = dict | list[float]

SIDE = 400  # of the images, in pixels

#: What is done to an object: share of the objects.
SCRIPT = {
    "correct": 0.4,
    "duplicate": 0.1,  # a second detection of lower score
    "localisation": 0.15,  # moved away
    "classification": 0.15,  # of another class
    "both": 0.08,
    "missed": 0.12,
}
#: Detections of nothing, as a share of the objects.
INVENTED = 0.1


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def invent_truth(images: int, classes: int = 5, objects: int = 7, seed: int = 0) -> dict:
    """Boxes at random places, with rectangles as masks."""
    rng = np.random.default_rng(seed)
    truth: dict = {
        "images": [
            {"id": i + 1, "width": SIDE, "height": SIDE, "file_name": f"{i + 1}.jpg"}
            for i in range(images)
        ],
        "categories": [{"id": 2 * k + 1, "name": f"class {k}"} for k in range(classes)],
        "annotations": [],
    }
    for image in truth["images"]:
        for _ in range(rng.poisson(objects)):
            w, h = map(float, rng.integers(15, 70, 2))
            x, y = map(float, rng.integers(0, SIDE - 70, 2))
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": image["id"],
                    "category_id": int(2 * rng.integers(classes) + 1),
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                    "segmentation": [outline([x, y, w, h])],
                }
            )
    return truth


def outline(box: list[float]) -> list[float]:
    """A box as a polygon."""
    x, y, w, h = box
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def mask_of(box: list[float], size: tuple[int, int]) -> dict:
    """A box as compressed run lengths."""
    return rle.merge(rle.frPyObjects([outline(box)], *size))


def shifted(place: Place, dx: int, dy: int) -> Place:
    """A box, or a mask in run lengths, that many pixels to the right and down."""
    if isinstance(place, list):
        return [place[0] + dx, place[1] + dy, *place[2:]]
    mask = rle.decode(place)
    height, width = mask.shape
    moved = np.zeros_like(mask, order="F")
    moved[max(dy, 0) : height + dy, max(dx, 0) : width + dx] = mask[
        max(-dy, 0) : height - dy, max(-dx, 0) : width - dx
    ]
    return rle.encode(moved)


class Script:
    """Detections made from the truth by errors at the rates of `SCRIPT` and `INVENTED`.

    A detection that would lie on another object or crowd of its class is no error by COCO's rules;
    where an error would end so, the object is detected correctly instead.

    Args:
        truth: content of an instances file.
        kind: ``'bbox'`` or ``'segm'``: what is moved, copied and invented.
        seed: of the random choices.

    Attributes:
        found: the detections.
        made: how often each error was made. An object that was detected in the wrong place and as
            the wrong class was also missed.
    """

    def __init__(self, truth: dict, kind: str, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.kind = kind
        self.found: list[dict] = []
        self.made: Counter = Counter()
        self.sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
        self.annotations = truth["annotations"]
        self.categories = [category["id"] for category in truth["categories"]]
        objects = [a for a in self.annotations if not a["iscrowd"]]
        errors = [name for name, rate in SCRIPT.items() for _ in range(round(rate * len(objects)))]
        errors = (errors + ["correct"] * len(objects))[: len(objects)]
        for a, error in zip(objects, self.rng.permutation(errors).tolist(), strict=True):
            self.commit(a, error)
        for _ in range(round(INVENTED * len(objects))):
            self.invent(objects)

    def overlap(self, place: Place, others: list[dict]) -> float:
        """The largest with any of the annotations."""
        places = [self.place(a) for a in others]
        return rle.iou([place], places, [a["iscrowd"] for a in others]).max() if others else 0.0

    def commit(self, a: dict, error: str) -> None:
        category, place = a["category_id"], self.place(a)
        if error in ("classification", "both"):
            category = int(self.rng.choice([c for c in self.categories if c != category]))
        if error in ("localisation", "both"):
            place = self.misplaced(a)
        others = [
            other
            for other in self.annotations
            if (other["image_id"], other["category_id"]) == (a["image_id"], category)
            and other["id"] != a["id"]
        ]
        if error not in ("correct", "missed") and self.overlap(place, others) >= 0.5:
            error, category, place = "correct", a["category_id"], self.place(a)
        self.made.update(["both", "missed"] if error == "both" else [error])
        if error != "missed":
            self.detect(a["image_id"], category, place, self.rng.uniform(0.5, 1))
        if error == "duplicate":
            self.detect(a["image_id"], category, place, self.rng.uniform(0, 0.5))

    def misplaced(self, a: dict) -> Place:
        """Moved away until it overlaps itself by 0.15 to 0.45."""
        place = self.place(a)
        while True:
            direction = self.rng.permutation([[1, 0], [-1, 0], [0, 1], [0, -1]])[0]
            step = np.rint(self.rng.uniform(0.05, 1) * np.array(a["bbox"][2:]) * direction)
            moved = shifted(place, *step.astype(int).tolist())
            if 0.15 < rle.iou([moved], [place], [0])[0, 0] < 0.45:
                return moved

    def place(self, a: dict) -> Place:
        if self.kind == "bbox":
            return list(map(float, a["bbox"]))
        outlines, size = a["segmentation"], self.sizes[a["image_id"]]
        if isinstance(outlines, list):
            return rle.merge(rle.frPyObjects(outlines, *size))
        return rle.frPyObjects(outlines, *size)

    def invent(self, objects: list[dict]) -> None:
        """A box where nothing is, as large as some object."""
        overlap = 1.0
        while overlap >= 0.1:
            image = int(self.rng.choice(list(self.sizes)))
            size = self.sizes[image]
            w, h = objects[self.rng.integers(len(objects))]["bbox"][2:]
            w, h = min(w, size[1] / 3), min(h, size[0] / 3)
            box = [self.rng.uniform(0, size[1] - w), self.rng.uniform(0, size[0] - h), w, h]
            place: Place = box if self.kind == "bbox" else mask_of(box, size)
            near = [a for a in self.annotations if a["image_id"] == image]
            overlap = self.overlap(place, near)
        self.detect(image, int(self.rng.choice(self.categories)), place, self.rng.uniform(0, 1))
        self.made["background"] += 1

    def detect(self, image: int, category: int, place: Place, score: float) -> None:
        entry = {"image_id": image, "category_id": category, "score": float(score)}
        if self.kind == "bbox":
            entry["bbox"] = place
        else:
            entry["segmentation"] = {"size": place["size"], "counts": place["counts"].decode()}
        self.found.append(entry)


def random_truth(images: int, rng: np.random.Generator, objects: float = 5) -> Truth:
    """Objects of three classes at random places."""
    image = np.repeat(np.arange(images), rng.poisson(objects, images))
    corners, sides = (
        rng.uniform(0, SIDE - 100, (len(image), 2)),
        rng.uniform(15, 100, (len(image), 2)),
    )
    boxes = np.concatenate([corners, sides], axis=1)
    return Truth(
        image_ids=np.arange(images),
        file_names=tuple(f"{i}.jpg" for i in range(images)),
        sizes=np.full((images, 2), SIDE),
        classes=("a", "b", "c"),
        category_ids=(1, 2, 3),
        image=image,
        label=rng.integers(3, size=len(image)),
        area=sides.prod(axis=1),
        crowd=np.zeros(len(image), bool),
        outlines=boxes,
    )


def noisy(truth: Truth, rng: np.random.Generator) -> Detections:
    """A middling detector: four of five objects, shaken, one in ten as another class, and some
    detections of nothing; correct ones tend to higher scores."""
    seen = np.flatnonzero(rng.random(len(truth.image)) < 0.8)
    images = len(truth.image_ids)
    nothing = rng.integers(images, size=2 * images)
    boxes = np.asarray(truth.outlines)[seen]
    boxes = boxes + np.tile(boxes[:, 2:], 2) * rng.normal(0, 0.06, boxes.shape)
    false = np.concatenate(
        [rng.uniform(0, SIDE - 100, (len(nothing), 2)), rng.uniform(15, 100, (len(nothing), 2))],
        axis=1,
    )
    label = truth.label[seen]
    label = np.where(rng.random(len(seen)) < 0.1, rng.integers(3, size=len(seen)), label)
    return detections(
        np.concatenate([truth.image[seen], nothing]),
        np.concatenate([label, rng.integers(3, size=len(nothing))]),
        np.concatenate([rng.normal(1, 1, len(seen)), rng.normal(-1, 1, len(nothing))]),
        np.concatenate([boxes, false]),
    )


def detections(
    image: np.ndarray, label: np.ndarray, logit: np.ndarray, boxes: np.ndarray
) -> Detections:
    """Columns in the order that `Detections` asks for; scores from 0 to 1."""
    order = np.lexsort((-logit, label, image))
    return Detections(
        image=image[order],
        label=label[order],
        score=1 / (1 + np.exp(-logit[order])),
        outlines=boxes[order],
    )
