"""What a model costs: parameters, multiply-accumulates, latency, memory."""
