"""Fine-tuning with other tools, from the same weights on the same images; called by datasets.py.

    python benchmarks/others.py fastai FOLDER --epochs 4 [--size 224] [--seed 0]

FOLDER has `train/` and `test/` with a sub-folder per class. Prints a line of JSON: accuracy and log-loss of the test
images. `fastai` is `vision_learner(...).fine_tune(epochs)`, which trains the head for an epoch before; `pip install
fastai`. `timm` is what timm's train.py is made of (its loader with the default augmentation, AdamW, cosine schedule
with warm-up, label smoothing), as the script itself is not on PyPI.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import accuracy_score, log_loss
from torch import nn

from tl_train.models.architectures import find_architecture
from tl_train.models.network import build_network

NETWORK = "tf_efficientnet_lite0"
MEAN = STD = (0.5, 0.5, 0.5)
BATCH = 64
LR = 1e-3
SMOOTHING = 0.1


def pretrained(folder: Path) -> Path:
    """The weights that tl-train starts from, as timm's checkpoint."""
    network = build_network(find_architecture("efficientnet_lite0"), "default", 1000)
    weights = dict(network.module.state_dict())
    assert network.pretrained_head is not None
    weights["classifier.weight"], weights["classifier.bias"] = map(torch.from_numpy, network.pretrained_head)
    path = folder / "weights.pth"
    torch.save(weights, path)
    return path


def fastai(folder: Path, weights: Path, epochs: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, C) and labels (N,) of the test images."""
    from fastai.vision.all import ImageDataLoaders, Resize, ResizeMethod, aug_transforms, vision_learner

    data = ImageDataLoaders.from_folder(
        folder,
        train="train",
        valid="test",
        item_tfms=Resize(size, method=ResizeMethod.Squish),
        batch_tfms=aug_transforms(),
        bs=BATCH,
        num_workers=os.cpu_count(),
    )
    overlay = {"file": str(weights), "mean": MEAN, "std": STD}
    learner = vision_learner(data, NETWORK, pretrained=True, pretrained_cfg_overlay=overlay)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)
        probabilities, labels = learner.get_preds(dl=data.valid)
    return probabilities.numpy(), labels.numpy()


def timm(folder: Path, weights: Path, epochs: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, C) and labels (N,) of the test images."""
    import timm
    from timm.data import create_dataset, create_loader
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler

    sets = {part: create_dataset("", str(folder / part)) for part in ("train", "test")}
    shared: dict[str, Any] = {
        "input_size": (3, size, size),
        "batch_size": BATCH,
        "mean": MEAN,
        "std": STD,
        "num_workers": os.cpu_count(),
        "use_prefetcher": False,
        "persistent_workers": True,
    }
    train = create_loader(sets["train"], is_training=True, hflip=0.5, color_jitter=0.4, **shared)
    test = create_loader(sets["test"], is_training=False, interpolation="bicubic", crop_pct=0.875, **shared)
    overlay = {"file": str(weights)}
    classes = len(sets["train"].reader.class_to_idx)
    model = timm.create_model(NETWORK, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes)
    model = model.to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, "adamw", lr=LR, weight_decay=0.05)
    steps = len(train)
    schedule = CosineLRScheduler(
        optimizer, epochs * steps, warmup_t=steps // 2, warmup_prefix=True, warmup_lr_init=LR / 100, t_in_epochs=False
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    for epoch in range(epochs):
        model.train()
        for step, (images, labels) in enumerate(train):
            schedule.step_update(epoch * steps + step)
            loss = loss_of(model(images.contiguous(memory_format=torch.channels_last)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.inference_mode():
        answers = [(model(images).softmax(dim=1), labels) for images, labels in test]
    probabilities, labels = (torch.cat(parts).numpy() for parts in zip(*answers, strict=True))
    return probabilities, labels


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool", choices=("fastai", "timm"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)
    run = {"fastai": fastai, "timm": timm}[options.tool]
    with tempfile.TemporaryDirectory() as temporary:
        weights = pretrained(Path(temporary))
        probabilities, labels = run(options.folder, weights, options.epochs, options.size)
    right, loss = accuracy_score(labels, probabilities.argmax(axis=1)), log_loss(labels, probabilities)
    print(json.dumps({"accuracy": right, "log_loss": loss, "pictures": len(labels)}))


if __name__ == "__main__":
    main()
