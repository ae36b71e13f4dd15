"""Turn a training run into one proven ONNX file: the program `tl-export`, the call `tl_export.pipeline.export`."""
