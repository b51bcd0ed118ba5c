"""Files written whole and folders sealed by a manifest: NumPy, JSON and safetensors, no JAX."""
