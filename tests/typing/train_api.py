"""What type checkers see of `tl_train`; mypy reads this file, nothing runs it."""

from pathlib import Path
from typing import assert_type

from tl_train import TrainConfig, TrainResult, compare, dry_run, train

config = TrainConfig.of("photos/", mode="head", seed=1)
assert_type(config, TrainConfig)
assert_type(config.steps.epochs, int)
assert_type(config.data.source, str)
assert_type(config.changed(seed=2), TrainConfig)

result = train(config, Path("runs/photos"), overwrite=True)
assert_type(result, TrainResult)
assert_type(result.labels, tuple[str, ...])
if result.evaluation is not None:
    assert_type(result.evaluation.accuracy, float)
for way in result.tried:
    assert_type(way.kept, bool)

assert_type(dry_run(config).warnings, tuple[str, ...])

for compared in compare({"head": config}, 3, Path("runs/comparison")):
    assert_type(compared.recipe, str)
    assert_type(compared.accuracy, float)
