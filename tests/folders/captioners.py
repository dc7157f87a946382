"""Captioners as saved folders: the processor puts the picture ahead, or the model does.

None of their repositories has a chat template.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from tests.conftest import byte_level_core, write_json
from tests.families import FAMILIES
from tests.folders.parts import folder, save_model
from tests.folders.text import (
    GEMMA_TOKENIZER,
    LLAMA_SPECIALS,
    around,
    bart_core,
    gemma_core,
    padded,
    save_tokenizer,
    sentencepiece_core,
    t5_core,
    unigram_core,
    wordpiece_core,
)

CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
PATCHES = 3


def _config(name: str) -> Any:
    return deepcopy(FAMILIES[name]().model.config)


def _set(config: Any, **settings: Any) -> None:
    """Change settings; each must be one that the config has."""
    for name, value in settings.items():
        assert hasattr(config, name), name
        setattr(config, name, value)


def _save(name: str, config: Any, path: Path) -> None:
    save_model(type(FAMILIES[name]().model), config, path)


def _square(side: int) -> dict[str, Any]:
    return {"size": {"height": side, "width": side}, "do_resize": True, "resample": 3}


def _cropped(side: int) -> dict[str, Any]:
    return {
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "resample": 3,
        "rescale_factor": 1 / 255,
    }


@folder("florence2")
def save_florence2(path: Path) -> None:
    """The processor puts image tokens, <s> and </s> around the prompt by itself and adds no
    special tokens; some prompts are names of tasks (<CAPTION>)."""
    core = bart_core("<image>")
    config = _config("florence2")
    _set(config, image_token_id=core.token_to_id("<image>"))
    _set(config.text_config, vocab_size=padded(core), max_position_embeddings=128)
    _save("florence2", config, path)
    save_tokenizer(
        path,
        core,
        tokenizer_class="BartTokenizer",
        add_prefix_space=False,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        extra_special_tokens={"image_token": "<image>"},
        image_token="<image>",
        model_max_length=128,
        processor_class="Florence2Processor",
        clean_up_tokenization_spaces=False,
    )
    write_json(
        path / "preprocessor_config.json",
        {
            "image_processor_type": "CLIPImageProcessor",
            "processor_class": "Florence2Processor",
            "image_seq_length": PATCHES**2 + 1,
            "do_center_crop": False,
            "crop_size": {"height": 24, "width": 24},
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
            **_square(24),
        },
    )
    write_json(
        path / "processor_config.json",
        {"processor_class": "Florence2Processor", "post_processor_config": {}},
    )
    write_json(
        path / "generation_config.json",
        {
            "bos_token_id": 0,
            "decoder_start_token_id": 2,
            "eos_token_id": 2,
            "forced_bos_token_id": 0,
            "forced_eos_token_id": 2,
            "no_repeat_ngram_size": 3,
            "num_beams": 3,
            "pad_token_id": 1,
        },
    )


def _blip_pictures(path: Path, processor: str) -> None:
    write_json(
        path / "preprocessor_config.json",
        {
            "image_processor_type": "BlipImageProcessor",
            "processor_class": processor,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            **_square(4 * PATCHES),
            **CLIP,
        },
    )


@folder("blip-2")
def save_blip_2(path: Path) -> None:
    """OPT: </s> is also the BOS. The processor puts the image tokens before it by itself, and
    its placeholder is no string."""
    specials = ("<pad>", "</s>", "<image>")
    core = around(byte_level_core(specials, first=256), "</s>")
    config = _config("blip-2")
    _set(config, image_token_index=core.token_to_id("<image>"))
    end = core.token_to_id("</s>")
    _set(
        config.text_config,
        vocab_size=padded(core),
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=core.token_to_id("<pad>"),
    )
    _save("blip-2", config, path)
    save_tokenizer(
        path,
        core,
        tokenizer_class="GPT2Tokenizer",
        add_prefix_space=False,
        bos_token="</s>",
        eos_token="</s>",
        unk_token="</s>",
        pad_token="<pad>",
        errors="replace",
        model_max_length=512,
        processor_class="Blip2Processor",
        clean_up_tokenization_spaces=True,
    )
    _blip_pictures(path, "Blip2Processor")
    write_json(
        path / "processor_config.json",
        {"num_query_tokens": config.num_query_tokens, "processor_class": "Blip2Processor"},
    )


def _save_bert_tokenizer(path: Path, core: Any, **settings: Any) -> None:
    save_tokenizer(
        path,
        core,
        **{
            "tokenizer_class": "BertTokenizer",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
            "mask_token": "[MASK]",
            "do_lower_case": True,
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": 512,
            **settings,
        },
    )


@folder("blip")
def save_blip(path: Path) -> None:
    """BERT's tokenizer closes every text with [SEP]; when it generates, the model takes that off
    and writes its own [DEC], which the tokenizer does not have, for [CLS]."""
    core = wordpiece_core()
    config = _config("blip")
    size = core.get_vocab_size()
    _set(
        config.text_config,
        vocab_size=size + 2,
        bos_token_id=size,
        eos_token_id=2,
        pad_token_id=0,
        sep_token_id=core.token_to_id("[SEP]"),
    )
    _save("blip", config, path)
    _save_bert_tokenizer(path, core, processor_class="BlipProcessor")
    _blip_pictures(path, "BlipProcessor")


@folder("git")
def save_git(path: Path) -> None:
    """The model puts the picture ahead; BERT's tokenizer closes every text with [SEP], which is
    the EOS here: questions are asked without."""
    core = wordpiece_core()
    config = _config("git")
    _set(
        config,
        vocab_size=padded(core),
        bos_token_id=core.token_to_id("[CLS]"),
        eos_token_id=core.token_to_id("[SEP]"),
        pad_token_id=core.token_to_id("[PAD]"),
    )
    _save("git", config, path)
    _save_bert_tokenizer(path, core, processor_class="GitProcessor")
    write_json(
        path / "preprocessor_config.json",
        {
            "image_processor_type": "CLIPImageProcessor",
            "processor_class": "GitProcessor",
            **_cropped(4 * PATCHES),
            **CLIP,
        },
    )


@folder("instructblip")
def save_instructblip(path: Path) -> None:
    """Vicuna, and a second tokenizer in a folder of its own for the queries."""
    core = around(sentencepiece_core(LLAMA_SPECIALS, space_ahead=True, added="<image>"), "<s>")
    queries = wordpiece_core()
    config = _config("instructblip")
    _set(config, image_token_index=core.token_to_id("<image>"))
    _set(
        config.text_config, vocab_size=padded(core), bos_token_id=1, eos_token_id=2, pad_token_id=0
    )
    _set(config.qformer_config, vocab_size=padded(queries))
    _save("instructblip", config, path)
    save_tokenizer(
        path,
        core,
        tokenizer_class="LlamaTokenizer",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        unk_token="<unk>",
        legacy=True,
        padding_side="left",
        truncation_side="left",
        processor_class="InstructBlipProcessor",
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )
    _save_bert_tokenizer(
        path / "qformer_tokenizer",
        queries,
        bos_token="[DEC]",
        truncation_side="left",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        processor_class="InstructBlipProcessor",
    )
    _blip_pictures(path, "InstructBlipProcessor")
    write_json(
        path / "processor_config.json",
        {"num_query_tokens": config.num_query_tokens, "processor_class": "InstructBlipProcessor"},
    )


@folder("kosmos-2")
def save_kosmos_2(path: Path) -> None:
    """The processor writes <image>, 64 ids of ordinary pieces and </image> before the text, and
    the BOS, by itself; and adds 1024 tokens for places."""
    core = around(unigram_core(("<s>", "<pad>", "</s>", "<unk>"), "<unk>"), "<s>", "</s>")
    config = _config("kosmos-2")
    _set(config, latent_query_num=64)
    _set(config.text_config, vocab_size=1472, max_position_embeddings=256)
    _save("kosmos-2", config, path)
    save_tokenizer(
        path,
        core,
        tokenizer_class="XLMRobertaTokenizer",
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=256,
        model_input_names=["input_ids", "attention_mask"],
        processor_class="Kosmos2Processor",
        clean_up_tokenization_spaces=True,
    )
    write_json(
        path / "preprocessor_config.json",
        {
            "image_processor_type": "CLIPImageProcessor",
            "processor_class": "Kosmos2Processor",
            "use_square_size": True,
            **_cropped(4 * PATCHES),
            **CLIP,
        },
    )


def _roberta_tokenizer(path: Path, core: Any, **settings: Any) -> None:
    save_tokenizer(
        path,
        core,
        tokenizer_class="RobertaTokenizer",
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        add_prefix_space=False,
        errors="replace",
        trim_offsets=True,
        model_max_length=64,
        **settings,
    )


@folder("vision-encoder-decoder")
def save_trocr(path: Path) -> None:
    """TrOCR: the picture is all that is asked. Its processor makes a text that stands with a
    picture the labels to learn."""
    core = bart_core()
    config = _config("vision-encoder-decoder")
    _set(
        config.decoder,
        vocab_size=padded(core),
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
        decoder_start_token_id=2,
    )
    _save("vision-encoder-decoder", config, path)
    write_json(
        path / "generation_config.json",
        {"bos_token_id": 0, "decoder_start_token_id": 2, "eos_token_id": 2, "pad_token_id": 1},
    )
    _roberta_tokenizer(path, core, processor_class="TrOCRProcessor")
    write_json(
        path / "preprocessor_config.json",
        {
            "image_processor_type": "ViTImageProcessor",
            "processor_class": "TrOCRProcessor",
            "do_normalize": True,
            **_square(4 * PATCHES),
            **HALF,
        },
    )


@folder("vision-encoder-decoder-gpt2")
def save_vit_gpt2(path: Path) -> None:
    """A captioner of ViT and GPT-2: its repository names no processor class, so that only the
    tokenizer is found as its processor."""
    from transformers import (
        GPT2Config,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
    )

    core = byte_level_core(("<|endoftext|>",), first=256)
    end = core.token_to_id("<|endoftext|>")
    decoder = GPT2Config(
        vocab_size=core.get_vocab_size(),
        n_positions=64,
        n_embd=32,
        n_layer=4,
        n_head=4,
        initializer_range=0.2,
        add_cross_attention=True,
        is_decoder=True,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=end,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        _config("vision-encoder-decoder").encoder, decoder
    )
    save_model(VisionEncoderDecoderModel, config, path)
    write_json(
        path / "generation_config.json",
        {
            "_from_model_config": True,
            "bos_token_id": end,
            "decoder_start_token_id": end,
            "eos_token_id": end,
            "pad_token_id": end,
        },
    )
    save_tokenizer(
        path,
        core,
        tokenizer_class="GPT2Tokenizer",
        add_prefix_space=False,
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        model_max_length=64,
    )
    write_json(
        path / "preprocessor_config.json",
        {
            "feature_extractor_type": "ViTFeatureExtractor",
            "do_normalize": True,
            "do_resize": True,
            "resample": 2,
            "size": 4 * PATCHES,
            **HALF,
        },
    )


def _save_pix2struct(path: Path, *, questions: bool) -> None:
    core = t5_core()
    config = _config("pix2struct")
    _set(
        config.text_config,
        vocab_size=padded(core),
        decoder_start_token_id=0,
        eos_token_id=1,
        pad_token_id=0,
    )
    _save("pix2struct", config, path)
    write_json(
        path / "generation_config.json",
        {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0},
    )
    save_tokenizer(
        path,
        core,
        tokenizer_class="T5Tokenizer",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_ids=100,
        processor_class="Pix2StructProcessor",
    )
    write_json(
        path / "preprocessor_config.json",
        {
            "image_processor_type": "Pix2StructImageProcessor",
            "processor_class": "Pix2StructProcessor",
            "do_convert_rgb": True,
            "do_normalize": True,
            "is_vqa": questions,
            "max_patches": 24,
            "patch_size": {"height": 4, "width": 4},
        },
    )


@folder("pix2struct")
def save_pix2struct(path: Path) -> None:
    """The picture goes to the encoder, and its processor makes the text the decoder's."""
    _save_pix2struct(path, questions=False)


@folder("t5gemma2")
def save_t5gemma2(path: Path) -> None:
    """A base model with Gemma 3's processor, whose placeholder is the mark where a picture
    begins. No decoder start is declared: it is the BOS."""
    marks = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    core = gemma_core(" ".join(marks.values()))
    config = _config("t5gemma2")
    ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "vocab_size": padded(core)}
    indices = {f"{name}_index": core.token_to_id(text) for name, text in marks.items()}
    boi = indices.pop("boi_token_index")
    for part in (config, config.encoder.text_config, config.decoder):
        _set(part, **ids)
    _set(config, **indices)
    _set(config.encoder, boi_token_index=boi, **indices)
    _save("t5gemma2", config, path)
    save_tokenizer(
        path,
        core,
        **GEMMA_TOKENIZER,
        **marks,
        extra_special_tokens=marks,
        processor_class="Gemma3Processor",
    )
    write_json(
        path / "preprocessor_config.json",
        {
            "image_processor_type": "Gemma3ImageProcessor",
            "processor_class": "Gemma3Processor",
            "do_convert_rgb": None,
            "do_normalize": True,
            "do_pan_and_scan": None,
            "do_rescale": True,
            "image_seq_length": 4,
            "pan_and_scan_max_num_crops": None,
            "pan_and_scan_min_crop_size": None,
            "pan_and_scan_min_ratio_to_activate": None,
            "rescale_factor": 1 / 255,
            **_square(16),
            **HALF,
        },
    )
    write_json(
        path / "processor_config.json",
        {"image_seq_length": 4, "processor_class": "Gemma3Processor"},
    )
