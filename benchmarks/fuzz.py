"""Damaged pictures of every format through `read_picture`, in a process that may take one gigabyte: each
is a picture or one clear error, soon. The same number always makes the same damage"""
import io, json, os, random, select, struct, subprocess, sys, time, zlib
from pathlib import Path
import numpy as np, tifffile
from PIL import Image, ImageCms, PngImagePlugin
from fastcore.script import call_parse

# ---- a small picture of each kind

rng = np.random.default_rng(0)
GREY, COLOUR = (np.clip(rng.normal(128, 40, s), 0, 255).astype(np.uint8) for s in ((18, 23), (18, 23, 3)))
DEEP, DEEP_COLOUR = (a.astype(np.uint16)*257 for a in (GREY, COLOUR))
ALPHA = np.dstack([COLOUR, GREY])

def saved(a, fmt, **kw):
    "A file by Pillow"
    f = io.BytesIO()
    (a if isinstance(a, Image.Image) else Image.fromarray(a)).save(f, fmt, **kw)
    return f.getvalue()

def tiff(a, **kw):
    "A file by tifffile"
    f = io.BytesIO()
    tifffile.imwrite(f, a, **kw)
    return f.getvalue()

def chunk(kind, data):
    "A chunk of a PNG file, with the right checksum"
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

def deep_png(a):
    "A PNG of 16 bits in colour"
    h, w, c = a.shape
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in a)
    head = struct.pack('>2I5B', w, h, 16, {2: 4, 3: 2, 4: 6}[c], 0, 0, 0)
    parts = (b'IHDR', head), (b'IDAT', zlib.compress(rows)), (b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*o) for o in parts)

def tags():
    "What cameras and editors write beside the pixels"
    exif = Image.Exif()
    exif[271], exif[274], exif[34665] = 'A camera', 6, {33434: (1, 60), 36867: '2020:01:01 00:00:00'}
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
    profile[24:36] = bytes(12)          # the time when it was made
    return dict(exif=exif.tobytes(), icc_profile=bytes(profile), dpi=(300, 300))

def png_text():
    info = PngImagePlugin.PngInfo()
    info.add_text('Comment', 'a cat', zip=True)
    info.add_itxt('XML:com.adobe.xmp', '<x tiff:Orientation="6"/>')
    return info

def small_files():
    "Name -> bytes"
    cmyk, palette, bits = (Image.fromarray(COLOUR).convert(m) for m in ('CMYK', 'P', '1'))
    floats, rgb = GREY.astype(np.float32)/255, dict(photometric='rgb')
    return dict(
        png8=saved(COLOUR, 'PNG', pnginfo=png_text(), **tags()), png16=saved(DEEP, 'PNG'),
        png_deep=deep_png(DEEP_COLOUR), png_alpha=saved(ALPHA, 'PNG'),
        png_palette=saved(palette, 'PNG', transparency=3), png_bits=saved(bits, 'PNG'),
        jpeg=saved(COLOUR, 'JPEG', comment=b'a cat', **tags()),
        jpeg_progressive=saved(GREY, 'JPEG', progressive=True), jpeg_cmyk=saved(cmyk, 'JPEG', **tags()),
        tiff_plain=tiff(DEEP_COLOUR, **rgb), tiff_zlib=tiff(DEEP_COLOUR, compression='zlib', predictor=True,
                                                            rowsperstrip=7, **rgb),
        tiff_lzw=saved(COLOUR, 'TIFF', compression='tiff_lzw'), tiff_exif=saved(COLOUR, 'TIFF', **tags()),
        tiff_packbits=saved(bits, 'TIFF', compression='packbits'),
        tiff_packed=saved(COLOUR, 'TIFF', compression='packbits'), tiff_lzma=tiff(DEEP, compression='lzma'),
        tiff_zstd=saved(COLOUR, 'TIFF', compression='zstd'),
        tiff_fax=saved(bits, 'TIFF', compression='group4'),
        tiff_jpeg=saved(COLOUR, 'TIFF', compression='jpeg'),
        tiff_palette=saved(palette, 'TIFF'), tiff_cmyk=saved(cmyk, 'TIFF'),
        tiff_tiles=tiff(COLOUR, tile=(16, 16), compression='zlib', **rgb),
        tiff_float=tiff(floats), tiff_alpha=tiff(ALPHA, extrasamples=['assocalpha'], **rgb),
        tiff_planes=tiff(np.moveaxis(DEEP_COLOUR, -1, 0), planarconfig='separate', **rgb),
        tiff_big=tiff(DEEP, bigtiff=True, byteorder='>'), tiff_imagej=tiff(DEEP, imagej=True),
        tiff_ome=tiff(DEEP, ome=True, metadata=dict(axes='YX', PhysicalSizeX=.1)),
        bmp=saved(COLOUR, 'BMP'), bmp_palette=saved(palette, 'BMP'),
        webp=saved(COLOUR, 'WEBP', **{k: v for k,v in tags().items() if k != 'dpi'}),
        webp_lossless=saved(ALPHA, 'WEBP', lossless=True), gif=saved(palette, 'GIF'),
        ppm=saved(COLOUR, 'PPM'))

# ---- damage

ODD = (0, 1, 2, 3, 4, 7, 8, 16, 17, 32, 64, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 99999, 2**24,
       2**31 - 1, 2**31, 2**32 - 8, 2**32 - 1)

def place(r, b):
    "Somewhere; mostly near the beginning, where the fields stand"
    n = max(1, len(b))
    return r.randrange(min(n, 400) if r.random() < .6 else n)

def flip(r, b): b[place(r, b)] ^= 1 << r.randrange(8)
def byte(r, b): b[place(r, b)] = r.choice([0, 1, 127, 128, 255, r.randrange(256)])
def delete(r, b):
    i = place(r, b)
    del b[i:i + r.choice([1, 2, 4, r.randrange(1, 64)])]
def insert(r, b):
    i = place(r, b)
    b[i:i] = r.randbytes(r.choice([1, 2, 4, r.randrange(1, 64)]))
def repeat(r, b):
    i = place(r, b)
    b[i:i] = b[i:i + r.randrange(1, 64)]*r.choice([1, 2, 50])
def copy(r, b):
    i, j, n = place(r, b), place(r, b), r.randrange(1, 32)
    b[i:i + n] = b[j:j + n]
def cut(r, b): del b[r.randrange(len(b)):]
def word(r, b):
    "A number of two, four or eight bytes becomes an odd one"
    n, i = r.choice([2, 4, 4, 8]), place(r, b)
    value = r.choice(ODD) % 256**n
    b[i:i + n] = value.to_bytes(n, r.choice(['little', 'big']))

def tiff_field(r, b):
    "Tag, kind, count or value of a field in the first directory"
    if len(b) < 16: return
    order = 'little' if b[:2] == b'II' else 'big'
    at = lambda i, n: int.from_bytes(b[i:i + n], order)
    big = at(2, 2) == 43
    start = at(8, 8) if big else at(4, 4)
    head, size, parts = (8, 20, ((0, 2), (2, 2), (4, 8), (12, 8))) if big else \
        (2, 12, ((0, 2), (2, 2), (4, 4), (8, 4)))
    n = at(start, head)
    if start + head > len(b) or not 0 < n < 100: return
    i, m = r.choice(parts)
    value = r.choice([*ODD, r.randrange(300), start, len(b)])
    if i == 0: value = r.choice([at(start + head + r.randrange(n)*size, 2), r.randrange(250, 350), 34665])
    if i == 2: value = r.randrange(19)
    j = start + head + r.randrange(n)*size + i
    b[j:j + m] = (value % 256**m).to_bytes(m, order)

def png_chunk(r, b):
    "A chunk of a PNG is changed, doubled, moved or lost; its checksum is right"
    parts, i = [], 8
    while i + 12 <= len(b):
        n = int.from_bytes(b[i:i+4], 'big')
        parts.append([bytes(b[i+4:i+8]), bytearray(b[i+8:i+8+n])])
        i += 12 + n
    if not parts: return
    j = r.randrange(len(parts))
    what, (kind, data) = r.choice(['data', 'data', 'pixels', 'kind', 'twice', 'lost', 'moved']), parts[j]
    if what == 'data' and data: r.choice([flip, byte, word, delete, insert, repeat])(r, data)
    if what == 'pixels': spoil_pixels(r, parts)
    if what == 'kind': parts[j][0] = r.choice([b'IDAT', b'tRNS', b'PLTE', b'zTXt', b'eXIf', b'iCCP', b'acTL',
                                               b'fcTL', b'fdAT', b'pHYs', b'iTXt', b'gAMA', r.randbytes(4)])
    if what == 'twice': parts.insert(j, [kind, data])
    if what == 'lost': del parts[j]
    if what == 'moved': parts.insert(r.randrange(len(parts)), parts.pop(j))
    b[8:] = b''.join(chunk(kind, bytes(data)) for kind, data in parts)

def spoil_pixels(r, parts):
    "Damage under the compression"
    for part in parts:
        if part[0] != b'IDAT': continue
        try: rows = bytearray(zlib.decompress(part[1]))
        except zlib.error: return
        if rows: r.choice([byte, delete, insert, repeat])(r, rows)
        part[1] = bytearray(zlib.compress(bytes(rows)))

ANY = (flip, byte, delete, insert, repeat, copy, cut, word)

def damaged(name, number, data):
    "Bytes of a file with one to four faults, and their names"
    r, b, told = random.Random(f'{name} {number}'), bytearray(data), []
    ways = ANY + (tiff_field,)*8*name.startswith('tiff') + (png_chunk,)*8*name.startswith('png')
    for _ in range(r.choice([1, 1, 1, 2, 3, 4])):
        if not b: break
        way = r.choice(ways)
        way(r, b)
        told.append(way.__name__)
    return bytes(b), told

# ---- the child, which reads

ROOM, MEGAPIXELS = 2**30, 4.        # bytes of address space beside the pixels' own need; largest picture

def limit_room():
    "This process may take a gigabyte more than it has, and what the largest picture needs"
    import resource
    from dl_denoise.pictures.files import room
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    need, _ = room((MEGAPIXELS*1e6, 1), 4, 2)
    most = int(pages*resource.getpagesize() + ROOM + need)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))

def fault_of(pic):
    "What is wrong with a picture that was read, or ''"
    h, w = pic.pixels.shape[:2]
    if pic.pixels.shape[2:] not in ((), (3,)) or h*w == 0: return f'shape {pic.pixels.shape}'
    if h*w > MEGAPIXELS*1e6: return f'larger than the limit: {h}×{w}'
    if pic.pixels.dtype.name not in ('uint8', 'uint16', 'float16', 'float32', 'float64'):
        return f'kind {pic.pixels.dtype}'
    if pic.alpha is not None and (pic.alpha.shape != (h, w) or pic.alpha.dtype != pic.pixels.dtype):
        return f'alpha {pic.alpha.shape}, {pic.alpha.dtype}'
    if not all(isinstance(o, str) for o in [*pic.text, *pic.text.values(), *pic.notes]): return 'text'
    return ''

def outcome(data):
    "'picture', 'error' or 'fault', and what was said"
    from dl_denoise.core import DenoiseError
    from dl_denoise.pictures.files import read_picture
    try: pic = read_picture(data, MEGAPIXELS)
    except DenoiseError as e:
        said = str(e)
        if 'fit into memory' in said: return 'fault', said
        clear = said.isprintable() and len(said) < 500
        return ('error', said) if clear else ('fault', f'no clear line: {said!r}')
    except BaseException as e: return 'fault', f'{type(e).__name__}: {e}'
    wrong = fault_of(pic)
    return ('fault', wrong) if wrong else ('picture', repr(pic))

def answer():
    "Read `name number` in lines, answer in lines of JSON; nothing else goes to the output"
    out, files = os.fdopen(os.dup(1), 'w'), small_files()
    os.dup2(2, 1)
    for data in files.values(): outcome(data)       # imports are done before room is limited
    limit_room()
    print('ready', file=out, flush=True)
    for line in sys.stdin:
        name, number = line.split()
        data, ways = damaged(name, int(number), files[name])
        start = time.process_time()
        kind, said = outcome(data)
        seconds = time.process_time() - start
        if seconds > LONGEST: kind, said = 'fault', f'{seconds:.1f} s: {said}'
        print(json.dumps(dict(kind=kind, said=said, seconds=seconds, ways=ways)), file=out, flush=True)

# ---- the parent, which asks

LONGEST, PATIENCE = 5, 60       # seconds of computing for a file, and by the clock on a busy machine

class Reader:
    "A child that reads one file after the other; a new one if it dies"
    def __init__(self): self.run = None
    def start(self):
        self.run = subprocess.Popen([sys.executable, __file__, '--child'], stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)
        assert self.run.stdout.readline() == 'ready\n', 'the child did not start'
    def ask(self, name, number):
        if self.run is None: self.start()
        print(name, number, file=self.run.stdin, flush=True)
        ready, _, _ = select.select([self.run.stdout], [], [], PATIENCE)
        line = self.run.stdout.readline() if ready else ''
        if line: return json.loads(line)
        late = f'no answer in {PATIENCE} s' if not ready else 'the process died'
        code = self.close(kill=True)
        return dict(kind='fault', said=late if not ready else f'{late} with {code}', seconds=0., ways=[])
    def close(self, kill=False):
        if self.run is None: return
        if kill: self.run.kill()
        self.run.stdin.close()
        code, self.run = self.run.wait(20), None
        return code

def run(names, count, first=0, keep=None):
    "Counts for each format, and the faults with the numbers that make them again"
    reader, rows, faults, files = Reader(), {}, [], small_files()
    for name in names:
        row = rows[name] = dict(picture=0, error=0, fault=0, slowest=0.)
        for number in range(first, first + count):
            told = reader.ask(name, number)
            row[told['kind']] += 1
            row['slowest'] = max(row['slowest'], told['seconds'])
            if told['kind'] != 'fault': continue
            faults.append(dict(name=name, number=number, **told))
            print(json.dumps(faults[-1]), flush=True)
            if keep: (Path(keep)/f'{name}-{number}').write_bytes(damaged(name, number, files[name])[0])
        print(f"{name:16} {row['picture']:6} pictures {row['error']:6} errors {row['fault']:4} faults   "
              f"slowest {row['slowest']:.2f} s", flush=True)
    reader.close()
    return rows, faults

@call_parse
def main(
    count:int=10_000,       # Damaged files of each format
    names:str='',           # Formats, with commas; all by default
    first:int=0,            # Number of the first
    keep:str='',            # A folder for files that met a fault
    child:bool=False        # Be the process that reads
):
    "Read damaged files of each format and tell what came of them; leaves with 1 if there was a fault"
    if child: return answer()
    if keep: Path(keep).mkdir(parents=True, exist_ok=True)
    _, faults = run(names.split(',') if names else [*small_files()], count, first, keep)
    sys.exit(1 if faults else 0)
