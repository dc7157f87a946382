"""Counterfactuals: what a question can have instead of its picture, and the inputs for it.

`grammar` reads their names (without torch), `pictures` makes other pictures, `pixels` changes the
processor's output, `tokens` takes the picture out of the prompt; `inputs` is the entry to all.
"""
