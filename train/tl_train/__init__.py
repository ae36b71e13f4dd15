"""Fine-tune a pretrained network on your own pictures: the program `tl-train`, the call `tl_train.run.train`."""
