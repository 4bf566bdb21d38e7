"""The stages of R-CNN: crops, features, SVMs, box regression."""
