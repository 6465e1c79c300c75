"Megapixels per second of a `Denoiser` against the plain network on the whole picture, in turns, in one process; and the memory of a large picture"
import resource, statistics, sys, time
import torch
from fastcore.script import call_parse
from dl_denoise.core import save_json
from dl_denoise.inference import Denoiser, load_denoiser
from dl_denoise.ledger import surroundings
from dl_denoise.models.blocks import create_model

def seconds(fn, x):
    t = time.perf_counter(); fn(x)
    return time.perf_counter() - t

def speed(model, channels, size, repeats):
    "Medians over the rounds, each way once in each round"
    x, model = torch.rand(1, channels, size, size), model.eval()
    def plain(x):
        with torch.no_grad(): return model(x)
    ways = {'plain': plain, **{e: Denoiser(model, dict(channels=channels), 'cpu', engine=e) for e in ('torch', 'onnxruntime')}}
    for fn in ways.values(): fn(x)
    times = {n: [] for n in ways}
    for _ in range(repeats):
        for n, fn in ways.items(): times[n].append(seconds(fn, x))
    mid = {n: statistics.median(t) for n, t in times.items()}
    return {**{f'{n}, megapixels/s': round(size**2/1e6/t, 3) for n, t in mid.items()}, **{f'{n} / plain': round(mid['plain']/mid[n], 2) for n in ways if n != 'plain'}}

@call_parse
def main(
    sizes:str='512',         # Heights and widths, with commas
    repeats:int=5,           # Rounds; the median counts
    megapixels:float=0,      # Denoise a grey 8-bit picture of that size with photo-grey, too, and tell the memory
    out:str=''               # A JSON file to write
):
    "On this machine, which should be idle"
    torch.manual_seed(0)
    told = {}
    for name, model in (('dncnn', create_model('dncnn')), ('photo-grey', load_denoiser('photo-grey', 'cpu').model)):
        for size in map(int, sizes.split(',')):
            told[f'{name}, {size}×{size}'] = speed(model, 1, size, repeats)
            print(f'{name}, {size}×{size}: {told[f"{name}, {size}×{size}"]}', flush=True)
    if megapixels:
        side = int((megapixels*1e6)**.5)
        x = torch.randint(0, 256, (1, 1, side, side), dtype=torch.uint8)
        t = seconds(load_denoiser('photo-grey', 'cpu'), x)
        told['large'] = dict(megapixels=side**2/1e6, seconds=round(t, 1), megapixels_per_second=round(side**2/1e6/t, 3), largest_memory_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/(1e6 if sys.platform == 'linux' else 1e9), 2))
        print(told['large'])
    if out: save_json(dict(**surroundings(), threads=torch.get_num_threads(), **told), out)
