"""The built-in sets: the chapter's cats and dogs, downloaded once, and scikit-learn's digits."""

import numpy as np

from tl_train.data.samples import Sample, Source
from tl_train.data.sources.mat_file import MatLayout, read_mat
from tl_train.data.sources.mat_images import gray_to_rgb, images_of_variable
from tl_train.data.split import TEST_SPLIT_SEED, split
from tl_train.downloads import RemoteFile, fetch
from tl_train.progress import Progress

_PUBLISHED = "https://github.com/dynamicslab/databook_python/raw/refs/heads/master/DATA"
CATS_DOGS_FILES = {
    "dog": RemoteFile(f"{_PUBLISHED}/dogData.mat", "590d8a3681615b18c89ed21f387a76d2e55b9200b4a07b6fe6d68061ea76b6eb"),
    "cat": RemoteFile(f"{_PUBLISHED}/catData.mat", "ad2efb3ca83a3815b55d17973679a4fe7c719cf302e4a72d1df1b46d96e44ad4"),
}


def cats_dogs(progress: Progress) -> Source:
    """The chapter's 80 dogs and 80 cats; first 40 of each to train, last 40 to test, dogs before cats."""
    train: list[Sample] = []
    test: list[Sample] = []
    for label, (name, remote) in enumerate(CATS_DOGS_FILES.items()):
        path = fetch(remote, progress, "train on the set that needs no download: tl-train digits --out DIR")
        layout = MatLayout((name,), 64, 64)
        samples = images_of_variable(path, layout, name, label, *read_mat(path, [name]))
        train += samples[:40]
        test += samples[40:80]
    return Source(tuple(CATS_DOGS_FILES), train, test=test)


def digits() -> Source:
    """scikit-learn's 1797 scanned digits, 8 x 8 grey; a fifth of each class is the test set."""
    import sklearn.datasets

    found = sklearn.datasets.load_digits()
    labels = tuple(str(name) for name in found.target_names)
    grays = np.rint(found.images * (255 / 16)).astype(np.uint8)  # stored as 0..16
    samples = [
        Sample(f"digit-{i:04d}", int(label), pixels=gray_to_rgb(gray))
        for i, (gray, label) in enumerate(zip(grays, found.target, strict=True))
    ]
    train, test = split(samples, labels, 0.2, TEST_SPLIT_SEED)
    return Source(labels, train, test=test)
