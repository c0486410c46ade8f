"""A detector's regions of a picture: torchvision's Faster and Mask R-CNN, their best boxes.

Of each of the detector's proposals the likeliest class and its corrected box count, boxes of one
class that overlap are thinned out, and between `min_regions` and `max_regions` of them are kept,
depending on how many are surer than `score_threshold`. A region's vector is what the box head says
of that very box: the output of its last layer (1,024 numbers, after the ReLU; `box_head.fc7` of
the first version, the head's last module of version 2), which the classifier reads.

Source: S. Ren et al., "Faster R-CNN", NeurIPS 2015; the choice is that of the adaptive features of
P. Anderson et al., "Bottom-Up and Top-Down Attention for Image Captioning and Visual Question
Answering", CVPR 2018 (`tools/generate_tsv.py`: threshold 0.2, 10 to 100 boxes).
Departures: COCO's classes in place of Visual Genome's; boxes are corrected and looked at again
(there a proposal keeps its place and vector); what fills up to `min_regions` is chosen by score.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model, get_model_weights
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from captioning.encoders.cnn import read_state_dict
from captioning.features.detector_settings import DetectorConfig, check_numbers
from captioning.features.looker import Found

CLASS_LAYER = "roi_heads.box_predictor.cls_score.weight"  # one row a class
SMALLEST = 1e-2  # side of a box in pixels, as torchvision's detectors have it
NO_EPSILON = ("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn")  # see `_load_file`


# ---------------------------------------------------------------------------------- building


def build_detector(config: DetectorConfig) -> nn.Module:
    """The detector of some settings, ready to look.

    Raises:
        FileNotFoundError: the weights cannot be downloaded, or there is no such file.
        ValueError: weights of another network or of other classes, min_regions above max_regions.
    """
    check_numbers(config)
    published = get_model_weights(config.detector)
    if config.detector_weights in published.__members__:
        detector = _download(config, published[config.detector_weights])
    else:
        sizes = {"num_classes": config.num_classes}
        detector = get_model(config.detector, weights=None, weights_backbone=None, **sizes)
        if config.detector_weights != "none":
            _load_file(detector, config, published)
    if config.detector_size:
        transform = detector.transform
        factor = config.detector_size / transform.min_size[-1]
        transform.min_size = (config.detector_size,)
        transform.max_size = round(transform.max_size * factor)
    return detector.eval()


def _download(config: DetectorConfig, weights: WeightsEnum) -> nn.Module:
    """A detector with weights that torchvision keeps, or fetches once."""
    known = len(weights.meta["categories"])
    if config.num_classes != known:
        raise ValueError(_other_classes(config, known))
    try:
        return get_model(config.detector, weights=weights)
    except (OSError, RuntimeError) as error:  # no network; a file with another hash
        reason = " ".join(str(error).split())
        raise FileNotFoundError(
            f"detector_weights: torchvision could not download {config.detector_weights} "
            f"({reason}); name a weight file (e.g. of {weights.url}) with --detector_weights FILE"
        ) from error


def _other_classes(config: DetectorConfig, found: int) -> str:
    return (
        f"detector_weights: {config.detector_weights} knows {found} classes, num_classes is "
        f"{config.num_classes}; --num_classes {found} expected"
    )


def _load_file(detector: nn.Module, config: DetectorConfig, published: type[WeightsEnum]) -> None:
    """Copy a weight file into a detector.

    torchvision uses its oldest weights with batch norms that add nothing to the variance; its own
    file gives the same numbers here as under its name.
    """
    path = config.detector_weights
    if not Path(path).is_file():
        allowed = ", ".join([*published.__members__, "none"])
        raise FileNotFoundError(
            f"detector_weights: {path!r} received, {allowed} or a file expected"
        )
    state = read_state_dict(path)
    if CLASS_LAYER in state and len(state[CLASS_LAYER]) != config.num_classes:
        raise ValueError(_other_classes(config, len(state[CLASS_LAYER])))
    try:
        detector.load_state_dict(state)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:300]
        raise ValueError(
            f"detector_weights: {path} does not fit {config.detector}: {detail}"
        ) from error
    if config.detector in NO_EPSILON and is_published(Path(path), published["COCO_V1"].url):
        for module in detector.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0


def is_published(path: Path, url: str) -> bool:
    """Whether a file is the one of an address like `.../NAME-258fb6c6.pth`, by that hash."""
    start = re.search(r"-([0-9a-f]{8})\.", url)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return start is not None and digest.startswith(start[1])


# ----------------------------------------------------------------------------------- looking


def find_regions(detector: nn.Module, image: Tensor, config: DetectorConfig) -> Found:
    """The regions of one picture, the surest first.

    A picture with fewer than `min_regions` proposals gets all of them and the whole picture.

    Args:
        detector (nn.Module): see `build_detector`.
        image (Tensor): (3, H, W) RGB in 0..1, on the detector's device.
        config (DetectorConfig): how many regions.

    Returns:
        Found: regions (P, F), boxes (P, 4) in 0..1 and scores (P,) in 0..1, on the CPU.
    """
    images, _ = detector.transform([image])
    maps = detector.backbone(images.tensors)
    proposals, _ = detector.rpn(images, maps)
    heads, size = detector.roi_heads, images.image_sizes[0]
    vectors = heads.box_head(heads.box_roi_pool(maps, proposals, [size]))  # (K, F)
    boxes, scores, labels = _candidates(heads, vectors, proposals[0], size)
    chosen = choose_regions(boxes, scores, labels, heads.nms_thresh, config)
    boxes, scores = boxes[chosen], scores[chosen]
    edges = boxes.new_tensor([size[1], size[0], size[1], size[0]])  # of the whole picture
    if len(chosen) < config.min_regions:
        whole = torch.cat([edges.new_zeros(2), edges[2:]])
        boxes, scores = torch.cat([boxes, whole[None]]), torch.cat([scores, scores.new_zeros(1)])
    regions = heads.box_head(heads.box_roi_pool(maps, [boxes], [size]))  # (P, F)
    return Found(regions.float().cpu(), (boxes / edges).clamp(0, 1).cpu(), scores.cpu())


def _candidates(
    heads: nn.Module, vectors: Tensor, proposals: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest class of each proposal: box (K, 4) in pixels, its score and label (K,)."""
    logits, deltas = heads.box_predictor(vectors)  # (K, C), (K, 4 C)
    scores, labels = logits.float().softmax(-1)[:, 1:].max(1)  # class 0 is the background
    decoded = heads.box_coder.decode(deltas.float(), [proposals])
    decoded = decoded.reshape(len(proposals), logits.shape[1], 4)
    boxes = decoded[torch.arange(len(proposals), device=labels.device), labels + 1]  # (K, 4)
    boxes = clip_boxes_to_image(boxes, size)
    usable = remove_small_boxes(boxes, SMALLEST)
    return boxes[usable], scores[usable], labels[usable]


def choose_regions(
    boxes: Tensor, scores: Tensor, labels: Tensor, nms_threshold: float, config: DetectorConfig
) -> Tensor:
    """Which candidates become regions.

    Args:
        boxes (Tensor): (K, 4) in pixels.
        scores, labels (Tensor): (K,).
        nms_threshold (float): of two boxes of one class that overlap more (intersection over
            union), the less sure one goes last.
        config (DetectorConfig): those at least so sure as `score_threshold`, but at least
            `min_regions` and at most `max_regions`.

    Returns:
        Tensor: (P,) places among the candidates, the surest first; boxes that overlap a surer one
        come after all others. Equal scores keep their order.
    """
    order = scores.sort(descending=True, stable=True).indices
    kept = batched_nms(boxes[order], scores[order], labels[order], nms_threshold)
    is_kept = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    is_kept[kept] = True
    number = int((is_kept & (scores[order] >= config.score_threshold)).sum())
    number = min(max(number, config.min_regions), config.max_regions)
    return torch.cat([order[is_kept], order[~is_kept]])[:number]
