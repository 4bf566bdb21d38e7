"""The formats that Imago reads and writes, in the order in which a folder is asked whether it is one of them."""

from __future__ import annotations

from imago.data.formats import (
    coco,
    cvat,
    datumaro,
    dota,
    label_images,
    label_maps,
    label_studio,
    labelbox,
    labelme,
    labelme_xml,
    mask_files,
    openimages,
    sa1b,
    segments_ai,
    supervisely,
    via,
    voc,
    yolo,
)
from imago.data.formats.format import Format

FORMATS: dict[str, Format] = {
    "coco": coco.FORMAT,
    "via": via.FORMAT,
    "labelme": labelme.FORMAT,
    "label_studio": label_studio.FORMAT,
    "cvat": cvat.FORMAT,
    "labelme_xml": labelme_xml.FORMAT,
    "supervisely": supervisely.FORMAT,
    "segments_ai": segments_ai.FORMAT,
    "labelbox": labelbox.FORMAT,
    "datumaro": datumaro.FORMAT,
    "sa1b": sa1b.FORMAT,
    "dota": dota.FORMAT,
    "openimages": openimages.FORMAT,
    "voc": voc.FORMAT,
    "mask_files": mask_files.FORMAT,
    "yolo": yolo.FORMAT,
    "label_maps": label_maps.FORMAT,
    "label_images": label_images.FORMAT,
}
