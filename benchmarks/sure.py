"SURE against the true error on BSD68: the estimate needs no clean picture, the truth does"
import torch
from fastcore.script import call_parse
from dl_denoise.data import pictures
from dl_denoise.evidence import sure
from dl_denoise.inference import load_denoiser
from dl_denoise.ledger import save_record, surroundings
from dl_denoise.noise import GaussianNoise

def compare(dn, imgs, noise, seed=0):
    "Estimated and true mean squared error of each picture"
    gen, rows = torch.Generator().manual_seed(seed), []
    for i, y in enumerate(imgs):
        y = y[None].float()/255
        x = noise(y, gen)
        rows.append((sure(dn, x, noise.sigma, seed=i)[0], (dn(x) - y).pow(2).mean().item()))
        print(f'{i+1:3} of {len(imgs)}   estimated {rows[-1][0]:.6f}   true {rows[-1][1]:.6f}', flush=True)
    return rows

@call_parse
def main(
    out:str='sure',          # Folder for the record
    name:str='photo-grey',   # A packaged denoiser for grey photographs
    level:int=25,            # Noise on the scale 0 to 255
    overwrite:bool=False     # Replace a record that is there?
):
    "Over the set: mean of the estimates against mean of the true errors"
    dn, imgs, noise = load_denoiser(name, 'cpu'), pictures('bsd68'), GaussianNoise(level/255)
    rows = compare(dn, imgs, noise)
    estimated, true = (sum(o)/len(rows) for o in zip(*rows))
    record = {**dn.card['record'], **surroundings('cpu'), 'experiment': 'sure', 'variant': name, 'data': 'bsd68', 'noise': repr(noise), 'level': level, 'images': dict(test=len(rows)),
              'mse': true, 'estimated': estimated, 'farthest': max(abs(e/t - 1) for e, t in rows), 'published': None}
    print(f'{name}, σ = {level}, {len(rows)} pictures: estimated {estimated:.6f}, true {true:.6f}, ratio {estimated/true:.4f}; farthest single picture {record["farthest"]:.1%}')
    print('written to', save_record(record, out, overwrite))
