"""A traced network that several tests take apart."""

import onnx
import pytest

from tl_export.graph.network_part import copy_of
from tl_export.graph.taps import TappedNetwork, find_taps
from tl_export.options import OPTIONAL_OUTPUTS
from tl_export.proof.routes import TorchRoute
from tl_export.proof.trained import Trained
from tl_infer.model.contract import PROBABILITIES
from tl_train.models.trace import trace
from tl_train.run_folder.folder import RunFolder


@pytest.fixture(scope="session")
def traced(tiny_run):
    """The network of `tiny_run` with all outputs, and its spec; `assemble` must get a copy."""
    model, spec, architecture = RunFolder(tiny_run).load_model()
    taps = find_taps(model, architecture, spec.preprocess.size)
    return trace(TappedNetwork(model, taps, OPTIONAL_OUTPUTS), spec.preprocess.size, OPTIONAL_OUTPUTS), spec


@pytest.fixture
def assembled(traced):
    """Assembles a copy of the traced network by any spec, with all outputs."""
    from tl_export.graph.assemble import assemble

    def build(spec=None, outputs=(PROBABILITIES, *OPTIONAL_OUTPUTS)) -> onnx.ModelProto:
        return assemble(copy_of(traced[0]), spec or traced[1], outputs)

    return build


@pytest.fixture(scope="session")
def trained_on():
    """Makes the trained side of a proof from a run; another spec or other images where given."""

    def build(run, pictures=None, spec=None) -> Trained:
        folder = RunFolder(run)
        model, own_spec, architecture = folder.load_model()
        route = TorchRoute(model, spec or own_spec, architecture)
        return Trained(folder, route, folder.held_out_files() if pictures is None else pictures)

    return build
