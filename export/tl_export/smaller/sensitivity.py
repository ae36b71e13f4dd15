"""Which layers suffer from int8: each quantized alone, and how far the logits move."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx

from tl_export.graph.network_part import with_network
from tl_export.smaller.qdq import QuantizableNetwork
from tl_infer.images import Pixels
from tl_infer.model.contract import LOGITS
from tl_infer.model.modelfile import ModelFile
from tl_infer.model.session import Session
from tl_train.progress import Progress

Layer = tuple[str, ...]


def rank_layers(
    model: onnx.ModelProto, network: QuantizableNetwork, pictures: Sequence[Pixels], progress: Progress
) -> list[Layer]:
    """The layers of a network, the one that int8 hurts most first.

    Source: Wu et al., "Integer quantization for deep learning inference: principles and empirical evaluation", 2020,
    section 6.1 (partial quantization): one layer at a time is quantized, the others stay float. The measure here is
    the noise in the logits, not the accuracy, which on few pictures does not tell layers apart.

    Args:
        model: the finished float file.
        network: its network, ranges measured.
        pictures: uint8 (H, W, 3), training pictures.
        progress: shows the layers done.

    """
    expected = _logits(model, pictures)
    noise = []
    for layer in progress.steps(network.layers, "Ranking layers", len(network.layers)):
        found = _logits(with_network(model, network.int8(only=layer)), pictures)
        noise.append(noise_share(expected, found))
    return [network.layers[place] for place in np.argsort(-np.array(noise), kind="stable")]


def noise_share(expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> float:
    """Noise power over signal power of logits (N, C); what all classes of a picture share is left out."""
    signal = expected - expected.mean(axis=1, keepdims=True)
    noise = found - found.mean(axis=1, keepdims=True) - signal
    return float(np.square(noise, dtype=np.float64).sum() / max(np.square(signal, dtype=np.float64).sum(), 1e-30))


def _logits(model: onnx.ModelProto, pictures: Sequence[Pixels]) -> npt.NDArray[np.float32]:
    session = Session(ModelFile(model.SerializeToString(), "model"), threads=1)
    return np.concatenate([session.run(picture[np.newaxis], [LOGITS])[0] for picture in pictures])
