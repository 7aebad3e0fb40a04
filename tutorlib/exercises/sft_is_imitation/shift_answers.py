"""Exercise 10.1's answers: the reference, wrong ones with what to say about them, other styles."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from tutorlib.grading import Mutant, Variant

IGNORED = -100  # transformers' mark of a target that is not learned
EOS, PAD = 3, 0


def shift_and_mask(input_ids: Int[Tensor, "batch tokens"],
                   attention_mask: Int[Tensor, "batch tokens"],
                   prompt_lengths: Int[Tensor, " batch"]
                   ) -> Int[Tensor, "batch tokens_minus_one"]:
    """Return the token after each position, -100 unless it belongs to the answer."""
    place = torch.arange(1, input_ids.shape[1])  # of the targets
    learned = (attention_mask[:, 1:] == 1) & (place >= prompt_lengths[:, None])
    return input_ids[:, 1:].masked_fill(~learned, IGNORED)


def _with(learned, ids):
    return ids.masked_fill(~learned, IGNORED)


def _places(ids, first=1):
    return torch.arange(first, first + ids.shape[1] - 1)


def _without_the_end(ids, mask, prompts):
    targets = shift_and_mask(ids, mask, prompts)
    last = mask.sum(1) - 2
    return targets.scatter(1, last[:, None], IGNORED)


def _by_the_id_of_the_padding(ids, mask, prompts):
    padding = ids[mask == 0][0] if bool((mask == 0).any()) else PAD
    return _with((ids[:, 1:] != padding) & (_places(ids) >= prompts[:, None]), ids[:, 1:])


def _shifted_twice(ids, mask, prompts):
    return torch.nn.functional.pad(shift_and_mask(ids, mask, prompts)[:, 1:], (0, 1),
                                   value=IGNORED)


def _labels(ids, mask, prompts):
    return _with((mask == 1) & (torch.arange(ids.shape[1]) >= prompts[:, None]), ids)


def _not_shifted(ids, mask, prompts):
    return _labels(ids, mask, prompts)[:, :-1]


def _other_way(ids, mask, prompts):
    return torch.nn.functional.pad(_labels(ids, mask, prompts), (1, 0), value=IGNORED)[:, :-2]


def _in_place(ids, mask, prompts):
    targets = ids[:, 1:]  # a view: writing into it changes ids
    targets[~((mask[:, 1:] == 1) & (_places(ids) >= prompts[:, None]))] = IGNORED
    return targets


def _prompts_alone(ids, mask, prompts):
    return _with(_places(ids) < prompts[:, None], ids[:, 1:])


def _zeros(ids, mask, prompts):
    targets = shift_and_mask(ids, mask, prompts)
    return targets.masked_fill(targets == IGNORED, 0)


def _shortest_prompt(ids, mask, prompts):
    return _with((mask[:, 1:] == 1) & (_places(ids) >= prompts.min()), ids[:, 1:])


MUTANTS = (
    Mutant("end_left_out", _without_the_end,
           "The end of each answer is not learned. It is a token of the answer like any other: it "
           "is what teaches a model to stop. Mask by `attention_mask`, not by id."),
    Mutant("masked_by_the_id_of_the_padding", _by_the_id_of_the_padding,
           "You recognise padding by its id. Where the end-of-sequence token serves as padding, "
           "which is common, every answer loses its end and the model never learns to stop. Use "
           "`attention_mask`."),
    Mutant("zero_taken_for_padding", lambda ids, mask, prompts: _with(
               (mask[:, 1:] == 1) & (_places(ids) >= prompts[:, None]) & (ids[:, 1:] != 0),
               ids[:, 1:]),
           "Token 0 is masked wherever it stands. It is an id like any other, and may be a word "
           "of an answer: `attention_mask` alone says what is padding."),
    Mutant("not_shifted", _not_shifted,
           "The targets are not shifted: position t would have to predict token t, which it has "
           "just read. The loss falls to nearly 0, and nothing useful is learned."),
    Mutant("shifted_twice", _shifted_twice,
           "You shift twice: position t would predict token t + 2. Position t predicts the very "
           "next token, `input_ids[:, 1:]`."),
    Mutant("shifted_the_other_way", _other_way,
           "You shift the wrong way: position t would predict token t - 1, which the model has "
           "already read."),
    Mutant("labels_of_transformers", _labels,
           "These are `labels` as transformers takes them: not shifted, because its models shift "
           "inside. Here the shift is yours: one column fewer."),
    Mutant("prompt_learned", lambda ids, mask, prompts: _with(mask[:, 1:] == 1, ids[:, 1:]),
           "The prompt is learned as well. Pretraining does that; here only the answer is "
           "imitated: targets at places from `prompt_lengths` on."),
    Mutant("padding_learned", lambda ids, mask, prompts: _with(
               _places(ids) >= prompts[:, None], ids[:, 1:]),
           "Padding is learned. `attention_mask` is 0 there: no target."),
    Mutant("mask_of_the_position", lambda ids, mask, prompts: _with(
               (mask[:, :-1] == 1) & (_places(ids) >= prompts[:, None]), ids[:, 1:]),
           "`attention_mask` must be asked about the *target*, `attention_mask[:, 1:]`. Asked "
           "about the position that predicts, it lets the padding behind the end through."),
    Mutant("first_token_left_out", lambda ids, mask, prompts: _with(
               (mask[:, 1:] == 1) & (_places(ids, 0) >= prompts[:, None]), ids[:, 1:]),
           "The first token of each answer is missing. It is predicted at the prompt's *last* "
           "position: a target in column j stands at place j + 1 of the sequence."),
    Mutant("last_token_of_the_prompt", lambda ids, mask, prompts: _with(
               (mask[:, 1:] == 1) & (_places(ids, 2) >= prompts[:, None]), ids[:, 1:]),
           "The last token of each prompt is learned too. A target in column j stands at place "
           "j + 1 of the sequence; the answer begins at place `prompt_lengths`."),
    Mutant("both_off_by_one", lambda ids, mask, prompts: _with(
               (mask[:, :-1] == 1) & (_places(ids, 0) >= prompts[:, None]), ids[:, 1:]),
           "The targets are shifted, but not the masks: both speak of the position that predicts. "
           "So the first token of each answer is lost, and the padding behind its end is learned."),
    Mutant("prompt_alone", _prompts_alone,
           "The mask is turned round: you learn the prompt and leave the answer out."),
    Mutant("one_prompt_length_for_all", _shortest_prompt,
           "Each row has its own prompt length. Compare places with `prompt_lengths[:, None]`."),
    Mutant("first_prompt_length_for_all", lambda ids, mask, prompts: _with(
               (mask[:, 1:] == 1) & (_places(ids) >= prompts[0]), ids[:, 1:]),
           "The first row's prompt length serves for all rows. Each has its own: compare with "
           "`prompt_lengths[:, None]`."),
    Mutant("right_mask_wrong_tokens", lambda ids, mask, prompts: _with(
               (mask[:, 1:] == 1) & (_places(ids) >= prompts[:, None]), ids[:, :-1]),
           "The mask is right, but the tokens are those just read, `input_ids[:, :-1]`. The "
           "targets are the next ones, `input_ids[:, 1:]`."),
    Mutant("zeros_where_ignored", _zeros,
           "0 is a token. What is not learned is marked with -100, which is none."),
    Mutant("in_place", _in_place,
           "`input_ids[:, 1:]` is a view: writing -100 into it changes `input_ids`. Use "
           "`masked_fill`, `torch.where` or a `.clone()`."),
)


def _numpy(ids, mask, prompts):
    ids, mask, prompts = ids.numpy(), mask.numpy(), prompts.numpy()
    learned = (mask == 1) & (np.arange(ids.shape[1])[None] >= prompts[:, None])
    return np.where(learned, ids, IGNORED)[:, 1:]


def _loops(ids, mask, prompts):
    rows = []
    for i in range(len(ids)):
        row = []
        for t in range(ids.shape[1] - 1):
            learned = mask[i, t + 1] == 1 and t + 1 >= prompts[i]
            row.append(int(ids[i, t + 1]) if learned else IGNORED)
        rows.append(row)
    return rows


def _labels_then_shift(ids, mask, prompts):
    labels = ids.clone()
    labels[mask == 0] = IGNORED
    for row, length in enumerate(prompts.tolist()):
        labels[row, :length] = IGNORED
    return labels[:, 1:]


VARIANTS = (
    Variant("numpy", _numpy),
    Variant("loops, as lists", _loops),
    Variant("labels first, then the shift", _labels_then_shift),
)
