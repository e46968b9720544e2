"""AudioSet's tables: do filters reach all that is below a label, and do files find their segments?"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3embed.avc import audioset, subsets
from l3embed.errors import DataError

NODES = {  # name -> children; Sounds of things is abstract, Bark lies below two, Loop and Back below each other
    "Animal": ["Dog", "Cat"],
    "Dog": ["Bark", "Howl"],
    "Alarm": ["Siren", "Bark"],
    "Siren": ["Police car (siren)"],
    "Sounds of things": ["Vehicle", "Alarm"],
    "Vehicle": ["Car, car passing", "Gone"],
    "Loop": ["Back"],
    "Back": ["Loop"],
    "Music": ["Musical instrument"],
    "Musical instrument": ["Guitar"],
    "Guitar": ["Fingerstyle"],
}


def _id(name):
    return "/m/" + "".join(filter(str.isalnum, name.lower()))


@pytest.fixture
def ontology(tmp_path):
    names = {*NODES, *(child for children in NODES.values() for child in children)} - {"Gone"}
    table = [
        {"id": _id(n), "name": n, "description": "", "citation_uri": "", "positive_examples": [],
         "child_ids": [_id(c) for c in NODES.get(n, ())],
         "restrictions": ["abstract"] if n == "Sounds of things" else []}
        for n in sorted(names)
    ]  # fmt: skip
    path = tmp_path / "ontology.json"
    path.write_text(json.dumps(table), encoding="utf-8")
    return audioset.Ontology.read(path)


def _segment(*labels, video="x"):
    return audioset.Segment(video, 0.0, 10.0, tuple(map(_id, labels)))


def _held(subset, *names):
    return {n for n in names if subset.holds(_segment(n))}


ALL = sorted({*NODES, *(child for children in NODES.values() for child in children)})


def test_children_are_all_that_is_below(ontology):
    assert _held(audioset.subset(["Animal"], ontology), *ALL) == {"Animal", "Dog", "Cat", "Bark", "Howl"}
    below_abstract = {"Sounds of things", "Vehicle", "Car, car passing", "Alarm", "Siren", "Police car (siren)", "Bark"}
    assert _held(audioset.subset(["sounds  of THINGS"], ontology), *ALL) == below_abstract
    assert _held(audioset.subset(["Loop"], ontology), *ALL) == {"Loop", "Back"}  # a circle ends
    assert _held(audioset.subset(["Howl", _id("Cat")], ontology), *ALL) == {"Howl", "Cat"}
    assert _held(audioset.subset([], ontology), *ALL) == set(ALL)


@given(st.dictionaries(st.integers(0, 12), st.lists(st.integers(0, 12), max_size=4)), st.integers(0, 12))
def test_below_is_reachability(edges, root):
    nodes = [{"id": str(i), "name": f"n{i}", "child_ids": [str(c) for c in edges.get(i, ())]} for i in range(13)]
    reached = {root}
    for _ in range(13):  # whoever is reachable is so in 13 steps
        reached |= {c for i in reached for c in edges.get(i, ())}
    assert audioset.Ontology(nodes).below([str(root)]) == {str(i) for i in reached}


def test_the_shipped_subsets(ontology):
    assert [len(names) for names, _ in subsets.SUBSETS.values()] == [110, 20]  # reference: l3embedding's filter tables
    assert len({n for names, _ in subsets.SUBSETS.values() for n in names}) == 130
    music = audioset.subset(["music"], ontology)
    assert _held(music, *ALL) == {"Musical instrument", "Guitar"}  # without children: no Fingerstyle; not Music itself
    assert "Zither" in music.unknown and "Guitar" not in music.unknown
    environmental = audioset.subset(["environmental"], ontology)
    assert _held(environmental, *ALL) == {"Vehicle", "Car, car passing", "Siren", "Police car (siren)", "Bark"}
    assert _held(audioset.subset(["music", "environmental"], ontology), *ALL) > {"Guitar", "Bark"}
    with pytest.raises(DataError, match=r"knows none of the 110 labels of the subset 'music'"):
        audioset.subset(["music"], audioset.Ontology([{"id": "/m/1", "name": "Wind"}]))


def test_filter_tables_of_both_layouts(ontology, tmp_path):
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    old.write_text("filter_type,accept_reject,string\nlabel,accept,Dog\nlabel,reject,bark\nytid,accept,me\n")
    found = audioset.subset([str(old)], ontology)
    assert _held(found, *ALL) == {"Dog"}
    assert found.holds(_segment("Cat", video="me")) and not found.holds(_segment("Dog", "Bark"))
    new.write_text(
        "filter_type,accept_reject,include_children,string\nlabel,accept,true,Animal\nlabel,reject,true,Alarm\n"
        'ytid,reject,false,not-me\nlabel,accept,false,"Car, car passing"\n'
    )
    found = audioset.subset([str(new)], ontology)
    assert _held(found, *ALL) == {"Animal", "Dog", "Howl", "Cat", "Car, car passing"}  # to reject is final, below too
    assert not found.holds(_segment("Dog", video="not-me"))
    only_reject = tmp_path / "reject.csv"
    only_reject.write_text("filter_type,accept_reject,include_children,string\nlabel,reject,true,Animal\n")
    assert _held(audioset.subset([str(only_reject)], ontology), *ALL) == set(ALL) - {
        "Animal",
        "Dog",
        "Cat",
        "Bark",
        "Howl",
    }


@pytest.mark.parametrize(("text", "message"), [
    ("a,b\n1,2\n", "is no filter table"),
    ("", "is no filter table"),
    ("filter_type,accept_reject,string\nlabel,maybe,Dog\n", "line 2: expected label or ytid"),
    ("filter_type,accept_reject,string\nlabel,accept,Dgo\n", "knows no label 'Dgo': did you mean 'Dog'"),
])  # fmt: skip
def test_mistakes_in_a_filter_table(ontology, tmp_path, text, message):
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        audioset.subset([str(tmp_path / "f.csv")], ontology)


def test_labels_without_an_ontology():
    found = audioset.subset(["/m/dog"], None)
    assert found.holds(_segment("Dog")) and not found.holds(_segment("Bark"))
    with pytest.raises(DataError, match="'Dog' is the name of a label: give AudioSet's"):
        audioset.subset(["Dog"], None)
    with pytest.raises(DataError, match="'music' is a list of names"):
        audioset.subset(["music"], None)


def test_segments_as_google_writes_them(tmp_path):
    path = tmp_path / "eval_segments.csv"
    path.write_text(
        "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=3, num_segs=3, num_unique_labels=5\n"
        '# YTID, start_seconds, end_seconds, positive_labels\n--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_"\n'
        '-0DdlOuIFUI, 50.000, 60.000, "/m/09x0r"\n#x, 1, 2, ""\n-_x, 30.000, 37.500, "/t/dd00125"\n'
    )
    found = audioset.read_segments(path)
    assert found == [
        audioset.Segment("--4gqARaEJE", 0.0, 10.0, ("/m/068hy", "/m/07q6cd_")),
        audioset.Segment("-0DdlOuIFUI", 50.0, 60.0, ("/m/09x0r",)),
        audioset.Segment("-_x", 30.0, 37.5, ("/t/dd00125",)),
    ]


@pytest.mark.parametrize(("text", "message"), [
    ("# only\n# comments\n", "holds no segments"),
    ("x, 1, 2\n", "line 1 is not a segment"),
    ("# c\nx, one, 2, \"/m/1\"\n", "line 2 is not a segment"),
    ("x, 5, 2, \"/m/1\"\n", "an end after its start"),
    ("x, nan, 2, \"/m/1\"\n", "an end after its start"),
    ("\x00", "holds no segments|is not a CSV|is not a segment"),
])  # fmt: skip
def test_mistakes_in_a_segment_file(tmp_path, text, message):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        audioset.read_segments(tmp_path / "s.csv")


def test_files_that_are_none(tmp_path):
    for read in (audioset.read_segments, audioset.read_rules, audioset.Ontology.read):
        with pytest.raises(DataError, match=r"nowhere: cannot be read \(No such file"):
            read(tmp_path / "nowhere")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff" * 50)
    for read in (audioset.read_segments, audioset.read_rules, audioset.Ontology.read):
        with pytest.raises(DataError, match="is not"):
            read(tmp_path / "bytes")
    for text in ("{}", "[1]", '[{"id": "/m/1"}]', "3"):
        (tmp_path / "o.json").write_text(text)
        with pytest.raises(DataError, match=r"is not AudioSet's ontology.json"):
            audioset.Ontology.read(tmp_path / "o.json")


@pytest.mark.parametrize(("stem", "expected"), [
    ("--4gqARaEJE_30000_40000", ("--4gqARaEJE", 30000)),  # l3embedding, in ms
    ("ab_cd_efghi_30.000_40.000", ("ab_cd_efghi", 30)),  # downloaders, in s
    ("abcdefghijk_30", ("abcdefghijk", 30)),
    ("Y--4gqARaEJE", ("--4gqARaEJE", None)),  # PANNs
    ("--4gqARaEJE", ("--4gqARaEJE", None)),
    ("Some title, 2017 [ab-_efghijk]", ("ab-_efghijk", None)),  # yt-dlp
    ("Y_cdefghijk_12_000", ("_cdefghijk_12", 0)),
])  # fmt: skip
def test_names_of_media_files(stem, expected):
    assert expected in set(audioset.names_of_file(stem))
