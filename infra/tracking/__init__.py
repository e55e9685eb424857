"""Trackers that people use beside the engine's own curves and reports: TensorBoard and MLflow."""
