"""Which layers stay float, on a small network of random weights."""

import numpy as np

from support import onnx_bytes
from support.small_network import DEPTH, coarse_inputs, small_network
from tl_export.smaller.gates import Allowance
from tl_export.smaller.qdq import QuantizableNetwork
from tl_export.smaller.search import Search
from tl_train.progress import Progress


def test_all_layers_are_int8_where_that_shows_no_loss():
    inputs = coarse_inputs(40)
    network = QuantizableNetwork(small_network(), (inputs[place] for place in range(10)))
    assert network.layers == tuple((f"conv{number}", f"relu{number}") for number in range(DEPTH))
    search = Search(network, inputs.part(10), Allowance(0.005), onnx_bytes.SPEC, Progress())
    chosen = search.choose(4)
    assert (chosen.excluded, [attempt.layers for attempt in search.attempts]) == ((), [0])
    assert 0 < chosen.attempt.noise.low < chosen.attempt.noise.value < 0.05
    assert chosen.attempt.loss.pictures == 30


def test_where_nothing_helps_half_the_layers_are_tried_and_the_best_is_taken():
    """Ranges of plain grey images fit no others."""
    inputs = coarse_inputs(40)
    grey = np.zeros((3, 16, 16), np.float32)
    network = QuantizableNetwork(small_network(), [grey, grey])
    search = Search(network, inputs.part(10), Allowance(0.0), onnx_bytes.SPEC, Progress())
    chosen = search.choose(4)
    assert [attempt.layers for attempt in search.attempts] == [0, 1, 2, 3]
    assert chosen.attempt in search.attempts
    assert chosen.attempt.noise.value > 0.05
    assert len(chosen.excluded) == 2 * chosen.attempt.layers
