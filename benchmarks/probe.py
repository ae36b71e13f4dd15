"""scikit-learn's logistic regression, with its defaults, on the features of the frozen network; called by datasets.py.

    python benchmarks/probe.py DATA

Prints a line of JSON: accuracy and log-loss of the images that tl-train holds out.
"""

import json
import sys

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss

from tl_train import TrainConfig
from tl_train.head.features import part_of
from tl_train.progress import Progress
from tl_train.run.prepare import prepare

dataset = prepare(TrainConfig.of(sys.argv[1], mode="head", no_cache=True), Progress()).dataset
train, test = (part_of(dataset, part) for part in (dataset.train, dataset.held_out()[1]))
model = LogisticRegression(max_iter=1000).fit(train.features, train.labels)
probabilities = model.predict_proba(test.features)
classes = np.arange(len(dataset.labels))
print(json.dumps({
    "accuracy": accuracy_score(test.labels, probabilities.argmax(axis=1)),
    "log_loss": log_loss(test.labels, probabilities, labels=classes),
    "pictures": len(test.labels),
}))  # fmt: skip
