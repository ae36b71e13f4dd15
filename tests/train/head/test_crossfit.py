"""tl_train.head.crossfit: no picture's logits come from a head that saw it."""

import numpy as np
import torch
from torch import nn

from tl_train.head.crossfit import cross_fitted_logits
from tl_train.head.features import CachedPart
from tl_train.head.folds import Folding


def test_each_picture_is_judged_by_a_head_that_never_saw_it():
    pictures, classes = 23, 3
    part = CachedPart(np.eye(pictures, dtype=np.float32), np.arange(pictures, dtype=np.int64) % classes)

    def remember(head: nn.Linear, shown: CachedPart) -> None:
        """A head whose first logit is 1 for every picture it was shown; a feature is a picture here."""
        with torch.no_grad():
            head.weight[0] = torch.from_numpy(shown.features.sum(axis=0))

    head = nn.Linear(pictures, classes, bias=False)
    nn.init.zeros_(head.weight)
    logits = cross_fitted_logits(head, part, remember, Folding(0))
    assert logits.shape == (pictures, classes)
    assert (logits == 0).all()
    assert (head.weight == 0).all()  # the head that was given is not fitted


def test_too_few_pictures_of_a_class_are_not_divided():
    part = CachedPart(np.zeros((7, 2), np.float32), np.array([0, 0, 0, 0, 1, 1, 1]))
    assert cross_fitted_logits(nn.Linear(2, 2), part, lambda *_: None, Folding(0)) is None
