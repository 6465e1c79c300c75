"How much noise is in a picture: fit what `estimate_noise` needs on validation photographs, and test it"
import numpy as np, pandas as pd, torch
from fastcore.script import call_parse
from scipy.optimize import least_squares
from dl_denoise.camera import CameraNoise, to_ycc
from dl_denoise.data import pictures
from dl_denoise.experiments.photographs import CAMERAS
from dl_denoise.ledger import new_record, save_record
from dl_denoise.noise import GaussianNoise
from dl_denoise.pictures.sigma import _grain, compression, estimate_noise, estimate_sigma

FIT = CameraNoise((400, 16000), quality=(65, 98), smoothing=(0, 1))
OTHERS = {f'ISO {iso}, quality 75, smoothing 0.9':
          CameraNoise(iso, quality=75, smoothing=.9, light=3e-5, spread=0) for iso in (800, 3200, 12800)}
FINE = {f'σ = {s}': GaussianNoise(s/255) for s in (2, 5, 25, 50)}

def middle(y, size=320):
    "The middle of a picture of 8 bits as a batch of floats"
    (top, left) = (max(0, (o - size)//2) for o in y.shape[1:])
    return y[None, :, top:top+size, left:left+size].float()/255

def shown(noise, y, seed, channels):
    "A noisy picture and the clean one, in so many channels"
    x = noise(y, torch.Generator().manual_seed(seed)) if noise else y
    return (x, y) if channels == 3 else (to_ycc(x)[:, :1], to_ycc(y)[:, :1])

def measured(imgs, noises, channels, each=1):
    "For each picture and noise: the truth, and what the estimator goes by"
    rows = []
    for i, y in enumerate(imgs):
        y = middle(y)
        for j, (name, noise) in enumerate(noises.items()):
            for k in range(each if name == 'camera' else 1):
                x, clean = shown(noise, y, 10_000*i + 100*j + k, channels)
                rows.append(dict(picture=i, noise=name, true=255*(x - clean).std().item(), grain=_grain(x),
                                 loss=compression(x)[1], fine=255*estimate_sigma(x)))
        print(f'{i+1:3} of {len(imgs)}', flush=True)
    return pd.DataFrame(rows)

def fitted(rows):
    "a, b and p of the variance, and within which factors four of five truths lie"
    def log_ratio(w, d): return .5*np.log(w[0]*d.grain**(2*w[2]) + w[1]*d.loss**2) - np.log(d.true)
    def fit(d):
        return least_squares(lambda w: log_ratio(w, d), (3, .8, .9), bounds=(0, np.inf), loss='soft_l1',
                             f_scale=.15).x
    off = pd.concat([-log_ratio(fit(rows[rows.picture != i]), d) for i, d in rows.groupby('picture')])
    within = (off.abs() < np.log(1.25)).mean()      # of pictures that the fit has not seen
    return dict(shares=fit(rows).tolist(), within=_inner(np.exp(off)), good=float(within))

def _inner(values): return [float(o) for o in values.quantile([.1, .9])]

def tested(imgs, noises, channels):
    "For each noise: the estimates beside the truth"
    rows = []
    for i, y in enumerate(imgs):
        y = middle(y, 512)
        for j, (name, noise) in enumerate(noises.items()):
            x, clean = shown(noise, y, 10_000*i + 100*j, channels)
            level, true = estimate_noise(x), 255*(x - clean).std().item()
            rows.append(dict(noise=name, true=true, estimated=level.sigma, error=abs(level.sigma - true),
                             good=abs(level.sigma - true) < .25*true, covered=level.low <= true <= level.high,
                             coarse=level.coarse, little=level.little, before=255*estimate_sigma(x)))
        print(f'{i+1:3} of {len(imgs)}', flush=True)
    return pd.DataFrame(rows).groupby('noise', sort=False).mean()

@call_parse
def main(
    out:str='results',       # Folder for the record
    what:str='fit',          # fit, or test
    channels:int=3,          # 1: grey, 3: colour
    n:int=24,                # How many photographs of CBSD68 to test on
    overwrite:bool=False     # Replace a record that is there?
):
    "Fit on the last ten of CBSD432, which are for validation, and on clean ones of it; test on CBSD68"
    if what == 'fit':
        rows = measured(pictures('cbsd432', 3)[-10:], {'camera': FIT, **FINE}, channels, 8)
        clean = measured(pictures('cbsd432', 3)[::5], {'clean': None}, channels).grain
        cameras = rows[rows.noise == 'camera']
        told = fitted(cameras) | dict(clean=float(clean.max()), clean_median=float(clean.median()))
        fine = rows[rows.noise.isin(FINE)]
        share = fine.fine/(told['shares'][0]**.5*fine.grain**told['shares'][2])
        others = cameras.fine/(told['shares'][0]**.5*cameras.grain**told['shares'][2])
        told |= dict(fine=share.quantile([.01, .05, .5, .99]).tolist(),
                     coarse=others.quantile([.5, .95, .99]).tolist(),
                     fine_within=_inner((fine.true/fine.fine)[fine.true > 20]),
                     fine_off=_inner((fine.true - fine.fine)[fine.true < 10]))
        print(told)
        images = dict(valid=10)
    else:
        cameras = {k: v for k, v in CAMERAS.items() if k != 'ISO 100'} | OTHERS
        told = dict(levels=tested(pictures('cbsd68', 3)[:n], {**cameras, **FINE, 'clean': None},
                                  channels).round(4).T.to_dict())
        print(pd.DataFrame(told['levels']).T.round(2).to_string())
        images = dict(test=n)
    data = 'cbsd432' if what == 'fit' else 'cbsd68'
    record = new_record(experiment='noise', model='estimate_noise', variant=f'{what}-{channels}', data=data,
                        images=images, noise=repr(FIT), mse=None, psnr=None, ssim=None, **told)
    print('written to', save_record(record, out, overwrite))
