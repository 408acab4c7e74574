"""Exporting a model to one ONNX file, in fp32 or int8."""
