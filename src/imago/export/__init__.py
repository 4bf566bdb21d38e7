"""From a checkpoint to one self-describing ``.onnx`` file. Needs the ``train`` extra."""
