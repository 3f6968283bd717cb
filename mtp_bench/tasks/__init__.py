"""One file a task: card, backbone and protocol to plain config, predictions to figures."""
