"""Where a name that was read may lead."""

from pathlib import PurePosixPath, PureWindowsPath


def leaves(name: str) -> bool:
    """Whether a path leads out of the folder that it is relative to, by the rules of any system.

    A page that is sent on should hold nothing of the disk but what lies in the folders that it was
    made of.
    """
    windows = PureWindowsPath(name)
    absolute = PurePosixPath(name).is_absolute() or bool(windows.anchor)
    return absolute or ".." in windows.parts
