"SURE against the true error on BSD68: the estimate needs no clean picture, the truth does"
import torch
from fastcore.script import call_parse
from dl_denoise.core import save_json
from dl_denoise.data import pictures
from dl_denoise.evidence import sure
from dl_denoise.inference import load_denoiser
from dl_denoise.ledger import surroundings
from dl_denoise.noise import GaussianNoise

def compare(dn, imgs, sigma, probes=1, seed=0):
    "Estimated and true mean squared error of each picture"
    gen, noise, rows = torch.Generator().manual_seed(seed), GaussianNoise(sigma), []
    for i, y in enumerate(imgs):
        y = y[None].float()/255
        x = noise(y, gen)
        rows.append((sure(dn, x, sigma, probes, seed=i)[0], (dn(x) - y).pow(2).mean().item()))
        print(f'{i+1:3} of {len(imgs)}   estimated {rows[-1][0]:.6f}   true {rows[-1][1]:.6f}', flush=True)
    return rows

@call_parse
def main(
    name:str='photo-grey',   # A packaged denoiser
    sigma:float=25,          # Noise on the scale 0 to 255
    images:int=None,         # So many pictures only
    probes:int=1,            # Shakes per picture
    out:str=''               # A JSON file to write
):
    "Over the set: mean of the estimates against mean of the true errors"
    rows = compare(load_denoiser(name), pictures('bsd68')[:images], sigma/255, probes)
    est, true = (sum(o)/len(rows) for o in zip(*rows))
    worst = max(abs(e/t - 1) for e, t in rows)
    print(f'{name}, σ = {sigma:g}, {len(rows)} pictures: estimated {est:.6f}, true {true:.6f}, ratio {est/true:.4f}; farthest single picture {worst:.1%}')
    if out: save_json(dict(**surroundings(), name=name, sigma=sigma, probes=probes, images=len(rows), estimated=est, true=true, ratio=est/true, farthest=worst), out)
