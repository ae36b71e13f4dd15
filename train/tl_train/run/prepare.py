"""`prepare(config)`: everything that the user can get wrong, tried before the first step -> `Setup`."""

import platform
from importlib.metadata import version

import torch

from tl_infer.model.contract import PreprocessSpec
from tl_train.config import TrainConfig
from tl_train.config.choices import TRAINS_STAGES
from tl_train.data.dataset import Dataset, fingerprint, load_dataset
from tl_train.data.samples import labels_of, targets_of
from tl_train.data.sources.reading import read_source
from tl_train.errors import WeightsError
from tl_train.familiarity.unknowns import unknown_files
from tl_train.head.features import BackboneFeatures
from tl_train.head.fit_head import features_suffice
from tl_train.head.label_heads import check_label_counts
from tl_train.head.penalised import check_class_counts
from tl_train.models.architectures import Architecture, find_architecture
from tl_train.models.network import Network, build_network
from tl_train.models.published import unchecked
from tl_train.models.stages import Stages
from tl_train.models.starting_weights import WeightAndBias
from tl_train.models.timm_models import TIMM_PREFIX
from tl_train.preflight.preflight import preflight
from tl_train.preprocess.graph import Preprocessor, spec_for
from tl_train.prior.prior import Prior, find_prior
from tl_train.progress import Progress
from tl_train.run.candidates import candidates
from tl_train.setup import Identity, Setup

_LIBRARIES = ("tl-toolkit", "torch", "torchvision", "timm", "onnxruntime", "numpy", "pillow")


def prepare(config: TrainConfig, progress: Progress) -> Setup:
    """Find the images, look at them, build the network.

    Raises:
        TlError: the data cannot be trained on, the weights do not fit, or options contradict each other.

    """
    unknown_files(config.data.unknown)
    architecture, preprocess = architecture_and_input(config)
    source = read_source(config, progress)
    torch.manual_seed(config.seed)
    network = build_network(architecture, config.model.weights, len(source.labels), config.head.kind)
    _say_unchecked(config, progress)
    _check_built(network, config, preprocess.size)
    preprocessor = Preprocessor(preprocess)
    features = BackboneFeatures.of(network, preprocessor, progress) if features_suffice(config) else None
    dataset = load_dataset(config, source, progress, features)
    check_counts(config, dataset)
    return Setup(
        identity=Identity(config, fingerprint(dataset), _versions(), torch.get_num_threads()),
        dataset=dataset,
        findings=preflight(dataset),
        preprocessor=preprocessor,
        network=network,
        prior=prior_for(config, network.pretrained_head, dataset.labels, progress),
    )


def check_counts(config: TrainConfig, dataset: Dataset) -> None:
    """See that the head can be learned from the training images.

    Raises:
        DataError: a class or label has too few; names it.

    """
    if dataset.has_several:
        check_label_counts(targets_of(dataset.train, len(dataset.labels)), dataset.labels)
    elif config.head.fit == "penalised":
        check_class_counts(labels_of(dataset.train), dataset.labels, held_back=config.model.mode == "partial")


def check_network(config: TrainConfig, classes: int) -> None:
    """Try what the configuration says of the network, with nothing downloaded; of several, their names and sizes.

    Raises:
        TlError: there is no such architecture, or not for that size; a file of weights does not fit it; it has no
            such stage.

    """
    if config.model.compares:
        if config.model.arch != "auto":
            candidates(config.model, config.input.size_px, Progress())
        return
    architecture, preprocess = architecture_and_input(config)
    weights = "none" if config.model.weights == "default" else config.model.weights
    _check_built(build_network(architecture, weights, classes, config.head.kind), config, preprocess.size)


def architecture_and_input(config: TrainConfig) -> tuple[Architecture, PreprocessSpec]:
    """What the configuration asks for: the architecture for its input, and how that is made of an image.

    Raises:
        ConfigError: there is no such architecture, or not for that size.

    """
    architecture = find_architecture(config.model.arch)
    size = config.input.size_px or (architecture.size, architecture.size)
    architecture = architecture.for_size(size)
    return architecture, spec_for(config.input, size, architecture.mean, architecture.std)


def _check_built(network: Network, config: TrainConfig, size: tuple[int, int]) -> None:
    network.check_input(size)
    wanted = config.model.freeze_until
    if wanted and config.model.mode in TRAINS_STAGES:
        Stages(network.module, size, network.architecture.name).named(wanted)


def _say_unchecked(config: TrainConfig, progress: Progress) -> None:
    """Published weights are checked against a digest, where their publisher gives one."""
    name = config.model.arch
    if config.model.weights != "default" or not name.startswith(TIMM_PREFIX):
        return
    if reason := unchecked(name.removeprefix(TIMM_PREFIX)):
        progress.note(f"Weights of {name}: not checked against a digest: {reason}")


def prior_for(
    config: TrainConfig, pretrained_head: WeightAndBias | None, labels: tuple[str, ...], progress: Progress
) -> Prior | None:
    """The prior that the configuration asks for; what came of `auto` is told.

    Raises:
        TlError: a prior was asked for that there is none of, or the weights have no ImageNet head.

    """
    wanted, weights = config.head.prior, config.model.weights
    if config.data.multi_label:
        if wanted == "auto":
            progress.note("Prior: not used, each label's head is pulled towards zero where images have several.")
        return None
    if wanted == "auto" and weights == "none":
        progress.note("Prior: not used, random weights know no classes.")
        return None
    if wanted == "auto" and config.head.fit == "sgd":
        progress.note("Prior: not used, only the penalised head is pulled towards one (--head-fit penalised).")
        return None
    if wanted == "auto" and pretrained_head is None:
        progress.note("Prior: not used, the weights come without a head that fits, so they know no classes.")
        return None
    finding = find_prior(wanted, labels)
    for line in finding.notes:
        progress.note(line)
    if finding.prior is not None:
        if pretrained_head is None:
            raise WeightsError(f"weights {weights}: no pretrained head, or none that fits; use --prior none")
        finding.prior.check_head(pretrained_head)
    return finding.prior


def _versions() -> dict[str, str]:
    """Versions of what the result depends on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
