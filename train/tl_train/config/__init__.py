"""Every choice of a training run: `TrainConfig`, in five groups; defaults, choices and help texts stand here only."""

from tl_train.config.train_config import TrainConfig as TrainConfig
