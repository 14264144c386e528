"""The two intermediate representations: what the network says (layers) and what a processor does (machine)."""
