"""Images per second: our Learner beside a plain PyTorch loop and beside fastai's usual DataBlock of
PNG files, and our inference beside the plain network's"""
import os, statistics, tempfile, time
from pathlib import Path
import torch
from fastai.vision.all import (Adam, Callback, DataBlock, ImageBlock, IndexSplitter, Learner, MSELossFlat,
                               PILImageBW, TensorImageBW, Transform,
                               get_image_files, set_seed)
from fastcore.script import call_parse
from PIL import Image
from torch import nn
from dl_denoise.data import denoise_dls, sample_data
from dl_denoise.pictures.denoiser import Denoiser
from dl_denoise.learner import denoise_learner
from dl_denoise.ledger import save_record, surroundings
from dl_denoise.models.blocks import create_model, n_params
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
        opt.step(); sched.step(); opt.zero_grad()
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

def training(arch, kwargs, n, bs, device, precision, repeats):
    "Images per second of the three ways"
    data = sample_data(train=n//bs*bs, valid=bs, test=bs)
    n = len(data.train)//bs*bs
    data = data.subset(train=n)
    with tempfile.TemporaryDirectory() as d:
        small = data.subset(train=2*bs)
        args = bs, device, precision
        warm, full = save_pngs(small, Path(d)/'warm'), save_pngs(data, Path(d)/'full')
        way = lambda fn, o: lambda: fn(create_model(arch, **kwargs), o, *args)
        ways = lambda a, b: {'plain loop': way(plain_loop, a), 'learner': way(our_learner, a),
                             'PNG DataBlock': way(png_datablock, b)}
        interleave(ways(small, warm), 1)
        times = interleave(ways(data, full), repeats)
    res = {f'{k} images/s': round(n/statistics.median(t), 1) for k,t in times.items()}
    return n, data.name, {**res, 'learner / plain loop': round(ratio(times['learner'],
                                                                     times['plain loop']), 3),
                          'learner / PNG DataBlock': round(ratio(times['learner'],
                                                                 times['PNG DataBlock']), 3)}

def inference(arch, kwargs, bs, device, repeats):
    "Milliseconds for one image alone and for one image of a batch: the plain network, and a `Denoiser`"
    model = create_model(arch, **kwargs).to(device).eval()
    ours = Denoiser(create_model(arch, **kwargs), dict(channels=1), device)
    @torch.inference_mode()
    def plain(x): return model(x)
    res = {}
    for what, x, k in [('single image', sample_data().test[:1], 20),
                       (f'batch of {bs}', sample_data().test[:bs], 1)]:
        x = (x.float()/255).to(device)
        def timed(fn):
            fn(x)
            start = now(device)
            for _ in range(k): fn(x)
            return (now(device)-start)/k/len(x)*1000
        times = interleave({'plain': lambda: timed(plain), 'ours': lambda: timed(ours)}, 2*repeats)
        res |= {f'{what}, {name}, ms/image': round(statistics.median(t), 4) for name,t in times.items()}
        res[f'{what}, plain / ours'] = round(ratio(times['ours'], times['plain']), 3)
    return res

@call_parse
def main(
    out:str='speed',         # Folder for the records
    networks:str='',         # Only these, with commas; by default cnn-small, cnn and dncnn
    bs:int=128,              # Images in a batch, as in the demos
    scale:int=1,             # So many times more images in a measurement: 1 for a CPU, 50 for a GPU
    repeats:int=5,           # Rounds; the median counts
    device:str='',           # By default the GPU if there is one
    precision:str='auto',    # As for `denoise_learner`
    overwrite:bool=False     # Replace records that are there?
):
    "Measure speed on this machine, which should be idle, and write a record for each network"
    device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    if precision == 'auto':
        precision = 'bf16' if device.type == 'cuda' and torch.cuda.is_bf16_supported() else 'fp32'
    for name in networks.split(',') if networks else NETWORKS:
        arch, kwargs, n = NETWORKS[name]
        set_seed(0)
        busy = os.getloadavg()[0] if hasattr(os, 'getloadavg') else None
        n, data, train = training(arch, kwargs, n*scale, bs, device, precision, repeats)
        record = dict(experiment='speed', model=name, arguments=kwargs,
                      parameters=n_params(create_model(arch, **kwargs)), data=data, images={'train': n},
                      noise=repr(NOISE), batch_size=bs, precision=precision, repeats=repeats,
                      threads=torch.get_num_threads(), load_before=busy, training=train,
                      inference=inference(arch, kwargs, 256, device, repeats), **surroundings(device))
        print(f'{name}: {n} images of {data}, batches of {bs}, {precision}')
        for k,v in {**train, **record['inference']}.items(): print(f'  {k:<36}{v:>10}')
        print('  written to', save_record(record, out, overwrite))
