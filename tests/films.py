"""Short films of drawn landscapes."""

import io

import av

from unspread.testing.samples import landscape


def filmed(seeds: list[int], crop: int = 0, **options: str) -> bytes:
    """A second of each of these landscapes, without so many lines at each edge."""
    made = io.BytesIO()
    with av.open(made, "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=24, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for seed in seeds:
            box = (crop, crop, 160 - crop, 120 - crop)
            image = landscape(seed, 160, 120).resize((160, 120), box=box)
            shown = av.VideoFrame.from_image(image)
            for _ in range(24):
                shown.pts = None
                target.mux(stream.encode(shown))
        target.mux(stream.encode())
    return made.getvalue()
