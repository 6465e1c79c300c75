"""Engines for photographs: how close their results lie to those of 32 bits, on the 68 pictures of CBSD68;
and a photograph of many megapixels from file to file"""
import os, subprocess, sys, tempfile
import numpy as np, torch
from fastcore.script import call_parse
from PIL import Image
from dl_denoise.data import data_folders, load_image
from dl_denoise.ledger import save_record, surroundings
from dl_denoise.metrics import psnr_of
from dl_denoise.noise import GaussianNoise
from dl_denoise.pictures.denoiser import load_denoiser
from dl_denoise.pictures.engines import installed_engines

LEVELS = 15, 25, 50

def close(name, most):
    "PSNR of each engine, a mean over pictures, and the largest loss on one; for each noise level"
    folder = next(d/'cbsd68' for d in data_folders() if (d/'cbsd68').is_dir())
    files, psnr = sorted(folder.glob('*.*'))[:most], {}
    ways = {'exact': load_denoiser(name, 'cpu')}
    for engine in 'torch', 'openvino':
        if engine in installed_engines(): ways[engine] = load_denoiser(name, 'cpu', engine=engine)
    for i, file in enumerate(files):
        y = load_image(file, 3)[None].float()/255
        for level in LEVELS:
            x = GaussianNoise(level/255)(y, torch.Generator().manual_seed(i))
            for way, dn in ways.items():
                error = (dn(x) - y).square().mean().item()
                psnr.setdefault((way, level), []).append(psnr_of(error))
        print(f'\r{i+1} of {len(files)}', end='', flush=True)
    told = {}
    for way in ways:
        loss = {s: np.subtract(psnr['exact', s], psnr[way, s]) for s in LEVELS}
        told[way] = dict(psnr={str(s): round(float(np.mean(psnr[way, s])), 4) for s in LEVELS},
                         loss={str(s): round(float(o.mean()), 4) for s, o in loss.items()},
                         largest_loss={str(s): round(float(o.max()), 4) for s, o in loss.items()})
    return dict(pictures=len(files), precision={n: 'bf16' if dn.runner.half else 'fp32'
                                               for n, dn in ways.items()}, engines=told)

def photograph(path, width, height):
    "A colour JPEG of so many pixels with noise of 10 of 255"
    import skimage
    piece = Image.fromarray(skimage.data.astronaut()).resize((1000, 1000), Image.BICUBIC)
    rows, columns = -(-height//1000), -(-width//1000)
    a = np.tile(np.asarray(piece), (rows, columns, 1))[:height, :width].astype(np.float32)
    a += np.random.default_rng(0).normal(0, 10, a.shape).astype(np.float32)
    Image.fromarray(a.round().clip(0, 255).astype(np.uint8)).save(path, quality=95)

FROM_FILE = """
import sys, time
start = time.perf_counter(), time.process_time()
from dl_denoise.apps.cli import main
code = main(['denoise', sys.argv[1], '-o', sys.argv[2], '--engine', sys.argv[3], '--model', sys.argv[4]])
from dl_denoise.ledger import peak_memory   # last, for it brings pandas
print(code, time.perf_counter() - start[0], time.process_time() - start[1], peak_memory())
"""

def from_file(name, engine, width, height):
    "Seconds and memory of the command, in a process of its own, start and imports included"
    with tempfile.TemporaryDirectory() as folder:
        for i, size in enumerate(((1000, 1000), (width, height))):
            # the small one finds the engine, and is not counted
            photograph(f'{folder}/{i}.jpg', *size)
            done = subprocess.run([sys.executable, '-c', FROM_FILE, f'{folder}/{i}.jpg',
                                   f'{folder}/out{i}.jpg', engine, name],
                                  capture_output=True, text=True, check=True)
    code, wall, cpu, memory = map(float, done.stdout.split()[-4:])
    assert code == 0, done.stderr
    return dict(megapixels=width*height/1e6, engine=engine, seconds=round(wall, 1),
                cpu_seconds=round(cpu, 1), largest_memory_gb=round(memory, 2))

@call_parse
def main(
    out:str='engines',           # Folder for the records
    models:str='photo-real',     # Packaged denoisers for colour, with commas
    pictures:int=68,             # So many of CBSD68; 0 leaves them out
    width:int=6000,              # Of the photograph from file to file; 0 leaves it out
    height:int=4000,             # Likewise
    engine:str='auto',           # Its engine
    overwrite:bool=False         # Replace records that are there?
):
    "Measure on this machine, which should be idle, and write a record for each"
    load = os.getloadavg()[0] if hasattr(os, 'getloadavg') else None
    common = dict(experiment='engines', threads=torch.get_num_threads(), load_before=load,
                  **surroundings('cpu'))
    for name in models.split(','):
        if pictures:
            told = dict(variant='close', data='cbsd68', **close(name, pictures))
            save_record({**common, 'model': name, **told}, out, overwrite)
            print('\n', name, told, flush=True)
        if width:
            told = dict(variant='file', data='made', **from_file(name, engine, width, height))
            save_record({**common, 'model': name, **told}, out, overwrite)
            print(name, told, flush=True)
