import json
from pathlib import Path

import numpy as np

from bench.judged_items import KINDS, OWN_WORDS, halves, human_cases, paper_cases
from bench.judging import best_weights, dropped, parts_of, table

TOWNS = ["Ghent", "Lund", "Riga", "Turku"]


def write_passages(folder: Path) -> None:
    """Four passages in XQuAD's layout, two questions each."""
    corpus, queries, qrels = [], [], ["query-id\tcorpus-id\tscore"]
    for i, town in enumerate(TOWNS):
        text = (
            f"The old harbour of {town} was built in 18{i}7 by the mason Jonas Lind. "
            f"Today {i + 21} ferries leave its northern quay every morning before the sun rises."
        )
        corpus.append({"_id": f"p{i}", "title": town, "text": text})
        for number, (question, answer) in enumerate(
            [(f"Who built the harbour of {town}?", "Jonas Lind"), ("How many ferries leave the quay?", f"{i + 21}")]
        ):
            queries.append({"_id": f"q{i}{number}", "text": question, "answers": [answer]})
            qrels.append(f"q{i}{number}\tp{i}\t1")
    (folder / "qrels").mkdir()
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in corpus))
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in queries))
    (folder / "qrels/test.tsv").write_text("\n".join(qrels) + "\n")


def test_peoples_answers_are_judged_as_spans_and_as_sentences(tmp_path: Path) -> None:
    write_passages(tmp_path)
    sets = human_cases(tmp_path, per_passage=2, seed=0)
    assert {name: len(cases) for name, cases in sets.items()} == {"people's, spans": 8, "people's, sentences": 8}
    for name, cases in sets.items():
        for case in cases:
            assert case.item.answer in case.item.context
            for kind, wrong in case.wrong.items():
                assert kind in KINDS and case.item.answer not in wrong.answer
                assert (wrong.question, wrong.context) == (case.item.question, case.item.context)
            assert ("." in case.item.answer) == name.endswith("sentences")
    assert len(human_cases(tmp_path, per_passage=1, seed=0)["people's, spans"]) == 4


def test_answers_in_own_words_have_another_papers_beside_them(tmp_path: Path) -> None:
    records = {
        str(i): {
            "paper_id": f"pmid_{i}",
            "question": f"Do the ferries of {town} wait for the tide?",
            "evidential_info": [{"context": f"We watched {town} for {i + 3} years.", "rationale": ""}],
            "composition": f"In {town} they waited. Medical Subject Headings (MeSH): ferries.",
        }
        for i, town in enumerate(TOWNS)
    }
    (tmp_path / "papers.json").write_text(json.dumps(records))
    cases = paper_cases(tmp_path / "papers.json", seed=0)[OWN_WORDS]
    assert [case.item.answer for case in cases] == [f"In {town} they waited." for town in TOWNS]
    for case in cases:
        assert case.wrong["elsewhere"].answer in {other.item.answer for other in cases if other is not case}
        assert case.wrong["elsewhere"].context == case.item.context


def test_halves_share_no_document(tmp_path: Path) -> None:
    write_passages(tmp_path)
    cases = human_cases(tmp_path, per_passage=2, seed=0)["people's, spans"]
    first, second = ({case.item.document for case in half} for half in halves(cases, seed=0))
    assert len(first) == len(second) == 2 and not first & second


def test_the_tables_tell_right_from_wrong(tmp_path: Path) -> None:
    write_passages(tmp_path)
    pairs = parts_of(human_cases(tmp_path, per_passage=2, seed=0))
    assert len(table(pairs)) == 2 + len(pairs)
    assert all("| 1.00 [1.00, 1.00] |" in line for line in table(pairs)[2:])
    assert all(line.split(" | ")[3] == "1.00" for line in dropped(pairs, 4.0)[2:])  # right ones are kept
    assert all(line.split(" | ")[3:] == ["0.00", "1.00 |"] for line in dropped(pairs, 5.1)[2:])


def test_the_weights_are_chosen_on_the_first_half_alone() -> None:
    good, bad = np.array([[0.0, 0.0, 1.0, 0.0]]), np.array([[0.0, 0.5, 0.0, 0.0]])  # near tells, place misleads
    assert best_weights({("s", 0, "sentence"): (good, bad)})[0] == 1.0
    misled = {("s", 0, "sentence"): (good, bad), ("s", 1, "sentence"): (bad, good)}
    assert best_weights(misled)[0] == 1.0
    own = {("s", 0, "sentence"): (good, bad), (OWN_WORDS, 0, "sentence"): (bad, good)}
    assert best_weights(own)[0] == 1.0
