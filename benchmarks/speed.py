"""Images per second: our Learner beside a plain PyTorch loop and beside fastai's usual DataBlock of
PNG files, and our inference beside the plain network's. With --photos NAME: seconds per megapixel of a
colour photograph, of each engine and of others' programs (pip install opencv-python-headless bm3d)"""
import os, statistics, tempfile, time
from functools import partial
from pathlib import Path
import numpy as np, torch
from fastai.vision.all import (Adam, Callback, DataBlock, ImageBlock, IndexSplitter, Learner, MSELossFlat,
                               PILImageBW, TensorImageBW, Transform,
                               get_image_files, set_seed)
from fastcore.script import call_parse
from PIL import Image
from torch import nn
from dl_denoise.data import denoise_dls, sample_data
from dl_denoise.pictures.denoiser import Denoiser, load_denoiser
from dl_denoise.pictures.engines import installed_engines
from dl_denoise.learner import denoise_learner
from dl_denoise.ledger import save_record, surroundings
from dl_denoise.models.blocks import create_model, n_params
from dl_denoise.metrics import psnr_of
from dl_denoise.noise import GaussianNoise

NOISE, LR = GaussianNoise(.5, clip=True), 2e-3
# name in the ledger -> architecture, its arguments, training images of one measurement on a CPU
NETWORKS = {'cnn-small': ('cnn', dict(depth=4, width=16), 12800), 'cnn': ('cnn', {}, 768),
            'dncnn': ('dncnn', {}, 256)}

class Stopwatch(Callback):
    "Seconds of the training part of an epoch, without the validation"
    def before_train(self): self.start = now(self.dls.device)
    def after_train(self): self.learn.took = now(self.dls.device) - self.start

def now(device):
    "Seconds, after all that was asked of the device is done"
    if torch.device(device).type == 'cuda': torch.cuda.synchronize()
    return time.perf_counter()

# ---- three ways to train for one epoch; each returns its seconds

def plain_loop(model, data, bs, device, precision):
    "What one would write by hand: tensors in memory, Adam, one-cycle, channels last"
    images = data.train.to(device)
    model = model.to(device, memory_format=torch.channels_last).train()
    opt = torch.optim.Adam(model.parameters(), LR, betas=(.9, .99), eps=1e-5)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, LR, total_steps=len(images)//bs)
    start = now(device)
    for idxs in torch.randperm(len(images), device=device).split(bs)[:len(images)//bs]:
        y = images[idxs].float().div_(255)
        x = NOISE(y).contiguous(memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == 'bf16'):
            out = model(x)
        loss = nn.functional.mse_loss(out.float(), y)
        loss.backward()
        opt.step()
        sched.step()
        opt.zero_grad()
    return now(device) - start

def our_learner(model, data, bs, device, precision):
    "The package as its pages use it"
    learn = denoise_learner(denoise_dls(data, NOISE, bs=bs, device=device), model, precision=precision,
                            cbs=Stopwatch())
    return fit(learn)

class TensorNoisy(TensorImageBW): pass
class PILNoisy(PILImageBW): _tensor_cls = TensorNoisy
class AddNoise(Transform):
    "Noise for the input, not for the target"
    order = 20
    def encodes(self, x:TensorNoisy): return NOISE(x)

def png_datablock(model, folder, bs, device, precision):
    "fastai's usual way: a file for each image, opened and decoded when its turn comes"
    n = len(get_image_files(folder/'train'))
    block = DataBlock(blocks=(ImageBlock(PILNoisy), ImageBlock(PILImageBW)),
                      get_items=lambda d: get_image_files(d/'train') + get_image_files(d/'valid'),
                      splitter=lambda o: IndexSplitter(range(n, len(o)))(o), batch_tfms=AddNoise())
    learn = Learner(block.dataloaders(folder, bs=bs, device=torch.device(device)), model,
                    loss_func=MSELossFlat(), opt_func=Adam, lr=LR, cbs=Stopwatch())
    return fit(learn.to_bf16() if precision == 'bf16' else learn)

def fit(learn):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, LR)
    return learn.took

def save_pngs(data, folder):
    "One PNG for each image"
    for part in ('train', 'valid'):
        (folder/part).mkdir(parents=True)
        for i,o in enumerate(getattr(data, part)):
            Image.fromarray(o[0].numpy()).save(folder/part/f'{i:05}.png')
    return folder

# ---- measuring

def interleave(ways, repeats):
    "Times of each way, taken in turn and back again, so that a drift of the machine touches all alike"
    times = {k: [] for k in ways}
    for r in range(repeats):
        for k in (list(ways) if r % 2 == 0 else reversed(ways)): times[k].append(ways[k]())
    return times

def ratio(a, b):
    "Median over the rounds of how many times quicker `a` was than `b`"
    return statistics.median(y/x for x,y in zip(a, b))

def ways(make, tensors, pngs, **kwargs):
    "The three ways, each with a network of its own, as functions without arguments"
    return {'plain loop': lambda: plain_loop(make(), tensors, **kwargs),
            'learner': lambda: our_learner(make(), tensors, **kwargs),
            'PNG DataBlock': lambda: png_datablock(make(), pngs, **kwargs)}

def training(make, data, repeats, **kwargs):
    "Images per second of the three ways"
    few = data.subset(train=2*kwargs['bs'])
    with tempfile.TemporaryDirectory() as d:
        interleave(ways(make, few, save_pngs(few, Path(d)/'warm'), **kwargs), 1)
        times = interleave(ways(make, data, save_pngs(data, Path(d)/'full'), **kwargs), repeats)
    told = {f'{way} images/s': round(len(data.train)/statistics.median(t), 1) for way, t in times.items()}
    for other in 'plain loop', 'PNG DataBlock':
        told[f'learner / {other}'] = round(ratio(times['learner'], times[other]), 3)
    return told

def milliseconds(fn, x, device, rounds):
    "Milliseconds for each image of a batch"
    fn(x)
    start = now(device)
    for _ in range(rounds): fn(x)
    return (now(device) - start)/rounds/len(x)*1000

def inference(make, device, repeats, bs=256):
    "Milliseconds for one image alone and for one image of a batch: the plain network, and a `Denoiser`"
    model = make().to(device).eval()
    ours = Denoiser(make(), dict(channels=1), device)
    @torch.inference_mode()
    def plain(x): return model(x)
    images, told = (sample_data().test[:bs].float()/255).to(device), {}
    for what, x, rounds in ('single image', images[:1], 20), (f'batch of {bs}', images, 1):
        times = interleave({'plain': lambda: milliseconds(plain, x, device, rounds),
                            'ours': lambda: milliseconds(ours, x, device, rounds)}, 2*repeats)
        for name, t in times.items(): told[f'{what}, {name}, ms/image'] = round(statistics.median(t), 4)
        told[f'{what}, plain / ours'] = round(ratio(times['ours'], times['plain']), 3)
    return told

# ---- photographs

SIGMA = 25      # of 255
STRENGTHS = 8, 12, 16, 20, 25, 30       # what OpenCV's non-local means may be set to

def noisy_photo(clean, side=None):
    "A photograph `[H,W,3]`, repeated up to a size, and the same with noise; floats"
    side = side or min(clean.shape[:2])
    n = -(-side//min(clean.shape[:2]))
    y = (np.tile(clean, (n, n, 1))[:side, :side]/255).astype(np.float32)
    return y, y + np.random.default_rng(0).normal(0, SIGMA/255, y.shape).astype(np.float32)

def error(result, y): return float(np.square(result - y).mean())

def opencv(x, strength):
    "OpenCV's non-local means; it takes 8 bits"
    import cv2
    cv2.setNumThreads(torch.get_num_threads())
    whole = (x*255).round().clip(0, 255).astype(np.uint8)
    return cv2.fastNlMeansDenoisingColored(whole, None, strength, strength, 7, 21)/np.float32(255)

def bm3d(x):
    "BM3D for colours, told how strong the noise is"
    from bm3d import bm3d_rgb
    return bm3d_rgb(x, SIGMA/255)

def on_tensor(fn):
    "A function of a batch as one of an array"
    def run(x): return fn(torch.from_numpy(x).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    return torch.inference_mode()(run)

def photo_ways(name):
    "Way to clean a photograph -> a function of an array"
    import skimage
    y, x = noisy_photo(skimage.data.coffee())           # to choose a setting by, not to measure on
    best = min(STRENGTHS, key=lambda h: error(opencv(x, h), y))
    def plain(model): return on_tensor(model.eval())
    def ours(engine): return on_tensor(load_denoiser(name, 'cpu', engine=engine))
    return {'DnCNN, plain': plain(create_model('dncnn', channels=3)),
            'photo-colour, plain': plain(load_denoiser('photo-colour', 'cpu').model),
            f'{name}, plain': plain(load_denoiser(name, 'cpu').model),
            **{f'{name}, {e}': ours(e) for e in ('exact', *installed_engines())},
            f"OpenCV's non-local means, h = {best}": lambda x: opencv(x, best), 'BM3D': bm3d}

SLOW = 'DnCNN, plain', 'BM3D'       # measured once, on a quarter of the picture

def photographs(name, side, repeats):
    "Seconds per megapixel by the clock and of the processor, the least of each, and PSNR"
    import skimage
    clean, told = skimage.data.astronaut(), {}
    for way, run in photo_ways(name).items():
        size, times = (side//2, []) if way in SLOW else (side, [])
        y, x = noisy_photo(clean, size)
        if way not in SLOW: run(x[:512, :512])
        for _ in range(1 if way in SLOW else repeats):
            start = time.perf_counter(), time.process_time()
            result = run(x)
            times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        wall, cpu = (round(min(t)/size**2*1e6, 3) for t in zip(*times))
        told[way] = dict(seconds=wall, cpu_seconds=cpu, side=size)
        if way != 'DnCNN, plain': told[way]['psnr'] = round(psnr_of(error(result, y)), 2)
        print(f'  {way:<40}{told[way]}', flush=True)
    return told

@call_parse
def main(
    out:str='speed',         # Folder for the records
    networks:str='',         # Only these, with commas; by default cnn-small, cnn and dncnn
    bs:int=128,              # Images in a batch, as in the demos
    scale:int=1,             # So many times more images in a measurement: 1 for a CPU, 50 for a GPU
    repeats:int=5,           # Rounds; the median counts
    device:str='',           # By default the GPU if there is one
    precision:str='auto',    # As for `denoise_learner`
    photos:str='',           # Measure photographs with this packaged denoiser, and no training
    side:int=1024,           # Height and width of the photograph
    overwrite:bool=False     # Replace records that are there?
):
    "Measure speed on this machine, which should be idle, and write a record for each network"
    device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    if precision == 'auto':
        precision = 'bf16' if device.type == 'cuda' and torch.cuda.is_bf16_supported() else 'fp32'
    if photos:
        load = os.getloadavg()[0] if hasattr(os, 'getloadavg') else None
        record = dict(experiment='engines', variant='speed', model=photos, data='astronaut', sigma=SIGMA,
                      threads=torch.get_num_threads(), load_before=load, repeats=repeats,
                      ways=photographs(photos, side, repeats), **surroundings('cpu'))
        return print('  written to', save_record(record, out, overwrite))
    for name in networks.split(',') if networks else NETWORKS:
        arch, arguments, n = NETWORKS[name]
        make = partial(create_model, arch, **arguments)
        set_seed(0)
        busy = os.getloadavg()[0] if hasattr(os, 'getloadavg') else None
        data = sample_data(train=n*scale, valid=bs, test=bs)
        data = data.subset(train=len(data.train)//bs*bs)
        record = dict(experiment='speed', model=name, arguments=arguments, parameters=n_params(make()),
                      data=data.name, images=dict(train=len(data.train)), noise=repr(NOISE), batch_size=bs,
                      precision=precision, repeats=repeats, threads=torch.get_num_threads(), load_before=busy,
                      training=training(make, data, repeats, bs=bs, device=device, precision=precision),
                      inference=inference(make, device, repeats), **surroundings(device))
        print(f'{name}: {len(data.train)} images of {data.name}, batches of {bs}, {precision}')
        for what, value in (record['training'] | record['inference']).items():
            print(f'  {what:<36}{value:>10}')
        print('  written to', save_record(record, out, overwrite))
