"""DICOM and NIfTI files as scanners and their programs write them."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

STUDY, SERIES, FRAME = generate_uid(), generate_uid(), generate_uid()


def write_ct(
    path: Path, values: np.ndarray, z: float = 0.0, *, slope: float = 1.0, intercept: float = -1024.0,
    number: int = 1, photometric: str = "MONOCHROME2", window: tuple[float, float] | None = None, series: str = SERIES,
    **more: object,
) -> Path:  # fmt: skip
    """``values`` uint16 (H, W), as stored."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.SOPClassUID = found.file_meta.MediaStorageSOPClassUID = CTImageStorage
    found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    found.Modality, found.PatientID, found.PatientName = "CT", "1", "A^B"
    found.PatientBirthDate = found.PatientSex = found.AccessionNumber = found.StudyID = ""
    found.ReferringPhysicianName = found.StudyDate = found.StudyTime = ""
    found.StudyInstanceUID, found.SeriesInstanceUID, found.FrameOfReferenceUID = STUDY, series, FRAME
    found.SeriesNumber, found.InstanceNumber = 7, number
    found.ImagePositionPatient, found.ImageOrientationPatient = [-10, -20, z], [1, 0, 0, 0, 1, 0]
    found.PixelSpacing, found.SliceThickness, found.PositionReferenceIndicator = [0.5, 0.5], 2.5, ""
    found.Rows, found.Columns = values.shape
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, photometric
    found.BitsAllocated, found.BitsStored, found.HighBit, found.PixelRepresentation = 16, 12, 11, 0
    found.RescaleSlope, found.RescaleIntercept = slope, intercept
    if window is not None:
        found.WindowCenter, found.WindowWidth = window
    for name, value in more.items():
        setattr(found, name, value)
    found.PixelData = values.astype("<u2").tobytes()
    pydicom.dcmwrite(path, found, enforce_file_format=True)
    return path


def write_nifti(path: Path, values: np.ndarray, codes: str = "RAS", spacing: tuple[float, ...] = (2, 3, 4)) -> Path:
    """``values`` (X, Y, Z) or (X, Y, Z, C), whose axes lead to ``codes``."""
    from nibabel import orientations

    affine = orientations.inv_ornt_aff(orientations.axcodes2ornt(tuple(codes)), values.shape[:3])
    world = np.diag([*spacing, 1.0])
    world[:3, 3] = -5, 7, 11
    nibabel.save(nibabel.Nifti1Image(values, world @ np.linalg.inv(affine)), path)
    return path
