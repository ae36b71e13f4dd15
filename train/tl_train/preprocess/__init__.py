"""The preprocessing, as an ONNX graph: the one implementation there is."""
