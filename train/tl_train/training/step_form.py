"""`StepForm`: the memory layout and the precision in which training steps are fastest on this device, by trial.

Other forms round differently. So a form is measured once and kept: in the cache folder for later runs of the same
network on the same machine, and with the checkpoints of a run for its continuation.
"""

import contextlib
import copy
import dataclasses
import hashlib
import json
import math
import platform
import time
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from tl_infer.errors import OutputPathError
from tl_infer.model.records import read
from tl_infer.system.files import make_folder, read_text, write_text
from tl_train.cache.disk import cache_subfolder, key_of
from tl_train.config.choices import KnownPrecision
from tl_train.errors import RunError
from tl_train.models.network import is_safe_channels_last, memory_layout
from tl_train.progress import Progress
from tl_train.setup import Setup, SharedSetup
from tl_train.training.checkpoints import FOLDER

Layout = Literal["channels_last", "contiguous"]

# Fewer steps are over sooner than it pays to try.
_FEWEST_STEPS = 200
# A form has to be so much faster than the usual one to be taken: times vary by a few percent.
_WORTH = 0.9
_TIMED_STEPS = 3
_SUBFOLDER = "steps"
_FILE = "form.json"
_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclasses.dataclass(frozen=True, slots=True)
class StepForm:
    """How steps are computed.

    Attributes:
        layout: of images and weights in memory.
        precision: as lightning-fabric names it.

    """

    layout: Layout
    precision: KnownPrecision

    def __str__(self) -> str:
        return f"{self.layout}, {self.precision}"

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout, as torch has it."""
        return _FORMATS[self.layout]


def usual_form(setup: SharedSetup) -> StepForm:
    """The form that is taken without a trial."""
    wanted = setup.config.steps.precision
    layout: Layout = "contiguous" if memory_layout(setup.network.module) == torch.contiguous_format else "channels_last"
    return StepForm(layout, "32-true" if wanted == "auto" else wanted)


def choose_form(setup: Setup, out: Path, progress: Progress) -> StepForm:
    """The form of the steps of a run; the one that it began with, where it goes on.

    Args:
        setup: the run, before its first step.
        out: its folder.
        progress: is told what was tried.

    Raises:
        RunError: the form that the run began with cannot be read.
        OutputPathError: it cannot be written.

    """
    kept = out / FOLDER / _FILE
    if kept.is_file():
        return _read(kept)
    usual, device = usual_form(setup), _device()
    steps = setup.config.steps
    count = steps.epochs * math.ceil(len(setup.dataset.train) / steps.batch_size)
    if steps.devices > 1 or count < _FEWEST_STEPS or device is None or len(_forms(setup, usual, device)) == 1:
        return usual
    form = _cached_trial(setup, usual, device, progress)
    make_folder(kept.parent)
    write_text(kept, json.dumps(dataclasses.asdict(form)))
    return form


def _device() -> torch.device | None:
    """Where lightning will train; None for devices that are not tried."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return None if torch.backends.mps.is_available() else torch.device("cpu")


def _cached_trial(setup: Setup, usual: StepForm, device: torch.device, progress: Progress) -> StepForm:
    """What an earlier trial found on this machine, or a trial."""
    if setup.config.data.no_cache:
        return _trial(setup, usual, device, progress)
    form: StepForm | None = None
    with contextlib.suppress(OutputPathError):
        path = cache_subfolder(_SUBFOLDER) / f"{_key(setup, device)}.json"
        with contextlib.suppress(RunError):
            return _read(path)
        form = _trial(setup, usual, device, progress)
        write_text(path, json.dumps(dataclasses.asdict(form)))
    return form or _trial(setup, usual, device, progress)


def _key(setup: Setup, device: torch.device) -> str:
    """SHA-256 (hex) of all that a trial depends on."""
    config = setup.config
    shapes = {name: tuple(tensor.shape) for name, tensor in setup.network.module.state_dict().items()}
    return key_of(
        network=hashlib.sha256(repr(shapes).encode()).hexdigest(),
        size=setup.preprocessor.spec.size,
        batch=config.steps.batch_size,
        mode=config.model.mode,
        precision=config.steps.precision,
        device=torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        node=platform.node(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )


def _read(path: Path) -> StepForm:
    try:
        return read(StepForm, json.loads(read_text(path)), RunError)
    except (OSError, ValueError, RunError) as error:
        raise RunError(f"{path}: cannot be read: {error}; start again with --overwrite") from error


def _trial(setup: Setup, usual: StepForm, device: torch.device, progress: Progress) -> StepForm:
    """Time a few steps of each form; the fastest, if it is faster than the usual one by enough."""
    forms = _forms(setup, usual, device)
    size, batch = setup.preprocessor.spec.size, setup.config.steps.batch_size
    images = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))
    times_s: dict[StepForm, float] = {}
    setup.network.prepare_for_training(setup.config.model.mode)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        for form in progress.steps(forms, "Trying memory layouts and precisions", len(forms)):
            module = copy.deepcopy(setup.network.module).to(device).to(memory_format=form.memory_format)
            limit_s = 3 * times_s.get(usual, math.inf)
            times_s[form] = _step_s(module, images.to(device, memory_format=form.memory_format), form, limit_s)
    quickest = min(forms, key=lambda form: times_s[form])
    taken = quickest if times_s[quickest] < _WORTH * times_s[usual] else usual
    told = "; ".join(f"{form} {1000 * times_s[form]:.0f} ms" for form in forms)
    progress.note(f"Steps of {batch} images: {told}. Taken: {taken}")
    return taken


def _forms(setup: Setup, usual: StepForm, device: torch.device) -> list[StepForm]:
    """The forms that the network can be trained in here, the usual one first."""
    safe = device.type != "cpu" or is_safe_channels_last(setup.network.module)
    layouts: tuple[Layout, ...] = ("channels_last", "contiguous") if safe else ("contiguous",)
    wanted = setup.config.steps.precision
    precisions: tuple[KnownPrecision, ...] = ("32-true", "bf16-mixed") if wanted == "auto" else (wanted,)
    forms = [StepForm(layout, precision) for precision in precisions for layout in layouts]
    return [usual, *(form for form in forms if form != usual)]


def _step_s(module: nn.Module, images: torch.Tensor, form: StepForm, limit_s: float) -> float:
    """Seconds of a step: the quickest of some, after one to warm up, which alone counts where it exceeds the limit."""
    times_s = []
    labels = torch.zeros(len(images), dtype=torch.long, device=images.device)
    for _ in range(1 + _TIMED_STEPS):
        started = time.perf_counter()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=form.precision == "bf16-mixed"):
            logits = module(images)
        loss = functional.cross_entropy(logits.float(), labels)
        torch.autograd.backward(loss)
        module.zero_grad()
        if images.device.type == "cuda":
            torch.cuda.synchronize()
        times_s.append(time.perf_counter() - started)
        if times_s[0] > limit_s:
            break
    return min(times_s)
