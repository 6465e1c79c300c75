"""Several processes train one network: each its part of the images, all the same steps, one record.
Started as a program in two processes, this file writes what each of them saw"""
import json, os, subprocess, sys
from pathlib import Path
import pytest, torch
from fastai.basics import Callback, set_seed
from dl_denoise.core import DenoiseError, UsageError, processes
from dl_denoise.data import NoisyDL, denoise_dls, digits
from dl_denoise.experiments.photographs import PatchDL
from dl_denoise.learner import denoise_learner, train
from dl_denoise.models.cnn import cnn
from dl_denoise.noise import GaussianNoise
from dl_denoise.noisy.noise2noise import CopiesDL

class Look(Callback):
    "Remembers the images of the first epoch, the noise of the first batch, and its gradient"
    order = 50      # after the processes have exchanged what they have
    def before_fit(self):
        self.images, self.noise, self.gradient = [], None, None
        data = self.dls.train
        take = type(data).do_batch
        def look(idxs):
            if self.epoch == 0 and self.training: self.images += idxs
            return take(data, idxs)
        data.do_batch = look
    def before_batch(self):
        if self.noise is None: self.noise = self.xb[0] - self.yb[0]
    def before_step(self):
        if self.gradient is not None: return
        self.gradient = torch.cat([p.grad.flatten() for p in self.model.parameters()])

class Stop(Callback):
    "Raises at the start of the third epoch, in this process or in all"
    def __init__(self, error, rank=None): self.error, self.rank = error, rank
    def before_train(self):
        if self.epoch == 2 and self.rank in (None, processes()[0]): raise self.error

def learner(bs, sigma, *cbs):
    set_seed(1)
    dls = denoise_dls(digits(16).subset(256, 65, 64), GaussianNoise(sigma), bs=bs, device='cpu')
    return denoise_learner(dls, cnn(depth=3, width=8), precision='fp32', cbs=cbs)

def looked_at(bs, sigma):
    "What a training of three epochs shows"
    learn = train(learner(bs, sigma, look := Look()), 3, seed=0)
    weights = {k: v.clone() for k, v in learn.model.state_dict().items()}
    losses = [row[1] for row in learn.recorder.values]
    return dict(images=look.images, noise=look.noise, gradient=look.gradient, weights=weights, losses=losses)

def in_two_processes(folder):
    "What each process sees; then one of them fails"
    found = dict(plain=looked_at(64, 0.), noisy=looked_at(64, .3))
    try: train(learner(64, .3, Stop(KeyboardInterrupt())), 3, seed=0, checkpoint=folder/'run.pth')
    except KeyboardInterrupt: pass
    resumed = train(learner(64, .3), 3, seed=0, checkpoint=folder/'run.pth', resume=True)
    torch.save({**found, 'resumed': resumed.model.state_dict()}, folder/f'seen-{processes()[0]}.pt')
    train(learner(64, .3, Stop(DenoiseError('the second process has had enough'), rank=1)), 3, seed=0)

def launch(*words, **kwargs):
    "Two processes of a program"
    start = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
    top = str(Path(__file__).parent.parent)
    env = {**os.environ, 'PYTHONPATH': top, 'ACCELERATE_USE_CPU': 'true', 'OMP_NUM_THREADS': '1'}
    return subprocess.run([*start, *map(str, words)], capture_output=True, text=True, timeout=300, env=env,
                          **kwargs)

@pytest.fixture(scope='module')
def launched(tmp_path_factory):
    "Folder and end of the program below, and what one process alone sees"
    pytest.importorskip('accelerate')
    folder = tmp_path_factory.mktemp('two')
    ended = launch(__file__, folder)
    seen = [torch.load(folder/f'seen-{rank}.pt') for rank in (0, 1)]
    return folder, ended, seen, looked_at(128, 0.)

# ---- what two processes do together

def test_parts_are_disjoint_and_whole(launched):
    *_, seen, alone = launched
    first, second = (o['plain']['images'] for o in seen)
    assert not {*first} & {*second} and {*first} | {*second} == {*range(256)}
    assert [i for pair in zip(first, second) for i in pair] == alone['images']      # and in one order

def test_noise_is_each_ones_own(launched):
    *_, seen, _ = launched
    first, second = (o['noisy']['noise'] for o in seen)
    both = torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]
    assert abs(both) < 5/first.numel()**.5                  # five standard errors
    assert abs(first.std() - .3) < .01 and abs(second.std() - .3) < .01

def test_gradients_are_those_of_the_joint_batch(launched):
    *_, seen, alone = launched
    for o in seen:
        off = (o['plain']['gradient'] - alone['gradient']).norm()/alone['gradient'].norm()
        assert off < 1e-5

def test_validation_is_of_all_images(launched):
    *_, seen, alone = launched
    assert seen[0]['plain']['losses'] == seen[1]['plain']['losses']
    assert seen[0]['plain']['losses'] == pytest.approx(alone['losses'], rel=1e-4)
    again = learner(64, .3)                                 # its last loss, measured by one process
    again.model.load_state_dict(seen[0]['noisy']['weights'])
    with again.no_bar(): assert again.validate()[0] == pytest.approx(seen[0]['noisy']['losses'][-1], rel=1e-6)

def test_resumed_to_the_last_bit(launched):
    *_, seen, _ = launched
    for o in seen:
        for name, w in seen[0]['noisy']['weights'].items(): assert torch.equal(w, o['resumed'][name]), name

def test_one_checkpoint(launched):
    folder, *_ = launched
    assert sorted(p.name for p in folder.iterdir()) == ['run.pth', 'seen-0.pt', 'seen-1.pt']
    with pytest.raises(UsageError, match='processes was 2 and is now 1'):
        train(learner(64, .3), 3, seed=0, checkpoint=folder/'run.pth', resume=True)

def test_one_failure_ends_all(launched):
    _, ended, *_ = launched
    assert ended.returncode and 'the second process has had enough' in ended.stderr

# ---- the command

def test_command(tmp_path):
    pytest.importorskip('accelerate')
    options = '--images 64 --models cnn --epochs 1 --precision fp32 --batch 16 --out out'.split()
    done = launch('-m', 'dl_denoise', 'demo1', *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('epoch 1/1') == done.stdout.count('Records and weights') == 1
    assert [p.name for p in tmp_path.iterdir()] == ['out']
    assert [p.name for p in (tmp_path/'out/checkpoints').iterdir()] == ['cnn.pth']
    records = [json.loads(o) for o in (tmp_path/'out/results/demo1.jsonl').read_text().splitlines()]
    net, = (r for r in records if r['model'] == 'cnn')
    assert (net['processes'], net['batch_size']) == (2, 16)
    assert not [r for r in records if r['model'] != 'cnn' and 'processes' in r]

# ---- without other processes

def test_every_loader_shares():
    images, noise = digits().train[:10], GaussianNoise(.1)
    copies = torch.stack([images, images.flip(-1)], 1)
    loaders = [NoisyDL(images, noise, bs=2), PatchDL(images, noise, bs=2, size=8, n=10),
               CopiesDL(copies, bs=2)]
    for dl in loaders:
        for dl.part in (0, 3), (1, 3), (2, 3):              # 10 images filled up to 12: 4 each
            assert [len(b[0]) for b in dl] == [2, 2] and len(dl) == 2
        assert dl.new().part == (0, 1)

def test_says_what_is_missing(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setitem(sys.modules, 'accelerate', None)
    with pytest.raises(UsageError, match=r"pip install 'dl_denoise\[multi\]'"): train(learner(64, .3), 1)

def test_only_trainings_take_several(monkeypatch, capsys):
    from dl_denoise.apps.cli import main
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert main(['models']) == 2
    assert 'process 0 of 2: models does not work in several processes' in capsys.readouterr().err

if __name__ == '__main__': in_two_processes(Path(sys.argv[1]))
