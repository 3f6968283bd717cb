"""One file a task: from card, backbone and protocol to plain config, and from predictions to figures."""
