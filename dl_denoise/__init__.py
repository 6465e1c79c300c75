"""Learn how deep networks remove noise from images, and use them.

    from dl_denoise.all import *
    denoise = load_denoiser('photo-colour')
    denoise('noisy.jpg').save('clean.png')

Every module is made from the notebook of the same name; see `nbs/`, or the site.
"""

__version__ = "0.1.0"
