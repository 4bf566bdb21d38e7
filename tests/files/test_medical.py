"""DICOM and NIfTI: slices as pictures, and masks back as what they came from."""

from __future__ import annotations

import gzip
import io
import json
import sys
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_onnx import write_tiny

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")

from scans import write_ct, write_nifti  # noqa: E402

from imago.cli.main import run  # noqa: E402
from imago.core.errors import ImageError  # noqa: E402
from imago.core.labels import Labels  # noqa: E402
from imago.data.band_statistics import measure_bands  # noqa: E402
from imago.data.check import check_samples  # noqa: E402
from imago.data.open_dataset import open_dataset  # noqa: E402
from imago.files.images import count_pages, image_size, read_image, read_values  # noqa: E402
from imago.files.inputs import find_images  # noqa: E402
from imago.files.medical import find_place  # noqa: E402
from imago.inference.load import load  # noqa: E402

RNG = np.random.default_rng(0)
CODES = [
    "".join(codes) for axes in permutations(("LR", "AP", "SI")) for codes in product(*axes)
]  # all 48 ways in which a volume may lie


@pytest.mark.parametrize("codes", CODES)
def test_a_slice_lies_alike_however_the_volume_is_stored(tmp_path: Path, codes: str) -> None:
    """The brightest voxel is at the front, left and top of the patient: above, right, last slice."""
    reference = nibabel.Nifti1Image(RNG.integers(0, 99, (4, 5, 6)).astype(np.int16), np.diag([-1.0, -1, 1, 1]))  # LPS
    axes = nibabel.orientations.axcodes2ornt(tuple(codes))
    turned = reference.as_reoriented(
        nibabel.orientations.ornt_transform(nibabel.io_orientation(reference.affine), axes)
    )
    assert "".join(nibabel.aff2axcodes(turned.affine)) == codes
    nibabel.save(turned, tmp_path / "x.nii")
    values = np.asarray(reference.dataobj)
    assert count_pages(tmp_path / "x.nii") == 6
    assert image_size(tmp_path / "x.nii") == (5, 4)
    for number in range(1, 7):
        read, _ = read_values(tmp_path / "x.nii", 1, number)
        assert np.array_equal(read[:, :, 0], values[:, :, number - 1].T)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_volume_is_answered_voxel_for_voxel(
    tmp_path: Path, codes: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = np.full((12, 14, 16), -200, np.int16)
    values[2:7, 3:9, 4:12] = 100
    write_nifti(tmp_path / f"scan{suffix}", values, codes)
    write_tiny(tmp_path / "net.onnx")  # red is the subject, and grey is red too
    assert run(["segment", f"scan{suffix}", "--model", "net.onnx", "--save", "volume,mask", "--out", "out"]) == 0
    source, made = nibabel.load(f"scan{suffix}"), nibabel.load("out/scan.mask.nii.gz")
    assert np.array_equal(np.asarray(made.dataobj), values > 0)
    assert made.get_data_dtype() == np.uint8
    assert np.allclose(made.affine, source.affine)
    assert len(list(Path("out").glob("scan.page*.mask.png"))) == count_pages(f"scan{suffix}")


def test_channels_and_colours_of_a_volume(tmp_path: Path) -> None:
    values = RNG.integers(0, 255, (6, 7, 3, 4)).astype(np.uint8)
    write_nifti(tmp_path / "four.nii", values, "LPS")
    assert np.array_equal(
        read_image(tmp_path / "four.nii", channels=4, page=2).pixels, values[:, :, 1].transpose(1, 0, 2)
    )
    with pytest.raises(ImageError, match=r"has 4 bands; the model takes 3"):
        read_image(tmp_path / "four.nii")


def test_all_slices_of_a_volume_are_scaled_alike(tmp_path: Path) -> None:
    values = RNG.integers(0, 1000, (60, 60, 4)).astype(np.int16)
    values[:, :, 2] //= 10
    values[0, 0, 0] = 32_000  # one hot voxel
    path = write_nifti(tmp_path / "x.nii.gz", values, "LPS")
    dark, bright = (read_image(path, channels=1, page=page).pixels.mean() for page in (3, 2))
    assert bright == pytest.approx(128, abs=10)
    assert dark == pytest.approx(12.8, abs=2)
    assert "--window says which" in read_image(path, channels=1, page=1).notes[0]
    windowed = read_image(path, channels=1, page=2, window=(500.5, 1001.0)).pixels[:, :, 0].T
    assert np.abs(windowed.astype(float) - values[:, :, 1].astype(float) * 255 / 1000).max() <= 1
    with pytest.raises(ImageError, match="holds no window"):
        read_image(path, window="file")


STORED = RNG.integers(0, 4096, (16, 20)).astype(np.uint16)


def test_the_modality_s_rule_always_counts(tmp_path: Path) -> None:
    for slope, intercept in ((1.0, -1024.0), (2.5, 100.0)):
        path = write_ct(tmp_path / "x", STORED, slope=slope, intercept=intercept)
        read, _ = read_values(path, 1)
        assert np.array_equal(read[:, :, 0], STORED * slope + intercept)
    assert image_size(path) == (16, 20)


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_windows_and_greys_that_are_turned_round(tmp_path: Path, photometric: str) -> None:
    path = write_ct(tmp_path / "x.dcm", STORED, photometric=photometric, window=(40, 400))
    expected = np.clip((STORED - 1024.0 - (40 - 0.5 - 199.5)) / 399, 0, 1) * 255
    if photometric == "MONOCHROME1":
        expected = 255 - expected
    for window in ((40, 400), "file"):
        assert np.abs(read_image(path, channels=1, window=window).pixels[:, :, 0] - expected).max() <= 1
    assert read_image(path).pixels.max() == 255


def test_a_series_is_sorted_by_place_and_answered_by_a_segmentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "CT").mkdir()
    write_tiny(tmp_path / "net.onnx", 3, labels=Labels(("background", "liver", "spleen")))
    write_tiny(tmp_path / "bone.onnx", labels=Labels(("background", "bone")))
    volume = np.zeros((4, 16, 20), np.uint16)
    for index, z in enumerate((7.5, 0.0, 5.0, 2.5)):  # as their names are sorted they are not
        volume[int(z / 2.5), 2 : 6 + 2 * int(z / 2.5), 3:9] = 3000
        write_ct(tmp_path / "CT" / f"1.2.{index}", volume[int(z / 2.5)], z, number=9 - index)
    words = ["segment", "CT", "--model", "bone.onnx", "--save", "volume,mask", "--out", "out", "--window", "300,1500"]
    assert run(words) == 0
    written = highdicom.seg.segread("out/CT.series7.seg.dcm")
    assert [written.get_segment_description(1).segment_label] == ["bone"]
    assert written.SeriesInstanceUID != written.StudyInstanceUID
    sources = {pydicom.dcmread(path).SOPInstanceUID: path for path in Path("CT").iterdir()}
    found = written.get_volume(combine_segments=True)
    assert np.array_equal(np.sort(found.array.sum((1, 2))), np.sort((volume > 0).sum((1, 2))))
    order = written.get_pixels_by_source_instance(
        [pydicom.dcmread(f"CT/1.2.{index}").SOPInstanceUID for index in (1, 3, 2, 0)], combine_segments=True,
        assert_missing_frames_are_empty=True,
    )  # fmt: skip
    assert np.array_equal(order > 0, volume > 0)
    assert len(sources) == 4
    assert sorted(path.name for path in Path("out").glob("*.png")) == [f"1.2.{index}.mask.png" for index in range(4)]
    assert run(words) == 1
    assert "is there already" in capsys.readouterr().err


def test_a_slice_that_fails_leaves_no_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path / "net.onnx")
    write_ct(tmp_path / "a.dcm", STORED, 0.0)
    write_ct(tmp_path / "b.dcm", STORED, 2.5, RescaleSlope=None)
    assert run(["segment", "a.dcm", "b.dcm", "--model", "net.onnx", "--save", "volume"]) == 1
    said = capsys.readouterr().err
    assert "b.dcm: its modality's rule is damaged" in said
    assert "is not written, for 1 of its 2 slices failed" in said
    assert not list(tmp_path.glob("*.seg.dcm"))


def test_what_cannot_be_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path / "net.onnx")
    Image.new("RGB", (40, 30)).save("x.png")
    whole = write_ct(tmp_path / "x.dcm", STORED).read_bytes()
    Path("cut.dcm").write_bytes(whole[:700])
    Path("head.dcm").write_bytes(whole[:140])
    packed = gzip.compress(
        write_nifti(tmp_path / "x.nii", RNG.integers(0, 999, (9, 9, 9)).astype(np.int16)).read_bytes()
    )
    Path("cut.nii.gz").write_bytes(packed[: len(packed) // 2])
    Path("cut.nii").write_bytes(Path("x.nii").read_bytes()[:400])
    for words, told in (
        (["x.png", "--save", "volume"], "x.png: is neither DICOM nor NIfTI"),
        (["x.png", "--window", "40,400"], "x.png: is neither DICOM nor NIfTI, which a window is for"),
        (["x.dcm", "--window", "40"], "a window is a centre and a width"),
        (["x.nii", "--save", "volume", "--pages", "2"], "it goes without --pages"),
        (["cut.dcm"], "cut.dcm"),
        (["head.dcm"], "head.dcm"),
        (["cut.nii.gz"], "cut.nii.gz: the NIfTI file is damaged or cut off"),
        (["cut.nii"], "cut.nii"),
    ):
        assert run(["segment", *words, "--model", "net.onnx", "--out", "out"]) in (1, 2), words
        said = capsys.readouterr().err
        assert told in said
        assert "Traceback" not in said
        assert "unforeseen" not in said, said
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert run(["segment", "x.dcm", "--model", "net.onnx", "--save", "volume"]) == 1
    assert 'needs pydicom, which is not installed; pip install "imago-seg[medical]"' in capsys.readouterr().err


def test_bytes_and_pages_in_python(tmp_path: Path) -> None:
    write_tiny(tmp_path / "net.onnx")
    values = RNG.integers(0, 200, (6, 7, 3)).astype(np.uint8)
    path = write_nifti(tmp_path / "x.nii.gz", values, "LPS")
    model = load(tmp_path / "net.onnx")
    assert [prediction.size_hw for prediction in model.predict_pages(path)] == [(7, 6)] * 3
    assert np.array_equal(read_image(path.read_bytes(), channels=1, page=3).pixels[:, :, 0], values[:, :, 2].T)
    ct = write_ct(tmp_path / "x.dcm", STORED).read_bytes()
    assert read_image(io.BytesIO(ct), window=(40, 400)).size_hw == (16, 20)
    assert model(ct, window=(40, 400)).size_hw == (16, 20)


def test_slices_are_photos_and_masks_of_a_data_set(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    truths = [np.zeros((16, 20), np.uint8) for _ in range(3)]
    for index, truth in enumerate(truths):
        truth[2 : 6 + index, 3:9] = 1
        write_ct(tmp_path / "images" / f"{index}.dcm", truth.astype(np.uint16) * 2000, 2.5 * index)
        write_nifti(tmp_path / "masks" / f"{index}.nii", truth.T[:, :, None], "LPS")
    dataset = open_dataset(tmp_path, "semantic")
    samples = sorted(dataset.split("all"), key=lambda sample: sample.name)
    for sample, truth in zip(samples, truths, strict=True):
        assert np.array_equal(sample.label_map(), truth)
        assert np.array_equal(sample.image()[:, :, 0] > 127, truth > 0)
    assert not check_samples(samples, dataset.labels).faults
    write_nifti(tmp_path / "images" / "0.nii", np.zeros((20, 16, 4), np.uint8), "LPS")
    (tmp_path / "images" / "0.dcm").unlink()
    (fault,) = check_samples(open_dataset(tmp_path, "semantic").split("all"), dataset.labels).faults
    assert "0.nii: has 4 slices" in fault
    samples = samples[1:]
    found = measure_bands(samples, 3)
    assert found.ranges[0] == (-1024.0, 976.0)


def test_our_own_volumes_are_not_taken_for_scans(tmp_path: Path) -> None:
    for name in ("a.nii", "a.mask.nii.gz", "b.dcm", "CT.seg.dcm", "2062"):
        (tmp_path / name).write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 600)
    (tmp_path / "README").write_text("no scan")
    assert [image.path.name for image in find_images([tmp_path])] == ["2062", "a.nii", "b.dcm"]


@pytest.mark.data
def test_scans_of_strangers(data_root: Path) -> None:
    root = data_root / "formats"
    truth = json.loads((root / "nifti" / "truth.json").read_text())
    volume = root / "nifti" / "anatomical.nii"
    slices = [read_values(volume, 1, page)[0] for page in range(1, count_pages(volume) + 1)]
    assert (len(slices), *image_size(volume)) == (truth["shape"][2], truth["shape"][1], truth["shape"][0])
    assert sum(float(one.sum(dtype=np.float64)) for one in slices) == truth["sum"]
    assert (min(one.min() for one in slices), max(one.max() for one in slices)) == (truth["min"], truth["max"])
    truth = json.loads((root / "dicom_series" / "truth.json").read_text())
    images = find_images([root / "dicom_series" / "CT5N"])
    for image in images:
        values, told = read_values(image.path, 1)[0], truth["slices"][image.path.name]
        assert values.mean() == pytest.approx(told["HU_mean"], abs=0.01)
        assert (values.min() + 1024, values.max() + 1024) == (told["min"], told["max"])
        assert find_place(image.path).position == pytest.approx(told["z"])
    ordered = sorted(images, key=lambda image: find_place(image.path).position)
    assert [image.path.name for image in ordered] == truth["order_by_z_ascending"]


@pytest.mark.parametrize("where", ["dcmread", "pixels.apply_modality_lut", "pixels.pixel_array"])
def test_too_little_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Wherever it is met: what would have to be mended is the machine, not the file."""

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    path = write_ct(tmp_path / "a.dcm", np.zeros((8, 8), np.int16))
    if "modality" in where:
        scan = pydicom.dcmread(path)
        item = pydicom.Dataset()
        item.LUTDescriptor, item.ModalityLUTType = [2, 0, 16], "US"
        item.add_new("LUTData", "OW", np.array([0, 9], np.uint16).tobytes())
        scan.ModalityLUTSequence = [item]
        scan.save_as(path)
    monkeypatch.setattr(f"pydicom.{where}", fail)
    with pytest.raises(ImageError, match=r"a\.dcm: not enough memory for its pixels"):
        read_image(path)
