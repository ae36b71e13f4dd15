"""Mode `partial`: the last stages are trained on activations of the frozen ones, which are computed once."""
