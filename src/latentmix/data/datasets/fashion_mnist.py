"""Fashion-MNIST: articles of clothing in MNIST's format (Xiao, Rasul and Vollgraf, 2017)."""

from __future__ import annotations

from pathlib import Path

from latentmix.data.dataset import Dataset
from latentmix.data.idx_pack import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, IdxPack
from latentmix.data.locate import find
from latentmix.data.spec import DatasetSpec

PACK = IdxPack(
    name="fashion-mnist",
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    sha256={
        TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    # 6,000 training rows and 1,000 test rows of each class (section 2 of their paper).
    even_classes=True,
    # Debian's package dataset-fashion-mnist.
    system_folders=(Path("/usr/share/datasets/fashion-mnist"),),
)


def read() -> Dataset:
    """Return the 60,000 training rows, then the 10,000 test rows."""
    found = find(PACK)
    return PACK.dataset(found.contents, found.source)


SPEC = DatasetSpec("fashion-mnist", "70,000 articles of clothing of 28x28, official split", read)
