"""Render every recording of a folder into a video whose pictures are drawn from its sound, for `data.videos`.

    python scripts/render_videos.py IN_FOLDER OUT_FOLDER

OUT_FOLDER mirrors IN_FOLDER; a.wav becomes a.wav.mp4. Videos that are there already are left alone, so an interrupted
run can be repeated. Exit code 1 when a recording could not be rendered; each is named.
"""

import argparse
import sys
from pathlib import Path

from l3embed import decode
from l3embed.avc import clips, render
from l3embed.errors import L3EmbedError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path, metavar="IN_FOLDER")
    parser.add_argument("videos", type=Path, metavar="OUT_FOLDER")
    arguments = parser.parse_args()
    n_failed = 0
    try:
        found = clips.find((str(arguments.recordings),), decode.AUDIO_SUFFIXES, "sound file")
    except L3EmbedError as error:
        parser.error(str(error))
    for path in found:
        relative = path.relative_to(arguments.recordings)
        video = arguments.videos / relative.with_name(relative.name + ".mp4")
        if video.exists():
            continue
        video.parent.mkdir(parents=True, exist_ok=True)
        try:
            render.render(path, video)
        except L3EmbedError as error:
            n_failed += 1
            print(f"{path}: {error}", file=sys.stderr)
    return int(n_failed > 0)


if __name__ == "__main__":
    sys.exit(main())
