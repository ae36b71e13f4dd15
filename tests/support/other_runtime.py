"""Run by the interpreters of `TL_OTHER_PYTHONS`: MODEL IMAGES.npz -> JSON, what each provider there answers.

Needs nothing but onnxruntime and numpy, of any version.
"""

import json
import sys

import numpy as np
import onnxruntime

model, images = sys.argv[1:]
answers = {}
for provider in onnxruntime.get_available_providers():
    if provider in ("CPUExecutionProvider", "OpenVINOExecutionProvider"):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(model, options, providers=[provider])
        assert provider in session.get_providers(), f"{provider} did not start"
        answers[provider] = [
            session.run(["probabilities"], {"image": pixels[np.newaxis]})[0][0].tolist()
            for pixels in np.load(images).values()
        ]
json.dump({"version": onnxruntime.__version__, "answers": answers}, sys.stdout)
