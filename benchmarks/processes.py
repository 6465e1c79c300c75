"""One network trained by one process and by several, with as many images in a step: is it the same training?
python benchmarks/processes.py; torchrun --nproc_per_node 2 benchmarks/processes.py"""
from fastai.basics import set_seed
from fastcore.script import call_parse
from dl_denoise.core import processes
from dl_denoise.data import denoise_dls, digits
from dl_denoise.learner import denoise_learner, train, training_record
from dl_denoise.ledger import new_record, save_record
from dl_denoise.models.cnn import cnn
from dl_denoise.noise import GaussianNoise
from dl_denoise.pictures.denoiser import Denoiser, evaluate_denoiser

STEP = 128      # images in a step, of all processes together

def one_training(data, noise, epochs, seed, count):
    "The record of a training with so many processes, its validation losses in `curve`"
    set_seed(seed)
    dls = denoise_dls(data, noise, bs=STEP//count, device='cpu')
    learn = train(denoise_learner(dls, cnn(width=16), precision='fp32'), epochs, seed=seed)
    scores = evaluate_denoiser(Denoiser(learn.model, device='cpu'), dls)
    sizes = {part: len(getattr(data, part)) for part in ('train', 'valid', 'test')}
    return new_record(**training_record(learn), **scores, experiment='distributed', model='cnn',
                      variant=f'{count}x{STEP//count}', data=data.name, images=sizes, noise=repr(noise),
                      curve=[row[1] for row in learn.recorder.values])

@call_parse
def main(
    out:str='distributed',      # Folder for the records
    epochs:int=10,              # Passes over the training images
    seeds:int=3,                # How many trainings
    overwrite:bool=False        # Replace records that are there?
):
    "Train on the embedded digits, once for each seed"
    rank, count = processes()
    for seed in range(seeds):
        record = one_training(digits(), GaussianNoise(.5, clip=True), epochs, seed, count)
        if rank: continue
        save_record(record, out, overwrite)
        print(f"{record['variant']}, seed {seed}: test MSE {record['mse']:.5f}", flush=True)
