"""The data that published figures were measured on."""

from dataclasses import dataclass

from casvit_dense.results.row import Dataset, Training


@dataclass(frozen=True)
class Standard:
    """A validation set, and the training set that belongs to it.

    Attributes:
        name: as people call it.
        type: of the data set in configs.
        images: in the validation set.
        classes: that are counted.
        objects: annotations of the validation set; None for maps.
        training_images: least and largest number in the training set: filters may leave out
            images without annotations.
    """

    name: str
    type: str
    images: int
    classes: int
    objects: int | None
    training_images: tuple[int, int]

    def differences(self, found: Dataset) -> list[str]:
        """How the data of a row are other data than these; ``[]`` if they are not."""
        said = []
        if (found.name, found.classes) != (self.type, self.classes):
            said.append(
                f"another data set: {found.name} with {found.classes} classes, not {self.type} "
                f"with {self.classes} ({self.name})"
            )
        if found.images != self.images:
            said.append(f"image count: {found.images:,}, {self.name} has {self.images:,}")
        if self.objects is not None and found.objects != self.objects:
            count = "unknown" if found.objects is None else f"{found.objects:,}"
            said.append(f"annotation count: {count}, {self.name} has {self.objects:,}")
        return said

    def training_differences(self, found: Training) -> list[str]:
        """The same of the data that weights were trained on, as far as the weights tell."""
        least, most = self.training_images
        if found.images is None or least <= found.images <= most:
            return []
        return [f"training data: {found.images:,} images, not {least:,}"]


#: By the data sets of `targets.HEADS`. COCO 2017: 36,781 annotations in instances_val2017.json;
#: 118,287 training images, of which 1,021 have no annotation. ADE20K: the SceneParsing release.
STANDARDS = {
    "coco": Standard("COCO val2017", "CocoDataset", 5_000, 80, 36_781, (117_266, 118_287)),
    "ade20k": Standard("ADE20K val", "ADE20KDataset", 2_000, 150, None, (20_210, 20_210)),
}
