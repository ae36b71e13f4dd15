"""Pictures and models that several tests share; all real, all made here."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from support.pictures import SHARED, draw, draw_several, draw_shape

# How long an example takes says how busy the machine is.
settings.register_profile("without_deadline", deadline=None)
settings.load_profile("without_deadline")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that tests compute is kept in the user's cache, and nothing is taken from there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TL_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three classes of ten drawn pictures each."""
    root = tmp_path_factory.mktemp("shapes")
    for shape in ("circle", "cross", "square"):
        (root / shape).mkdir()
        for number in range(10):
            draw_shape(shape, number).save(root / shape / f"{shape}{number}.png")
    return root


@pytest.fixture(scope="session")
def many_shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough images to hold some back: three classes of eighty."""
    root = tmp_path_factory.mktemp("many")
    for shape in ("circle", "cross", "square"):
        draw(root / shape, shape, 80)
    return root


@pytest.fixture(scope="session")
def several_shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of 120 images with none to three shapes each; of some it is not known whether they have the third."""
    root = tmp_path_factory.mktemp("several")
    shapes = ("circle", "cross", "square")
    rows = ["path,circle,cross,square,split"]
    for number in range(120):
        present = tuple(bool(number >> place & 1) for place in range(3))
        draw_several(shapes, present, number).save(root / f"{number}.png")
        flags = [*map(int, present[:2]), "" if number % 10 == 0 else int(present[2])]
        rows.append(",".join(map(str, (f"{number}.png", *flags, "test" if number >= 96 else "train"))))
    (root / "list.csv").write_text("\n".join(rows) + "\n")
    return root / "list.csv"


@pytest.fixture(scope="session")
def several_run(several_shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose images may have several labels: heads on a very small frozen network."""
    from tl_train import TrainConfig, train

    out = tmp_path_factory.mktemp("several-run")
    config = TrainConfig.of(
        str(several_shapes), multi_label=True, arch="timm:test_efficientnet", weights="none", size=64
    )
    train(config, out)
    return out


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Real photographs: the fifty beside the checkout where they are, else the two that scikit-learn ships."""
    if (SHARED / "photos").is_dir():
        return sorted((SHARED / "photos").glob("*.JPEG"))
    from sklearn.datasets import load_sample_images

    root = tmp_path_factory.mktemp("photos")
    paths = []
    for number, pixels in enumerate(load_sample_images().images):
        for name, turned in (("wide", pixels), ("tall", np.rot90(pixels))):
            paths.append(root / f"{number}-{name}.png")
            Image.fromarray(turned).save(paths[-1])
    return paths


@pytest.fixture(scope="session")
def tiny_run(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run: a very small network, one epoch on the drawn shapes."""
    from support.loading import BY_STEPS
    from tl_train import TrainConfig, train

    out = tmp_path_factory.mktemp("run")
    config = TrainConfig.of(str(shapes), arch="timm:test_efficientnet", weights="none", size=64, epochs=1, **BY_STEPS)
    train(config, out)
    return out


@pytest.fixture(scope="session")
def familiar_run(many_shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with images enough to tell what is unfamiliar: a head on a very small frozen network."""
    from tl_train import TrainConfig, train

    out = tmp_path_factory.mktemp("familiar")
    config = TrainConfig.of(
        str(many_shapes), arch="timm:test_efficientnet", weights="none", size=64, mode="head", prior="none",
        unknown=str(many_shapes / "circle"),
    )  # fmt: skip
    train(config, out)
    return out


@pytest.fixture(scope="session")
def tiny_model(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file exported from `tiny_run`."""
    from tl_export import export

    return export(tiny_run, tmp_path_factory.mktemp("model") / "shapes.onnx").path
