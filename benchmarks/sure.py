"SURE against the true error on BSD68: the estimate needs no clean picture, the truth does"
import pandas as pd, torch
from fastcore.script import call_parse
from dl_denoise.data import pictures
from dl_denoise.pictures.evidence import sure
from dl_denoise.pictures.denoiser import load_denoiser
from dl_denoise.ledger import save_record, surroundings
from dl_denoise.metrics import score
from dl_denoise.noise import GaussianNoise

def compare(dn, imgs, noise, seed=0):
    "For each picture the estimated mean squared error, and the true scores"
    gen, rows = torch.Generator().manual_seed(seed), []
    for i, y in enumerate(imgs):
        y = y[None].float()/255
        x = noise(y, gen)
        rows.append(dict(estimated=sure(dn, x, noise.sigma, seed=i)[0], **score(dn(x), y)))
        print(f"{i+1:3} of {len(imgs)}   estimated {rows[-1]['estimated']:.6f}   true "
              f"{rows[-1]['mse']:.6f}", flush=True)
    return pd.DataFrame(rows)

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
    told = rows.mean().to_dict()
    record = {**dn.card['record'], **surroundings('cpu'), 'experiment': 'sure', 'variant': name,
              'data': 'bsd68', 'noise': repr(noise), 'level': level, 'images': dict(test=len(rows)),
              **told, 'farthest': (rows.estimated/rows.mse - 1).abs().max(), 'published': None}
    print(f"{name}, σ = {level}, {len(rows)} pictures: estimated {told['estimated']:.6f}, true "
          f"{told['mse']:.6f}, ratio {told['estimated']/told['mse']:.4f}; farthest single picture "
          f"{record['farthest']:.1%}")
    print('written to', save_record(record, out, overwrite))
