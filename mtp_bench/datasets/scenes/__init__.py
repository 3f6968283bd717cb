"""The procedural renderer: overhead scenes drawn from a seed, geometry first, pixels from it.

`classes.compose` lays a scene out in metres (land cover, roads, things), `render.render` paints
it, `labels` and `dates` tell what is seen where and what changed, `miniature.write_miniature`
writes data sets of such pictures in their official layouts.
"""

RENDERER_VERSION = 2
"""Raised with every change that alters pixels, so that cached miniatures are rendered anew."""
