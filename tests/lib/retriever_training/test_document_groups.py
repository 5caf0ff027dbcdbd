from stages.lib.retriever_training.document_groups import document_groups, held_out_groups

CHUNKS = [
    {"id": "a-0", "document": "a", "text": "Batches are drawn at random."},
    {"id": "b-0", "document": "b", "text": "Weights are frozen."},
    {"id": "b-1", "document": "b", "text": "A tokenizer cuts words."},
    {"id": "c-0", "document": "c", "text": "a tokenizer cuts  words."},
    {"id": "d-0", "document": "d", "text": "Something else."},
]


def test_documents_of_the_same_words_or_a_near_pair_are_one_group() -> None:
    assert document_groups(CHUNKS, []) == {"a": "a", "b": "b", "c": "b", "d": "d"}
    assert document_groups(CHUNKS, [("d-0", "c-0")]) == {"a": "a", "b": "b", "c": "b", "d": "b"}
    assert document_groups(CHUNKS, [("d-0", "c-0"), ("a-0", "b-0")]) == dict.fromkeys("abcd", "a")


def test_a_share_of_the_groups_is_held_out_the_same_for_the_same_seed() -> None:
    groups = {f"d{n}": f"g{n // 2}" for n in range(2000)}
    held_out = held_out_groups(groups, 0.3, 1)
    assert 250 < len(held_out) < 350
    assert held_out == held_out_groups(groups, 0.3, 1) != held_out_groups(groups, 0.3, 2)
    assert held_out_groups(groups, 0.0, 1) == set()
    assert held_out_groups(groups, 1.0, 1) == set(groups.values())
