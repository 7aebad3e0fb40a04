"""Generation as a decision process, over any tokenizer: an environment in which a text is written.

States are token sequences, actions are tokens, and appending one is the whole dynamics: known and
deterministic (Sun and van der Schaar 2025, section 2.2 and table 2). The end-of-sequence token is
absorbing. Prompts are the initial states; the horizon is the most tokens of an answer. What is
missing is the reward: it is an argument, and without one every step pays 0 and says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from tutorlib.errors import InvalidArgumentError, InvalidTextError, nearest
from tutorlib.lm.checks import check_count
from tutorlib.lm.text import check_words


@dataclass(frozen=True)
class TokenState:
    """A prompt and the answer so far: all there is to know."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...] = ()
    ended: bool = False  # whether the answer's last token ended it

    @property
    def input_ids(self) -> tuple[int, ...]:
        """The whole sequence, as a language model reads it."""
        return self.prompt_ids + self.completion_ids


def token_step(state: TokenState, token: int, eos_token_id: int) -> TokenState:
    """Return the state after one more token; after the end of sequence nothing changes any more.

    >>> token_step(TokenState((5, 6)), 7, eos_token_id=1).input_ids
    (5, 6, 7)
    >>> token_step(TokenState((5,), (1,), ended=True), 7, eos_token_id=1).completion_ids
    (1,)
    """
    if state.ended:
        return state
    return TokenState(state.prompt_ids, (*state.completion_ids, int(token)), token == eos_token_id)


class TokenMDP(gymnasium.Env):
    """Write an answer to a prompt, a token at a time.

    Observations are {"input_ids", "attention_mask"}, padded on the right to the longest prompt plus
    the horizon: what a Hugging Face model takes. Actions are token ids. An episode terminates with
    the end of sequence and is truncated after ``horizon`` tokens. ``reward(state)`` is called with
    each state that a token leads to: as appending can be undone, r(s, a) is a function of it. For
    the usual case, one number for a whole answer, wrap it in ``at_the_end``.

    ``prompts`` are texts, drawn uniformly, or with ``prompt_probabilities``; or chosen, with
    ``reset(options={"prompt": 2})``. Raises InvalidTextError for unknown words, an empty prompt, or
    one that leaves no room for the horizon in what the tokenizer's model reads.

    >>> from tutorlib.lm import word_tokenizer
    >>> env = TokenMDP(word_tokenizer(["the", "sky", "is", "blue"]), ["the sky"], horizon=3)
    >>> _ = env.reset(seed=0)
    >>> for word in ["is", "blue", "<eos>"]:
    ...     observation, reward, terminated, truncated, info = env.step(env.action_of(word))
    >>> info["text"], terminated
    ('the sky is blue <eos>', True)
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 (Gymnasium's attribute)

    def __init__(self, tokenizer, prompts: Sequence[str], horizon: int,
                 reward: Callable[[TokenState], float] | None = None,
                 prompt_probabilities: Sequence[float] | None = None,
                 render_mode: str | None = None):
        """Encode the prompts and declare the spaces."""
        check_count("horizon", horizon)
        if tokenizer.eos_token_id is None:
            raise InvalidTextError("the tokenizer has no end-of-sequence token: set one, or an "
                                   "answer could never end")
        self.tokenizer, self.horizon, self.reward = tokenizer, horizon, reward
        self.render_mode = render_mode
        self.prompts = _encode_prompts(tokenizer, prompts)
        self.prompt_probabilities = _distribution(prompt_probabilities, len(prompts))
        self.context = max(map(len, self.prompts)) + horizon
        if self.context > tokenizer.model_max_length:
            raise InvalidTextError(
                f"the longest prompt and {horizon} tokens of answer are {self.context} tokens; "
                f"the tokenizer's model reads at most {tokenizer.model_max_length}: shorten the "
                "prompt or the horizon")
        self.n_tokens = 1 + max(tokenizer.get_vocab().values())
        self.action_space = gymnasium.spaces.Discrete(self.n_tokens)
        shape = (self.context,)
        self.observation_space = gymnasium.spaces.Dict({
            "input_ids": gymnasium.spaces.Box(0, self.n_tokens - 1, shape, np.int64),
            "attention_mask": gymnasium.spaces.Box(0, 1, shape, np.int64)})
        kwargs = {"tokenizer": tokenizer, "prompts": prompts, "horizon": horizon, "reward": reward,
                  "prompt_probabilities": prompt_probabilities}
        self.spec = EnvSpec("TokenMDP-v0", TokenMDP, kwargs=kwargs)  # lets tools make another one
        self.state: TokenState | None = None  # None before the first reset
        self._trace: list[tuple[TokenState, int, float | None]] = []

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Begin with a prompt that is drawn, or the one whose index is in ``options``."""
        super().reset(seed=seed)
        index = (options or {}).get("prompt")
        if index is None:
            index = self.np_random.choice(len(self.prompts), p=self.prompt_probabilities)
        elif index not in range(len(self.prompts)):
            raise InvalidArgumentError(
                f"there is no prompt {index!r}; prompts are 0 to {len(self.prompts) - 1}")
        self.state, self._trace = TokenState(self.prompts[int(index)]), []
        return self.observe(), self.info()

    def step(self, action: int | np.integer) -> tuple[dict, float, bool, bool, dict]:
        """Append a token; return (observation, reward, terminated, truncated, info).

        In an ended answer every token leads back to it and pays 0: it is absorbing.
        """
        if self.state is None:
            raise InvalidArgumentError("no episode is running; call reset() before step()")
        if not self.action_space.contains(action):
            raise InvalidArgumentError(
                f"there is no token {action!r}; tokens are 0 to {self.n_tokens - 1}: "
                "action_of(word) finds that of a word"
            )
        before = self.state
        if not before.ended:
            if self.truncated(before):
                raise InvalidArgumentError(
                    f"the answer was cut off at the horizon of {self.horizon}; call reset()")
            self.state = token_step(before, int(action), self.tokenizer.eos_token_id)
            paid = self._pay()
            self._trace.append((before, int(action), paid))
        reward = 0.0 if before.ended or self.reward is None else paid
        return (self.observe(), reward, self.state.ended, self.truncated(self.state), self.info())

    def _pay(self) -> float | None:
        """Return the reward of the state that was just reached, checked; None if it is missing."""
        if self.reward is None:
            return None
        paid = float(self.reward(self.state))
        if not math.isfinite(paid):
            text = self.tokenizer.decode(list(self.state.input_ids))
            raise InvalidArgumentError(
                f"the reward of {text!r} is {paid}; expected a finite number")
        return paid

    def truncated(self, state: TokenState) -> bool:
        """Whether the answer reached the horizon without an end."""
        return not state.ended and len(state.completion_ids) >= self.horizon

    def observe(self) -> dict[str, np.ndarray]:
        """Return the state as arrays that a model can read."""
        ids = self.state.input_ids
        filler = self.tokenizer.pad_token_id
        padded = np.full(self.context, 0 if filler is None else filler, dtype=np.int64)
        padded[:len(ids)] = ids
        return {"input_ids": padded,
                "attention_mask": (np.arange(self.context) < len(ids)).astype(np.int64)}

    def info(self) -> dict:
        """Return the state as text, and whether anything pays at all."""
        return {"text": self.tokenizer.decode(list(self.state.input_ids)),
                "reward_is_missing": self.reward is None}

    def action_of(self, word: str) -> int:
        """Return the token of a word; raise InvalidTextError if it is not exactly one."""
        known = self.tokenizer.get_vocab()
        if word in known:
            return known[word]
        ids = self.tokenizer(word, add_special_tokens=False)["input_ids"]
        if len(ids) != 1 or ids[0] == self.tokenizer.unk_token_id:
            raise InvalidTextError(f"{word!r} is not one token of this tokenizer; "
                                   f"{nearest(word, known)}")
        return ids[0]

    def trace(self) -> str:
        """Return the episode as text: one line for each decision, state, token and reward."""
        if self.state is None:
            return "(no episode yet)"
        lines = [("t", "state", "token", "reward")]
        for t, (state, token, paid) in enumerate(self._trace):
            lines.append((str(t), self.tokenizer.decode(list(state.input_ids)),
                          self.tokenizer.decode([token]), "?" if paid is None else f"{paid:g}"))
        how = "ended" if self.state.ended else (
            "cut off" if self.truncated(self.state) else "goes on")
        lines.append((str(len(self._trace)), self.tokenizer.decode(list(self.state.input_ids)),
                      f"({how})", ""))
        widths = [max(len(line[i]) for line in lines) for i in range(4)]
        return "\n".join("  ".join(part.ljust(width) for part, width in
                                   zip(line, widths, strict=True)).rstrip() for line in lines)

    def render(self) -> str | None:
        """Return ``trace()`` in the render mode "ansi"."""
        return self.trace() if self.render_mode == "ansi" else None


def at_the_end(tokenizer, horizon: int, score: Callable[[str, str], float]
               ) -> Callable[[TokenState], float]:
    """Return a reward that pays score(prompt, answer) once, when the answer ends or is cut off.

    Texts come without special tokens. Give the environment's own horizon.
    """
    def reward(state: TokenState) -> float:
        if not state.ended and len(state.completion_ids) < horizon:
            return 0.0
        return float(score(*(tokenizer.decode(list(ids), skip_special_tokens=True)
                             for ids in (state.prompt_ids, state.completion_ids))))

    return reward


def _encode_prompts(tokenizer, prompts: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the prompts as token ids, checked."""
    if isinstance(prompts, str) or not prompts:
        raise InvalidTextError(f"prompts is {prompts!r}; expected a list of one or more texts")
    rows = []
    for i, prompt in enumerate(prompts):
        check_words(tokenizer, prompt)
        rows.append(tuple(tokenizer(prompt)["input_ids"]))
        if not rows[-1]:
            raise InvalidTextError(f"prompt {i} is empty ({prompt!r}); give at least one token")
    return rows


def _distribution(probabilities: Sequence[float] | None, count: int) -> np.ndarray | None:
    """Return the probabilities of the prompts, checked."""
    if probabilities is None:
        return None
    found = np.asarray(probabilities, dtype=float)
    if found.shape != (count,) or not (found >= 0).all() or abs(found.sum() - 1) > 1e-8:
        raise InvalidArgumentError(f"prompt_probabilities is {probabilities}; expected {count} "
                                   "numbers, 0 or more, that sum to 1")
    return found
