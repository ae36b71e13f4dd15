"""Cross-fitting: logits of training images, each from a head that was fitted without it."""

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from tl_train.head.features import CachedPart, Features
from tl_train.head.folds import Folding

MAX_FOLDS = 5
_LEAST_PER_CLASS = 4  # so that two are left to fit on, when there are two folds


def cross_fitted_logits(
    head: nn.Linear, part: CachedPart, fit: Callable[[nn.Linear, CachedPart], object], folding: Folding
) -> Features | None:
    """Logits of all images of `part`, float32 (N, C), each from a copy of `head` that `fit` never showed it.

    The copies see four fifths of the images, so they are a little worse than the head that is kept; what is fitted
    on these logits errs on the modest side.

    Args:
        head: before any fitting; stays as it is.
        part: the training images.
        fit: fits a head in place, all choices included (of a penalty, say), or the logits would know of the images.
        folding: how the images are divided.

    Returns:
        None when a class has fewer than four images.

    Source: Chernozhukov et al., "Double/debiased machine learning", The Econometrics Journal 21 (2018), definition 3.1.

    """
    least = int(np.bincount(part.labels).min())
    if least < _LEAST_PER_CLASS:
        return None
    fold_of = folding.of_classes(part.labels, min(MAX_FOLDS, folding.most(part.labels)))
    parts = []
    for fold in range(int(fold_of.max()) + 1):
        fitted = copy.deepcopy(head)
        fit(fitted, part.chosen(fold_of != fold))
        with torch.inference_mode():
            parts.append(fitted.eval()(torch.from_numpy(part.features[fold_of == fold])).numpy())
    logits = np.empty((len(part.labels), parts[0].shape[1]), np.float32)
    for fold, found in enumerate(parts):
        logits[fold_of == fold] = found
    return logits
