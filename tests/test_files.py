"""Pictures of every kind in and out, and each fault of a file: one clear line, the original untouched,
nothing half-written"""
import errno, io, lzma, os, struct, subprocess, sys, zlib
import numpy as np, pytest, tifffile, torch
from PIL import Image, ImageCms
from conftest import root
from dl_denoise.core import DenoiseError, UsageError
from dl_denoise.pictures import files
from dl_denoise.pictures.files import Picture, encode_picture, read_picture, room, write_picture
from dl_denoise.pictures.cleaning import (Cleaning, black_and_white, denoise_file, denoise_picture,
                                          trained_range)
from dl_denoise.pictures.denoiser import Denoiser, load_denoiser
from dl_denoise.pictures.folders import denoise_files, plan

rng = np.random.default_rng(0)

class Left(torch.nn.Module):
    "Stands in for a network: the mean of each pixel and its left neighbour"
    def forward(self, x): return (x + x.roll(1, -1))/2

def blur(channels=1, model=None):
    record = dict(noise='GaussianNoise(sigma=(0.0, 0.2), clip=False)')
    return Denoiser(model or Left(), dict(channels=channels, record=record), 'cpu')

def saved(im, fmt='PNG', **kw):
    f = io.BytesIO(); im.save(f, fmt, **kw)
    return f.getvalue()

def tiff(a, **kw):
    f = io.BytesIO(); tifffile.imwrite(f, a, **kw)
    return f.getvalue()

def test_palette_and_its_hole():
    im = Image.new('P', (3, 2))
    im.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    im.putdata([0, 1, 2, 0, 1, 2])
    p = read_picture(saved(im, transparency=1))
    assert p.mode == 'P'
    assert p.pixels[0].tolist() == [[0, 0, 0], [255, 0, 0], [0, 0, 255]]
    assert p.alpha[0].tolist() == [255, 0, 255]
    im.putpalette([0, 0, 0, 99, 99, 99, 200, 200, 200])
    assert read_picture(saved(im)).pixels.tolist() == [[0, 99, 200]]*2      # a palette of greys is grey

@pytest.mark.parametrize('fmt', ['PNG', 'TIFF'])
def test_one_bit(fmt):
    p = read_picture(saved(Image.fromarray(np.eye(9, dtype=bool)), fmt))
    assert p.pixels.dtype == np.uint8 and np.array_equal(p.pixels, np.eye(9)*255)

@pytest.mark.parametrize('mode,hole', [('L', 7), ('RGB', (7, 7, 7))])
def test_a_colour_for_nothing(mode, hole):
    p = read_picture(saved(Image.new(mode, (4, 3), hole), transparency=hole))
    assert p.pixels.shape[:2] == (3, 4) and (p.alpha == 0).all()

@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_sixteen_bit_tiff_through_pillow(channels, monkeypatch):
    "What tifffile has no decoder for comes from Pillow with all its bits, or is refused"
    a = rng.integers(0, 65536, (20, 30, channels), dtype=np.uint16)
    data = tiff(a[...,0] if channels == 1 else a, photometric='rgb' if channels > 2 else 'minisblack',
                planarconfig='contig', compression='zlib')
    assert np.array_equal(files.stacked(read_picture(data)).reshape(a.shape), a)
    monkeypatch.setattr(files, 'page_pixels', lambda *_: None)
    if channels != 2: assert np.array_equal(files.stacked(read_picture(data)).reshape(a.shape), a)
    else:
        with pytest.raises(DenoiseError): read_picture(data)

def test_lzw():
    a = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(read_picture(saved(Image.fromarray(a), 'TIFF', compression='tiff_lzw')).pixels, a)

def test_planar_and_inverted_tiff():
    a = rng.integers(0, 65536, (3, 20, 30), dtype=np.uint16)
    assert np.array_equal(read_picture(tiff(a, photometric='rgb', planarconfig='separate')).pixels,
                          np.moveaxis(a, 0, -1))
    assert np.array_equal(read_picture(tiff(a[0], photometric='miniswhite')).pixels, 65535 - a[0])

def test_cmyk():
    p = read_picture(saved(Image.new('CMYK', (8, 8), (0, 255, 255, 0)), 'JPEG'))
    assert p.pixels.shape == (8, 8, 3)
    assert p.pixels[0, 0, 0] > 200
    assert p.pixels[0, 0, 1] < 60
    assert 'CMYK' in p.notes[0]

@pytest.mark.parametrize('fmt', ['PNG', 'JPEG', 'TIFF', 'WEBP'])
def test_what_is_told_beside_the_pixels(fmt):
    exif = Image.Exif(); exif[271], exif[274] = 'Maker', 6
    exif.get_ifd(34665)[33434] = .5
    icc = b'\0'*36 + b'acsp' + b'\0'*88
    p = read_picture(saved(Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)), 'JPEG',
                           exif=exif.tobytes(), icc_profile=icc, dpi=(72, 72), quality=100))
    assert p.pixels.shape == (9, 6, 3) and p.icc == icc and p.dpi == (72, 72)
    q = read_picture(encode_picture(p, fmt, 100 if fmt == 'JPEG' else None))
    tags = Image.Exif(); tags.load(q.exif)
    assert q.pixels.shape == (9, 6, 3)
    assert q.icc == icc
    assert tags[271] == 'Maker'
    assert tags.get(274, 1) == 1
    assert float(tags.get_ifd(34665)[33434]) == .5
    if fmt != 'WEBP': assert np.allclose(q.dpi, (72, 72), atol=.1)
    if fmt != 'JPEG': assert np.array_equal(q.pixels, p.pixels)

def test_deep_pictures_keep_their_tags():
    exif = Image.Exif(); exif[271] = 'Maker'
    p = Picture(rng.integers(0, 65536, (6, 9, 3), dtype=np.uint16), exif=exif.tobytes(), icc=b'\0'*128,
                dpi=(300., 300.), text=dict(Title='Übung'))
    for fmt in ('PNG', 'TIFF'):
        q = read_picture(encode_picture(p, fmt))
        tags = Image.Exif(); tags.load(q.exif)
        assert np.array_equal(q.pixels, p.pixels)
        assert q.icc == p.icc
        assert tags[271] == 'Maker'
        assert np.allclose(q.dpi, 300, atol=.1)
        if fmt == 'PNG': assert q.text == p.text

# ---- what a microscope's TIFF tells

def cleaned(tmp_path, **kwargs):
    "A file as tifffile writes it, cleaned from file to file, opened by tifffile"
    a = rng.integers(0, 4096, (40, 50)).astype(np.uint16)
    tifffile.imwrite(tmp_path/'in.tif', kwargs.pop('pixels', a), **kwargs)
    denoise_file(tmp_path/'in.tif', tmp_path/'out.tif', lambda name: blur(), Cleaning(strength=0.))
    return tifffile.TiffFile(tmp_path/'out.tif')

def test_imagej_keeps_its_scale(tmp_path):
    with cleaned(tmp_path, imagej=True, resolution=(9.25, 9.25), metadata={'unit': 'um', 'Info': 'x'}) as t:
        assert t.is_imagej and t.imagej_metadata['unit'] == 'um' and t.imagej_metadata['Info'] == 'x'
        n, d = t.pages[0].tags['XResolution'].value
        assert n/d == pytest.approx(9.25)

@pytest.mark.parametrize('byteorder', '<>')
def test_resolution_and_description(tmp_path, byteorder):
    with cleaned(tmp_path, resolution=(1234, 567), resolutionunit='CENTIMETER', description='a cell',
                 metadata=None, byteorder=byteorder) as t:
        tags = t.pages[0].tags
        assert (tags['XResolution'].value[0], tags['YResolution'].value[0]) == (1234, 567)
        assert tags['ResolutionUnit'].value == 3 and tags['ImageDescription'].value == 'a cell'
        assert t.byteorder == byteorder

def test_ome_stays_ome(tmp_path):
    with cleaned(tmp_path, ome=True, metadata=dict(axes='YX', PhysicalSizeX=.108,
                                                   PhysicalSizeXUnit='µm')) as t:
        assert t.is_ome and 'PhysicalSizeX="0.108"' in t.ome_metadata and 'µm' in t.ome_metadata

@pytest.mark.parametrize('kwargs', [dict(compression='zlib'), dict(compression='zlib', predictor=2), {}])
def test_compressed_as_it_was(tmp_path, kwargs):
    smooth = np.add.outer(np.arange(300), np.arange(400)).astype(np.uint16)
    with cleaned(tmp_path, pixels=smooth, description='x', metadata=None, **kwargs) as t:
        before, after = ((tmp_path/f'{o}.tif').stat().st_size for o in ('in', 'out'))
        assert abs(after - before) < .1*before
        assert t.pages[0].predictor == kwargs.get('predictor', 1)
        assert (t.pages[0].compression == 1) == (not kwargs)

def test_description_that_would_lie(tmp_path):
    "Turned upright, a picture has no more the width that its OME description tells"
    with cleaned(tmp_path, ome=True, extratags=[(274, 'H', 1, 6, True)]) as t:
        assert t.pages[0].shape == (50, 40) and not t.is_ome
    assert any('left out' in o for o in read_picture(tmp_path/'in.tif').notes)

@pytest.mark.parametrize('size', [(1, 1), (1, 7), (7, 1)])
def test_smallest(size):
    for suffix in ('PNG', 'TIFF'):
        p = Picture(rng.integers(0, 65536, size, dtype=np.uint16))
        assert np.array_equal(read_picture(encode_picture(p, suffix)).pixels, p.pixels)
        assert denoise_picture(p, blur()).pixels.shape == size

# ---- cleaning

@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('of', [1, 3])
def test_networks_and_pictures_of_other_channels(channels, of):
    a = rng.integers(0, 256, (8, 8, 3) if of == 3 else (8, 8), dtype=np.uint8)
    got = denoise_picture(Picture(a, alpha=a if of == 1 else a[...,0]), blur(channels))
    assert got.pixels.dtype == np.uint8
    assert np.abs(got.pixels - (a + np.roll(a.astype(float), 1, 1))/2).max() <= .51
    assert np.array_equal(got.alpha, a if of == 1 else a[...,0])

def test_strength_and_counts():
    a = rng.poisson(500, (20, 20)).astype(np.float64)
    full, half, none = (denoise_picture(Picture(a), blur(), strength=s).pixels for s in (1, .5, 0))
    assert full.dtype == np.float64 and np.allclose(full, (a + np.roll(a, 1, 1))/2, rtol=1e-4)
    assert np.allclose(half, (full + a)/2, rtol=1e-4) and np.allclose(none, a, rtol=1e-4)
    with pytest.raises(UsageError, match='strength'): denoise_picture(Picture(a), blur(), strength=2)

def test_sigma_scales():
    seen = []
    class Sees(torch.nn.Module):
        def forward(self, x): seen.append(x.std(correction=0).item()); return x
    dn = blur(model=Sees())
    a = rng.normal(.5, 102/255, (50, 50)).astype(np.float32)
    assert trained_range(dn.card) == (0, pytest.approx(51))
    got = denoise_picture(Picture(a), dn, sigma=102).pixels
    # 102 becomes 51
    assert np.allclose(got, a, atol=1e-5) and seen[0] == pytest.approx(a.std()/2, rel=.01)
    denoise_picture(Picture(a), dn, sigma=30)
    # within the training: as it is
    assert seen[1] == pytest.approx(a.std(), rel=1e-4)

def test_bits_in_use():
    """A detector's twelve bits in a file of sixteen are seen as a network has to see them, and come
    back as twelve"""
    a = rng.integers(0, 4096, (20, 30), dtype=np.uint16); a[0, 0] = 4095
    p, seen = Picture(a), []
    class Sees(torch.nn.Module):
        def forward(self, x): seen.append(x.max().item()); return x
    for sigma in (None, 102):
        assert np.abs(denoise_picture(p, blur(model=Sees()), sigma=sigma).pixels.astype(int) - a).max() <= 1
    high = 1/1.1                                       # white has a tenth of room above it
    # the second: shrunk about middle grey
    assert seen == pytest.approx([high, .5 + (high - .5)/2], rel=.01)
    taught = blur(model=Sees())
    # by captures of twelve bits
    taught.card['record']['white'] = 4095
    denoise_picture(Picture(a//4), taught); denoise_picture(Picture(a//4), taught, white=1023)
    assert seen[2:] == pytest.approx([.25, 1], rel=.01)

def test_hot_pixel():
    "One hot pixel moves nothing but itself"
    rows, columns = np.mgrid[:128, :128]
    rng = np.random.default_rng(0)
    a = (200 + 4*rows + rng.normal(0, 60, rows.shape)).clip(0).round().astype(np.uint16)
    hot = a.copy()
    hot[3, 5] = 60_000
    dn = load_denoiser('photo-grey', device='cpu')
    plain, warm = (denoise_picture(Picture(o), dn).pixels.astype(float) for o in (a, hot))
    assert warm[3, 5] == 60_000
    assert np.abs(plain - warm)[40:].max() < 3
    assert np.std(plain - (200 + 4*rows)) < 25
    as_array = dn(hot).astype(float)
    assert np.abs(as_array - warm).max() <= 1          # every door has the same rule

def test_said_white_wins():
    dn = blur()
    a = np.full((20, 30), 100, np.uint16)
    assert black_and_white(Picture(a), dn) == (0, pytest.approx(110))
    assert black_and_white(Picture(a), dn, white=4095) == (0, 4095)
    assert black_and_white(Picture(a.astype(np.uint8)), dn) == (0, 255)

@pytest.mark.parametrize('pixels', [
    np.full((40, 50), 0, np.uint8), np.full((40, 50), 255, np.uint8), np.full((40, 50, 3), 200, np.uint8),
    (rng.random((40, 50)) > .5).astype(np.uint8)*255, rng.integers(0, 256, (9, 400), dtype=np.uint8),
    rng.normal(127, 300, (40, 50)).clip(0, 255).astype(np.uint8)], ids=['black', 'white', 'even', 'two',
                                                                        'thin', 'clipped'])
def test_report_never_takes_the_result(tmp_path, pixels):
    "Constants, two values, thin pictures, noise that is clipped: there is a result, and one line"
    write_picture(Picture(pixels), tmp_path/'in.png')
    lines = []
    denoise_files(plan([tmp_path/'in.png'], tmp_path/'out.png', True), say=lines.append, report=True)
    assert read_picture(tmp_path/'out.png').pixels.shape == pixels.shape
    assert len(lines) == 1
    if pixels.max() == pixels.min(): assert (read_picture(tmp_path/'out.png').pixels == pixels).all()

def test_report_that_fails(tmp_path, monkeypatch):
    from dl_denoise.pictures import cleaning
    def broken(*args): raise ZeroDivisionError('by zero')
    monkeypatch.setattr(cleaning, 'report', broken)
    write_picture(Picture(rng.integers(0, 256, (32, 32), dtype=np.uint8)), tmp_path/'in.png')
    told = denoise_file(tmp_path/'in.png', tmp_path/'out.png', lambda name: blur(), Cleaning(report=True))
    assert 'no report: ZeroDivisionError' in told and (tmp_path/'out.png').exists()

# ---- files that are made to harm

def directory(*entries, following=0, data=b''):
    "A TIFF file of one directory: entries (tag, type, count, value), then where the next directory lies"
    packed = b''.join(struct.pack('<HHII', *o) for o in sorted(entries))
    return b'II*\0' + struct.pack('<IH', 8, len(entries)) + packed + struct.pack('<I', following) + data

def grey_page(width, height, compression, start, n):
    return [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1),
            (273, 4, 1, start), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, n)]

def test_circle_of_pages():
    page = grey_page(8, 8, 1, 126, 64)
    with pytest.raises(DenoiseError, match='in a circle|breaks off|damaged'):
        read_picture(directory(*page, following=8, data=bytes(64)))

def test_bomb_in_a_strip():
    "16×16 pixels whose strip unpacks to 200 MB"
    import tracemalloc
    strip = zlib.compress(bytes(200_000_000), 9)
    tracemalloc.start()
    with pytest.raises(DenoiseError, match='more than its pixels need'):
        read_picture(directory(*grey_page(16, 16, 8, 122, len(strip)), data=strip))
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()

@pytest.mark.parametrize('compression,strip', [
    (32773, b'\x81\0'*1_000_000),                  # PackBits: each two bytes are 128
    (34925, lzma.compress(bytes(100_000_000)))])
def test_bomb_of_another_packing(compression, strip):
    "16×16 pixels whose strip unpacks to a hundred megabytes"
    import tracemalloc
    tracemalloc.start()
    with pytest.raises(DenoiseError, match='more than its pixels need'):
        read_picture(directory(*grey_page(16, 16, compression, 122, len(strip)), data=strip))
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()

def test_packbits_is_counted_as_it_is_unpacked():
    a = np.where(rng.random((40, 300)) < .1, rng.integers(0, 256, (40, 300)), 7).astype(np.uint8)
    with tifffile.TiffFile(io.BytesIO(saved(Image.fromarray(a), 'TIFF', compression='packbits'))) as t:
        p, f = t.pages[0], t.filehandle
        sizes = []
        for start, n in zip(p.dataoffsets, p.databytecounts):
            f.seek(start); sizes.append(files._unpacked_size(f.read(n), 32773, a.size))
    assert sum(sizes) == a.size
    assert np.array_equal(read_picture(saved(Image.fromarray(a), 'TIFF', compression='packbits')).pixels, a)

def test_tile_like_a_house():
    "A picture of 16×16 with a tile of four thousand megapixels"
    page = [o for o in grey_page(16, 16, 8, 122, 9) if o[0] not in (273, 278, 279)]
    tile = [(322, 4, 1, 65520), (323, 4, 1, 65520), (324, 4, 1, 134), (325, 4, 1, 9)]
    with pytest.raises(DenoiseError, match='tiles are far larger'):
        read_picture(directory(*page, *tile, data=zlib.compress(bytes(9))))

def test_fields_that_contradict():
    "Colours with one channel; a width that is a fraction; a palette that is not there"
    grey = grey_page(8, 8, 1, 126, 64)
    with pytest.raises(DenoiseError, match='1 channels; expected'):
        read_picture(directory(*[(262, 3, 1, 2) if o[0] == 262 else o for o in grey], data=bytes(64)))
    width = (256, 11, 1, struct.unpack('<I', struct.pack('<f', 8.5))[0])
    rows = (278, 1, 1, 18)              # a byte, of which Python would make two billion
    for pages in ([width, *grey[1:]], [(256, 4, 1, 2**31 - 1), *grey[2:7], rows, grey[8]]):
        with pytest.raises(DenoiseError, match='not whole numbers'):
            read_picture(directory(*pages, data=bytes(64)))
    data = saved(Image.fromarray(np.eye(8, dtype=np.uint8)).convert('P'))
    i = data.index(b'PLTE') - 4
    n = int.from_bytes(data[i:i + 4], 'big') + 12
    with pytest.raises(DenoiseError, match='palette.* is missing'):
        read_picture(data[:i] + data[i + n:])

def test_cmyk_with_the_profile_of_a_screen():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    p = read_picture(saved(Image.new('CMYK', (8, 8), (0, 255, 255, 0)), 'JPEG', icc_profile=profile))
    assert p.pixels[0, 0, 0] > 200 and p.pixels[0, 0, 1] < 60
    assert 'the profile in the file is not for them' in p.notes[0]

@pytest.mark.skipif(sys.platform != 'linux', reason='limits the memory of a process')
def test_fuzz():
    "Twenty damaged files of each kind, in a process with a gigabyte; benchmarks/fuzz.py reads more"
    run = subprocess.run([sys.executable, root/'benchmarks'/'fuzz.py', '--count', '20'],
                         capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr[-2000:]
    lines = run.stdout.splitlines()
    assert len(lines) > 30 and all(' 0 faults' in o for o in lines), run.stdout

def test_no_other_file_is_opened(tmp_path):
    "An OME description that names another file"
    secret = tmp_path/'secret.tif'
    tifffile.imwrite(secret, np.full((8, 8), 7, np.uint8))
    ome = ('<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels '
           'ID="P:0" '
           'DimensionOrder="XYCZT" Type="uint8" SizeX="8" SizeY="8" SizeC="1" SizeZ="1" '
           'SizeT="1"><TiffData IFD="0">'
           '<UUID FileName="secret.tif">urn:uuid:0</UUID></TiffData></Pixels></Image></OME>')
    tifffile.imwrite(tmp_path/'a.ome.tif', np.full((8, 8), 3, np.uint8), description=ome, metadata=None)
    assert (read_picture(tmp_path/'a.ome.tif').pixels == 3).all()

@pytest.mark.parametrize('name,data', [
    ('a.dng', tiff(np.zeros((8, 8), np.uint16))), ('a.CR3', b'whatever'),
    ('a.tif', tiff(np.zeros((8, 8), np.uint16), extratags=[(50706, 'B', 4, (1, 4, 0, 0), True)]))])
def test_raw_files(tmp_path, name, data):
    "What they are, and what to do"
    (tmp_path/name).write_bytes(data)
    with pytest.raises(DenoiseError, match="camera's raw file.*develop it first"): read_picture(tmp_path/name)

# ---- faults

def huge(w=20_000, h=20_000):
    data = saved(Image.new('L', (1, 1)))
    head = b'IHDR' + struct.pack('>II', w, h) + data[24:29]
    return data[:12] + head + struct.pack('>I', zlib.crc32(head)) + data[33:]

def animation(fmt):
    frames = [Image.new('RGB', (8, 8), (o, 0, 0)) for o in (0, 99, 255)]
    return saved(frames[0], fmt, save_all=True, append_images=frames[1:])

jpeg = saved(Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)), 'JPEG')
png = saved(Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)))
FAULTS = dict(
    truncated_jpeg=(jpeg[:len(jpeg)//2], 'truncated'),
    truncated_png=(png[:len(png)//2], 'damaged or cut short'), truncated_header=(png[:20], ''),
    truncated_tiff=(tiff(np.zeros((64, 64, 3), np.uint16))[:5000], 'cut short'),
    zero_bytes=(b'', '0 bytes'), not_a_picture=(b'hello'*99, 'not a picture'),
    broken_tiff=(b'II*\0' + b'\xff'*50, ''), gif=(animation('GIF'), '3 frames'),
    apng=(animation('PNG'), '3 frames'), webp=(animation('WEBP'), '3 frames'),
    tiff_pages=(animation('TIFF'), '3 pages'),
    stack=(tiff(np.zeros((4, 8, 8), np.uint16), photometric='minisblack'), '4 pages'),
    imagej=(tiff(np.zeros((4, 8, 8), np.uint16), imagej=True), '4 pages'),
    whole_numbers=(tiff(np.zeros((8, 8), np.int16)), 'int16'),
    channels=(tiff(np.zeros((8, 8, 6), np.uint16), photometric='minisblack', planarconfig='contig'),
              'channels'), huge=(huge(), '20,000×20,000 pixels, 400 megapixels'))

@pytest.mark.parametrize('name', FAULTS)
def test_fault(name, tmp_path):
    data, words = FAULTS[name]
    (tmp_path/'a.png').write_bytes(data)
    with pytest.raises(DenoiseError) as e: read_picture(tmp_path/'a.png')
    assert words in str(e.value) and 'a.png' in str(e.value) and '\n' not in str(e.value)
    with pytest.raises(DenoiseError): denoise_files([(tmp_path/'a.png', tmp_path/'out'/'a.png')])
    assert (tmp_path/'a.png').read_bytes() == data and not [*(tmp_path/'out').glob('*')]

def test_damaged_anywhere():
    "Bytes changed or cut off at random: a picture or one line, never another error"
    a, told = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8), 0
    whole = [saved(Image.fromarray(a), f) for f in ('PNG', 'JPEG', 'WEBP', 'BMP', 'GIF')]
    whole += [tiff(a, compression='zlib', photometric='rgb'), tiff(a[...,0].astype(np.float32))]
    for data in whole:
        for _ in range(60):
            bad = bytearray(data)
            for i in rng.integers(0, min(300, len(bad)), 4): bad[i] = rng.integers(256)
            if rng.random() < .2: bad = bad[:rng.integers(len(bad))]
            try: repr(read_picture(bytes(bad)))
            except DenoiseError as e: told += '\n' not in str(e)
    assert 150 < told < 420

def test_huge_is_measured_before_it_is_unpacked(monkeypatch):
    need, free = room((20_000, 20_000))
    assert need > 20_000**2*3 and (free is None or free > 0)
    monkeypatch.setattr(files, '_free', lambda: 4_000_000_000)
    with pytest.raises(DenoiseError, match='need 4.8 GB of memory, and 4.0 GB are free'):
        read_picture(huge(), max_megapixels=500)
    monkeypatch.setattr(files, '_free', lambda: None)
    with pytest.raises(DenoiseError, match='damaged or cut short'): read_picture(huge(300, 300))

@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_not_a_number(bad):
    a = rng.random((8, 8)).astype(np.float32); a[3, 3] = bad
    with pytest.raises(DenoiseError, match='1 of its values are NaN or infinite'):
        denoise_picture(read_picture(tiff(a)), blur())

def test_wrong_name(tmp_path):
    (tmp_path/'a.png').write_bytes(jpeg)
    p = read_picture(tmp_path/'a.png')
    assert p.format == 'JPEG' and 'holds a JPEG picture' in p.notes[0]

@pytest.mark.parametrize('pic,name,words', [
    (Picture(np.zeros((4, 4), np.uint16)), 'a.jpg', 'JPEG cannot hold uint16'),
    (Picture(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)), 'a.jpg', 'transparency'),
    (Picture(np.zeros((4, 4), np.float32)), 'a.png', 'PNG cannot hold float32'),
    (Picture(np.zeros((4, 4), np.uint8)), 'a.jp2', '.png, .jpg'),
    (Picture(np.zeros((4, 17000), np.uint8)), 'a.webp', 'cannot be written as WEBP')])
def test_what_a_format_cannot_hold(pic, name, words, tmp_path):
    with pytest.raises(DenoiseError, match=words): write_picture(pic, tmp_path/name)
    assert not [*tmp_path.iterdir()]

def test_full_disk(tmp_path, monkeypatch):
    "The old file stays, the temporary one goes"
    p = tmp_path/'a.png'; p.write_text('old')
    class Full:
        def __init__(self, fd, mode, **kw): self.fd = fd
        def __enter__(self): return self
        def __exit__(self, *a): os.close(self.fd)
        def write(self, s): raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(os, 'fdopen', Full)
    with pytest.raises(DenoiseError, match='no space left'):
        write_picture(Picture(np.zeros((4, 4), np.uint8)), p)
    monkeypatch.undo()
    assert p.read_text() == 'old' and [o.name for o in tmp_path.iterdir()] == ['a.png']

# ---- what goes where

@pytest.fixture
def tree(tmp_path):
    for o in ('in/a.png', 'in/b.jpg', 'in/deep/a.tif', 'in/deep/.hidden.png', 'in/notes.txt',
              'in/c[1].png', 'in/x.gif', 'two/a.png'):
        (tmp_path/o).parent.mkdir(exist_ok=True, parents=True); (tmp_path/o).touch()
    return tmp_path

def planned(tree, inputs, out, **kw):
    return {p.relative_to(tree).as_posix(): o.relative_to(tree).as_posix()
            for p,o in plan([tree/i for i in inputs], tree/out, **kw)}

def test_plan(tree):
    assert planned(tree, ['in'], 'out') == {'in/a.png': 'out/a.png', 'in/b.jpg': 'out/b.jpg',
                                            'in/c[1].png': 'out/c[1].png', 'in/x.gif': 'out/x.png',
                                            'in/deep/a.tif': 'out/deep/a.tif'}
    assert planned(tree, ['in/a.png'], 'b.tif') == {'in/a.png': 'b.tif'}
    assert planned(tree, ['in/a.png'], 'out') == {'in/a.png': 'out/a.png'}
    assert planned(tree, ['in/**/*.tif'], 'out') == {'in/deep/a.tif': 'out/deep/a.tif'}
    assert planned(tree, ['in/c[1].png', 'in/b.jpg'], 'out') == {'in/c[1].png': 'out/c[1].png',
                                                                 'in/b.jpg': 'out/b.jpg'}
    assert plan('-', '-') == [('-', '-')]
    (tree/'in'/'clean').mkdir(); (tree/'in'/'clean'/'a.png').touch()
    # earlier results are no input
    assert 'in/clean/a.png' not in planned(tree, ['in'], 'in/clean')

@pytest.mark.parametrize('inputs,out,words', [
    (['in'], 'in', 'never written over'), (['in/a.png'], 'in/a.png', 'never written over'),
    (['in', 'two'], 'out', 'would both become'), (['no'], 'out', 'there is no file or folder'),
    (['in/*.bmp'], 'out', 'there are no pictures'), (['in/a.png'], 'a.xyz', '.png, .jpg'),
    (['in'], 'two/a.png', 'is a file')])
def test_plan_refuses(tree, inputs, out, words):
    with pytest.raises(UsageError, match=words): planned(tree, inputs, out)

def test_links_to_the_original(tree):
    (tree/'link.png').symlink_to(tree/'in'/'a.png')
    with pytest.raises(UsageError, match='never written over'): planned(tree, ['in/a.png'], 'link.png')

def test_reports_have_places_too(tree):
    (tree/'in'/'a-report.png').touch()
    with pytest.raises(UsageError, match='would both become'): planned(tree, ['in'], 'out', report=True)
