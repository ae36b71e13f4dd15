"""The ONNX graph: tracing the network, assembling the file, taking it apart."""
