"""What can be put in a picture's stead, and the model's inputs with it.

`grammar` reads `--against` (without torch), `pictures` makes other pictures, `pixels` changes what
the processor made of the picture, `tokens` takes it out of the prompt, `inputs` is the way in.
"""
