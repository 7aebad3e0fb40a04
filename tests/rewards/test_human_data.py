"""Real pairs: found, read, embedded, or said to be absent. Runs on copies made here."""

import gzip
import hashlib
import json
import os

import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tests.lm.conftest import as_a_learner
from tutorlib.errors import (
    DataNotFoundError,
    InvalidArgumentError,
    InvalidModelError,
    InvalidTextError,
    ModelNotFoundError,
)
from tutorlib.lm import word_tokenizer
from tutorlib.rewards import (
    EmbeddedPairs,
    HashedWords,
    SentenceEncoder,
    embed_pairs,
    load_embedded,
    load_human_pairs,
    save_embedded,
    split_dialogues,
    split_pairs,
)

REAL = os.environ.get("TUTORLIB_DATA")  # before any test changes it
TALK = "\n\nHuman: hello\n\nAssistant: hi .\n\nHuman: how are you ?\n\nAssistant:"
RECORDS = [
    {"chosen": f"{TALK} fine , and you ?", "rejected": f"{TALK} fine , why ?"},
    {"chosen": f"{TALK} well", "rejected": f"{TALK} well"},  # says nothing
    {"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
     "rejected": "\n\nHuman: a\n\nAssistant: e\n\nHuman: f\n\nAssistant: d"},  # part early
]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORLIB_DATA", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("name", [
    "hh_harmless_base_test.jsonl.gz", "hh_harmless_base_test.jsonl", "harmless-base/test.jsonl.gz"])
def test_pairs_are_read_from_any_usual_place(folder, name):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(LINES.encode()) if name.endswith("gz") else LINES.encode())
    first, third = load_human_pairs()
    assert first.question == "how are you ?" and first.prompt == TALK.removesuffix("\n\nAssistant:")
    assert (first.chosen, first.rejected) == ("fine , and you ?", "fine , why ?")
    assert (third.prompt, third.question) == ("\n\nHuman: a", "a")
    assert third.rejected == "e\n\nHuman: f\n\nAssistant: d"
    assert load_human_pairs(limit=1) == [first] and first.words == (5, 4)
    assert "fine" not in repr(first)  # nothing is shown by accident


def test_absence_is_said_with_where_was_looked(folder, monkeypatch):
    with pytest.raises(DataNotFoundError, match=rf"(?s){folder.name}.*This part needs it and is"):
        load_human_pairs("helpful-base")
    monkeypatch.delenv("TUTORLIB_DATA")
    with pytest.raises(DataNotFoundError, match=r"TUTORLIB_DATA.*not set"):
        load_human_pairs()
    monkeypatch.setenv("TUTORLIB_DATA", str(folder / "nowhere"))
    with pytest.raises(DataNotFoundError, match="is no folder"):
        load_human_pairs()


@pytest.mark.parametrize("text, message", [
    ('{"chosen": "x"}\n', "line 1 .* has no 'rejected'"),
    (LINES + "{", "is damaged"),
    ('{"chosen": "a", "rejected": "b"}\n', "share no beginning"),
])
def test_damaged_files_are_named(folder, text, message):
    (folder / "hh_harmless_base_test.jsonl").write_text(text)
    with pytest.raises(InvalidTextError, match=message):
        load_human_pairs()
    (folder / "hh_harmless_base_test.jsonl.gz").write_bytes(gzip.compress(text.encode())[:-9])
    with pytest.raises(InvalidTextError):
        load_human_pairs()


@pytest.mark.skipif(not REAL, reason="TUTORLIB_DATA is not set: no copy of HH-RLHF at hand")
def test_the_published_file_has_its_pairs(monkeypatch):
    monkeypatch.setenv("TUTORLIB_DATA", REAL or "")
    pairs = load_human_pairs()
    assert len(pairs) == 2312
    assert all(p.prompt.startswith("\n\nHuman:") and p.chosen != p.rejected for p in pairs)
    assert sum("\n\nAssistant:" in p.chosen for p in pairs) <= 5  # part before the last reply


def test_hashed_words_are_counts_in_places_of_their_own():
    encode = HashedWords(4096)
    one, twice, other = encode(["red ball", "red ball red ball red", "Green ?"])
    assert one.count_nonzero() == 3 and torch.dot(one, other) == 0  # two words and their pair
    assert float(torch.dot(one, twice)) > 0.8
    assert torch.equal(encode(["a b"])[0], HashedWords(4096)(["x", "a b"])[1])
    assert float(encode([""])[0].norm()) == 0


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    """A sentence encoder of the right kind, small and random."""
    folder = tmp_path_factory.mktemp("data") / "all-MiniLM-L6-v2"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertModel(BertConfig(vocab_size=8, hidden_size=16, num_hidden_layers=1,
                                     num_attention_heads=2, intermediate_size=16,
                                     initializer_range=0.5))
    model.save_pretrained(folder)
    tokenizer: PreTrainedTokenizerFast = word_tokenizer(["a", "b", "c"])
    tokenizer.padding_side = "right"
    tokenizer.save_pretrained(folder)
    return folder


def test_sentences_are_means_over_their_tokens_however_they_are_batched(encoder_folder):
    encode = SentenceEncoder(encoder_folder, sha256=None, tokens=4)
    texts = ["a b c", "a", "c b", "a b c a b c"]
    found = encode(texts, batch_size=3)
    for text, vector in zip(texts, found, strict=True):
        ids = encode.tokenizer(text, return_tensors="pt")["input_ids"][:, :4]
        mean = encode.model(ids).last_hidden_state[0].mean(0)
        torch.testing.assert_close(vector, mean / mean.norm(), atol=1e-5, rtol=1e-4)
    assert encode.name.endswith("4 tokens")


def test_other_weights_than_the_published_ones_are_refused(encoder_folder, folder, monkeypatch):
    digest = hashlib.sha256((encoder_folder / "model.safetensors").read_bytes()).hexdigest()
    assert SentenceEncoder(encoder_folder, sha256=digest)(["a"]).shape == (1, 16)
    monkeypatch.setenv("TUTORLIB_DATA", str(encoder_folder.parent))  # found there by its name
    with pytest.raises(InvalidModelError, match=r"expected 53aa51172d14\.\.\."):
        SentenceEncoder()
    with pytest.raises(ModelNotFoundError, match=r"holds no model\.safetensors"):
        SentenceEncoder(folder)
    monkeypatch.setenv("TUTORLIB_DATA", str(folder))
    with pytest.raises(ModelNotFoundError, match="HashedWords needs no download"):
        SentenceEncoder()


def test_vectors_of_pairs_are_kept_with_their_source(folder):
    pairs = [split_dialogues(r["chosen"], r["rejected"]) for r in RECORDS[::2]]
    encode = HashedWords(64)
    vectors = embed_pairs(pairs, encode)
    assert torch.equal(vectors.chosen[0], encode([f"{pairs[0].question}\n{pairs[0].chosen}"])[0])
    alone = embed_pairs(pairs, encode, with_question=False)
    assert torch.equal(alone.rejected[1], encode([pairs[1].rejected])[0])
    save_embedded(vectors, folder / "new" / "v.safetensors", encode.name)
    again = load_embedded(folder / "new" / "v.safetensors", encode.name)
    assert torch.equal(again.chosen, vectors.chosen) and torch.equal(again.rejected,
                                                                     vectors.rejected)
    with pytest.raises(InvalidArgumentError, match="not of 'other'"):
        load_embedded(folder / "new" / "v.safetensors", "other")
    (folder / "bad.safetensors").write_bytes(b"x")
    for name in ("bad.safetensors", "none.safetensors"):
        with pytest.raises(InvalidArgumentError, match="cannot be read"):
            load_embedded(folder / name, "other")


def test_parts_share_no_pair():
    pairs = EmbeddedPairs(torch.arange(10.0)[:, None], torch.zeros(10, 1))
    train, rest = split_pairs(pairs, 0.7, torch.Generator().manual_seed(1))
    assert sorted(torch.cat([train.chosen, rest.chosen])[:, 0].tolist()) == list(range(10))
    assert train.chosen[:, 0].tolist() != list(range(7))


@pytest.mark.parametrize("call, message", [
    (lambda: load_human_pairs("harmless"), "harmless-base"),
    (lambda: load_human_pairs(split="valid"), "train, test"),
    (lambda: load_human_pairs(limit=0), "limit is 0"),
    (lambda: HashedWords(0), "size is 0"),
    (lambda: HashedWords()("text"), "not a bare text"),
    (lambda: embed_pairs([], HashedWords()), "no pairs to embed"),
    (lambda: split_pairs(EmbeddedPairs(torch.ones(2, 1), torch.ones(2, 1)), 1.0,
                         torch.Generator()), "leaves one part"),
])
def test_bad_input_is_refused_with_a_reason(call, message):
    with as_a_learner(), pytest.raises(InvalidArgumentError, match=message):
        call()
