"""Data in: named sets and files become one record, `Dataset`; `split` says who does what."""

from __future__ import annotations

from latentmix.data.dataset import Dataset, Split
from latentmix.data.labels import Labels, read_label_rows, read_labels
from latentmix.data.loading import dataset_names, describe_dataset, load, name_of
from latentmix.data.splits import split
from latentmix.data.views import Rows, RowView

__all__ = [
    "Dataset",
    "Labels",
    "RowView",
    "Rows",
    "Split",
    "dataset_names",
    "describe_dataset",
    "load",
    "name_of",
    "read_label_rows",
    "read_labels",
    "split",
]
