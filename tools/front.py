"""The front page's pictures, made by code: the digits on which noise clears, the drawing of the whole,
the live page, and the site's strip of grain"""
import argparse, base64, io, sys, tempfile
from pathlib import Path
import numpy as np

root = Path(__file__).resolve().parent.parent
NIGHT, PAPER, ORANGE, BLUE = '#10212b', '#fbf7ee', '#e69f00', '#7fb8d8'

def png(a, scale=1, **kwargs):
    "The bytes of a PNG with large pixels"
    from PIL import Image
    buffer, im = io.BytesIO(), Image.fromarray(a)
    im.resize((im.width*scale, im.height*scale), Image.NEAREST).save(buffer, 'PNG', optimize=True, **kwargs)
    return buffer.getvalue()

def rgb(colour):
    "A colour such as #10212b as three numbers from 0 to 255"
    return np.array([int(colour[i:i+2], 16) for i in (1, 3, 5)])

def tint(a, low=NIGHT, high=PAPER):
    "Grey values 0 to 1 as colours between two"
    return (rgb(low) + np.clip(a, 0, 1)[..., None]*(rgb(high)-rgb(low))).round().astype(np.uint8)

# ---- the digits on which noise clears

def hero(rows=8, cols=26):
    "A field of test digits: noisy on the left, restored by a packaged network on the right"
    import torch
    from dl_denoise.all import GaussianNoise, load_denoiser, mnist
    clean = mnist().test[:rows*cols].float()/255
    noisy = GaussianNoise(.5, clip=True)(clean, torch.Generator().manual_seed(0))
    H, W = rows*28, cols*28
    def field(x): return x.reshape(rows, cols, 28, 28).permute(0, 2, 1, 3).reshape(H, W).numpy()
    y, x = np.mgrid[:H, :W]
    front = W*(.44 + .07*np.sin(y/H*2*np.pi) + .03*np.sin(y/H*5*np.pi + 1))
    a = np.where(x < front, field(noisy), field(load_denoiser('cae-mnist')(noisy)))
    return png(tint(a), 2)

# ---- the strip under the navigation bar

def grain(width=240, height=2):
    "Noise that fades from the left to the right, on nothing"
    rng = np.random.default_rng(0)
    alpha = (rng.random((height, width)) * np.linspace(1, 0, width)**1.5 * 255).astype(np.uint8)
    two = np.array([rgb(ORANGE), rgb(BLUE)], np.uint8)
    colours = two[rng.integers(0, 2, (height, width))]
    return png(np.dstack([colours, alpha]), 4)

# ---- the drawing of the whole

CSS = """
#whole{--fg:var(--bs-body-color,#22313a);--bg:var(--bs-body-bg,#fff);--to:var(--bs-link-color,#00639a)}
@media (prefers-color-scheme:dark){
 #whole{--fg:var(--bs-body-color,#dde3e6);--bg:var(--bs-body-bg,#10212b);--to:var(--bs-link-color,#8cc4e4)}}
#whole text{font:15px system-ui,sans-serif;fill:var(--fg)} #whole .t{font-weight:600}
#whole .s{font-size:13px} #whole a text{fill:var(--to);text-decoration:underline}
#whole .l{stroke:var(--fg);stroke-width:1.6;fill:none}
#whole .b{stroke:var(--fg);stroke-width:1.4;fill:var(--bg)} #whole .h{fill:var(--fg)}
#whole .g{stroke:#d55e00;stroke-dasharray:6 5} #whole .gh{fill:#d55e00}
#whole image{image-rendering:pixelated}"""

def text(x, y, s, cls='', anchor='middle'):
    return f'<text x="{x}" y="{y}" class="{cls}" text-anchor="{anchor}">{s}</text>'
def link(x, y, s, page): return f'<a href="{page}">{text(x, y, s, "s")}</a>'
def arrow(d, cls=''): return f'<path d="{d}" class="l {cls}" marker-end="url(#{"gh" if cls else "h"})"/>'
def box(x, y, w, h): return f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8" class="b"/>'

def thumb(x, y, img, size=84):
    "A small image"
    data = base64.b64encode(png(tint(img, '#000000', '#ffffff'), 2)).decode()
    return (f'<rect x="{x-1}" y="{y-1}" width="{size+2}" height="{size+2}" class="b"/>'
            f'<image x="{x}" y="{y}" width="{size}" height="{size}" href="data:image/png;base64,{data}"/>')

def thumbs():
    "A digit clean, its noise, noisy, noisy once more, and restored"
    import torch
    from dl_denoise.all import load_denoiser, mnist
    y = mnist().test[8:9].float()/255
    gen = torch.Generator().manual_seed(3)
    n1, n2 = (.4*torch.randn(y.shape, generator=gen) for _ in range(2))
    return [o[0, 0].numpy() for o in (y, .5+n1, y+n1, y+n2, load_denoiser('cnn-mnist')((y+n1).clamp(0, 1)))]

def whole():
    "Noise, data, network, target and loss: how they fit together, and which page explains which"
    y, n, x, x2, out = thumbs()
    layers = ''.join(f'<rect x="{425+25*i}" y="{138+10*(i in (0, 5))}" width="15" '
                     f'height="{70-20*(i in (0, 5))}" class="b" style="fill:{BLUE}"/>' for i in range(6))
    parts = [
        thumb(20, 131, y), text(62, 118, 'clean image y', 't'),
        link(62, 238, 'data', '01_measure/data.html'), arrow('M62 250V370H262'),
        thumb(156, 20, n, 64), text(188, 104, 'noise n', 't'),
        link(274, 56, 'noise models', '01_measure/noise.html'), arrow('M188 112V155'),
        '<circle cx="188" cy="173" r="15" class="b"/>', text(188, 179, '+', 't'), arrow('M106 173H168'),
        arrow('M204 173H256'),
        thumb(262, 131, x), text(304, 118, 'noisy image x', 't'),
        link(304, 238, 'metrics', '01_measure/metrics.html'), arrow('M348 173H400'),
        box(406, 128, 178, 90), layers, text(495, 118, 'network f', 't'),
        link(432, 238, 'CNN', '02_clean/cnn.html'), link(484, 238, 'CAE', '02_clean/cae.html'),
        link(546, 238, 'DnCNN', '02_clean/dncnn.html'),
        link(445, 260, 'Win5-RB', '02_clean/win5rb.html'),
        link(543, 260, 'or a filter', '01_measure/classical.html'),
        arrow('M586 173H650'), thumb(656, 131, out), text(698, 118, 'result f(x)', 't'),
        link(698, 238, 'on your pictures', '04_pictures/denoiser.html'),
        arrow('M742 173H826'), box(832, 138, 130, 70), text(897, 168, 'loss', 't'),
        text(897, 191, '(f(x) − target)²', 's'), link(850, 238, 'which loss?', '03_noisy/losses.html'),
        arrow('M897 136V62H495V98', 'g'),
        text(696, 52, 'the gradient of the loss teaches the network', 's'),
        link(696, 32, 'the learner', '02_clean/learner.html'),
        text(513, 296, 'the target is one of the two', 't'), box(268, 306, 490, 128),
        arrow('M760 370H897V212'),
        thumb(286, 328, y), text(378, 358, 'the clean', 't', 'start'),
        text(378, 377, 'image', 't', 'start'), link(410, 402, 'Demo 1', '02_clean/demo1.html'),
        text(478, 376, 'or', 's'), thumb(508, 328, x2), text(600, 358, 'the image,', 't', 'start'),
        text(600, 377, 'noisy once more', 't', 'start'),
        link(643, 402, 'Noise2Noise', '03_noisy/noise2noise.html')]
    head = ('<defs><marker id="h" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0 0 10 5 0 10z" class="h"/></marker>'
            '<marker id="gh" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0 0 10 5 0 10z" class="gh"/></marker></defs>')
    told = 'How noise, data, network, target and loss fit together'
    return (f'<svg id="whole" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 980 450" role="img" '
            f'aria-label="{told}"><style>{CSS}</style>{head}{"".join(parts)}</svg>\n').encode()

# ---- the live page, before it is started

def live_page(shape=(1240, 690)):
    "What the live page shows when a digit was chosen (needs Chromium, and npm for the runtime)"
    from PIL import Image
    import live
    with tempfile.TemporaryDirectory() as tmp:
        live.live(f'{tmp}/live', f'{tmp}/runtime')
        live.picture(f'{tmp}/live', f'{tmp}/live.jpg')
        buffer = io.BytesIO()
        Image.open(f'{tmp}/live.jpg').crop((0, 0, *shape)).save(buffer, 'WEBP', quality=75, method=6)
    return buffer.getvalue()

def grain_scss():
    "The strip inside the theme, where no path to it can go wrong"
    data = base64.b64encode(grain()).decode()
    return ('/*-- scss:defaults --*/\n// made by tools/front.py\n'
            f'$grain: url("data:image/png;base64,{data}") !default;\n').encode()

PICTURES = {'images/hero.png': hero, 'images/grain.png': grain, 'images/whole.svg': whole,
            'images/live.webp': live_page, 'assets/grain.scss': grain_scss}

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('names', nargs='*', default=PICTURES,
                   help=f"which of {', '.join(PICTURES)}; by default all (needs MNIST)")
    for name in p.parse_args().names:
        if name not in PICTURES: sys.exit(f"unknown picture '{name}'; there are {', '.join(PICTURES)}")
        data = PICTURES[name]()
        (root/'nbs'/name).write_bytes(data)
        print(f'{len(data)/1e3:8.1f} kB  {name}')
