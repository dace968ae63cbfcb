"""Generated truth and detections in COCO's formats: crowds, ties, empty images, odd ids."""

import numpy as np
from pycocotools import mask as rle

HEIGHT, WIDTH = 150, 200

Results = list[dict]


def shape_mask(rng: np.random.Generator) -> np.ndarray:
    """One to three rectangles."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    for _ in range(rng.integers(1, 4)):
        x, y = rng.integers(WIDTH - 5), rng.integers(HEIGHT - 5)
        w, h = rng.integers(1, 120, 2)
        mask[y : y + h, x : x + w] = 1
    return mask


def uncompressed(mask: np.ndarray) -> dict:
    """Run lengths as COCO writes them for crowds: column by column, zeros first."""
    flat = np.concatenate([[0], mask.T.ravel(), [2]])
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[1], changes])).tolist()
    return {"size": [HEIGHT, WIDTH], "counts": runs}


def invent(
    rng: np.random.Generator,
    whole: bool = False,
    ties: bool = False,
    crowd: float = 0.15,
    detections: int = 30,
    first_id: int = 1,
) -> tuple[dict, Results]:
    """Truth in mixed forms and detections near it, empty images on either side, a class without
    truth, ids in no order.

    Args:
        rng: source of all of it.
        whole: coordinates and areas are whole numbers, so that thresholds are met exactly.
        ties: scores have one digit.
        crowd: share of crowds.
        detections: most detections of an image.
        first_id: of the truth.
    """
    images = [
        {"id": int(i), "height": HEIGHT, "width": WIDTH, "file_name": f"{i}.jpg"}
        for i in rng.permutation(1000)[:8]
    ]
    categories = [{"id": int(i), "name": f"c{i}"} for i in rng.permutation(90)[:4]]
    truth: Results = []
    results: Results = []
    for image in images:
        masks = [shape_mask(rng) for _ in range(rng.integers(0, 7))]
        named = [categories[i]["id"] for i in rng.integers(0, 3, len(masks))]  # never the fourth
        for mask, category in zip(masks, named, strict=True):
            x, y, w, h = map(float, rle.toBbox(rle.encode(mask)))
            is_crowd = int(rng.random() < crowd)
            outline = [x, y, x + w, y, x + w / 2, y + h, x, y + h / 2]
            truth.append(
                {
                    "id": first_id + len(truth),
                    "image_id": image["id"],
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "area": float(mask.sum()) * (1 if whole else rng.uniform(0.6, 1)),
                    "iscrowd": is_crowd,
                    "segmentation": uncompressed(mask) if is_crowd else [outline],
                }
            )
        for _ in range(rng.integers(0, detections) if rng.random() < 0.9 else 0):
            near = rng.integers(len(masks)) if masks and rng.random() < 0.8 else None
            mask = shape_mask(rng) if near is None else masks[near]
            mask = np.roll(mask, rng.integers(-6, 7), axis=int(rng.integers(2)))
            encoded = rle.encode(np.asfortranarray(mask))
            box = np.array(rle.toBbox(encoded))
            if not whole:
                box = box * rng.uniform(0.9, 1.1, 4)
            other = categories[rng.integers(4)]["id"]
            score = float(rng.random())
            results.append(
                {
                    "image_id": image["id"],
                    "bbox": box.tolist(),
                    "score": round(score, 1) if ties else score,
                    "category_id": other if near is None or rng.random() < 0.2 else named[near],
                    "segmentation": {"size": [HEIGHT, WIDTH], "counts": encoded["counts"].decode()},
                }
            )
    return {"images": images, "categories": categories, "annotations": truth}, results
