"""To what in the picture the answer is sensitive: gradients and occlusion, compared by deletion."""
