"""Networks of many architectures with seeded random weights, exported to ONNX: what the engine has not been tuned on."""
