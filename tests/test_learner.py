"The learner: interrupted it leaves nothing behind, it resumes with other callbacks, and does what users type"
import matplotlib.pyplot as plt, numpy as np, pytest, torch
from fastai.basics import Callback, CancelBatchException, Learner, load_learner, set_seed
from fastai.callback.progress import CSVLogger
from fastai.callback.tracker import EarlyStoppingCallback, ReduceLROnPlateau, SaveModelCallback
from fastai.interpret import Interpretation
from fastai.optimizer import SGD
from torch import nn
from dl_denoise.core import UsageError
from dl_denoise.data import Splits, denoise_dls, digits
from dl_denoise.learner import denoise_learner, train, training_record
from dl_denoise.models.cnn import cnn
from dl_denoise.noise import GaussianNoise
from dl_denoise.noisy.losses import pick_loss

def loaders(bs=32): return denoise_dls(digits(16).subset(128, 64, 64), GaussianNoise(.3), bs=bs)

def learner(tmp_path, width=8, **kwargs):
    set_seed(0)
    return denoise_learner(loaders(), cnn(depth=3, width=width), path=tmp_path, **kwargs)

class OutOfMemory(nn.Module):
    "A network that has no room for a large batch"
    def __init__(self):
        super().__init__()
        self.net = cnn(depth=3, width=8)
    def forward(self, x):
        if len(x) > 100: raise torch.OutOfMemoryError('no room')
        return self.net(x)

def autocast_is_off(): return not torch.is_autocast_enabled('cpu')

# ---- what is entered is left

def test_error_in_forward_leaves_autocast():
    "After an error inside a forward pass in bf16 the next training, with a smaller batch, learns"
    learn = denoise_learner(loaders(bs=128), OutOfMemory(), precision='bf16')
    with pytest.raises(torch.OutOfMemoryError): train(learn, 1)
    assert autocast_is_off()
    set_seed(0)
    again = denoise_learner(loaders(), cnn(depth=3, width=8), lr=3e-3)
    before = again.validate()[0]
    train(again, 5, seed=0)
    assert again.validate()[0] < .7*before             # with the cast left on, nothing at all is learnt

class Interrupt(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.net, self.error = cnn(depth=3, width=8), error
    def forward(self, x):
        if self.training: raise self.error
        return self.net(x)

@pytest.mark.parametrize('error', [KeyboardInterrupt, CancelBatchException])
def test_interrupt_leaves_autocast(error):
    learn = denoise_learner(loaders(), Interrupt(error), precision='bf16')
    try: train(learn, 1)
    except KeyboardInterrupt: pass
    assert autocast_is_off()

def test_switches(tmp_path):
    "fastai's switches decide what is computed, whatever the learner began with"
    seen = []
    class Look(Callback):
        order = 5
        def after_pred(self): seen.append(self.pred.dtype)
    learn = learner(tmp_path, precision='bf16', cbs=Look())
    learn.fit(1)
    learn.to_fp32().fit(1)
    half = len(seen)//2
    assert {*seen[:half]} == {torch.bfloat16}
    assert {*seen[half:]} == {torch.float32}
    with pytest.raises(UsageError, match='float16 is for GPUs'): learn.to_fp16()

# ---- resume

class PressCtrlC(Callback):
    def before_train(self):
        if self.epoch == 2: raise KeyboardInterrupt

def interrupted(tmp_path, *cbs):
    "A training of four epochs, stopped in the third and resumed with these callbacks"
    file = tmp_path/'c.pth'
    with pytest.raises(KeyboardInterrupt):
        train(learner(tmp_path, cbs=[PressCtrlC(), *(o() for o in cbs)]), 4, seed=0, checkpoint=file)
    learn = learner(tmp_path, cbs=[o() for o in cbs])
    return train(learn, 4, seed=0, checkpoint=file, resume=True)

@pytest.mark.parametrize('cb', [SaveModelCallback, EarlyStoppingCallback, ReduceLROnPlateau, CSVLogger])
def test_resume_with_callbacks(tmp_path, cb):
    (tmp_path/'whole').mkdir()
    whole = train(learner(tmp_path/'whole', cbs=cb()), 4, seed=0)
    resumed = interrupted(tmp_path, cb)
    assert [len(o) for o in resumed.recorder.values] == [3, 3, 3, 3]
    assert np.allclose(np.array(resumed.recorder.values), np.array(whole.recorder.values))
    for a, b in zip(whole.model.parameters(), resumed.model.parameters()): assert torch.equal(a, b)

def test_csv_keeps_earlier_epochs(tmp_path):
    interrupted(tmp_path, CSVLogger)
    rows = (tmp_path/'history.csv').read_text().splitlines()
    assert [o.split(',')[0] for o in rows] == ['epoch', '0', '1', '2', '3']

def test_best_model_survives(tmp_path):
    "The best epoch came before the interruption: its weights are what is loaded in the end"
    class Worse(Callback):
        "Ruins what is learnt from the third epoch on"
        order = 55
        def before_train(self):
            if self.epoch > 1:
                for h in self.opt.hypers: h['lr'] = .5
        before_batch = before_train
    whole = train(learner(tmp_path/'whole', cbs=[SaveModelCallback(), Worse()]), 4, lr=1e-3,
                  schedule='constant', seed=0)
    file, cbs = tmp_path/'c.pth', lambda: [SaveModelCallback(), Worse()]
    with pytest.raises(KeyboardInterrupt):
        train(learner(tmp_path, cbs=[PressCtrlC(), *cbs()]), 4, lr=1e-3, schedule='constant', seed=0,
              checkpoint=file)
    resumed = train(learner(tmp_path, cbs=cbs()), 4, lr=1e-3, schedule='constant', seed=0, checkpoint=file,
                    resume=True)
    losses = [o[1] for o in whole.recorder.values]
    assert losses.index(min(losses)) == 1, losses
    assert resumed.validate()[0] == pytest.approx(min(losses), rel=1e-5)

def test_resume_another_network(tmp_path):
    train(learner(tmp_path), 1, checkpoint=tmp_path/'c.pth')
    with pytest.raises(UsageError, match='parameters was .* and is now'):
        train(learner(tmp_path, width=16), 1, checkpoint=tmp_path/'c.pth', resume=True)

# ---- losses that change

def test_annealed_loss_can_be_compared(tmp_path):
    "Validation always uses the squared error, so the best epoch is the one with the least"
    loss, cbs = pick_loss('l0')
    learn = train(learner(tmp_path, loss_func=loss, cbs=[*cbs, SaveModelCallback()]), 4, seed=0)
    losses, psnrs = zip(*[o[1:] for o in learn.recorder.values])
    assert losses.index(min(losses)) == psnrs.index(max(psnrs))
    assert learn.validate()[0] == pytest.approx(min(losses), rel=1e-5)
    _, _, each = learn.get_preds(with_loss=True)
    assert each.shape == (64,)
    assert each.mean().item() == pytest.approx(min(losses), rel=1e-4)

# ---- what fastai's users type

def test_given_images_are_taken_as_they_are(tmp_path):
    "`test_dl` divides nothing by 255 and adds no noise"
    learn = train(learner(tmp_path, lr=2e-2, precision='fp32'), 12, seed=0)
    clean = learn.dls.test.images.float()/255
    noisy = GaussianNoise(.3)(clean, torch.Generator().manual_seed(0))
    restored, targets = learn.get_preds(dl=learn.dls.test_dl(noisy))
    assert targets is None
    with torch.no_grad(): assert torch.allclose(restored, learn.model.eval()(noisy), atol=1e-5)
    assert (restored - clean).pow(2).mean() < (noisy - clean).pow(2).mean()/2

def test_methods_of_a_learner(tmp_path):
    learn = learner(tmp_path)
    learn.fit(1)
    x = torch.rand(1, 16, 16)
    want = learn.predict(x)
    assert want.shape == (1, 16, 16)
    assert torch.equal(learn.predict(x.numpy()[0]), want)
    learn.show_results()
    learn.export('a.pkl')
    assert torch.allclose(load_learner(tmp_path/'a.pkl').predict(x), want, atol=1e-6)
    learn.load(learn.save('b').stem)
    with pytest.raises(UsageError, match='eight_ways'): learn.tta()
    with pytest.raises(UsageError, match='fit_one_cycle'): train(Learner(learn.dls, cnn(), nn.MSELoss()), 1)
    learn.dls.show_batch(figsize=(6, 3), unique=True, max_n=4)
    assert learn.dls.test is learn.dls[2]
    assert denoise_learner(learn.dls, cnn(depth=3), opt_func=SGD, wd=.01).wd == .01

def test_top_losses(tmp_path):
    "fastai's `Interpretation` plots the worst images, under the noise that they were judged by"
    learn = learner(tmp_path)
    worst = Interpretation.from_learner(learn)
    losses, idxs = worst.top_losses(3)
    noisy, results, targets, _, _ = worst[idxs]
    assert torch.equal(targets.cpu(), learn.dls.valid.clean(idxs).cpu())
    assert torch.allclose((results - targets).pow(2).mean((1, 2, 3)), losses, atol=1e-6)
    assert torch.allclose((noisy - targets).std(), torch.tensor(.3), atol=.02)
    worst.plot_top_losses(3)
    labels = [ax.get_xlabel() for ax in plt.gcf().axes]
    assert [o for o in labels if o] == [f'{o:.4f}' for o in losses]
    worst.show_results([0, 1])
    with pytest.raises(UsageError, match='ds_idx=1'):
        Interpretation.from_learner(learn, ds_idx=0).plot_top_losses(3)

@pytest.mark.parametrize('images', [torch.rand(4, 1, 8, 8)*255, torch.randint(0, 4096, (4, 1, 8, 8))])
def test_splits_of_other_kinds(images):
    "Neither black pictures nor noise: floats from 0 to 1 are kept, the rest is refused"
    with pytest.raises(ValueError, match='divide them by the value of white'):
        Splits('mine', images, images, images)
    unit = images.float()/images.max()
    x, y = denoise_dls(Splits('mine', unit, unit, unit), GaussianNoise(0), bs=4).valid.one_batch()
    assert torch.allclose(y, unit)

def test_lines_in_a_log(tmp_path, capsys):
    "Where nobody watches there is a line an epoch, and no bar"
    train(learner(tmp_path), 2, seed=0)
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2
    assert out.startswith('epoch 1/2  train_loss 0.')
    assert '█' not in out and '\r' not in out

# ---- precision

@pytest.mark.parametrize('has, chosen', [(dict(avx512_bf16=True), 'bf16'), (dict(amx_bf16=True), 'bf16'),
                                         (dict(avx512_bf16=False, amx_bf16=False), 'fp32'), ({}, 'fp32')])
def test_auto_asks_the_processor(has, chosen, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: has, raising=False)
    assert learner(tmp_path).precision == chosen

def test_auto_with_an_old_torch(tmp_path, monkeypatch):
    "A torch that cannot say what the processor has: float32"
    monkeypatch.delattr(torch.cpu, 'get_capabilities', raising=False)
    assert learner(tmp_path).precision == 'fp32'

def test_both_precisions_learn_the_same(tmp_path):
    "The scores of a small training in both, and the record says which it was"
    scores = {}
    for precision in ('fp32', 'bf16'):
        learn = learner(tmp_path, precision=precision, lr=3e-3)
        train(learn, 5, seed=0)
        assert training_record(learn)['precision'] == precision
        scores[precision] = learn.validate()[0]
    assert scores['bf16'] == pytest.approx(scores['fp32'], rel=.02)
