"""TinyTalk's tokenizer: one token a word, as a Hugging Face fast tokenizer.

A conversation is ``<bos> <user> question <bot> answer <eos>``, written by the chat template.
Prompts are padded on the left, so that answers start in one column.
"""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from tutorlib.errors import InvalidArgumentError, nearest
from tutorlib.tinytalk.words import SPECIALS, all_words

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ ' <user> ' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ ' <bot> ' }}{% generation %}{{ message['content'] + ' ' + eos_token }}{% endgeneration %}"
    "{% else %}{{ raise_exception('TinyTalk knows the roles user and assistant') }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ ' <bot>' }}{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a new tokenizer over all words of TinyTalk.

    >>> tokenizer = make_tokenizer()
    >>> tokenizer.decode(tokenizer.encode("the sky is blue ."))
    'the sky is blue .'
    """
    vocabulary = {word: index for index, word in enumerate((*SPECIALS, *all_words()))}
    core = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", pad_token="<pad>", bos_token="<bos>",
        eos_token="<eos>", additional_special_tokens=["<user>", "<bot>"], padding_side="left",
        clean_up_tokenization_spaces=False, model_input_names=["input_ids", "attention_mask"])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def chat_prompt(question: str) -> str:
    """Return what the chat template makes of a question, ready for an answer; 50 times faster.

    >>> chat_prompt("what is 1 + 2 ?")
    '<bos> <user> what is 1 + 2 ? <bot>'
    """
    return f"<bos> <user> {question} <bot>"


@cache
def _known() -> frozenset[str]:
    return frozenset((*SPECIALS, *all_words()))


def check_words(text: str) -> None:
    """Raise InvalidArgumentError for words that TinyTalk does not have, naming each.

    >>> check_words("the sky is blue .")
    """
    unknown = sorted(set(text.split()) - _known())
    if unknown:
        near = nearest(unknown[0], sorted(_known()))
        raise InvalidArgumentError(
            f"TinyTalk has no word for {', '.join(map(repr, unknown))} ({near}); words and signs "
            "are separated by spaces, as in 'the sky is blue .'")
