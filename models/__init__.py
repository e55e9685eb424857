"""The science: tensors in, tensors out. Imports torch and numerics alone, so it runs on a bare GPU machine."""
