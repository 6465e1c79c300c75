"""The front page's gallery: a card for each lesson, with a thumbnail of its main figure"""
import base64, hashlib, html, io, json
from pathlib import Path
import numpy as np
from PIL import Image, ImageChops, ImageOps
from front import tint

SIZE = 360, 225

def main_figure(nb):
    "The first picture that a page shows, as a Pillow image; None if it shows none"
    for c in nb['cells']:
        for o in c.get('outputs', []):
            data = o.get('data', {})
            kind = next((k for k in ('image/png', 'image/jpeg') if k in data), None)
            if kind: return Image.open(io.BytesIO(base64.b64decode(''.join(data[kind]))))

def noise(name):
    "For a page without a figure: noise that is its own, and always the same"
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], 'big')
    grain = np.random.default_rng(seed).normal(.25, .12, (SIZE[1]//6, SIZE[0]//6))
    return Image.fromarray(tint(grain)).resize(SIZE, Image.NEAREST)

def trimmed(picture):
    "Without the margin that has the colour of the corner"
    empty = Image.new('RGB', picture.size, picture.getpixel((0, 0)))
    box = ImageChops.difference(picture, empty).getbbox()
    return picture.crop(box) if box else picture

def thumbnail(figure):
    "The beginning of a figure on paper: as much of it as fills the gallery's shape"
    figure = figure.convert('RGBA')
    paper = Image.new('RGBA', figure.size, 'white')
    paper.alpha_composite(figure)
    drawn = ImageOps.expand(trimmed(paper.convert('RGB')), figure.width//40, 'white')
    return ImageOps.fit(drawn, SIZE, Image.LANCZOS, centering=(0, 0))

def card(page, target, folder):
    "A link with thumbnail, title and description; the thumbnail is written into `folder`"
    nb = json.loads(page.read_text(encoding='utf8'))
    figure = main_figure(nb)
    picture = thumbnail(figure) if figure else noise(target)
    name = target.removesuffix('.html').replace('/', '-') + '.webp'
    picture.save(folder/name, quality=65, method=6)
    title, told = (html.escape(o) for o in titles(nb))
    return (f'<a class="card" href="{target}"><img src="images/gallery/{name}" alt="" loading="lazy" '
            f'width="{SIZE[0]}" height="{SIZE[1]}"><strong>{title}</strong><span>{told}</span></a>')

def titles(nb):
    "Title and description, from the front matter that nbdev made"
    import yaml
    head = yaml.safe_load(''.join(nb['cells'][0]['source']).strip().strip('-'))
    return head['title'], head['description']

def gallery(proc, sections):
    "The cards of all pages, section by section, as Markdown for the front page"
    folder, parts = proc/'images'/'gallery', []
    folder.mkdir(parents=True, exist_ok=True)
    for section, pages in sections:
        cards = [card(proc/p, target, folder) for p, target in pages]
        parts.append(f'### {section}\n\n```{{=html}}\n<div class="gallery">\n' + '\n'.join(cards)
                     + '\n</div>\n```\n')
    return '\n'.join(parts)
