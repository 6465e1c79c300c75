"""Megapixels per second of a `Denoiser` against the plain network on the whole picture, in turns, in
one process; and the memory of a large picture"""
import multiprocessing, os, statistics, time
import torch
from fastcore.script import call_parse
from dl_denoise.pictures.denoiser import Denoiser, load_denoiser
from dl_denoise.ledger import peak_memory, save_record, surroundings
from dl_denoise.models.blocks import create_model, n_params

def seconds(fn, x):
    t = time.perf_counter()
    fn(x)
    return time.perf_counter() - t

def speed(model, size, repeats):
    "Medians over the rounds, each way once in each round"
    x, model = torch.rand(1, 1, size, size), model.eval()
    def plain(x):
        with torch.no_grad(): return model(x)
    ways = {'plain': plain, **{n: Denoiser(model, dict(channels=1), 'cpu', engine=e)
                               for n, e in dict(torch='exact', onnxruntime='onnxruntime').items()}}
    for fn in ways.values(): fn(x)
    times = {n: [] for n in ways}
    for _ in range(repeats):
        for n, fn in ways.items(): times[n].append(seconds(fn, x))
    mid = {n: statistics.median(t) for n, t in times.items()}
    return dict(megapixels_per_second={n: round(size**2/1e6/t, 3) for n, t in mid.items()},
                times_plain={n: round(mid['plain']/t, 2) for n, t in mid.items() if n != 'plain'})

def large(megapixels):
    "Seconds, and the largest memory of this process, for a grey 8-bit picture"
    side = int((megapixels*1e6)**.5)
    t = seconds(load_denoiser('photo-grey', 'cpu', engine='auto'),
                torch.randint(0, 256, (1, 1, side, side), dtype=torch.uint8))
    return dict(megapixels=round(side**2/1e6, 1), seconds=round(t, 1),
                largest_memory_gb=round(peak_memory(), 2))

@call_parse
def main(
    out:str='large',         # Folder for the records
    sizes:str='512,1024',    # Heights and widths, with commas
    repeats:int=5,           # Rounds; the median counts
    megapixels:float=50,     # Size of the large picture; 0 leaves it out
    overwrite:bool=False     # Replace records that are there?
):
    """Measure speed and memory on this machine, which should be idle, and write a record for each
    network and size"""
    torch.manual_seed(0)
    busy = os.getloadavg()[0] if hasattr(os, 'getloadavg') else None
    common = dict(experiment='large', data='random', threads=torch.get_num_threads(), load_before=busy,
                  **surroundings('cpu'))
    def keep(model, variant, **told):
        save_record({**common, 'model': model, 'variant': variant, **told}, out, overwrite)
        print(model, variant, told, flush=True)
    if megapixels:          # first, and in a process that has done nothing else
        with multiprocessing.get_context('spawn').Pool(1) as pool: told = pool.apply(large, (megapixels,))
        keep(model='photo-grey', variant=f'{megapixels:g}-megapixels', **told)
    for name, model in (('dncnn', create_model('dncnn')),
                        ('photo-grey', load_denoiser('photo-grey', 'cpu').model)):
        for size in map(int, sizes.split(',')):
            keep(model=name, variant=str(size), size=size, parameters=n_params(model), repeats=repeats,
                 **speed(model, size, repeats))
