"""Which library decodes the images of a data set."""

from pathlib import Path

import mmcv
from mmengine.config import Config

from casvit_dense.errors import UserError

#: By mmcv's names; the first is the default of every config.
IMAGE_DECODERS = ("cv2", "turbojpeg")
NO_JPEG = {".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"}


def check_decoder(cfg: Config, decoder: str) -> None:
    """Makes a decoder ready for use by the loaders of a config.

    Raises:
        UserError: the decoder is unknown, its packages are missing or do not fit each other, or
            the config's worker processes cannot inherit it.
    """
    if decoder not in IMAGE_DECODERS:
        names = ", ".join(IMAGE_DECODERS)
        raise UserError(f"unknown image decoder '{decoder}'; choose from {names}")
    if decoder != "turbojpeg":
        return
    start = ((cfg.get("env_cfg") or {}).get("mp_cfg") or {}).get("mp_start_method", "fork")
    if start != "fork":
        # mmcv keeps the decoder in a global of the process, which no new interpreter gets.
        raise UserError(
            f"image decoder turbojpeg: env_cfg.mp_cfg.mp_start_method is '{start}', needs 'fork'"
        )
    try:
        mmcv.use_backend("turbojpeg")
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"image decoder turbojpeg cannot be used ({reason}). Install libjpeg-turbo and the "
            "PyTurboJPEG of its version: with libjpeg-turbo 2 (apt-get install libturbojpeg0 on "
            'Debian 12) pip install "PyTurboJPEG<2", with libjpeg-turbo 3 pip install PyTurboJPEG'
        ) from error
    finally:
        mmcv.use_backend("cv2")  # of everything that is not told otherwise


def check_images_decodable(folder: Path, decoder: str) -> None:
    """Looks for images that a decoder cannot read.

    Raises:
        UserError: with one of them.
    """
    if decoder != "turbojpeg":
        return
    other = next((path for path in folder.rglob("*") if path.suffix.lower() in NO_JPEG), None)
    if other is not None:
        raise UserError(f"image decoder turbojpeg reads JPEG alone, and there is {other}")
