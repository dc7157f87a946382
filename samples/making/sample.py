"""The bundled model as anyone would load and ask it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from samples import MODEL

BATCH = 50
"""Pictures of one pass."""


class Sample:
    """The model and its processor, loaded as anyone would load them."""

    def __init__(self, folder: Path = MODEL) -> None:
        self.processor: Any = AutoProcessor.from_pretrained(folder)
        model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        self.model = model.eval()
        self.layers = int(model.config.text_config.num_hidden_layers)

    def chat(self, prompt: str, *, picture: bool = True) -> str:
        """The chat template's text for one question."""
        content = [{"type": "image"}] if picture else []
        message = {"role": "user", "content": [*content, {"type": "text", "text": prompt}]}
        text = self.processor.apply_chat_template([message], add_generation_prompt=True)
        return str(text)

    def encode(self, text: str, pictures: Sequence[Image.Image] = ()) -> dict[str, Tensor]:
        """The processor's tensors: ``text`` once per picture, or once without any."""
        if not pictures:
            return dict(self.processor(text=text, return_tensors="pt"))
        texts = [text] * len(pictures)
        return dict(self.processor(images=list(pictures), text=texts, return_tensors="pt"))

    @torch.no_grad()
    def rows(self, inputs: dict[str, Tensor]) -> Tensor:
        """Probabilities at the last position, (layers + 1, inputs, vocabulary).

        ``hidden_states[-1]`` has already passed the final norm, so the last row takes the model's
        own logits, and only the rows before it pass through norm and head here.
        """
        output = self.model(**inputs, output_hidden_states=True, logits_to_keep=1)
        norm, head = self.model.model.language_model.norm, self.model.lm_head
        rows = [head(norm(state[:, -1])) for state in output.hidden_states[:-1]]
        return torch.stack([*rows, output.logits[:, -1]]).softmax(-1)

    @torch.no_grad()
    def last(self, inputs: dict[str, Tensor]) -> Tensor:
        """Probabilities of the next token, (inputs, vocabulary)."""
        logits: Tensor = self.model(**inputs, logits_to_keep=1).logits
        return logits[:, -1].softmax(-1)

    def tokens(self, words: Iterable[str]) -> list[int]:
        """The token of each word as an answer: lower case, after a space."""
        encode = self.processor.tokenizer.encode
        return [encode(f" {word}", add_special_tokens=False)[0] for word in words]

    def words(self, tokens: Iterable[int]) -> list[str]:
        """Tokens as they are compared with the truth: stripped and lower-cased."""
        return [self.processor.tokenizer.decode([t]).strip().lower() for t in tokens]

    def answers(self, text: str, pictures: Sequence[Image.Image]) -> list[str]:
        """The top-1 answer for each picture."""
        found: list[str] = []
        for start in range(0, len(pictures), BATCH):
            inputs = self.encode(text, pictures[start : start + BATCH])
            found += self.words(self.last(inputs).argmax(-1).tolist())
        return found
