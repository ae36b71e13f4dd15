"""A traced network that several tests take apart."""

import onnx
import pytest

from tl_export.graph.taps import ALL_OUTPUTS, OPTIONAL_OUTPUTS, TappedNetwork, find_taps
from tl_train.models.trace import trace
from tl_train.run_folder.folder import load_model


@pytest.fixture(scope="session")
def traced(tiny_run):
    """The network of `tiny_run` with all outputs, and its spec; `assemble` must get a copy."""
    model, spec, architecture = load_model(tiny_run)
    taps = find_taps(model, architecture, spec.preprocess.size)
    return trace(TappedNetwork(model, taps, OPTIONAL_OUTPUTS), spec.preprocess.size, OPTIONAL_OUTPUTS), spec


@pytest.fixture
def assembled(traced):
    """Assembles a copy of the traced network by any spec, with all outputs."""
    from tl_export.graph.assemble import assemble

    def build(spec=None, outputs=ALL_OUTPUTS) -> onnx.ModelProto:
        network = onnx.ModelProto()
        network.CopyFrom(traced[0])
        return assemble(network, spec or traced[1], outputs)

    return build
