import pytest

from timesformer.data.check.listing import read_listing
from timesformer.errors import DataError


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def labels(listing, split="train"):
    return [video.label for video in listing.videos if video.split == split]


def problems(listing):
    return [video.problem for video in listing.videos if video.problem]


def test_a_list_keeps_its_order_and_files_that_are_not_there(tmp_path):
    listing = read_listing(write(tmp_path / "all.csv", "b.mp4 1\na.mp4 0\nb.mp4 1\n"))
    assert [video.path.name for video in listing.videos] == ["b.mp4", "a.mp4", "b.mp4"]
    assert labels(listing) == [1, 0, 1]
    assert listing.class_names == ("0", "1")
    assert problems(listing) == []


def test_numeric_labels_are_compared_with_the_named_classes(tmp_path):
    write(tmp_path / "classes.txt", "wave\nclap\n")
    listing = read_listing(write(tmp_path / "all.csv", "a.mp4,0\nb.mp4,2\nc.mp4,-1\nd.mp4,clap\ne.mp4,1\n"))
    assert labels(listing) == [0, None, None, None, 1]
    assert problems(listing) == [
        "line 2: label 2 is out of range, allowed are 0 to 1",
        "line 3: label -1 is negative, labels count from 0",
        "line 4: label 'clap' is not a number, unlike the others",
    ]


def test_one_number_far_from_the_others_is_wrong_and_a_gap_is_an_empty_class(tmp_path):
    listing = read_listing(write(tmp_path / "all.csv", "a.mp4,0\nb.mp4,3\nc.mp4,1\nd.mp4,999\n"))
    assert listing.class_names == ("0", "1", "2", "3")
    assert labels(listing) == [0, 3, 1, None]
    assert problems(listing) == ["line 4: label 999 is out of range, allowed are 0 to 3"]


def test_an_unknown_name_gets_a_suggestion(tmp_path):
    write(tmp_path / "classes.txt", "wave\nclap\n")
    listing = read_listing(write(tmp_path / "all.csv", "a.mp4,wave\nb.mp4,clapp\nc.mp4,clap\n"))
    assert labels(listing) == [0, None, 1]
    assert problems(listing) == ["line 2: unknown class 'clapp', did you mean 'clap'?"]


def test_validation_labels_are_compared_with_the_training_classes(tmp_path):
    write(tmp_path / "train/wave/a.mp4")
    write(tmp_path / "train/clap/b.mp4")
    write(tmp_path / "val/wave/c.mp4")
    write(tmp_path / "val/jump/d.mp4")
    listing = read_listing(tmp_path)
    assert listing.class_names == ("clap", "wave")
    assert labels(listing) == [0, 1]
    assert labels(listing, "val") == [None, 1]
    assert problems(listing) == ["jump: unknown class 'jump'"]


def test_validation_numbers_are_indices_of_the_classes_next_to_the_list(tmp_path):
    train = write(tmp_path / "train.csv", "a.mp4,clap\nb.mp4,wave\n")
    write(tmp_path / "other/classes.txt", "wave\njump\nclap\n")
    val = write(tmp_path / "other/list.csv", "c.mp4,0\nd.mp4,1\ne.mp4,2\n")
    listing = read_listing(train, val=val)
    assert labels(listing, "val") == [1, None, 0]
    assert problems(listing) == ["line 2: class 'jump' does not occur in training"]


def test_numbers_of_validation_without_names_are_those_of_training(tmp_path):
    train = write(tmp_path / "some.csv", "a.mp4,0\nb.mp4,1\n")
    listing = read_listing(train, val=write(tmp_path / "more.csv", "c.mp4,1\nd.mp4,2\n"))
    assert labels(listing, "val") == [1, None]


def test_an_empty_class_folder_stays_a_class(tmp_path):
    write(tmp_path / "wave/a.mp4")
    (tmp_path / "clap").mkdir()
    listing = read_listing(tmp_path)
    assert listing.class_names == ("clap", "wave")
    assert labels(listing) == [1]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train/wave/a.mp4", "test/wave/b.mp4"], "contains splits, not classes"),
        (["train/wave/a.mp4", "test/readme.txt"], "contains splits, not classes"),
        (["wave/readme.txt"], "no video in 1 of 1"),
    ],
)
def test_a_folder_that_is_not_a_data_set_is_refused(tmp_path, files, message):
    for file in files:
        write(tmp_path / file)
    with pytest.raises(DataError, match=message):
        read_listing(tmp_path)


def test_a_source_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_listing(tmp_path / "none")
