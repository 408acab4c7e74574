"""A trained model as one file for other runtimes: ONNX, in fp32 or in int8."""
