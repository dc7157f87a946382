"""The logit lens: reads, streams and proves the rows of a model."""
